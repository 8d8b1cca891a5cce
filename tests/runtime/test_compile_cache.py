"""Compiled code on disk: filled, hit, repaired, never stale, never where others can write."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest
from processes import started

from runtime import compile_cache
from runtime.compile_cache import (
    ENVIRONMENT,
    cache_folder,
    cache_root,
    caching_in,
    kept_source,
    with_repair,
)

HERE = Path(__file__).parent
CHILD_LIMIT = 250.0


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A private, empty cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    return folder


# The whole pipeline, in processes of its own.


def results_of(folder, root, count=1, **environment):
    """What so many processes printed that run side by side, and their warnings."""
    command = [sys.executable, str(HERE / "integrate_once.py"), str(folder)]
    variables = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), ENVIRONMENT: str(root), **environment}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    results = []
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(started(command, env=variables, **streams)) for _ in range(count)]
        for child in children:
            output, talk = child.communicate(timeout=CHILD_LIMIT)
            assert child.returncode == 0, talk
            results.append((json.loads(output), talk))
    return results


def result_of(folder, root, **environment):
    ((result, talk),) = results_of(folder, root, **environment)
    return result, talk


def total(result, what):
    return sum(value[what] for value in result.values() if isinstance(value, dict))


def damage(root, suffix, content):
    """Cut or overwrite every file of one kind; how many there were."""
    files = list(root.rglob(f"*{suffix}"))
    for path in files:
        path.write_bytes(content(path.read_bytes()))
    return len(files)


def test_life_of_the_cache(system_of, root, tmp_path):
    folder = system_of(2, 1).folder
    # Empty: two processes at once fill it, and do not harm each other.
    (first, talk), (second, _) = results_of(folder, root, 2)
    assert talk == ""
    assert first["advance"]["misses"] + second["advance"]["misses"] >= 1
    assert first["rhs"]["misses"] + second["rhs"]["misses"] >= 1
    assert root.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in root.iterdir())
    # Filled: nothing is compiled.
    filled, _ = result_of(folder, root)
    assert total(filled, "misses") == 0
    assert filled["advance"]["hits"] == filled["rhs"]["hits"] == 1
    # A copy of the folder is the same code.
    entries = sorted(root.rglob("*"))
    copied, _ = result_of(shutil.copytree(folder, tmp_path / "copy"), root)
    assert total(copied, "misses") == 0
    assert copied["rhs"]["hits"] == 1
    assert sorted(root.rglob("*")) == entries
    # Indices and code cut short, as by a full disk: repaired without a word.
    assert damage(root, ".nbi", lambda content: content[: len(content) // 2]) >= 4
    assert damage(root, ".nbc", lambda content: content[:0]) >= 4
    repaired, talk = result_of(folder, root)
    assert talk == ""
    assert repaired["advance"]["misses"] == repaired["rhs"]["misses"] == 1
    again, _ = result_of(folder, root)
    assert total(again, "misses") == 0
    runs = (first, second, filled, copied, repaired, again)
    assert {run["loss"] for run in runs} == {first["loss"]}


def test_without_a_usable_cache_everything_works(system_of, tmp_path):
    # A file in place of the folder stops even root.
    (tmp_path / "cache").write_text("mine")
    (tmp_path / "temporary").mkdir()
    folder = system_of(2, 1).folder
    result, talk = result_of(folder, tmp_path / "cache", TMPDIR=str(tmp_path / "temporary"))
    assert result["advance"]["misses"] == 1
    assert talk.count("compiled code is not kept") == 1
    assert (tmp_path / "cache").read_text() == "mine"
    # Code of this process alone does not outlive it.
    assert list((tmp_path / "temporary").iterdir()) == []


SHARED_CONSTANT = """
import json, sys
from numba import types
from runtime import compile_cache, initial

@compile_cache.kernel(types.int64())
def largest_n():
    return initial.LARGEST_N

hits = sum(largest_n.stats.cache_hits.values())
json.dump({"value": largest_n(), "hits": hits, "package": compile_cache.__file__}, sys.stdout)
"""


def test_edit_of_another_file_of_the_package_is_not_stale(root, tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("derive", "runtime"):
        shutil.copytree(HERE.parents[1] / package, tmp_path / package, ignore=ignored)
    # Why emptied: it imports the integrator, whose compilation takes most of the time.
    (tmp_path / "runtime" / "__init__.py").write_text("")
    script = tmp_path / "script.py"
    script.write_text(SHARED_CONSTANT)

    def run():
        # Why no bytecode: Python would not notice an edit of the same size within a second.
        environment = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", ENVIRONMENT: str(root)}
        child = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=CHILD_LIMIT,
            check=True,
        )
        result = json.loads(child.stdout)
        assert result["package"] == str(tmp_path / "runtime" / "compile_cache.py")
        return result["value"], result["hits"]

    assert run() == (10**18, 0)
    assert run() == (10**18, 1)
    edited = tmp_path / "runtime" / "initial.py"
    assert edited.read_text().count("LARGEST_N = 10**18\n") == 1
    edited.write_text(edited.read_text().replace("LARGEST_N = 10**18\n", "LARGEST_N = 10**17\n"))
    assert run() == (10**17, 0)
    assert run() == (10**17, 1)


# Single kernels, in this process: the index is read from disk each time they are decorated.

SOURCE = """
from numba import types
from runtime.compile_cache import kernel

@kernel(types.float64(types.float64))
def shifted(x):
    return x + 1.0
"""


@pytest.fixture
def import_kernel(tmp_path):
    """Import the file of a kernel as a new process would; returns the kernel."""

    def import_kernel(source=SOURCE):
        path = tmp_path / "some_kernel.py"
        if not path.exists() or path.read_text() != source:
            path.write_text(source)
            # Why: an edit within the resolution of time stamps must be seen too.
            os.utime(path, (1_000_000_000, 1_000_000_000))
        specification = importlib.util.spec_from_file_location("some_kernel", path)
        module = importlib.util.module_from_spec(specification)
        # Why not exec_module: it would read back bytecode that Python itself keeps by time stamp.
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102
        return module.shifted

    return import_kernel


def hits(kernel):
    return sum(kernel.stats.cache_hits.values())


@pytest.mark.usefixtures("root")
def test_second_import_hits(import_kernel):
    assert hits(import_kernel()) == 0
    kernel = import_kernel()
    assert hits(kernel) == 1
    assert kernel(2.0) == 3.0
    assert kernel.targetoptions["nogil"]


def test_edit_of_the_same_size_and_time_is_not_stale(root, import_kernel):
    assert import_kernel()(2.0) == 3.0
    edited = import_kernel(SOURCE.replace("x + 1.0", "x + 5.0"))
    assert edited(2.0) == 7.0
    assert hits(edited) == 0
    assert len(list(root.iterdir())) == 2
    back = import_kernel()
    assert back(2.0) == 3.0
    assert hits(back) == 1


@pytest.mark.usefixtures("root")
def test_edit_outside_of_the_function_is_not_stale(import_kernel):
    # Numba's own key sees the bytecode of the function, which does not change here.
    source = SOURCE.replace("@kernel", "STEP = 1.0\n@kernel").replace("x + 1.0", "x + STEP")
    assert import_kernel(source)(2.0) == 3.0
    assert import_kernel(source.replace("STEP = 1.0", "STEP = 5.0"))(2.0) == 7.0


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "content",
    [
        lambda data: data[:0],
        lambda data: data[:1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: b"\x00" * len(data),
        lambda data: b"garbage" * len(data),
        lambda data: data[:0] + b"\x80\x05N.",
    ],
    ids=["empty", "byte", "half", "last byte", "zeros", "garbage", "pickle of None"],
)
def test_damaged_files_are_repaired(root, import_kernel, suffix, content):
    import_kernel()
    assert damage(root, suffix, content) == 1
    assert import_kernel()(2.0) == 3.0
    repaired = import_kernel()
    assert hits(repaired) == 1
    assert repaired(2.0) == 3.0


def test_repair_empties_the_cache_once(tmp_path):
    for name in ("a.nbi", "a.1.nbc", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    calls = []

    def compile_all():
        calls.append(sorted(path.name for path in tmp_path.iterdir()))
        if len(calls) == 1:
            raise EOFError("Ran out of input")
        return "compiled"

    assert with_repair(tmp_path, compile_all) == "compiled"
    assert calls == [["a.1.nbc", "a.nbi", "notes.txt"], ["notes.txt"]]


def test_lasting_errors_are_not_hidden(tmp_path):
    def always():
        raise ValueError("not the cache")

    with pytest.raises(ValueError, match="not the cache"):
        with_repair(tmp_path, always)


@pytest.mark.parametrize("error", [numba.core.errors.TypingError("wrong"), MemoryError()])
def test_errors_that_are_not_damage_keep_the_cache(tmp_path, error):
    (tmp_path / "a.nbi").write_bytes(b"good")

    def compile_all():
        raise error

    with pytest.raises(type(error)):
        with_repair(tmp_path, compile_all)
    assert (tmp_path / "a.nbi").exists()


# The text that generated code is compiled from.


def test_source_is_kept_once(tmp_path):
    path = kept_source(tmp_path, "odes.py", "α = 1\n")
    assert path == tmp_path / "odes.py"
    assert path.read_text(encoding="utf-8") == "α = 1\n"
    assert path.stat().st_mode & 0o077 == 0
    before = path.stat()
    assert kept_source(tmp_path, "odes.py", "α = 1\n") == path
    assert path.stat().st_ino == before.st_ino
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"\xce", b"other = 1\n"])
def test_damaged_source_is_replaced(tmp_path, content):
    path = kept_source(tmp_path, "odes.py", "α = 1\n")
    before = path.stat()
    path.write_bytes(content)
    kept_source(tmp_path, "odes.py", "α = 1\n")
    assert path.read_text(encoding="utf-8") == "α = 1\n"
    # Numba's index may hold the time.
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_link_in_place_of_the_source_is_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "odes.py").symlink_to("mine")
    kept_source(tmp_path, "odes.py", "α = 1\n")
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "odes.py").is_symlink()


def test_source_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        kept_source(tmp_path, "odes.py", "α = 1\n")
    assert list(tmp_path.iterdir()) == []


# Where the cache is.


def test_folders_are_named_by_source_and_compiler(root, monkeypatch):
    one = cache_folder("source")
    assert one.parent == root
    assert one == cache_folder("source") == cache_folder(b"source")
    assert one != cache_folder("source ")
    for module in ("numba", "llvmlite"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.__version__", "99")
            assert cache_folder("source") != one


def test_folders_are_private(root):
    before = os.umask(0)
    try:
        folder = cache_folder("source")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert root.stat().st_mode & 0o777 == 0o700


def test_root_is_that_of_the_environment_or_the_user(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "/somewhere/else")
    assert cache_root() == Path("/somewhere/else")
    for unset in (lambda: monkeypatch.delenv(ENVIRONMENT), lambda: monkeypatch.setenv(ENVIRONMENT, "")):
        unset()
        monkeypatch.setenv("XDG_CACHE_HOME", "/users/cache")
        assert cache_root().name == "overlap-ode"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where the private folders of this process go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    compile_cache._temporary_root.cache_clear()
    yield folder
    compile_cache._temporary_root.cache_clear()


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777])
def test_folder_that_others_can_write_is_not_used(root, temporary, import_kernel, mode):
    root.mkdir()
    root.chmod(mode)
    with pytest.warns(UserWarning, match=r"can be written by other users; compiled code is not kept"):
        kernel = import_kernel()
    assert kernel(2.0) == 3.0
    assert list(root.iterdir()) == []
    assert list(temporary.rglob("*.nbi"))
    # Said once; the folder of this process is used again.
    assert hits(import_kernel()) == 1


def test_folder_of_another_user_is_not_used(root, temporary, monkeypatch):
    root.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: root.stat().st_uid + 1)
    with pytest.warns(UserWarning, match="belongs to another user"):
        folder = cache_folder("source")
    assert folder.is_relative_to(temporary)


@pytest.mark.usefixtures("root")
def test_folder_that_cannot_be_written_is_not_used(temporary, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    # Why patched: root may write everywhere.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.warns(UserWarning, match=r"cannot be written \(Permission denied\)"):
        folder = cache_folder("source")
    assert folder.is_relative_to(temporary)


def test_folder_below_a_file_is_not_used(tmp_path, temporary, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match=r"cannot be written \(Not a directory\)"):
        folder = cache_folder("source")
    assert folder.is_relative_to(temporary)


def test_the_setting_of_numba_is_put_back(tmp_path):
    before = numba.core.config.CACHE_DIR
    with caching_in(tmp_path):
        assert str(tmp_path) == numba.core.config.CACHE_DIR
        with caching_in(tmp_path / "inner"):
            assert str(tmp_path / "inner") == numba.core.config.CACHE_DIR
        assert str(tmp_path) == numba.core.config.CACHE_DIR
    with pytest.raises(ZeroDivisionError), caching_in(tmp_path):
        raise ZeroDivisionError
    assert before == numba.core.config.CACHE_DIR
