"""Stores the result of one task as one file, a shard, and verifies shards before they are used.

A shard is a netCDF-4 file that is followed by one line, which readers of netCDF ignore:

    overlap-ode shard 1 task=<sha256 of job, parameters, version> content=<sha256 of the file before>

The line is compared with every byte before HDF5, which is not made for damaged files, reads any of them.
"""

from __future__ import annotations

import errno
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.sweep import shard_netcdf
from runtime.sweep.durable_files import read_regular, storing

if TYPE_CHECKING:
    import xarray

_LINE = "\noverlap-ode shard 1 task={task} content={content}\n"
_DIGEST_LENGTH = 64
_LENGTH = len(_LINE.format(task="", content="")) + 2 * _DIGEST_LENGTH
_PATTERN = re.compile(rb"\noverlap-ode shard 1 task=([0-9a-f]{64}) content=([0-9a-f]{64})\n")


class DamagedShardError(ValueError):
    """A shard that is not the result of its task; the message says what is wrong with it."""


def write_shard(path: Path, dataset: xarray.Dataset, task: str) -> None:
    """Store the result of the task with this digest; it is on the disk when this returns.

    Raises StorageError if the folder cannot be written.
    """
    with storing(path) as temporary:
        content = shard_netcdf.encode(dataset, temporary)
        line = _LINE.format(task=task, content=hashlib.sha256(content).hexdigest())
        with temporary.open("ab") as file:
            file.write(line.encode("ascii"))


def verified(path: Path, task: str) -> bytes | None:
    """The bytes of the netCDF file in the shard of this task; None if there is no shard.

    Raises DamagedShardError if the shard is not whole, or not of this task and version.
    """
    try:
        content = read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        link = error.errno in (errno.ELOOP, errno.EMLINK)
        raise DamagedShardError(
            "is a symbolic link" if link else f"cannot be read: {error.strerror}"
        ) from None
    if not content:
        raise DamagedShardError("is empty")
    line = _PATTERN.fullmatch(content[-_LENGTH:])
    if line is None:
        raise DamagedShardError("is cut off, or is not a shard")
    file = content[:-_LENGTH]
    if hashlib.sha256(file).hexdigest().encode() != line[2]:
        raise DamagedShardError("has other bytes than were written")
    if line[1] != task.encode():
        raise DamagedShardError("is of another task, model or version")
    return file
