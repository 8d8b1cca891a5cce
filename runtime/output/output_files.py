"""Checks that an output file can be written before any work is done for it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from derive.arguments import is_unicode
from derive.atomic_files import refusal, temporary_beside
from derive.errors import InputError
from derive.symbolic_links import behind_links


def check_outputs(*outputs: tuple[str, str | Path | None, tuple[str, ...]]) -> None:
    """Apply `check_output` to each (option, path, suffixes) with a path; no two may name the same file."""
    seen: dict[Path, str] = {}
    for option, path, suffixes in outputs:
        if path is not None:
            target = behind_links(check_output(path, suffixes, option))
            if target in seen:
                raise InputError(option, f"{path} is also the file of --{seen[target]}")
            seen[target] = option


def check_output(path: str | Path, suffixes: tuple[str, ...], option: str = "out") -> Path:
    """The path, if a file of one of these types can be written there; a trial file is made and removed.

    Raises InputError if it cannot be written, OSError if the disk is full or fails.
    """
    path = Path(path)
    if path.name.lower() in suffixes:
        raise InputError(option, f"{str(path)!r} has no name before the {path.name}")
    if path.suffix.lower() not in suffixes:
        allowed = " or ".join(filter(None, (", ".join(suffixes[:-1]), suffixes[-1])))
        raise InputError(option, f"{str(path)!r} does not end in {allowed}")
    try:
        target = behind_links(path)
        problem = _unwritable(path, target)
        if problem is None:
            with temporary_beside(target):
                pass
    except OSError as error:
        raise refusal(option, path, error) from None
    if problem:
        raise InputError(option, problem)
    return path


def _unwritable(path: Path, target: Path) -> str | None:
    """The reason why no file can be written at `path`, which leads to `target`; None if one can."""
    folder = target.parent
    if not folder.is_dir():
        named = folder if path.is_symlink() else path.parent
        return f"{str(named)!r} is not an existing folder: make it first"
    if path.suffix.lower() == ".nc" and not is_unicode(folder):
        return f"{path} cannot be written: the netCDF library needs names of folders in UTF-8"
    try:
        status = target.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return f"{path} is a folder"
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is not a regular file"
    if not os.access(target, os.W_OK):
        return f"{path} cannot be written"
    around = folder.stat()
    # In a sticky folder only root, the owner of a file and the owner of the folder may replace it.
    if around.st_mode & stat.S_ISVTX and os.geteuid() not in (0, status.st_uid, around.st_uid):
        return f"{path} belongs to another user, and its folder lets nobody else replace it"
    return None
