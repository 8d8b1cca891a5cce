"""The values of run-time parameters that a user passes: checks them, and packs them for generated code."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, overload

import numpy as np

from derive.errors import InputError
from derive.model import Model
from derive.parameters import NUMBERS, PARAMETERS, RuntimeParameter
from runtime.start.checked_arrays import Array, per_trajectory, real_number, teacher_overlaps

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


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
        values = dict(given)
        teacher = teacher_overlaps(model, values.pop("T", None))
        numbers: dict[str, Array] = {}
        for parameter in NUMBERS:
            value = values.pop(parameter.name, parameter.default)
            if parameter.belongs_to(model):
                free = parameter.name in unbounded
                bounded = dataclasses.replace(parameter, least=-math.inf) if free else parameter
                numbers[parameter.name] = _checked(bounded, value, count)
            elif value != parameter.default:
                raise InputError(parameter.name, f"is not a parameter of {model.name}")
        for name in values:
            raise InputError(name, f"is not one of {', '.join(PARAMETERS)}")
        return cls(model, numbers, teacher)

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


@overload
def takes_parameters(function: AnyFunction) -> AnyFunction: ...
@overload
def takes_parameters(
    *, positional: bool = ..., loss: bool = ..., without: Collection[str] = ..., usual: bool = ...
) -> Callable[[AnyFunction], AnyFunction]: ...
def takes_parameters(
    function: Any = None,
    *,
    positional: bool = False,
    loss: bool = False,
    without: Collection[str] = (),
    usual: bool = False,
) -> Any:
    """Decorator: the ``**parameters`` of a function become the keywords of the table, with its defaults.

    The signature that users see, and by which calls are checked, has them by name. In the docstring, a
    line ``{parameters}`` is replaced by what the table says about those that are numbers.

    positional
        They may also be given by position, after the others; the function takes ``*parameters`` too.
    loss
        Only those that the loss depends on.
    without
        The names of some that the function does not take. Those that it names itself stay as they are.
    usual
        Those without a default have that of commands.
    """
    if function is None:
        return functools.partial(
            takes_parameters, positional=positional, loss=loss, without=without, usual=usual
        )
    own = inspect.signature(function)
    left_out = {*without, *own.parameters}
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    kept = [argument for argument in own.parameters.values() if argument.kind not in variadic]
    added = [
        inspect.Parameter(
            parameter.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY,
            default=_default(parameter, usual),
            annotation="ArrayLike"
            if parameter.default is not None or not parameter.shape
            else "ArrayLike | None",
        )
        for parameter in PARAMETERS.values()
        if (parameter.in_loss or not loss) and parameter.name not in left_out
    ]
    first = next(
        (k for k, argument in enumerate(kept) if argument.kind == argument.KEYWORD_ONLY), len(kept)
    )
    signature = own.replace(parameters=[*kept[:first], *added, *kept[first:]])
    names = [parameter.name for parameter in added]

    @functools.wraps(function)
    def taking(*arguments: Any, **keywords: Any) -> Any:
        bound = signature.bind(*arguments, **keywords)
        if usual:
            bound.apply_defaults()
        given = {name: bound.arguments.pop(name) for name in names if name in bound.arguments}
        return function(*bound.args, **bound.kwargs, **given)

    taking.__signature__ = signature  # type: ignore[attr-defined]
    if function.__doc__:
        taking.__doc__ = _with_parameters(function.__doc__)
    return taking


def _default(parameter: RuntimeParameter, usual: bool) -> Any:
    if parameter.default is not None or parameter.shape:
        return parameter.default
    return parameter.usual if usual else inspect.Parameter.empty


def _with_parameters(docstring: str) -> str:
    """The docstring with the line {parameters} replaced by an entry for each parameter that is a number."""
    lines = []
    for line in docstring.split("\n"):
        if line.strip() != "{parameters}":
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        for parameter in NUMBERS:
            lines += [f"{indent}{parameter.name}", f"{indent}    {parameter.help}"]
    return "\n".join(lines)
