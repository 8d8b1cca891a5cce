"""Writes files so that a file appears whole under its name, or the old one stays."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from derive.errors import InputError
from derive.symbolic_links import behind_links

# The names of files that are being written contain this; a killed process leaves such files behind.
TEMPORARY = ".tmp"
# The name of a temporary file shows this much of the file's name, so that it does not become too long.
_SHOWN = 40
# These errors are those of the machine; another name for the file would not help.
_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@contextlib.contextmanager
def temporary_beside(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """A new, empty file with the suffix of `target` in its folder, with this mode less the umask.

    It is removed in the end unless it was renamed. Raises OSError if it cannot be made.
    """
    # Some libraries take only names in UTF-8. Two machines may write one file, so the name is random.
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
    """A temporary file beside `path`, to be written in the with block and renamed to `path` after it.

    mode
        The permissions of the new file, less the umask.
    durable
        Whether file and folder are synced, so that the new file survives a power cut.
    through_links
        Whether a symbolic link stays and the file behind it is replaced; otherwise the link is replaced.

    If the block raises, or if an OSError that names `path` is raised here, the old file is still there
    and the temporary one is removed.
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
    """Write a file, or the names in a folder, through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refusal(option: str, path: Path, error: OSError) -> Exception:
    """The error to raise when the system could not write a file that the user named.

    It is an InputError. If another name would not help, as on a full disk, it is an OSError with the name.
    """
    words = error.strerror or str(error)
    if error.errno in _FAILURES:
        return OSError(error.errno, words, str(path))
    return InputError(option, f"{path} cannot be written: {words}")
