"""Follows symbolic links step by step, so that every step on the way to a file can be looked at."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

# Linux follows at most this many links.
_MOST_LINKS = 40


def steps(path: Path) -> Iterator[tuple[Path, os.stat_result | None, bool]]:
    """Each folder and link on the way to the file or folder that `path` stands for, which comes last.

    Each step is a triple: an absolute name without links before its last part; the status of what has
    this name, of the link itself if it is one, or None if nothing is there; and whether more steps follow.
    The caller may make what is missing, which is then yielded once more.

    Raises OSError for links in a circle, a name that no file can have, or an unreadable folder.
    """
    try:
        possible = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise OSError(errno.EINVAL, "the name has characters that no file name can have", str(path))
    whole = Path.cwd() / path
    place, names, links = Path(whole.anchor), [*reversed(whole.parts[1:])], 0
    yield place, _status(place), bool(names)
    while names:
        name = names.pop()
        here = place.parent if name == os.pardir else place / name
        status = _status(here)
        yield here, status, bool(names)
        if status is None and (status := _status(here)) is not None:
            yield here, status, bool(names)
        if status is None or not stat.S_ISLNK(status.st_mode):
            place = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, "it is a symbolic link that leads nowhere", str(path))
        target = Path(os.readlink(here))
        names += reversed(target.parts or (os.curdir,))
        if target.is_absolute():
            place = Path(names.pop())
            yield place, _status(place), bool(names)


def _status(place: Path) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None


def behind_links(path: Path) -> Path:
    """The absolute name, without symbolic links, of the file or folder that `path` stands for.

    Nothing needs to be there. In a folder like /tmp, where everyone may make links, only links of this
    user or of the folder's owner are followed, as by Linux with ``protected_symlinks``; others could lead
    to any file of the user.

    Raises OSError for a link that is not followed, links in a circle, or a name that no file can have.
    """
    place = path
    for place, status, _ in steps(path):
        if status is not None and stat.S_ISLNK(status.st_mode):
            folder = os.lstat(place.parent)
            open_to_all = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
            if open_to_all and status.st_uid not in (os.geteuid(), folder.st_uid):
                raise OSError(errno.EACCES, f"{place} is a symbolic link of another user", str(path))
    return place
