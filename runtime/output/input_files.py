"""Reads the files that users name, and says in one line what is wrong with a file that is not read."""

from __future__ import annotations

import dataclasses
import functools
import io
import stat
import zipfile
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.arguments import is_unicode
from derive.errors import InputError
from runtime.output.memory_limit import LARGEST_ARRAYS

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class FileFormat:
    """A format of files: its name in messages, and the bytes with which its files may begin."""

    name: str
    signatures: tuple[bytes, ...]


NETCDF = FileFormat("a netCDF file", (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05"))
NPZ = FileFormat("an .npz file", (b"PK\x03\x04", b"PK\x05\x06"))
NPY = FileFormat("an .npy file", (b"\x93NUMPY",))
# A text file may begin with any bytes.
TOML = FileFormat("a TOML file", (b"",))
_TEXT = FileFormat("a text file", (b"",))
# Bytes of a text of numbers: no matrix of a model, written with all digits, takes more.
_LARGEST_TEXT = 2**22
# No array that fits into memory has a longer side.
_LONGEST_SIDE = 2**48
_LONGEST = max(len(signature) for file_format in (NETCDF, NPZ, NPY) for signature in file_format.signatures)


def read_file(path: str | Path, option: str, file_format: FileFormat, read: Callable[[Path], Any]) -> Any:
    """The result of `read` on a regular file of this format; else InputError, which names the option."""
    path = Path(path)
    try:
        _check(path, file_format)
        return read(path)
    except FileNotFoundError:
        raise InputError(option, f"{path} does not exist") from None
    except InputError:
        raise
    except UnreadableError as error:
        problem = str(error)
    except OSError as error:
        # The netCDF libraries have negative error numbers of their own, without words for users.
        known = error.errno is not None and error.errno > 0
        problem = str(error.strerror) if known else _DAMAGED
    except Exception:  # noqa: BLE001 (readers of damaged files raise anything)
        problem = "its name has a NUL character" if "\0" in str(path) else _DAMAGED
    raise InputError(option, f"{path} cannot be read: {problem}")


_DAMAGED = "it is damaged, or holds something other than arrays of numbers"


class UnreadableError(Exception):
    """A file that cannot be used; the message says what is wrong with it."""


def _check(path: Path, file_format: FileFormat) -> None:
    # This is checked first, because opening a FIFO means waiting for its writer, perhaps for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableError("it is not a regular file")
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    # xarray does not do this check, since it would tell users to install engines.
    if not start.startswith(file_format.signatures):
        raise UnreadableError(f"it is not {file_format.name}")
    if file_format is NETCDF and not is_unicode(path):
        raise UnreadableError("the netCDF library needs names in UTF-8")


Shapes = Mapping[str, tuple[int, ...]]


def read_arrays(
    path: Path, option: str, names: Iterable[str], check: Callable[[Shapes], None]
) -> dict[str, Array]:
    """The arrays of these names in an ``.npz`` file, or their last values in a ``.nc`` file.

    Before any array is read, `check` is called with the shapes of all arrays that are there, since a small
    compressed file may hold more than fits into memory.
    """

    def checked(sizes: Mapping[str, tuple[tuple[int, ...], int]]) -> None:
        check({name: shape for name, (shape, _) in sizes.items()})
        if sum(prod(shape) * size for shape, size in sizes.values()) > LARGEST_ARRAYS:
            raise UnreadableError(f"its arrays are larger than {LARGEST_ARRAYS // 2**30} GiB")

    npz = path.suffix.lower() == ".npz"
    read = functools.partial(_from_npz if npz else _from_netcdf, names=names, check=checked)
    arrays: dict[str, Array] = read_file(path, option, NPZ if npz else NETCDF, read)
    return arrays


def read_array(path: Path, option: str, name: str, check: Callable[[tuple[int, ...]], None]) -> Array:
    """An array: the one of this name in an ``.npz`` or ``.nc`` file, that of an ``.npy`` file, or a text.

    A text has the rows of a matrix on its lines, with commas or spaces between numbers; ``#`` begins a
    comment. `check` is called with the shape, except for a text before the array is read.
    """
    if path.suffix.lower() in (".npz", ".nc"):

        def there(shapes: Shapes) -> None:
            if name not in shapes:
                raise InputError(option, f"{path} has no array {name}")
            check(shapes[name])

        return read_arrays(path, option, (name,), there)[name]
    npy = path.suffix.lower() == ".npy"
    read = functools.partial(_from_npy if npy else _from_text, check=check)
    array: Array = read_file(path, option, NPY if npy else _TEXT, read)
    return array


def _from_npy(path: Path, check: Callable[[tuple[int, ...]], None]) -> Array:
    with path.open("rb") as file:
        check(_header(path.name, file)[0])
        file.seek(0)
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False), dtype=np.float64)


def _from_text(path: Path, check: Callable[[tuple[int, ...]], None]) -> Array:
    if path.stat().st_size > _LARGEST_TEXT:
        raise UnreadableError(f"it is larger than {_LARGEST_TEXT // 2**20} MiB, unlike a text of a matrix")
    # Spreadsheets write a mark in front, which utf-8-sig takes off.
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    rows = [row for line in lines if (row := line.partition("#")[0].strip())]
    if not rows:
        raise UnreadableError("it has no numbers")
    delimiter = "," if "," in rows[0] else None
    array = np.loadtxt(io.StringIO("\n".join(rows)), delimiter=delimiter, ndmin=2)
    check(array.shape)
    return array


def _from_npz(path: Path, names: Iterable[str], check: Callable[[Any], None]) -> dict[str, Array]:
    # np.load would read a member before its shape can be checked.
    with zipfile.ZipFile(path) as archive:
        members = {name: f"{name}.npy" for name in names if f"{name}.npy" in archive.namelist()}
        sizes = {}
        for name, member in members.items():
            with archive.open(member) as file:
                sizes[name] = _header(name, file)
        check(sizes)
        arrays = {}
        for name, member in members.items():
            with archive.open(member) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
        return arrays


def _header(name: str, file: Any) -> tuple[tuple[int, ...], int]:
    """The shape of an array in a file and its bytes per entry, from the first bytes of the file."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    # Later versions of the format exist for names of fields, which no array of numbers has.
    shape, _, dtype = read[version](file)
    if dtype.kind not in "iuf":
        raise UnreadableError(
            _DAMAGED if dtype.hasobject else f"{name} has the type {dtype}, not real numbers"
        )
    if max(shape, default=0) > _LONGEST_SIDE:
        raise UnreadableError(_DAMAGED)
    return shape, dtype.itemsize


def _from_netcdf(path: Path, names: Iterable[str], check: Callable[[Any], None]) -> dict[str, Array]:
    import xarray

    with xarray.open_dataset(path) as dataset:
        last = dataset.isel(alpha=-1) if "alpha" in dataset.dims else dataset
        there = {name: last[name] for name in names if name in last}
        check({name: (variable.shape, variable.dtype.itemsize) for name, variable in there.items()})
        return {name: np.asarray(variable, dtype=np.float64) for name, variable in there.items()}
