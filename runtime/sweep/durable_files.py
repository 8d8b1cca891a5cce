"""Writes the files of a sweep so that they survive a crash, and reads them without following links."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from derive.atomic_files import TEMPORARY, replacing


class StorageError(OSError):
    """The folder of the sweep cannot be written; this is no fault of a task and would hit all others."""

    @classmethod
    def of(cls, error: OSError, path: Path | str) -> StorageError:
        """The StorageError for another error, at the file or folder `path`."""
        return cls(error.errno, error.strerror or str(error), str(path))


@contextlib.contextmanager
def storing(target: Path) -> Iterator[Path]:
    """As `replacing`, but the file is on the disk at the end. Raises StorageError, which names the file."""
    try:
        with replacing(target, durable=True, through_links=False) as temporary:
            yield temporary
    except OSError as error:
        raise StorageError.of(error, target) from None


def write_whole(target: Path, content: bytes) -> None:
    """Write a file that is on the disk when this returns; raises StorageError, see `storing`."""
    with storing(target) as temporary:
        temporary.write_bytes(content)


def read_regular(path: Path) -> bytes:
    """The content of a regular file; raises OSError, also for a link, a pipe or a folder."""
    # Without O_NONBLOCK, opening a FIFO would wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags), "rb") as file:
        return file.read()


def remove_temporaries(folder: Path, ours: Callable[[int], bool] | None = None) -> None:
    """Delete temporary files that killed processes have left in a folder.

    If `ours` is given, only files of tasks are deleted for whose number it returns true.
    """
    for path in folder.glob(f".*{TEMPORARY}*"):
        number = path.name[1:].split(".")[0]
        if ours is None or (number.isdecimal() and ours(int(number))):
            with contextlib.suppress(OSError):
                path.unlink()
