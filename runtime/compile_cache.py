"""Where compiled machine code is kept between processes, never stale and never poisoned.

Numba keys its disk cache on the source file alone, so a change elsewhere, or a file with an
old time stamp, could bring back old code. Here every cache folder is named by a digest of all
that the code depends on: its source text and the versions of Numba and llvmlite (Numba itself
adds the CPU). A changed source has another folder; nothing has to be invalidated.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import numba
from numba.core import config as numba_config

ENVIRONMENT = "OVERLAP_ODE_CACHE"

_lock = threading.RLock()
_config: Any = numba_config
_Result = TypeVar("_Result")


def cache_root() -> Path:
    """The folder of all caches: $OVERLAP_ODE_CACHE, or the user's cache folder."""
    configured = os.environ.get(ENVIRONMENT)
    if configured:
        return Path(configured)
    import platformdirs

    return Path(platformdirs.user_cache_dir("overlap-ode", appauthor=False))


@lru_cache(maxsize=1)
def _temporary_root() -> Path:
    """A private folder for this process alone, where the user's cache cannot be used."""
    folder = Path(tempfile.mkdtemp(prefix="overlap-ode-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def problem_with(folder: Path) -> str | None:
    """Why compiled code must not be kept in `folder`; None if it may."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return "belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written by other users"
    return None


@lru_cache(maxsize=8)
def _usable_root(root: Path) -> Path:
    problem = problem_with(root)
    if problem is None:
        return root
    # Why only a warning: everything works, each process just compiles anew.
    warnings.warn(
        f"the cache folder {root} {problem}; compiled code is not kept:"
        f" set {ENVIRONMENT} to a private folder",
        stacklevel=2,
    )
    return _temporary_root()


def cache_folder(source: str | bytes) -> Path:
    """The folder for code compiled from `source`, created private."""
    digest = hashlib.sha256(source.encode() if isinstance(source, str) else source)
    digest.update(f"numba {numba.__version__} llvmlite {llvmlite.__version__}".encode())
    folder = _usable_root(cache_root()) / digest.hexdigest()[:32]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def kept_source(folder: Path, name: str, text: str) -> Path:
    """`text` in a file of a cache folder, to be the file name of what is compiled from `text`.

    The file is for Numba, which wants its path and time stamp, and for tracebacks; run `text`.
    """
    path = folder.resolve() / name
    content = text.encode()
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return path
    descriptor, temporary = tempfile.mkstemp(dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        # Why one time for all: what a process has cached must not be stale for another that
        # writes the file once more.
        os.utime(temporary, (0, 0))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


@contextlib.contextmanager
def caching_in(folder: Path) -> Iterator[None]:
    """Functions decorated with ``njit(cache=True)`` inside keep their code in `folder`."""
    with _lock:
        before = _config.CACHE_DIR
        _config.CACHE_DIR = str(folder)
        try:
            yield
        finally:
            _config.CACHE_DIR = before


def with_repair(folder: Path, compile_all: Callable[[], _Result]) -> _Result:
    """Call `compile_all`; if what the cache holds is damaged, empty it and call again.

    Numba reads its index with pickle and lets any error of a truncated file escape.
    """
    try:
        return compile_all()
    except (numba.core.errors.NumbaError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 (unpickling damage raises anything)
        for path in sorted(folder.rglob("*.nb[ic]")):
            path.unlink(missing_ok=True)
        return compile_all()


@lru_cache(maxsize=1)
def _package_source() -> bytes:
    return b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))


def kernel(*signatures: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile a function of this package for the given signatures, cached.

    The cache key is the function's file and this whole package: kernels take constants from
    other files, and the options below are part of what is compiled.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        folder = cache_folder(Path(function.__code__.co_filename).read_bytes() + _package_source())

        def compile_all() -> Any:
            with caching_in(folder):
                return numba.njit(
                    list(signatures),
                    cache=True,
                    nogil=True,
                    error_model="numpy",
                    fastmath={"contract"},
                )(function)

        return with_repair(folder, compile_all)

    return decorate
