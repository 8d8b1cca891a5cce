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
from derive.parameters import NUMBERS, PARAMETERS, VECTORS, RuntimeParameter
from runtime.output.value_ranges import span
from runtime.start.checked_arrays import (
    Array,
    axis_count,
    per_trajectory,
    real_array,
    real_number,
    teacher_overlaps,
)

# Text that stands for the weights r^−x of units r = 1, 2 …, with x after it.
POWER = "power:"


@dataclasses.dataclass(frozen=True, eq=False)
class RunParameters:
    """Checked run-time parameters of a model.

    model
        What the parameters are of.
    numbers
        By name the parameters that are numbers: one value (1,), or one per trajectory (k,).
    vectors
        By name those that are vectors, as second layers: one (1, width), or one per trajectory (k, width).
        The initial weights of a trained second layer are among them.
    T
        Teacher overlaps (p*, p*), the identity for an orthonormal teacher.
    """

    model: Model
    numbers: Mapping[str, Array]
    vectors: Mapping[str, Array]
    T: Array

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} = {span(values)}" for name, values in self.numbers.items())
        vectors = "".join(f", {name} {span(values)}" for name, values in self.vectors.items())
        return f"<{type(self).__name__} of {self.model.name}: {numbers}{vectors}>"

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

        Each is a number, or a vector, or ``"power:x"`` for the vector r^−x; if there are `count`
        trajectories, also an array with one value for each. Those that are `unbounded` may be any finite
        numbers.

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
                raise InputError(parameter.name, _foreign(parameter, model))
        vectors: dict[str, Array] = {}
        for parameter in VECTORS:
            value = given.get(parameter.name)
            if parameter.belongs_to(model):
                vectors[parameter.name] = _checked_vector(parameter, model, value, count)
            elif value is not None:
                raise InputError(parameter.name, _foreign(parameter, model))
        for name in given:
            if name not in PARAMETERS:
                raise InputError(name, f"is not one of {', '.join(PARAMETERS)}")
        return cls(model, numbers, vectors, T)

    @functools.cached_property
    def packed(self) -> Array:
        """The vectors that generated functions take (1 or k, m), in the order of ``model.parameters``."""
        packed = [parameter for parameter in PARAMETERS.values() if parameter.is_packed_for(self.model)]
        # Each has its values (1 or k, numbers).
        columns = [self._columns(parameter) for parameter in packed]
        rows = max(map(len, columns))
        return np.ascontiguousarray(
            np.concatenate([np.broadcast_to(c, (rows, c.shape[1])) for c in columns], axis=1)
        )

    def _columns(self, parameter: RuntimeParameter) -> Array:
        if len(parameter.shape) == 2:
            return self.T[np.triu_indices(len(self.T))][None]
        values = self.vectors[parameter.name] if parameter.shape else self.numbers[parameter.name][:, None]
        return 1.0 / values if parameter.reciprocal else values

    def weights(self) -> tuple[Array, Array]:
        """Second-layer weights of students (1 or k, p) and teachers (1 or k, p*), which may all be 1."""
        model = self.model
        widths = {"student_weights": model.p, "teacher_weights": model.pstar}
        v, vstar = (self.vectors.get(name, np.ones((1, width))) for name, width in widths.items())
        return v, vstar

    def __getitem__(self, name: str) -> float:
        """The value of a parameter that is one number for all trajectories."""
        return self.attributes[name]

    @property
    def attributes(self) -> dict[str, float]:
        """The parameters that are one number for all trajectories, for the attributes of results."""
        return {name: float(values[0]) for name, values in self.numbers.items() if len(values) == 1}

    @property
    def keywords(self) -> dict[str, Any]:
        """The parameters as keywords of functions that take them, where all trajectories share each."""
        vectors = {name: values[0] for name, values in self.vectors.items() if len(values) == 1}
        return {**self.attributes, **vectors, "T": self.T}

    def replaced(self, **values: Any) -> RunParameters:
        """These parameters, which all trajectories share, with some other values, which are checked."""
        return RunParameters.of(self.model, {**self.keywords, **values})


def _foreign(parameter: RuntimeParameter, model: Model) -> str:
    """Why a model does not take a parameter."""
    assert parameter.only_with is not None
    option, values = parameter.only_with
    return f"is not a parameter of {model.name}: it needs {option} = {' or '.join(values)}"


def _checked(parameter: RuntimeParameter, value: Any, count: int | None) -> Array:
    if value is None:
        raise InputError(parameter.name, "is required")
    least, strict, whole = parameter.least, parameter.strict, parameter.whole
    if count is None or not parameter.per_trajectory:
        return np.array([real_number(parameter.name, value, least=least, strict=strict, whole=whole)])
    return per_trajectory(parameter.name, value, count, least, strict, whole)


def power_law(option: str, text: str, width: int) -> Array:
    """The numbers r^−x (width,) of the text ``power:x``; InputError for any other text."""
    if not text.startswith(POWER):
        raise InputError(option, f"{text!r} is neither numbers nor {POWER}x, for the numbers r^−x")
    try:
        power = float(text.removeprefix(POWER))
    except ValueError:
        power = math.nan
    if not math.isfinite(power):
        raise InputError(option, f"{text!r} is not {POWER} and a number")
    with np.errstate(over="ignore"):
        return np.asarray(np.arange(1.0, width + 1.0) ** -power)


def _checked_vector(parameter: RuntimeParameter, model: Model, value: Any, count: int | None) -> Array:
    """A vector (1, width), or one per trajectory (count, width); its default if the value is None."""
    name, width = parameter.name, getattr(model, parameter.shape[0])
    if value is None:
        return np.full((1, width), parameter.default)
    if isinstance(value, str):
        value = power_law(name, value, width)
    if axis_count(name, value) == 2 and count is not None and parameter.per_trajectory:
        return real_array(name, value, (count, width))
    return real_array(name, value, (width,))[None]
