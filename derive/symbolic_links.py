"""Follows symbolic links step by step, so that every step on the way to a file can be looked at."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

# Linux follows as many.
_MOST_LINKS = 40


def steps(path: Path) -> Iterator[tuple[Path, os.stat_result | None, bool]]:
    """Each folder and link on the way to what `path` stands for, and that itself, which comes last.

    Yields absolute names without links before their last part; the status of what has this name, a link
    itself if it is one, or None if nothing is there; and whether the way goes on. Whoever iterates may
    make what is missing, which is then yielded once more.

    Raises OSError: links in a circle, a name that no file can have, a folder that cannot be looked into.
    """
    try:
        possible = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise OSError(errno.EINVAL, "no name of a file has such characters as NUL", str(path))
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
    """The absolute name, without symbolic links, of what a name stands for; it need not be there.

    In a folder like /tmp, where everyone may put links, those of others than its owner are not followed,
    as Linux does with ``protected_symlinks``: they could lead to any file of the user.

    Raises OSError: such a link, links in a circle, a name that no file can have.
    """
    place = path
    for place, status, _ in steps(path):
        if status is not None and stat.S_ISLNK(status.st_mode):
            folder = os.lstat(place.parent)
            open_to_all = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
            if open_to_all and status.st_uid not in (os.geteuid(), folder.st_uid):
                raise OSError(errno.EACCES, f"{place} is a symbolic link of another user", str(path))
    return place
