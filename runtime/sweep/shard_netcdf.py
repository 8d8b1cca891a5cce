"""Writes datasets as netCDF-4 files, the same bytes for the same numbers, and reads them back.

xarray does not write them, since its files may depend on time and place.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netCDF4
import numpy as np

from runtime.output.netcdf_files import netcdf_errors

if TYPE_CHECKING:
    import xarray

# netCDF requires a name even for a file in memory.
_NAME = "shard.nc"
# HDF5 is not made for several threads; every use of netCDF4 in a sweep holds this lock.
hdf5_lock = threading.RLock()


def encode(dataset: xarray.Dataset, path: Path) -> bytes:
    """Write a dataset of numbers and text to this file, and return the bytes. Raises OSError."""
    # The library takes names as text, and in latin-1 any bytes are text. A file in memory is not used,
    # since HDF5 writes the time into its root group.
    name = os.fsencode(path).decode("latin-1")
    with (
        hdf5_lock,
        netcdf_errors(path, dataset.nbytes),
        netCDF4.Dataset(name, "w", format="NETCDF4", encoding="latin-1") as file,
    ):
        for dimension, size in dataset.sizes.items():
            file.createDimension(str(dimension), size)
        for key, variable in dataset.variables.items():
            add(file, str(key), variable.values, tuple(map(str, variable.dims)), variable.attrs)
        set_attributes(file, dataset.attrs)
    return path.read_bytes()


def decode(content: bytes, outline: bool = False) -> xarray.Dataset:
    """The dataset that `encode` wrote; in an `outline` only coordinates have their values.

    Raises OSError if it cannot be read.
    """
    import xarray

    with hdf5_lock, netCDF4.Dataset(_NAME, memory=content) as file:
        file.set_auto_maskandscale(False)
        variables = {
            name: (
                variable.dimensions,
                _blank(variable) if outline and variable.dimensions != (name,) else variable[...],
                attributes_of(variable),
            )
            for name, variable in file.variables.items()
        }
        coordinates = {name: value for name, value in variables.items() if value[0] == (name,)}
        data = {name: value for name, value in variables.items() if name not in coordinates}
        return xarray.Dataset(data, coordinates, attributes_of(file))


def _blank(variable: Any) -> Any:
    """An array of the shape and type of a variable, whose values are not read."""
    kind = object if variable.dtype is str else variable.dtype
    return np.broadcast_to(np.zeros((), dtype=kind), variable.shape)


def add(
    file: Any, name: str, values: Any, dimensions: tuple[str, ...], attributes: Mapping[Any, Any]
) -> None:
    """Write values as a new variable."""
    create(file, name, values, dimensions, attributes)[...] = storable(values)


def create(
    file: Any,
    name: str,
    like: Any,
    dimensions: tuple[str, ...],
    attributes: Mapping[Any, Any],
    fill: Any = None,
) -> Any:
    """A new variable for values of the type of `like`."""
    kind: Any = str if np.asarray(like).dtype.kind in "UO" else np.asarray(storable(like)).dtype
    variable = file.createVariable(name, kind, dimensions, fill_value=None if kind is str else fill)
    set_attributes(variable, attributes)
    return variable


def storable(values: Any) -> Any:
    """Values as netCDF-4 holds them: text as objects, booleans as bytes."""
    array = np.asarray(values)
    if array.dtype.kind == "b":
        return array.astype(np.int8)
    if array.dtype.kind not in "iufUO":
        raise TypeError(f"values of type {array.dtype} cannot be written to a netCDF file")
    return array.astype(object) if array.dtype.kind == "U" else array


def set_attributes(target: Any, attributes: Mapping[Any, Any]) -> None:
    for name, value in attributes.items():
        target.setncattr(str(name), value if isinstance(value, str) else np.asarray(value))


def attributes_of(source: Any) -> dict[str, Any]:
    values = {name: source.getncattr(name) for name in source.ncattrs()}
    return {
        name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()
    }
