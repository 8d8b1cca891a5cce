"""Describes the variables of results of all kinds, and makes a dataset of them where one is wanted.

Tables and JSON need no dataset. xarray takes half a second to import, or one second where Dask is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from derive.parameters import PARAMETERS

if TYPE_CHECKING:
    import xarray

# What the variables are that several kinds of results have; all others have words of their own.
WORDS: Mapping[str, str] = {
    **{name: parameter.words for name, parameter in PARAMETERS.items()},
    "alpha": "time, steps / N",
    "n": "input dimension N",
    "i": "student, counted from 1",
    "j": "student, counted from 1",
    "r": "teacher, counted from 1",
    "s": "teacher, counted from 1",
    "trajectory": "trajectory, counted from 0",
    "quantile": "probability of the quantile",
    "Q": "student-student overlap",
    "R": "student-teacher overlap",
    "v": PARAMETERS["student_weights"].words,
    "loss": "generalisation error",
    "status": "ok, diverged or step_too_small",
    "alpha_end": "time that was reached",
    "escape_alpha": "time when the loss came down to stop_loss",
    "steps": "accepted steps",
    "rejected": "rejected steps",
    "evaluations": "evaluations of the right-hand side",
}
# The version of the CF metadata conventions that files of results keep, the first with long integers.
CONVENTIONS = "CF-1.9"


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
        """Take the variables and coordinates as `described` does."""
        self.data_vars = described(variables)
        self.coords = described(coordinates)
        self.attrs = {name: value for name, value in attributes.items() if name != "Conventions"}

    def __getitem__(self, name: str) -> ResultVariable:
        return self.data_vars[name] if name in self.data_vars else self.coords[name]

    def dataset(self) -> xarray.Dataset:
        """The dataset, with the attribute ``Conventions`` if a file of it keeps these."""
        import xarray

        dataset = xarray.Dataset(self.data_vars, self.coords, self.attrs)
        for name in dataset.coords:
            # No value of a coordinate is missing, as xarray would say in files.
            dataset.variables[name].encoding["_FillValue"] = None
        if all(map(is_cf_coordinate, (variable.values for variable in self.coords.values()))):
            dataset.attrs["Conventions"] = CONVENTIONS
        return dataset


def described(variables: Mapping[str, Any]) -> dict[str, ResultVariable]:
    """Variables with ``long_name`` and ``units`` among their attributes.

    Each is (dims, values), (dims, values, words) or (dims, values, attributes), or an index of its own name
    alone. Words that are not given are those of `WORDS`. All numbers here are dimensionless, and CF writes
    the unit 1 for that; text has no units.
    """
    found = {}
    for name, value in variables.items():
        dims, values, *given = value if isinstance(value, tuple) else (name, value)
        array = np.asarray(values)
        own = given[0] if given else {}
        attributes = {"long_name": own} if isinstance(own, str) else dict(own)
        if "long_name" not in attributes:
            attributes = {"long_name": WORDS[name], **attributes}
        if array.dtype.kind not in "UO":
            attributes.setdefault("units", "1")
        found[name] = ResultVariable(dims, array, attributes)
    return found


def is_cf_coordinate(values: NDArray[Any]) -> bool:
    """Whether values may be those of a coordinate in CF: one value, or numbers that ascend or descend."""
    if not values.ndim:
        return True
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        return False
    steps = np.diff(values)
    return bool(np.all(steps > 0) or np.all(steps < 0))
