"""Results as xarray datasets, and netCDF files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from derive.atomic_files import refusal, replacing, temporary_beside
from derive.errors import InputError
from derive.symbolic_links import behind_links
from runtime.output.guarded_reading import is_unicode

if TYPE_CHECKING:
    import xarray


Array = NDArray[np.float64]

# Bytes that a netCDF file may have beside its data, and that are written at once to try a disk.
_HEADERS = 2**17
_BLOCK = 2**17


def check_outputs(*outputs: tuple[str, str | Path | None, tuple[str, ...]]) -> None:
    """`check_output` for each (option, path, suffixes) with a path; no two may be one file."""
    seen: dict[Path, str] = {}
    for option, path, suffixes in outputs:
        if path is not None:
            target = behind_links(check_output(path, suffixes, option))
            if target in seen:
                raise InputError(option, f"{path} is the file of --{seen[target]} as well")
            seen[target] = option


def check_output(path: str | Path, suffixes: tuple[str, ...], option: str = "out") -> Path:
    """The path, if a file of one of these types can be made there, for which one is made and removed.

    Raises InputError if it cannot, OSError if the disk is full or fails.
    """
    path = Path(path)
    if path.name.lower() in suffixes:
        raise InputError(option, f"{str(path)!r} has no name before the {path.name}")
    if path.suffix.lower() not in suffixes:
        raise InputError(option, f"{str(path)!r} does not end in {' or '.join(suffixes)}")
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
    """What keeps a file from being written at `path`, which stands for `target`; None if nothing does."""
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
    # In a sticky folder only these may replace a file.
    if around.st_mode & stat.S_ISVTX and os.geteuid() not in (0, status.st_uid, around.st_uid):
        return f"{path} belongs to another user, and its folder lets nobody else replace it"
    return None


@contextlib.contextmanager
def netcdf_errors(path: Path, size: int) -> Iterator[None]:
    """Inside, netCDF writes about `size` bytes to `path`; what fails is an OSError in words of the system.

    The library says of a full disk that HDF5 failed, or that a permission is missing.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is None:
            # This is ours, and has words of its own.
            raise
        # The system says what is wrong when as much is written without the library.
        with path.open("ab") as file:
            for _ in range(0, size + _HEADERS, _BLOCK):
                file.write(bytes(_BLOCK))
            file.flush()
            os.fsync(file.fileno())
        raise OSError(errno.EIO, " ".join(str(error).split())) from error


def save_netcdf(dataset: xarray.Dataset, path: str | Path) -> Path:
    """Write a netCDF-4 file; it appears whole or not at all.

    Raises
    ------
    InputError
        The name does not end in .nc or the folder cannot be written.
    OSError
        Writing failed.
    """
    target = check_output(path, (".nc",))
    with replacing(target) as temporary, netcdf_errors(temporary, dataset.nbytes):
        dataset.to_netcdf(temporary, engine="netcdf4")
    return target
