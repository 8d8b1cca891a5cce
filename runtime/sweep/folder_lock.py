"""Locks the folder of a sweep, for one whole sweep or for the parts of one job array.

The locks are those of flock, on files that are never removed. The system releases a lock when its process
ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from derive.errors import InputError
from runtime.sweep.durable_files import StorageError

LOCKS = "locks"
# Writing a plan takes less time.
_SETUP_SECONDS = 120.0
_POLL_SECONDS = 0.05
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def _open_lock(path: Path) -> int:
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise StorageError.of(error, path) from None


def _try_lock(descriptor: int, how: int, folder: Path) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            raise InputError("out", f"{folder} is on a file system without locks (flock)") from None
        raise
    return True


@contextlib.contextmanager
def setup_lock(folder: Path) -> Iterator[None]:
    """Inside, this process alone may store or compare the plan and take its lock."""
    descriptor = _open_lock(folder / LOCKS / "setup")
    try:
        # The monotonic clock is used, since the wall clock may be set back.
        end = time.monotonic() + _SETUP_SECONDS
        while not _try_lock(descriptor, fcntl.LOCK_EX, folder):
            if time.monotonic() > end:
                raise InputError(
                    "out",
                    f"{folder} is still being set up by another process: end it, or wait",
                )
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


class FolderLock:
    """The right to compute in a folder, to be held as long as anything is written there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptors: list[int] = []

    def take(self, part: tuple[int, int] | None) -> None:
        """Inside `setup_lock`, take the lock for a whole sweep (None), or for part (index, count).

        Raises InputError if somebody else holds it.
        """
        main = self._keep("sweep")
        alone = _try_lock(main, fcntl.LOCK_EX, self._folder)
        if part is None:
            if not alone:
                raise InputError("out", f"{self._folder}: another sweep is running in this folder")
            os.truncate(main, 0)
            return
        index, count = part
        if alone:
            os.truncate(main, 0)
            os.pwrite(main, str(count).encode(), 0)
        # Nobody can come between the two locks, since this is inside `setup_lock`.
        if not _try_lock(main, fcntl.LOCK_SH, self._folder):
            raise InputError("out", f"{self._folder}: a whole sweep is running in this folder")
        running = os.pread(main, 32, 0).decode("ascii", "replace")
        if running != str(count):
            raise InputError(
                "task_count", f"{count} is not {running}, the count of the parts that are running"
            )
        if not _try_lock(self._keep(f"part-{index}-of-{count}"), fcntl.LOCK_EX, self._folder):
            raise InputError("task_index", f"{index} of {count} is running already")

    def _keep(self, name: str) -> int:
        descriptor = _open_lock(self._folder / LOCKS / name)
        self._descriptors.append(descriptor)
        return descriptor

    def release(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())
