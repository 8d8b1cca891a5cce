"""Compiled code on disk: filled, hit, never stale, never damaged, never what others can write."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import pickle
import struct
import tempfile
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from cached_kernels import files_in, flipped, without_a_page
from limits import files_up_to

import runtime
from derive import Model
from derive.atomic_files import replacing
from runtime.system import compile_cache
from runtime.system.compilation import Kernel
from runtime.system.compile_cache import ENVIRONMENT, SUFFIX, cache_folder, cache_root, caching_in

STEP, OTHER = 1.2345678, 5.2345678
SOURCE = f"""
from numba import types
from runtime.system.compilation import kernel

@kernel(types.float64(types.float64))
def shifted(x):
    return x + {STEP}
"""
# The step is outside of the function, whose bytecode, which is in Numba's key, does not depend on it.
OUTSIDE = SOURCE.replace("@kernel", f"STEP = {STEP}\n@kernel").replace(f"x + {STEP}", "x + STEP")


@pytest.fixture
def imported(tmp_path):
    """``imported(source)``: the kernel of a file that is imported and compiled as a new process would."""
    path = tmp_path / "some_kernel.py"
    path.write_text(SOURCE)

    def imported(source=SOURCE):
        if path.read_text() != source:
            path.write_text(source)
        # An edit within the resolution of time stamps must be seen too.
        os.utime(path, (1_000_000_000, 1_000_000_000))
        specification = importlib.util.spec_from_file_location("some_kernel", path)
        module = importlib.util.module_from_spec(specification)
        # exec_module would read back bytecode that Python itself keeps by time stamp.
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102
        # The other kernels of the file come first.
        kernels = [value for value in vars(module).values() if isinstance(value, Kernel)]
        return [kernel.compile() for kernel in reversed(kernels)][-1]

    return imported


def hits(kernel):
    return sum(kernel.stats.cache_hits.values())


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("source", [SOURCE, OUTSIDE], ids=["inside", "outside"])
def test_an_edit_of_the_same_size_and_time_is_not_stale(imported, source):
    for expected in (0, 1):
        for step in (STEP, OTHER):
            kernel = imported(source.replace(str(STEP), str(step)))
            assert (kernel(2.0), hits(kernel)) == (2.0 + step, expected)


class Trap:
    """What an attacker pickles: who unpickles it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def another_constant(content):
    """The code of the kernel with another constant: it runs, and is wrong."""
    before, after = struct.pack("<d", STEP), struct.pack("<d", OTHER)
    if before not in content:
        pytest.skip("this processor's code does not hold the constant in one piece")
    return content.replace(before, after)


DAMAGES = {
    "empty": lambda _: b"",
    "byte": lambda content: content[:1],
    "half": lambda content: content[: len(content) // 2],
    "all but the last byte": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "zeros": lambda content: bytes(len(content)),
    "garbage": lambda content: b"garbage" * len(content),
    "pickle of None": lambda _: b"\x80\x05N.",
    "no digest": lambda content: bytes(32) + content[32:],
    "a bit": flipped,
    "a page": without_a_page,
    "another constant": another_constant,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_compiled_again(root, imported, damage):
    imported()
    (path,) = files_in(root)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    for expected in (0, 1):
        kernel = imported()
        assert (kernel(2.0), hits(kernel)) == (2.0 + STEP, expected)


def test_nothing_is_unpickled_before_its_digest_was_compared(root, imported, tmp_path):
    imported()
    (path,) = files_in(root)
    for start in (b"", path.read_bytes()[:32]):
        path.write_bytes(start + pickle.dumps(Trap(tmp_path / "trapped")))
        assert imported()(2.0) == 2.0 + STEP
    assert not (tmp_path / "trapped").exists()


def test_files_that_are_exchanged_do_not_stand_in_for_each_other(root, imported):
    imported(OUTSIDE)
    (mine,) = files_in(root)
    imported(OUTSIDE.replace(str(STEP), str(OTHER)))
    (theirs,) = set(files_in(root)) - {mine}
    # The same name in another folder.
    assert theirs.name == mine.name
    theirs.replace(mine)
    assert imported(OUTSIDE)(2.0) == 2.0 + STEP
    # Another name in the same folder.
    mine.unlink()
    function = SOURCE[SOURCE.index("@kernel") :]
    two = SOURCE + function.replace("x + ", "x - ").replace("def shifted", "def minus")
    imported(two)
    one, another = files_in(root)
    content = one.read_bytes()
    another.replace(one)
    another.write_bytes(content)
    assert imported(two)(2.0) == 2.0 + STEP


def test_verified_code_that_cannot_be_unpickled_is_compiled_again(root, imported):
    """As after an update of something that no version tells."""
    imported()
    (path,) = files_in(root)
    code = pickle.dumps("not machine code")
    path.write_bytes(compile_cache._digest(path, code) + code)
    assert imported()(2.0) == 2.0 + STEP
    assert hits(imported()) == 1


def test_code_of_another_key_is_not_taken(root, imported, monkeypatch):
    """Were two keys to have one name, the code of neither would be run for the other."""
    monkeypatch.setattr(compile_cache._KeptCode, "_file_name", lambda *_: f"same{SUFFIX}")
    imported()
    # Another function on the same line of the same source.
    monkeypatch.setattr(compile_cache, "cache_folder", lambda _: root / "same")
    imported()
    other = imported(SOURCE.replace("x + ", "x - "))
    assert hits(other) == 0
    assert other(2.0) == 2.0 - STEP


def test_errors_of_the_compiler_are_not_hidden(root, imported):
    with pytest.raises(numba.core.errors.TypingError):
        imported(SOURCE.replace(str(STEP), "'text'"))
    assert files_in(root) == []


def test_numba_may_compile_a_function_again(root, imported):
    kernel = imported()
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

    def write(content):
        for _ in range(50):
            with replacing(path, mode=0o600, through_links=False) as temporary:
                temporary.write_bytes(content)

    def read():
        for _ in range(200):
            with contextlib.suppress(FileNotFoundError):
                found.append(compile_cache._verified(path))

    contents = [compile_cache._digest(path, code) + code for code in codes]
    threads = [threading.Thread(target=write, args=(content,)) for content in (*contents, codes[0])]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {bytes(code) for code in found if code is not None} <= set(codes)
    assert found
    assert set(tmp_path.iterdir()) <= {path}


def test_without_a_usable_cache_everything_works(root, imported, monkeypatch, tmp_path):
    # A file in place of the folder stops even root.
    root.write_text("mine")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def use():
        # No other test loads this model, which this process will not keep.
        system = runtime.load(Model(1, 5, readout="sum"), tmp_path)
        return imported()(2.0), system.loss(np.eye(1), np.zeros((1, 5)))

    with pytest.warns(UserWarning, match="compiled code is not kept") as caught:
        assert use() == (2.0 + STEP, pytest.approx(14.0))
    assert len(caught) == 1
    assert root.read_text() == "mine"
    assert list((tmp_path / "temporary").iterdir()) == []


# Where the cache is.


def test_folders_are_named_by_source_and_compiler(root, monkeypatch):
    one = cache_folder("source")
    assert one.parent == root
    assert one == cache_folder("source")
    assert one != cache_folder("source ")
    for module in ("numba", "llvmlite", "numpy"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.__version__", "99")
            assert cache_folder("source") != one


def test_folders_and_files_are_private(root, imported, monkeypatch):
    # A folder on the way is made as well.
    monkeypatch.setenv(ENVIRONMENT, str(root / "cache"))
    before = os.umask(0)
    try:
        imported()
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


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("os.mkdir", errno.ENOSPC),
        ("os.mkdir", errno.EROFS),
        ("os.open", errno.ENOSPC),
        ("os.open", errno.EROFS),
        ("os.replace", errno.ENOSPC),
        (None, errno.EFBIG),
    ],
)
def test_a_cache_that_cannot_be_written_keeps_nothing(root, imported, monkeypatch, where, number):
    with monkeypatch.context() as patch, contextlib.ExitStack() as stack:
        if where is None:
            # The disk is full in the middle of a file.
            stack.enter_context(files_up_to(100))
        else:
            patch.setattr(where, refusing(number))
        words = rf"cannot be used \({os.strerror(number)}\); compiled code is not"
        with pytest.warns(UserWarning, match=words):
            assert imported()(2.0) == 2.0 + STEP
        # It is said once.
        assert imported()(2.0) == 2.0 + STEP
    assert [path for path in root.rglob("*") if path.is_file()] == []
    # There is room again.
    imported()
    assert hits(imported()) == 1


def test_a_cache_that_is_full_is_still_read(root, imported, monkeypatch):
    imported()
    monkeypatch.setattr("os.open", refusing(errno.ENOSPC))
    assert hits(imported()) == 1
    assert files_in(root)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_folders_that_are_not_private_are_not_used(root, imported, number):
    """The folder above the cache, the cache, and the folder of an entry."""
    imported()
    (path,) = files_in(root)
    path.write_bytes(b"planted")
    folder = (root.parent, root, path.parent)[number]
    folder.chmod(0o777)
    with pytest.warns(
        UserWarning, match=rf"{folder} can be written by other users.*; compiled code is not kept"
    ):
        kernel = imported()
    assert kernel(2.0) == 2.0 + STEP
    # It is said once, and nothing was touched.
    assert hits(imported()) == 0
    assert path.read_bytes() == b"planted"
    folder.chmod(0o700)
    assert hits(imported()) == 0
    assert hits(imported()) == 1
    # It is looked at each time.
    folder.chmod(0o777)
    assert hits(imported()) == 0


@pytest.mark.parametrize("kind", ["writable", "foreign", "link"])
def test_files_that_others_could_have_written_are_compiled_again(root, imported, owned, kind):
    imported()
    (path,) = files_in(root)
    if kind == "writable":
        path.chmod(0o666)
    elif kind == "link":
        path.rename(root / "elsewhere")
        path.symlink_to(root / "elsewhere")
    with owned(path if kind == "foreign" else None):
        assert hits(imported()) == 0
    assert hits(imported()) == 1
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
