"""Files that appear whole, survive a power cut once acknowledged, and are read without following links."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

# What a killed process leaves; removed when a sweep starts and ends.
TEMPORARY = ".tmp"
_MODE = 0o666


class StorageError(OSError):
    """The folder of the sweep cannot be written: no fault of a task, and others would fail too."""


@contextlib.contextmanager
def whole(target: Path) -> Iterator[tuple[Path, int]]:
    """A file under a temporary name in the same folder, empty, and a descriptor for writing to it.

    What is written inside is then synced, the file renamed and the folder synced: at the end it is on
    the disk. Raises StorageError; then the old file, if any, is still there and the temporary one is not.
    """
    # The name is random since processes of two machines may have one number, and one task.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, _MODE)
        try:
            yield temporary, descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(error.errno, error.strerror or str(error), str(target)) from None
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write(descriptor: int, content: bytes) -> None:
    """Write all of it at the end of a file; raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def write_whole(target: Path, content: bytes) -> None:
    """Write a file that is on the disk when this returns; raises StorageError, see `whole`."""
    with whole(target) as (_, descriptor):
        write(descriptor, content)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_regular(path: Path) -> bytes:
    """The content of a file that is no link, pipe or folder; raises OSError."""
    # Why not blocking: opening a FIFO would wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags), "rb") as file:
        return file.read()


def remove_temporaries(folder: Path, ours: Callable[[int], bool] | None = None) -> None:
    """Delete what killed processes have left in a folder; of the numbers that are `ours`, if given."""
    for path in folder.glob(f".*{TEMPORARY}"):
        number = path.name[1:].split(".")[0]
        if ours is None or (number.isdecimal() and ours(int(number))):
            with contextlib.suppress(OSError):
                path.unlink()
