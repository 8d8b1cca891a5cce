"""Nothing that the generator would not write is loaded, and the refusal says what to do."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import derive
from derive import VERSION
from derive.model import Model
from runtime import LoadError
from runtime.system.loading import load, model_and_manifest

MODEL = Model(2, 1, constraint="sphere")
COMMAND = "cli derive --p 2 --pstar 1 --constraint sphere"
LOAD = importlib.import_module("runtime.system.loading")
FILES = ("odes.py", "odes.tex", "manifest.json")


def refused(folder, *words):
    """Loading must fail in one line with these words."""
    with pytest.raises(LoadError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def edit_manifest(folder, change):
    """Apply `change` to the content of the manifest."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1) + "\n")


def record_digests(folder):
    """Make the manifest vouch for the files as they are now."""

    def change(content):
        for name in content["files"]:
            content["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()

    edit_manifest(folder, change)


def test_untouched_folder_loads(folder):
    system = load(folder)
    assert system.model == MODEL
    assert system.folder == folder
    assert load(str(folder)).model == MODEL


def test_rewritten_manifest_of_the_same_content_loads(folder):
    # Shows that the edits below are refused for what they say, not for their spaces.
    edit_manifest(folder, lambda content: content.update())
    load(folder)


def linked(path):
    path.rename(path.parents[1] / path.name)
    path.symlink_to(path.parents[1] / path.name)


def made_a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "is missing"),
        (linked, "is not a regular file"),
        (made_a_folder, "is not a regular file"),
        (lambda path: path.chmod(0o646), "can be written by everyone"),
    ],
    ids=["missing", "link", "folder", "writable"],
)
def test_file_that_is_missing_or_another_could_write(folder, name, spoil, words):
    spoil(folder / name)
    command = "cli derive" if name == "manifest.json" else COMMAND
    refused(folder, name, words, f"regenerate with `{command}`")


EDITS = {
    "last byte": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda data: data[:0],
    "line added": lambda data: data + b"\n",
    "digit": lambda data: data.replace(b"2", b"3", 1),
    "line ends": lambda data: data.replace(b"\n", b"\r\n"),
    "byte order mark": lambda data: b"\xff\xfe" + data,
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("name", ["odes.py", "odes.tex"])
def test_edited_file(folder, name, edit):
    path = folder / name
    path.write_bytes(edit(path.read_bytes()))
    refused(folder, name, "was edited or damaged", COMMAND)


TRACE = "OVERLAP_ODE_TEST_TRACE"


def tamper(folder):
    """Make the module leave a trace where it is run."""
    path = folder / "odes.py"
    path.write_text(f"import sys\nsys.{TRACE} = True\n" + path.read_text())


def test_tampered_module_is_not_run(folder):
    tamper(folder)
    refused(folder, "odes.py", COMMAND)
    assert not hasattr(sys, TRACE)


def test_tampered_module_is_not_run_even_if_the_manifest_vouches_for_it(folder):
    tamper(folder)
    record_digests(folder)
    refused(folder, "odes.py", "is not what this version (", COMMAND)
    assert not hasattr(sys, TRACE)


def test_module_exchanged_after_the_checks_is_not_run(tmp_path, monkeypatch):
    # The module of the other tests is imported already, so this is another model.
    folder = derive.overlap_odes(Model(1, 2, readout="sum")).write(tmp_path)
    verified = LOAD.verified

    def checked_then_exchanged(folder, files):
        checked = verified(folder, files)
        tamper(folder)
        return checked

    monkeypatch.setattr(LOAD, "verified", checked_then_exchanged)
    system = load(folder)
    assert not hasattr(sys, TRACE)
    assert np.isfinite(system.loss(np.eye(1), np.zeros((1, 2))))


def test_tracebacks_show_the_lines_that_run(folder):
    """The text in memory, whatever becomes of the file."""
    module, text = load(folder).module, (folder / "odes.py").read_text()
    tamper(folder)
    assert inspect.getsource(module.unpack) in text


def test_the_trace_would_be_seen(folder):
    tamper(folder)
    # Numba does not cache functions without a file, but the trace comes first.
    with contextlib.suppress(RuntimeError):
        exec((folder / "odes.py").read_text(), {"__name__": "odes"})  # noqa: S102
    assert getattr(sys, TRACE)
    delattr(sys, TRACE)


def test_module_of_another_model_is_refused(folder, tmp_path):
    other = derive.overlap_odes(Model(2, 1)).write(tmp_path / "other")
    shutil.copy(other / "odes.py", folder)
    record_digests(folder)
    refused(folder, "is not what this version (", COMMAND)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1e999",
        b'"text"',
        b"\x00" * 100,
        b"\xff\xfe\xfd",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{}",
        b'{"generator": 5}',
    ],
    ids=lambda text: repr(text[:16]),
)
def test_damaged_manifest(folder, text):
    (folder / "manifest.json").write_bytes(text)
    refused(folder, "manifest.json is damaged", "regenerate with `cli derive`")


def test_truncated_manifest(folder):
    path = folder / "manifest.json"
    content = path.read_bytes()
    for kept in range(0, len(content) - 2, 97):
        path.write_bytes(content[:kept])
        refused(folder, "is damaged")


def test_huge_file_is_not_read(folder):
    # A sparse file: nothing is stored for its length.
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(2**40)
    refused(folder, "is damaged", str(2**40))


@pytest.mark.parametrize("key", ["format", "model", "generator", "files", "operations"])
def test_manifest_without(folder, key):
    edit_manifest(folder, lambda content: content.pop(key))
    refused(folder, "is damaged", "regenerate with `cli derive")


def set_in(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_in("generator", "version", value="9\n9"), "damaged"),
        (set_in("generator", "version", value="\x1b[31m"), "damaged"),
        (set_in("generator", "version", value="\ud800"), "damaged"),
        (set_in("generator", "version", value=2), "damaged"),
        (set_in("format", value=2), "manifest.json is not of format 1, which this version uses; "),
        (set_in("model", "p", value=3), "is not what this version ("),
        (set_in("model", "constraint", value="free"), "is not what this version ("),
        (set_in("model", "constraint", value="cube"), "another version"),
        (set_in("model", "p", value="2"), "another version"),
        (set_in("model", "p", value=2.0), "another version"),
        (set_in("model", "p", value=True), "another version"),
        (set_in("model", "p", value=10**9), "another version"),
        (set_in("model", "colour", value="red"), "another version"),
        (set_in("model", value=[["p", 2]]), "another version"),
        (set_in("model", value=None), "another version"),
        (set_in("files", value=["odes.py"]), "damaged"),
        (set_in("files", value={}), "odes.py was edited"),
        (set_in("files", "odes.tex", value="0" * 64), "odes.tex was edited"),
        (set_in("files", "odes.py", value=None), "odes.py was edited"),
        (set_in("operations", value=5), "damaged"),
        (set_in("operations", "rhs", value="5"), "damaged"),
    ],
)
def test_edited_manifest(folder, change, words):
    edit_manifest(folder, change)
    refused(folder, words, "regenerate with `cli derive")


@pytest.mark.parametrize(
    "change",
    [
        set_in("name", value="p9_pstar9"),
        set_in("operations", "rhs", value=-100),
        set_in("operations", "rhs", value=10**400),
        set_in("state", value=[]),
        set_in("parameters", value=["eta"]),
        set_in("code", "rhs", value="loops"),
        set_in("proof", value=None),
        set_in("proof", "method", value="\x1b[2Jproved"),
        set_in("proof", "compared", value=10**30),
        set_in("proof", "compared", value=[[]]),
        set_in("proof", "points", value=1),
        set_in("kind", value=10**30),
    ],
)
def test_edited_manifest_beyond_the_files(folder, change):
    edit_manifest(folder, change)
    assert refused(folder, "regenerate with").isprintable()


@pytest.mark.parametrize("depth", [500, 908, 940, 100_000])
def test_nested_lists_in_a_manifest(folder, depth):
    """Also those that can just be read, but not printed."""
    path = folder / "manifest.json"
    whole = path.read_text()
    content = json.loads(whole)
    places = [(name,) for name in content]
    places += [(name, key) for name in content if isinstance(content[name], dict) for key in content[name]]
    # What else is said of the generator does not matter.
    places.remove(("generator", "name"))
    for place in (*places, ("kind",), ("model", "other")):
        path.write_text(whole)
        edit_manifest(folder, set_in(*place, value="here"))
        path.write_text(path.read_text().replace('"here"', "[" * depth + "]" * depth))
        assert refused(folder, "regenerate with").isprintable(), place


def test_what_is_shown_of_a_manifest_is_ours(folder):
    """Equal to what belongs there, but no whole number."""
    shown = model_and_manifest(folder)[1]["operations"]
    edit_manifest(folder, set_in("operations", "rhs", value=float(shown["rhs"])))
    edit_manifest(folder, set_in("proof", "points", value=False))
    found = model_and_manifest(folder)[1]
    assert (type(found["operations"]["rhs"]), found["operations"]) == (int, shown)
    assert type(found["proof"]["points"]) is int


def test_symbolic_link_to_the_folder(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    refused(link, "symbolic link")


def test_folder_that_everyone_can_write(folder):
    folder.chmod(0o757)
    refused(folder, "can be written by everyone", "chmod o-w")


def test_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "system").write_text("")
    refused(tmp_path / "system", "is not a folder")


@pytest.mark.parametrize("name", ["nothing", "nul\0", "a\0/b", "\ud800"])
def test_folder_that_is_not_there(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for path in (name, f"{tmp_path}/{name}"):
        assert refused(path, "does not exist", "regenerate with `cli derive`").isprintable()


def test_name_that_is_too_long():
    refused("a" * 5000, "cannot be read: File name too long")


@pytest.mark.parametrize("method", ["lstat", "read_bytes"])
def test_file_without_permission(folder, monkeypatch, method):
    # Root may read everything, so the system is made to refuse.
    real = getattr(Path, method)

    def refuse(path):
        if path.name == "manifest.json":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, method, refuse)
    refused(folder, "manifest.json cannot be read: Permission denied")


def test_other_files_in_the_folder_do_not_matter(folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "numba.py").write_text("raise SystemExit")
    load(folder)


def written_by(folder, version):
    """Make the folder that which another version would write, if it wrote the same equations."""
    for name in ("odes.py", "odes.tex"):
        path = folder / name
        text = path.read_text().replace(
            f"Generated by overlap-ode {VERSION}:", f"Generated by overlap-ode {version}:"
        )
        path.write_text(text)
    edit_manifest(folder, set_in("generator", "version", value=version))
    record_digests(folder)


@pytest.mark.parametrize("version", ["0.1.1", "99.0"])
def test_a_folder_of_another_version_with_the_same_equations_loads(folder, version):
    written_by(folder, version)
    # Version 0.1.1 recorded a digest of its source too.
    edit_manifest(folder, set_in("generator", "sha256", value="0" * 64))
    assert model_and_manifest(folder)[1]["generator"] == {"name": "overlap-ode", "version": version}
    assert load(folder).module is load(MODEL, folder.parent).module


def test_a_folder_of_another_version_with_other_equations_is_refused(folder):
    written_by(folder, "0.0.9")
    path = folder / "odes.py"
    path.write_text(path.read_text().replace("2.0", "3.0", 1))
    record_digests(folder)
    refused(folder, "odes.py is not what this version (", "overlap-ode 0.0.9 wrote it", COMMAND)
