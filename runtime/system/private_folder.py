"""Checks that only this user and root can write a folder, as sshd does for the files that it trusts."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from derive.symbolic_links import steps


class NotPrivateError(Exception):
    """Another user could exchange the contents of a folder; the message says where and how."""


def private_folder(folder: Path, make: bool = False) -> Path:
    """The folder, with symbolic links resolved, after a check of every folder that leads to it.

    These folders, and the links between them, have to belong to this user or to root, and no other user
    may have the permission to write. Two kinds of folders are allowed on the way nevertheless: a sticky
    one such as /tmp, where nobody can exchange what belongs to others, and one that the user's own group
    may write, if that group has no other members. With `make`, missing folders are made, for this user
    alone.

    Raises
    ------
    NotPrivateError
        Another user could exchange what lies there.
    OSError
        It is missing, cannot be made, or is not a folder.
    """
    place = folder
    for place, status, leads_on in steps(folder):
        if status is not None:
            _check(place, status, leads_on)
        elif make:
            # Another process may be faster; the next step checks the folder that it has made.
            with contextlib.suppress(FileExistsError):
                os.mkdir(place, 0o700)
        else:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
    return place


def objection(status: os.stat_result, leads_on: bool = False) -> str | None:
    """How other users could change a file or folder with this status; None if they cannot.

    `leads_on` says whether it is a folder or link on the way to what matters.
    """
    if not hasattr(os, "getuid"):
        return None
    # The owner of / is root, who has another number in a container that does not map users.
    if status.st_uid not in (os.getuid(), 0, os.lstat(os.sep).st_uid):
        return "belongs to another user"
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not writable or stat.S_ISLNK(status.st_mode) or (leads_on and status.st_mode & stat.S_ISVTX):
        return None
    if leads_on and writable == stat.S_IWGRP and status.st_gid == _own_group():
        return None
    remedy = " (chmod go-w mends that)" if status.st_uid == os.getuid() else ""
    return f"can be written by other users{remedy}"


def _own_group() -> int | None:
    """The number of the group that has this user's name and no other members; None without one or for root.

    Other users whose main group it is are not looked for, since a user database may be large.
    """
    import grp
    import pwd

    try:
        user = pwd.getpwuid(os.getuid())
        group = grp.getgrgid(user.pw_gid)
    except KeyError:
        return None
    alone = group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
    return group.gr_gid if alone and user.pw_uid != 0 else None


def _check(place: Path, status: os.stat_result, leads_on: bool) -> None:
    problem = objection(status, leads_on)
    if problem is not None:
        raise NotPrivateError(f"{place} {problem}")
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
