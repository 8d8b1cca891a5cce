"""The one writer of all files: a file appears whole under its name, or the old one stays."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from derive.errors import InputError
from derive.symbolic_links import behind_links

# Part of the names of files that are being written; a killed process leaves them.
TEMPORARY = ".tmp"
# Characters of a file's name in that of its temporary file, which must not become too long.
_SHOWN = 40
# These errors say nothing about a name.
_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@contextlib.contextmanager
def temporary_beside(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """A new, empty file of the same type in the same folder, with this mode less the umask.

    It is removed in the end, unless it was renamed. Raises OSError if none can be made.
    """
    # Libraries take only names in UTF-8. Two machines may write one file, so the name is random.
    shown = target.stem[:_SHOWN] if target.stem.isascii() else "file"
    temporary = target.with_name(f".{shown}.{secrets.token_hex(8)}{TEMPORARY}{target.suffix}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(
    path: Path, *, mode: int = 0o666, durable: bool = False, through_links: bool = True
) -> Iterator[Path]:
    """A temporary file beside `path` to be written inside, and renamed to it if all went well.

    mode
        Permissions of the new file, less the umask.
    durable
        Whether it survives a power cut once this is done: file and folder are synced.
    through_links
        Whether the file behind a symbolic link is replaced, and the link stays; else the link is replaced.

    Raises OSError, which names `path`; then what was there still is, and the temporary file is not.
    """
    temporary: Path | None = None
    try:
        target = behind_links(path) if through_links else path
        with temporary_beside(target, mode) as temporary:
            yield temporary
            if durable:
                sync(temporary)
            os.replace(temporary, target)
            if durable:
                sync(target.parent)
    except OSError as error:
        if error.strerror is None or error.filename not in (None, str(temporary), temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refusal(option: str, path: Path, error: OSError) -> Exception:
    """The error to raise for one that the system has with a file of the user.

    It is an InputError, or an OSError with the name of the file if no other name would help: a full disk.
    """
    words = error.strerror or str(error)
    if error.errno in _FAILURES:
        return OSError(error.errno, words, str(path))
    return InputError(option, f"{path} cannot be written: {words}")
