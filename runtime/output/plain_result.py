"""The variables of a result before they become a dataset, as tables and JSON need no xarray.

xarray takes half a second to import, and one second where Dask is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray


class ResultVariable(NamedTuple):
    """Dimensions, values and attributes, as the constructor of a dataset takes them."""

    dims: tuple[str, ...] | str
    values: NDArray[Any]
    attributes: dict[str, Any]


class PlainResult:
    """Variables, coordinates and attributes of a result; the names are those of xarray."""

    def __init__(
        self,
        variables: Mapping[str, Any],
        coordinates: Mapping[str, Any],
        attributes: Mapping[str, Any],
    ) -> None:
        """Each variable or coordinate is (dims, values, attributes), or an index of its own name alone."""
        self.data_vars = {name: _variable(name, value) for name, value in variables.items()}
        self.coords = {name: _variable(name, value) for name, value in coordinates.items()}
        self.attrs = dict(attributes)

    def __getitem__(self, name: str) -> ResultVariable:
        return self.data_vars[name] if name in self.data_vars else self.coords[name]

    def dataset(self) -> xarray.Dataset:
        import xarray

        return xarray.Dataset(self.data_vars, self.coords, self.attrs)


def _variable(name: str, value: Any) -> ResultVariable:
    dims, values, attributes = value if isinstance(value, tuple) else (name, value, {})
    return ResultVariable(dims, np.asarray(values), attributes)
