"""A file appears whole under its name, or what was there stays; nothing else is left."""

from __future__ import annotations

import os
import secrets
import stat

import pytest

from derive.atomic_files import TEMPORARY, replacing


@pytest.mark.parametrize("old", [None, b"old"])
def test_nobody_sees_half_a_file(tmp_path, old):
    target = tmp_path / "run.nc"
    if old is not None:
        target.write_bytes(old)
    with replacing(target) as temporary:
        temporary.write_bytes(b"half")
        assert (target.read_bytes() if target.exists() else None) == old
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".nc")
        assert temporary.name.startswith(".")
        assert TEMPORARY in temporary.name
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"run.nc": b"half"}


@pytest.mark.parametrize("old", [{}, {"file": b"old"}])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()]
)
def test_failure_leaves_what_was_there(tmp_path, old, error):
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)

    def write():
        with replacing(tmp_path / "file") as temporary:
            temporary.write_bytes(b"half of")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    if isinstance(error, OSError):
        assert caught.value.filename == str(tmp_path / "file")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_errors_of_other_files_keep_their_names(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "file"):
        (tmp_path / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "missing")


@pytest.mark.parametrize(("mode", "umask", "expected"), [(0o666, 0o027, 0o640), (0o600, 0, 0o600)])
def test_permissions_are_those_asked_for_less_the_umask(tmp_path, mode, umask, expected):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "file", mode=mode) as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == expected
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected


@pytest.mark.parametrize("through_links", [True, False])
def test_a_link_stays_or_is_replaced(tmp_path, through_links):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with replacing(tmp_path / "link", through_links=through_links) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink() == through_links
    assert (tmp_path / "link").read_text() == "new"
    assert (tmp_path / "real").read_text() == ("new" if through_links else "old")


def test_durable_files_are_synced_renamed_and_synced(tmp_path, monkeypatch):
    """The whole file is synced before it has its name, and then the folder that holds the name."""
    target, done = tmp_path / "file", []
    sync, replace = os.fsync, os.replace

    def noting_sync(descriptor):
        done.append(target.exists() or os.fstat(descriptor).st_size)
        sync(descriptor)

    def noting_replace(*names):
        done.append("rename")
        replace(*names)

    monkeypatch.setattr(os, "fsync", noting_sync)
    monkeypatch.setattr(os, "replace", noting_replace)
    with replacing(target, durable=True) as temporary:
        temporary.write_bytes(b"content")
    assert done == [len(b"content"), "rename", True]


def test_temporary_names_are_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda _: "77")
    (tmp_path / ".file.77.tmp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError), replacing(tmp_path / "file"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, os.fsdecode(b"r\xff")])
def test_any_name_will_do(tmp_path, name):
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == [name]
