"""Writes the folder of a generated system so that nobody ever sees half of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from derive.atomic_files import refusal, replacing, sync
from derive.errors import InputError
from derive.symbolic_links import behind_links

# These are the permissions before the umask. Loading rejects files that everyone may write.
_FOLDER_MODE = 0o775
_FILE_MODE = 0o664


def write_files(target: Path, files: Mapping[str, str]) -> None:
    """Write `files` into the folder `target`; a new folder appears at once, complete.

    In an existing folder each file is replaced by a rename, in the order given, so the last
    one (the manifest) vouches for the others; files of other names are left alone.

    Raises
    ------
    InputError
        The folder above `target` cannot be made or written, or `target` is not a real folder.
    OSError
        Writing failed; nothing half-written is left.
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
        if not target.is_dir():
            _fill(folder, files)
            # The rename fails if another process has made the folder meanwhile.
            with contextlib.suppress(OSError):
                folder.rename(target)
                return
        _fill(target, files)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        shutil.rmtree(temporary)


def _fill(folder: Path, files: Mapping[str, str]) -> None:
    """Write all files under temporary names, then rename them in the order given."""
    with contextlib.ExitStack() as renames:
        # The context that is entered last is left first, so that the first file is renamed first.
        for name in reversed(list(files)):
            file = replacing(folder / name, mode=_FILE_MODE, through_links=False)
            temporary = renames.enter_context(file)
            temporary.write_text(files[name], encoding="utf-8", newline="\n")
            sync(temporary)


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
