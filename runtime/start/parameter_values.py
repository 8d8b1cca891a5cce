"""The values of run-time parameters that a user passes: checked, and packed for generated code."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from derive.errors import InputError
from derive.model import Model
from derive.parameters import NUMBERS, PARAMETERS, RuntimeParameter
from runtime.start.checked_arrays import Array, per_trajectory, real_number, teacher_overlaps


@dataclasses.dataclass(frozen=True, eq=False)
class RunParameters:
    """Checked run-time parameters of a model.

    model
        What the parameters are of.
    numbers
        By name the parameters that are numbers: one value (1,), or one per trajectory (k,).
    T
        Teacher overlaps (p*, p*), the identity for an orthonormal teacher.
    """

    model: Model
    numbers: Mapping[str, Array]
    T: Array

    @classmethod
    def of(
        cls,
        model: Model,
        given: Mapping[str, Any],
        count: int | None = None,
        *,
        unbounded: Collection[str] = (),
    ) -> RunParameters:
        """The parameters with these values, T among them; what is not given has its default.

        Each is a number or, if there are `count` trajectories, an array with one value for each. Those that
        are `unbounded` may be any finite numbers.

        Raises
        ------
        InputError
            A value is missing or not allowed, or is not of this model.
        """
        return cls.with_teacher(
            model, teacher_overlaps(model, given.get("T")), given, count, unbounded=unbounded
        )

    @classmethod
    def with_teacher(
        cls,
        model: Model,
        T: Array,
        given: Mapping[str, Any],
        count: int | None = None,
        *,
        unbounded: Collection[str] = (),
    ) -> RunParameters:
        """As `of`, with a T that has been checked; a T among the values is not read."""
        numbers: dict[str, Array] = {}
        for parameter in NUMBERS:
            value = given.get(parameter.name, parameter.default)
            if parameter.belongs_to(model):
                free = parameter.name in unbounded
                bounded = dataclasses.replace(parameter, least=-math.inf) if free else parameter
                numbers[parameter.name] = _checked(bounded, value, count)
            elif np.any(value != parameter.default):
                raise InputError(parameter.name, f"is not a parameter of {model.name}")
        for name in given:
            if name not in PARAMETERS:
                raise InputError(name, f"is not one of {', '.join(PARAMETERS)}")
        return cls(model, numbers, T)

    @functools.cached_property
    def packed(self) -> Array:
        """The vectors that generated functions take (1 or k, m), in the order of ``model.parameters``."""
        rows = max(map(len, self.numbers.values()))
        upper = self.T[np.triu_indices(len(self.T))]
        columns: list[Array] = []
        for parameter in PARAMETERS.values():
            if parameter.belongs_to(self.model):
                values = [self.numbers[parameter.name]] if not parameter.shape else upper[:, None]
                columns += [np.broadcast_to(value, rows) for value in values]
        return np.ascontiguousarray(np.transpose(columns))

    def __getitem__(self, name: str) -> float:
        """The value of a parameter that is one number for all trajectories."""
        return self.attributes[name]

    @property
    def attributes(self) -> dict[str, float]:
        """The parameters that are one number for all trajectories, for the attributes of results."""
        return {name: float(values[0]) for name, values in self.numbers.items() if len(values) == 1}

    @property
    def keywords(self) -> dict[str, Any]:
        """The parameters as keywords of functions that take them, where each is one number or T."""
        return {**self.attributes, "T": self.T}

    def replaced(self, **values: Any) -> RunParameters:
        """These parameters with some other values, which are checked; each is one number or T."""
        return RunParameters.of(self.model, {**self.keywords, **values})


def _checked(parameter: RuntimeParameter, value: Any, count: int | None) -> Array:
    if value is None:
        raise InputError(parameter.name, "is required")
    if count is None or not parameter.per_trajectory:
        return np.array(
            [real_number(parameter.name, value, least=parameter.least, strict=parameter.strict)]
        )
    return per_trajectory(parameter.name, value, count, parameter.least, parameter.strict)
