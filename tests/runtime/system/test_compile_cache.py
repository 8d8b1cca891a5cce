"""Compiled code on disk: filled, hit, never stale, never damaged, never what others can write."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from processes import started

import runtime
from runtime.system import compile_cache
from runtime.system.compile_cache import ENVIRONMENT, SUFFIX, cache_folder, cache_root, caching_in
from runtime.trajectory import stepper

HERE = Path(__file__).parent
CHILD_LIMIT = 250.0


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A private cache that is not there yet; nothing was said of it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    monkeypatch.setattr(compile_cache, "_complained", set())
    return folder


# The whole pipeline, in processes of its own.


def results_of(folder, root, count=1, **environment):
    """What so many processes printed that run side by side, and their warnings."""
    command = [sys.executable, str(HERE / "integrate_once.py"), str(folder)]
    variables = {**os.environ, "PYTHONPATH": str(HERE.parents[2]), ENVIRONMENT: str(root), **environment}
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


def files_in(root):
    return sorted(root.rglob(f"*{SUFFIX}"))


def flipped(content):
    """One bit is another, in the middle of the machine code."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def without_a_page(content):
    """A page of zeros, as a file system leaves them after a crash."""
    start = len(content) // 3
    return content[:start] + bytes(min(4096, len(content) - start)) + content[start + 4096 :]


@pytest.fixture
def lent(root):
    """In the cache, from that of this process: the kernel that takes longest to compile, no more."""
    kept = Path(stepper.advance._cache.cache_path)
    folder = root / kept.name
    folder.mkdir(0o700, parents=True)
    root.chmod(0o700)
    return [Path(shutil.copy2(path, folder)) for path in kept.glob(f"advance-*{SUFFIX}")]


def test_life_of_the_cache(system_of, root, lent, tmp_path):
    folder = system_of(2, 1).folder
    # Two processes at once fill it, and do not harm each other.
    (first, talk), (second, _) = results_of(folder, root, 2)
    assert talk == ""
    for name in ("first_step", "rhs"):
        assert first[name]["misses"] + second[name]["misses"] >= 1
    assert root.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in root.iterdir())
    # Filled: nothing is compiled. A copy of the system's folder is the same code.
    entries = sorted(root.rglob("*"))
    copied, _ = result_of(shutil.copytree(folder, tmp_path / "copy"), root)
    assert total(copied, "misses") == 0
    assert copied["first_step"]["hits"] == copied["rhs"]["hits"] == 1
    assert sorted(root.rglob("*")) == entries
    # Each file is damaged in another way: they are compiled again without a word.
    files = [path for path in files_in(root) if path not in lent]
    assert len(files) >= 4
    damages = (flipped, without_a_page, lambda content: content[: len(content) // 2], lambda _: b"")
    for k, path in enumerate(files):
        path.write_bytes(damages[k % len(damages)](path.read_bytes()))
    repaired, talk = result_of(folder, root)
    assert talk == ""
    assert repaired["first_step"]["misses"] == repaired["rhs"]["misses"] == 1
    again, _ = result_of(folder, root)
    assert total(again, "misses") == 0
    runs = (first, second, copied, repaired, again)
    assert {run["loss"] for run in runs} == {first["loss"]}


def test_without_a_usable_cache_everything_works(system_of, root, import_kernel, monkeypatch, tmp_path):
    # A file in place of the folder stops even root.
    root.write_text("mine")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def use():
        system = runtime.load(system_of(2, 1).folder)
        return import_kernel()(2.0), system.loss(np.eye(2), np.zeros((2, 1)))

    with pytest.warns(UserWarning, match="compiled code is not kept") as caught:
        assert use() == (2.0 + STEP, pytest.approx(1.5))
    assert len(caught) == 1
    assert root.read_text() == "mine"
    assert list((tmp_path / "temporary").iterdir()) == []


HELPER = """
from numba import types

from runtime.constants import FACTOR
from runtime.system.compilation import kernel


@kernel(types.float64(types.float64))
def scaled(x):
    return FACTOR * x
"""
USER = """
from numba import types

from runtime.helper import scaled
from runtime.system.compilation import kernel


@kernel(types.float64(types.float64))
def shifted(x):
    return scaled(x) + 1.0
"""
CALL = """
from runtime.user import shifted

print(shifted(2.0), sum(shifted.stats.cache_hits.values()))
"""


def test_kernels_are_compiled_again_if_and_only_if_their_code_changes(root, tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("derive", "runtime"):
        shutil.copytree(HERE.parents[2] / package, tmp_path / package, ignore=ignored)
    package = tmp_path / "runtime"
    files = {"__init__": "", "constants": "FACTOR = 3.0\n", "helper": HELPER, "user": USER}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)

    def called():
        # Python would read back its own bytecode after an edit of the same size within a second.
        variables = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", ENVIRONMENT: str(root)}
        child = subprocess.run(
            [sys.executable, "-c", CALL],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=CHILD_LIMIT,
            check=True,
        )
        return child.stdout.split()

    def edit(name, old, new):
        path = package / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    assert called() == ["7.0", "0"]
    # Another room, and words in all modules of the kernel.
    edit("report/page.py", "\n\n", "\n\nX = 1\n")
    for name in ("constants.py", "helper.py", "user.py"):
        (package / name).write_text(f'"""A module."""\n\n# Words.\n{(package / name).read_text()}')
    assert called() == ["7.0", "1"]
    edit("constants.py", "3.0", "5.0")
    assert called() == ["11.0", "0"]
    edit("helper.py", "FACTOR * x", "FACTOR - x")
    assert called() == ["4.0", "0"]
    edit("system/compilation.py", '"error_model": "numpy"', '"error_model": "python"')
    assert called() == ["4.0", "0"]


# Single kernels, in this process: their code is read from disk each time they are decorated.

STEP = 1.2345678
SOURCE = f"""
from numba import types
from runtime.system.compilation import kernel

@kernel(types.float64(types.float64))
def shifted(x):
    return x + {STEP}
"""


@pytest.fixture
def import_kernel(tmp_path):
    """Import the file of a kernel as a new process would; returns the kernel."""

    def import_kernel(source=SOURCE):
        path = tmp_path / "some_kernel.py"
        if not path.exists() or path.read_text() != source:
            path.write_text(source)
            # An edit within the resolution of time stamps must be seen too.
            os.utime(path, (1_000_000_000, 1_000_000_000))
        specification = importlib.util.spec_from_file_location("some_kernel", path)
        module = importlib.util.module_from_spec(specification)
        # exec_module would read back bytecode that Python itself keeps by time stamp.
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
    assert kernel(2.0) == 2.0 + STEP
    assert kernel.targetoptions["nogil"]


def test_edit_of_the_same_size_and_time_is_not_stale(root, import_kernel):
    assert import_kernel()(2.0) == 2.0 + STEP
    edited = import_kernel(SOURCE.replace(str(STEP), "5.2345678"))
    assert edited(2.0) == 2.0 + 5.2345678
    assert hits(edited) == 0
    assert len(list(root.iterdir())) == 2
    back = import_kernel()
    assert back(2.0) == 2.0 + STEP
    assert hits(back) == 1


@pytest.mark.usefixtures("root")
def test_edit_outside_of_the_function_is_not_stale(import_kernel):
    # Numba's own key sees the bytecode of the function, which does not change here.
    source = SOURCE.replace("@kernel", "STEP = 1.0\n@kernel").replace(f"x + {STEP}", "x + STEP")
    assert import_kernel(source)(2.0) == 3.0
    assert import_kernel(source.replace("STEP = 1.0", "STEP = 5.0"))(2.0) == 7.0


class Trap:
    """What an attacker pickles: who unpickles it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def another_constant(content):
    """The code of the kernel with another constant: it runs, and is wrong."""
    before, after = struct.pack("<d", STEP), struct.pack("<d", 5.2345678)
    if before not in content:
        pytest.skip("this processor's code does not hold the constant in one piece")
    return content.replace(before, after)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[:1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: bytes(len(content)),
        lambda content: b"garbage" * len(content),
        lambda _: b"\x80\x05N.",
        lambda content: bytes(32) + content[32:],
        flipped,
        without_a_page,
        another_constant,
    ],
    ids=[
        "empty",
        "byte",
        "half",
        "all but the last byte",
        "longer",
        "zeros",
        "garbage",
        "pickle of None",
        "no digest",
        "a bit",
        "a page",
        "another constant",
    ],
)
def test_damaged_files_are_compiled_again(root, import_kernel, damage):
    import_kernel()
    (path,) = files_in(root)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    repaired = import_kernel()
    assert hits(repaired) == 0
    assert repaired(2.0) == 2.0 + STEP
    again = import_kernel()
    assert hits(again) == 1
    assert again(2.0) == 2.0 + STEP


def test_nothing_is_unpickled_before_its_digest_was_compared(root, import_kernel, tmp_path):
    import_kernel()
    (path,) = files_in(root)
    for start in (b"", path.read_bytes()[:32]):
        path.write_bytes(start + pickle.dumps(Trap(tmp_path / "trapped")))
        assert import_kernel()(2.0) == 2.0 + STEP
    assert not (tmp_path / "trapped").exists()


def test_files_that_are_exchanged_do_not_stand_in_for_each_other(root, import_kernel):
    source = SOURCE.replace("@kernel", f"STEP = {STEP}\n@kernel").replace(f"x + {STEP}", "x + STEP")
    import_kernel(source)
    (mine,) = files_in(root)
    import_kernel(source.replace(str(STEP), "5.2345678"))
    (theirs,) = set(files_in(root)) - {mine}
    # The same name in another folder, and another name in the same folder.
    assert theirs.name == mine.name
    theirs.replace(mine)
    assert import_kernel(source)(2.0) == 2.0 + STEP
    two = SOURCE + SOURCE[SOURCE.index("@kernel") :].replace("x + ", "x - ").replace(
        "def shifted", "def minus"
    )
    for path in files_in(root):
        path.unlink()
    import_kernel(two)
    one, another = files_in(root)
    content = one.read_bytes()
    another.replace(one)
    another.write_bytes(content)
    assert import_kernel(two)(2.0) == 2.0 + STEP


def test_verified_code_that_cannot_be_unpickled_is_compiled_again(root, import_kernel):
    """As after an update of something that no version tells."""
    import_kernel()
    (path,) = files_in(root)
    code = pickle.dumps("not machine code")
    path.write_bytes(compile_cache._digest(path, code) + code)
    assert import_kernel()(2.0) == 2.0 + STEP
    assert hits(import_kernel()) == 1


def test_code_of_another_key_is_not_taken(root, import_kernel, monkeypatch):
    """Were two keys to have one name, the code of neither would be run for the other."""
    monkeypatch.setattr(compile_cache._KeptCode, "_file_name", lambda *_: f"same{SUFFIX}")
    import_kernel()
    # Another function on the same line of the same source.
    monkeypatch.setattr(compile_cache, "cache_folder", lambda _: root / "same")
    import_kernel()
    other = import_kernel(SOURCE.replace("x + ", "x - "))
    assert hits(other) == 0
    assert other(2.0) == 2.0 - STEP


def test_errors_of_the_compiler_are_not_hidden(root, import_kernel):
    with pytest.raises(numba.core.errors.TypingError):
        import_kernel(SOURCE.replace(str(STEP), "'text'"))
    assert files_in(root) == []


def test_numba_may_compile_a_function_again(root, import_kernel):
    kernel = import_kernel()
    (path,) = files_in(root)
    path.with_name("notes.txt").write_text("mine")
    kernel.recompile()
    assert kernel(2.0) == 2.0 + STEP
    # Numba knows the function by its arguments now.
    (again,) = files_in(root)
    assert again != path
    assert path.with_name("notes.txt").exists()


def test_many_may_write_read_and_damage_a_file_at_once(tmp_path):
    """A reader finds the whole code of one writer, or nothing."""
    path = tmp_path / "shifted.code"
    codes = [bytes([k]) * (50_000 + k) for k in range(3)]
    found = []

    def write(code):
        for _ in range(50):
            compile_cache._write(path, compile_cache._digest(path, code) + code)

    def damage():
        for _ in range(50):
            compile_cache._write(path, codes[0])

    def read():
        for _ in range(200):
            with contextlib.suppress(FileNotFoundError):
                found.append(compile_cache._verified(path))

    threads = [threading.Thread(target=write, args=(code,)) for code in codes]
    threads += [threading.Thread(target=target) for target in (damage, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {bytes(code) for code in found if code is not None} <= set(codes)
    assert len(found) > 0
    assert set(tmp_path.iterdir()) <= {path}


# Where the cache is.


def test_folders_are_named_by_source_and_compiler(root, monkeypatch):
    one = cache_folder("source")
    assert one.parent == root
    assert one == cache_folder("source") == cache_folder(b"source")
    assert one != cache_folder("source ")
    for module in ("numba", "llvmlite", "numpy"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.__version__", "99")
            assert cache_folder("source") != one


def test_folders_and_files_are_private(root, import_kernel, monkeypatch):
    # A folder on the way is made as well.
    monkeypatch.setenv(ENVIRONMENT, str(root / "cache"))
    before = os.umask(0)
    try:
        import_kernel()
    finally:
        os.umask(before)
    made = [root, *root.rglob("*")]
    assert len(made) == 4
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700, 0o600}


def test_without_a_home_folder_it_is_a_private_temporary_one(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    temporary = Path(tempfile.gettempdir()) / f"overlap-ode-{os.getuid()}"

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    with monkeypatch.context() as patch:
        for name in ("HOME", "XDG_CACHE_HOME"):
            patch.delenv(name, raising=False)
        patch.setattr("pwd.getpwuid", unknown)
        # Some versions of platformdirs raise an error here, others leave "~" as it is.
        assert cache_root() == temporary
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: "~/.cache/overlap-ode")
    assert cache_root() == temporary


def test_root_is_that_of_the_environment_or_the_user(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "/somewhere/else")
    assert cache_root() == Path("/somewhere/else")
    for unset in (lambda: monkeypatch.delenv(ENVIRONMENT), lambda: monkeypatch.setenv(ENVIRONMENT, "")):
        unset()
        monkeypatch.setenv("XDG_CACHE_HOME", "/users/cache")
        assert cache_root().name == "overlap-ode"


def refusing(number):
    """A function that the file system refuses."""

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("where", ["os.mkdir", "tempfile.mkstemp", "os.replace"])
def test_a_cache_that_cannot_be_written_keeps_nothing(root, import_kernel, monkeypatch, where, number):
    with monkeypatch.context() as patch:
        patch.setattr(where, refusing(number))
        with pytest.warns(
            UserWarning, match=rf"cannot be used \({os.strerror(number)}\); compiled code is not"
        ):
            assert import_kernel()(2.0) == 2.0 + STEP
        # It is said once.
        assert import_kernel()(2.0) == 2.0 + STEP
    assert [path for path in root.rglob("*") if path.is_file()] == []
    # There is room again.
    import_kernel()
    assert hits(import_kernel()) == 1


@pytest.mark.usefixtures("root")
def test_a_disk_that_fills_while_code_is_written_keeps_nothing(import_kernel, monkeypatch):
    def full(path, content):
        with open(path, "wb") as file:
            file.write(content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(compile_cache, "_write", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert import_kernel()(2.0) == 2.0 + STEP
    assert import_kernel()(2.0) == 2.0 + STEP


def test_a_cache_that_is_full_is_still_read(root, import_kernel, monkeypatch):
    import_kernel()
    monkeypatch.setattr("tempfile.mkstemp", refusing(errno.ENOSPC))
    assert hits(import_kernel()) == 1
    assert files_in(root)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_folders_that_are_not_private_are_not_used(root, import_kernel, number):
    """The folder above the cache, the cache, and the folder of an entry."""
    import_kernel()
    (path,) = files_in(root)
    path.write_bytes(b"planted")
    folder = (root.parent, root, path.parent)[number]
    folder.chmod(0o777)
    with pytest.warns(
        UserWarning, match=rf"{folder} can be written by other users.*; compiled code is not kept"
    ):
        kernel = import_kernel()
    assert kernel(2.0) == 2.0 + STEP
    # It is said once, and nothing was touched.
    assert hits(import_kernel()) == 0
    assert path.read_bytes() == b"planted"
    folder.chmod(0o700)
    assert hits(import_kernel()) == 0
    assert hits(import_kernel()) == 1
    # It is looked at each time.
    folder.chmod(0o777)
    assert hits(import_kernel()) == 0


@pytest.mark.parametrize("kind", ["writable", "foreign", "link"])
def test_files_that_others_could_have_written_are_compiled_again(root, import_kernel, owned, kind):
    import_kernel()
    (path,) = files_in(root)
    if kind == "writable":
        path.chmod(0o666)
    elif kind == "link":
        path.rename(root / "elsewhere")
        path.symlink_to(root / "elsewhere")
    with owned(path if kind == "foreign" else None):
        assert hits(import_kernel()) == 0
    assert hits(import_kernel()) == 1
    assert path.lstat().st_mode & 0o777 == 0o600


def decorated():
    return numba.njit(cache=True)(decorated)._cache


def test_numba_itself_is_put_back(tmp_path):
    """Outside, and for other threads, functions are cached as Numba would."""
    before = numba.core.dispatcher.FunctionCache
    found = []
    with caching_in(tmp_path):
        with caching_in(tmp_path / "inner"):
            assert decorated().cache_path == str(tmp_path / "inner")
        assert decorated().cache_path == str(tmp_path)
        thread = threading.Thread(target=lambda: found.append(type(decorated())))
        thread.start()
        thread.join()
    with pytest.raises(ZeroDivisionError), caching_in(tmp_path):
        raise ZeroDivisionError
    assert found == [before]
    assert numba.core.dispatcher.FunctionCache is before
