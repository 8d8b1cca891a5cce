"""Keeps compiled machine code on disk; stale, damaged or untrusted code is never run.

Numba's own disk cache is keyed by the source file alone, so that it may bring back old code after a change
elsewhere. It also unpickles whatever it finds, which runs what an attacker has put there. This cache works
differently:

- Each source has a folder of its own, named by a digest of all that the machine code depends on: the text
  of a generated module, or for loops of this package the code of all modules that they use; and the
  versions of Python, NumPy, Numba and llvmlite. Changed code has another folder, so nothing has to be
  invalidated.
- Each compiled function is a file, named by Numba's key (signature, processor and bytecode) and by the
  names and constants of its code. The file begins with a digest of its place and content, and exactly
  the bytes that were compared with this digest are unpickled.
- Folders and files that another user could have written are not read (`private_folder`).

What cannot be kept or read is compiled again by each process.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy
import platformdirs
from numba import core as numba_core

from derive.atomic_files import replacing, temporary_beside
from runtime.system.private_folder import NotPrivateError, objection, private_folder

ENVIRONMENT = "OVERLAP_ODE_CACHE"
SUFFIX = ".code"

_DIGEST_BYTES = hashlib.sha256().digest_size
_NAME_LENGTH = 32
_core: Any = numba_core
# Numba holds this lock while it compiles.
compiler_lock = _core.compiler_lock.global_compiler_lock
_complained: set[Path] = set()


def cache_root() -> Path:
    """The folder of all caches: $OVERLAP_ODE_CACHE, or the user's cache folder."""
    configured = os.environ.get(ENVIRONMENT)
    if configured:
        return Path(configured)
    try:
        folder = Path(platformdirs.user_cache_dir("overlap-ode", appauthor=False))
    except RuntimeError:
        folder = Path("~")
    # For a user without a home folder, platformdirs raises an error or leaves "~" in the path.
    return folder if folder.is_absolute() else Path(tempfile.gettempdir()) / f"overlap-ode-{os.getuid()}"


def problem_with(folder: Path) -> str | None:
    """The reason why `folder`, made if it is missing, cannot keep compiled code; None if it can."""
    try:
        with temporary_beside(private_folder(folder, make=True) / "trial"):
            return None
    except NotPrivateError as error:
        return str(error)
    except OSError as error:
        return _unusable(folder, error)


def cache_folder(source: str) -> Path:
    """The folder for code compiled from `source`; it may not exist yet."""
    digest = hashlib.sha256(source.encode())
    digest.update(f"python {sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}".encode())
    for library in (numpy, numba, llvmlite):
        digest.update(f" {library.__name__} {library.__version__}".encode())
    return cache_root() / digest.hexdigest()[:_NAME_LENGTH]


class _KeptCode(_core.caching.FunctionCache):  # type: ignore[misc]
    """The machine code of one function in a cache folder; it stands in for Numba's own cache."""

    def __init__(self, folder: Path, function: Callable[..., Any]) -> None:
        # Numba's own constructor is not called, since it would look for a folder and make one.
        self._folder = folder
        self._py_func = function

    @property
    def cache_path(self) -> str:
        return str(self._folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The function compiled for this signature and processor; None if it is not kept."""
        target_context.refresh()
        found = self._kept(self._index_key(sig, target_context.codegen()), target_context)
        if found is None:
            _say_that_it_is_compiled()
        return found

    def _kept(self, key: Any, target_context: Any) -> Any:
        with self._complaints():
            path = private_folder(self._folder) / self._file_name(key)
            content = _verified(path)
            if content is None:
                return None
            try:
                kept, reduced = pickle.loads(content)
                # Different types may have the same text, from which the file name is made.
                if kept == key:
                    return _core.compiler.CompileResult._rebuild(target_context, *reduced)
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 (what cannot be unpickled is compiled again)
                path.unlink(missing_ok=True)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a function that was compiled for this signature, if its code is valid in other processes."""
        if data.library.has_dynamic_globals or not all(code.can_cache for code in data.lifted):
            return
        key = self._index_key(sig, data.codegen)
        content = _core.serialize.dumps((key, data._reduce()))
        with self._complaints():
            path = private_folder(self._folder, make=True) / self._file_name(key)
            # Several processes may write the same file at once, and each puts a whole file there.
            with replacing(path, mode=0o600, through_links=False) as temporary:
                temporary.write_bytes(_digest(path, content) + content)

    def flush(self) -> None:
        """Delete what is kept of this function; Numba then compiles it again."""
        with self._complaints():
            for path in private_folder(self._folder).glob(f"{self._stem()}.*{SUFFIX}"):
                path.unlink(missing_ok=True)

    def _stem(self) -> str:
        return self._py_func.__qualname__.replace("<", "").replace(">", "")

    def _file_name(self, key: Any) -> str:
        # Numba's key lacks names and constants, which tell functions of the same name apart. Their line
        # numbers would do so too, but would change with every comment.
        code = self._py_func.__code__
        constants = [value for value in code.co_consts if isinstance(value, (int, float, tuple))]
        digest = hashlib.sha256(repr((key, code.co_names, constants)).encode()).hexdigest()
        return f"{self._stem()}.{digest[:_NAME_LENGTH]}{SUFFIX}"

    @contextlib.contextmanager
    def _complaints(self) -> Iterator[None]:
        """Errors that keep the folder from being used become a warning, once per cache."""
        root = self._folder.parent
        try:
            yield
        except FileNotFoundError:
            # Nothing has been kept yet, or somebody has just emptied the cache.
            return
        except NotPrivateError as error:
            problem = str(error)
        except OSError as error:
            problem = _unusable(root, error)
        else:
            return
        if root not in _complained:
            _complained.add(root)
            warnings.warn(
                f"{problem}; compiled code is not kept: set {ENVIRONMENT} to a private folder",
                stacklevel=2,
            )


@cache
def _say_that_it_is_compiled() -> None:
    """Numba takes seconds, so that a user wants to know; one line per process is enough."""
    logging.getLogger("overlap_ode").info("compiling, once per installation and system ...")


def _unusable(folder: Path, error: OSError) -> str:
    return f"{folder} cannot be used ({error.strerror})"


def _digest(path: Path, code: bytes | memoryview) -> bytes:
    """The digest of a function's code and of its place, so that no file stands in for another."""
    digest = hashlib.sha256(f"{path.parent.name}/{path.name}\n".encode())
    digest.update(code)
    return digest.digest()


def _verified(path: Path) -> memoryview | None:
    """The code in a file of a private folder; None, and the file is deleted, if it is damaged."""
    status = os.lstat(path)
    private = stat.S_ISREG(status.st_mode) and objection(status) is None
    content = memoryview(path.read_bytes() if private else b"")
    digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if digest == _digest(path, code):
        return code
    path.unlink(missing_ok=True)
    return None


@contextlib.contextmanager
def caching_in(folder: Path) -> Iterator[None]:
    """Functions that this thread decorates with ``njit(cache=True)`` inside keep their code in `folder`."""
    with compiler_lock:
        before, thread = _core.dispatcher.FunctionCache, threading.get_ident()

        def cache(function: Callable[..., Any]) -> Any:
            ours = threading.get_ident() == thread
            return _KeptCode(folder, function) if ours else before(function)

        _core.dispatcher.FunctionCache = cache
        try:
            yield
        finally:
            _core.dispatcher.FunctionCache = before
