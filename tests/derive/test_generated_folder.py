"""A generated folder is whole or absent, whatever goes wrong."""

import errno
import os
import stat
import tempfile

import pytest

from derive import InputError, Model, overlap_odes
from derive.generated_folder import check_target, write_files

FILES = {"odes.py": "new code\n", "odes.tex": "new é text\n", "manifest.json": "{}\n"}
OLD = {"odes.py": "old code\n", "odes.tex": "old text\n", "manifest.json": "old\n"}


def contents(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def fail_at(monkeypatch, function, call):
    """Make os.`function` raise at its `call`-th call, as a full disk would."""
    original, calls = getattr(os, function), []

    def failing(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            raise OSError(28, "No space left on device")
        return original(*arguments, **options)

    monkeypatch.setattr(os, function, failing)


def test_new_folder_holds_the_files_and_nothing_else(tmp_path):
    target = tmp_path / "above" / "generated" / "system"
    write_files(target, FILES)
    assert contents(target) == FILES
    assert list(target.parent.iterdir()) == [target]
    assert (target / "odes.tex").read_bytes() == "new é text\n".encode()


def test_new_folder_appears_only_when_complete(tmp_path, monkeypatch):
    target, synced = tmp_path / "system", []
    original = os.fsync

    def watching(descriptor):
        assert not target.exists()
        synced.append(descriptor)
        original(descriptor)

    monkeypatch.setattr(os, "fsync", watching)
    write_files(target, FILES)
    assert len(synced) == len(FILES)
    assert contents(target) == FILES


@pytest.mark.parametrize(
    ("umask", "folder", "file"),
    [
        (0o022, 0o755, 0o644),
        (0o002, 0o775, 0o664),
        (0o027, 0o750, 0o640),
        (0o077, 0o700, 0o600),
        # Never writable by everyone: loading would reject it.
        (0o000, 0o775, 0o664),
    ],
)
def test_modes_are_those_of_the_umask(tmp_path, umask, folder, file):
    before = os.umask(umask)
    try:
        write_files(tmp_path / "new", FILES)
        (tmp_path / "old").mkdir(mode=0o700)
        (tmp_path / "old" / "odes.py").write_text(OLD["odes.py"])
        write_files(tmp_path / "old", FILES)
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == folder
    assert mode(tmp_path / "old") == 0o700
    assert {mode(path) for path in tmp_path.glob("*/*")} == {file}


def test_existing_files_are_replaced_and_foreign_ones_kept(tmp_path):
    target = tmp_path / "system"
    write_files(target, OLD)
    (target / "notes.txt").write_text("mine\n", encoding="utf-8")
    (target / "__pycache__").mkdir()
    write_files(target, FILES)
    (target / "__pycache__").rmdir()
    assert contents(target) == {**FILES, "notes.txt": "mine\n"}
    assert list(tmp_path.iterdir()) == [target]


def test_files_are_replaced_in_order_the_manifest_last(tmp_path, monkeypatch):
    target, order = tmp_path / "system", []
    write_files(target, OLD)
    original = os.replace

    def recording(source, destination):
        order.append(destination.name)
        original(source, destination)

    monkeypatch.setattr(os, "replace", recording)
    write_files(target, FILES)
    assert order == list(FILES)
    assert contents(target) == FILES


@pytest.mark.parametrize("dangling", [False, True])
def test_symbolic_link_is_rejected_and_left_alone(tmp_path, dangling):
    elsewhere = tmp_path / "elsewhere"
    if not dangling:
        elsewhere.mkdir()
    target = tmp_path / "system"
    target.symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(InputError, match="system"):
        write_files(target, FILES)
    assert target.is_symlink()
    assert elsewhere.exists() != dangling
    assert dangling or not list(elsewhere.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {"system"} | ({"elsewhere"} if not dangling else set())
    )


def test_file_that_is_a_link_is_replaced_not_followed(tmp_path):
    target, victim = tmp_path / "system", tmp_path / "victim"
    victim.write_text("precious\n", encoding="utf-8")
    target.mkdir()
    (target / "odes.py").symlink_to(victim)
    write_files(target, FILES)
    assert victim.read_text(encoding="utf-8") == "precious\n"
    assert not (target / "odes.py").is_symlink()
    assert contents(target) == FILES


@pytest.mark.parametrize(
    ("made", "name", "problem"),
    [
        ("file", "made", "made is in the way: it is a symbolic link or not a folder"),
        ("file", "made/system", r"cannot be written: (File exists|Not a directory)"),
        ("circle", "made/system", "leads nowhere"),
        (None, "x" * 300, "cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_a_folder_is_rejected(tmp_path, made, name, problem):
    if made == "file":
        (tmp_path / "made").write_text("a file\n", encoding="utf-8")
    elif made == "circle":
        (tmp_path / "made").symlink_to("made")
    with pytest.raises(InputError, match=rf"^generated: .*{problem}"):
        write_files(tmp_path / name, FILES)
    assert [path.name for path in tmp_path.iterdir()] == ([] if made is None else ["made"])
    assert made != "file" or (tmp_path / "made").read_text(encoding="utf-8") == "a file\n"


def test_a_target_is_checked_without_a_trace(tmp_path, monkeypatch):
    check_target(tmp_path / "not" / "there" / "system")
    assert list(tmp_path.iterdir()) == []

    def failing(code: int):
        def mkdtemp(**_):
            raise OSError(code, os.strerror(code))

        return mkdtemp

    monkeypatch.setattr(tempfile, "mkdtemp", failing(errno.EROFS))
    with pytest.raises(InputError, match="system cannot be written: Read-only"):
        check_target(tmp_path / "system")
    monkeypatch.setattr(tempfile, "mkdtemp", failing(errno.ENOSPC))
    with pytest.raises(OSError, match=r"No space left.*: '.*/system'$"):
        check_target(tmp_path / "system")


@pytest.mark.parametrize("call", [1, 2, 3])
def test_failure_while_writing_a_new_folder_leaves_nothing(tmp_path, monkeypatch, call):
    fail_at(monkeypatch, "fsync", call)
    with pytest.raises(OSError, match=r"No space left.*: '.*/system'$"):
        write_files(tmp_path / "system", FILES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failure_in_an_existing_folder_leaves_whole_files_and_the_old_manifest(
    tmp_path, monkeypatch, function, call
):
    """All files are on the disk before the first is renamed, and the manifest is the last one."""
    write_files(tmp_path / "system", OLD)
    fail_at(monkeypatch, function, call)
    with pytest.raises(OSError, match="No space left"):
        write_files(tmp_path / "system", FILES)
    renamed = call - 1 if function == "replace" else 0
    assert contents(tmp_path / "system") == {
        name: (FILES if k < renamed else OLD)[name] for k, name in enumerate(FILES)
    }
    assert list(tmp_path.iterdir()) == [tmp_path / "system"]


def test_folder_made_meanwhile_by_another_process_is_filled(tmp_path, monkeypatch):
    """Two processes that derive the same model: the second finds the folder of the first."""
    target, original = tmp_path / "system", os.fsync

    def other_process_is_faster(descriptor):
        if not target.exists():
            target.mkdir()
            (target / "odes.py").write_text(OLD["odes.py"], encoding="utf-8")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", other_process_is_faster)
    write_files(target, FILES)
    assert contents(target) == FILES
    assert list(tmp_path.iterdir()) == [target]


def test_writing_twice_gives_the_same_folder(tmp_path):
    odes = overlap_odes(Model(2, 1, "sphere"))
    first = contents(odes.write(tmp_path))
    assert odes.write(str(tmp_path)) == tmp_path / "p2_pstar1_sphere"
    assert contents(tmp_path / "p2_pstar1_sphere") == first == odes.files()
