"""Folders that nobody but this user and root can write, as sshd asks of the files that it trusts."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from derive.symbolic_links import steps


class NotPrivateError(Exception):
    """Another user could exchange what lies in a folder; the message says where and how."""


def private_folder(folder: Path, make: bool = False) -> Path:
    """The folder, without symbolic links on its way, after a look at every folder that leads to it.

    They, and the links between them, have to belong to this user or to root, and no other user may
    have the permission to write. Two kinds of folders may still lead on: one that is sticky, as /tmp
    is, since nobody can exchange there what belongs to others, and one that the user's own group may
    write, where each user has a group without other members. With `make`, folders that are missing are
    made, for this user alone.

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
            # Another process may be faster; what it has made is the next step.
            with contextlib.suppress(FileExistsError):
                os.mkdir(place, 0o700)
        else:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
    return place


def objection(status: os.stat_result, leads_on: bool = False) -> str | None:
    """How other users could write a file or folder, or exchange what they find on the way through it."""
    if not hasattr(os, "getuid"):
        return None
    # The owner of / is root, which has another number in a container that does not map users.
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
    """The group that only this user is in, by its name; None for root, or without such a group.

    Other users whose own group has this number are not looked for: a user database may be large.
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
