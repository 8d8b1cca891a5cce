"""Writes xarray datasets as netCDF files; an error names its cause, such as a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from derive.atomic_files import replacing
from runtime.output.output_files import check_output

if TYPE_CHECKING:
    import xarray

# Bytes that a netCDF file may have besides its data, and bytes that are written at once to try a disk.
_HEADERS = 2**17
_BLOCK = 2**17


@contextlib.contextmanager
def netcdf_errors(path: Path, size: int) -> Iterator[None]:
    """Inside, netCDF writes about `size` bytes to `path`; a failure is raised as an OSError of the system.

    Of a full disk the library itself would say that HDF5 failed, or that a permission is missing.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is None:
            # This is an error of this program, which has words of its own.
            raise
        # Writing as many bytes without the library makes the system say what is wrong.
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
