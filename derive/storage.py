"""Writes a folder of generated files so that nobody ever sees half of one; what file names stand for."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from derive.errors import InputError

# Permissions are these less the umask. Everyone may write neither, since loading refuses such files.
_FOLDER_MODE = 0o775
_FILE_MODE = 0o664
# As Linux has it.
_MOST_LINKS = 40
# Errors that say nothing about a name.
_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def write_files(target: Path, files: Mapping[str, str]) -> None:
    """Write `files` into the folder `target`; a new folder appears at once, complete.

    In an existing folder each file is replaced by a rename, in the order given, so the last
    one (the manifest) vouches for the others; files of other names are left alone.

    Raises
    ------
    InputError
        The folder above `target` cannot be made or written, or `target` is not a real folder.
    OSError
        Writing failed; nothing half-written stays.
    """
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise refusal("generated", target.parent, error) from None
    try:
        folder = temporary / target.name
        folder.mkdir(mode=_FOLDER_MODE)
        for name, text in files.items():
            with open(folder / name, "w", encoding="utf-8", newline="\n", opener=_create) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        # This fails where another process, or an earlier run, has made the folder.
        with contextlib.suppress(OSError):
            folder.rename(target)
            return
        for name in files:
            os.replace(folder / name, target / name)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        shutil.rmtree(temporary)


def _create(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE_MODE)


def check_target(target: Path) -> None:
    """Raise InputError unless `write_files` can make the folder `target`; OSError if the disk is full."""
    try:
        in_the_way = target.is_symlink() or (target.exists() and not target.is_dir())
        folder = behind_links(target.parent)
        while not folder.exists():
            folder = folder.parent
        os.rmdir(tempfile.mkdtemp(prefix=f".{target.name}.", dir=folder))
    except OSError as error:
        raise refusal("generated", target, error) from None
    if in_the_way:
        raise InputError("generated", f"{target} is in the way: it is a symbolic link or not a folder")


def behind_links(path: Path) -> Path:
    """The absolute name, without symbolic links, of what a name stands for; it need not be there.

    In a folder like /tmp, where everyone may put links, those of others than its owner are not followed,
    as Linux does with ``protected_symlinks``: they could lead to any file of the user.

    Raises OSError: such a link, links in a circle, a name that no file can have.
    """
    try:
        possible = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise OSError(errno.EINVAL, "no name of a file has such characters as NUL", str(path))
    # Whether Path.resolve takes links in a circle depends on the version of Python.
    path = Path.cwd() / path
    real, names, links = Path(path.anchor), [*reversed(path.parts[1:])], 0
    while names:
        name = names.pop()
        if name == os.pardir:
            real = real.parent
            continue
        try:
            status = (real / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            status = None
        if status is None or not stat.S_ISLNK(status.st_mode):
            real = real / name
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, "it is a symbolic link that leads nowhere", str(path))
        folder = real.stat()
        open_to_all = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
        if open_to_all and status.st_uid not in (os.geteuid(), folder.st_uid):
            raise OSError(errno.EACCES, f"{real / name} is a symbolic link of another user", str(path))
        target = Path(os.readlink(real / name))
        real = Path(target.anchor) if target.is_absolute() else real
        names += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return real


def refusal(option: str, path: Path, error: OSError) -> Exception:
    """The error to raise for one that the system has with a file of the user.

    An InputError, or an OSError with its name where no other name would help: a full disk.
    """
    words = error.strerror or str(error)
    if error.errno in _FAILURES:
        return OSError(error.errno, words, str(path))
    return InputError(option, f"{path} cannot be written: {words}")
