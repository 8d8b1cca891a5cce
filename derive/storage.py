"""Writes a folder of generated files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from derive.errors import InputError

_FOLDER_MODE = 0o755
_FILE_MODE = 0o644


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
    try:
        in_the_way = target.is_symlink() or (target.exists() and not target.is_dir())
    except OSError as error:
        raise InputError("generated", f"{target} cannot be used: {error.strerror}") from None
    if in_the_way:
        raise InputError("generated", f"{target} is in the way: it is a symbolic link or not a folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError("generated", f"{target.parent} cannot be written: {error.strerror}") from None
    try:
        for name, text in files.items():
            path = temporary / name
            with path.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            path.chmod(_FILE_MODE)
        temporary.chmod(_FOLDER_MODE)
        # Why suppressed: another process, or an earlier run, has made the folder.
        with contextlib.suppress(OSError):
            temporary.rename(target)
            return
        for name in files:
            os.replace(temporary / name, target / name)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)
