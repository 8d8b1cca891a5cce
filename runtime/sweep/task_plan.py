"""The plan of a sweep: its job, fixed parameters and axes, and the tasks that they make."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from derive.activation import Activation
from derive.errors import InputError, shown
from runtime.run_options import LISTS, RunOption
from runtime.start.checked_arrays import axis_count, output_times, real_array
from runtime.start.schedules import Schedule
from runtime.start.start_files import read_teacher
from runtime.sweep import task_kinds
from runtime.sweep.axis_values import MAX_TASKS, Value, parse_axis, parse_flag, parse_lists, python_value
from runtime.sweep.program_version import PROGRAM
from runtime.sweep.task_kinds import Job

# Format of the folder and its files; other formats are rejected.
FORMAT = 1
_DIGITS_SHOWN = 15
_TYPES = {"integer": int, "integers": int, "number": float, "choice": str, "method": str}


def canonical(value: Any) -> str:
    """JSON with one spelling for one value, to be hashed and compared."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class PlanError(ValueError):
    """A stored plan that cannot be used; the message says what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One combination of a sweep; `digest` is that of job, parameters and version."""

    number: int
    job: str
    parameters: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return digest_of({"job": self.job, "parameters": self.parameters, "version": PROGRAM})

    def to_dict(self) -> dict[str, Any]:
        return {"task": self.number, "job": self.job, "parameters": dict(self.parameters)}


@dataclasses.dataclass(frozen=True)
class Axis:
    """Parameters that vary together, and their values: one column for each, of equal lengths."""

    names: tuple[str, ...]
    columns: tuple[tuple[Value, ...], ...]

    @property
    def dimension(self) -> str:
        """The name of the axis in results."""
        return "_".join(map(task_kinds.coordinate_of, self.names))

    def __len__(self) -> int:
        return len(self.columns[0])


@dataclasses.dataclass(frozen=True)
class Plan:
    """A sweep: its tasks are the product of the axes, the last of which varies fastest."""

    job: Job
    fixed: Mapping[str, Any]
    axes: tuple[Axis, ...]

    @classmethod
    def of(cls, job: Any, given: Mapping[str, Any], together: Sequence[Sequence[str]] = ()) -> Plan:
        """The plan of `given` parameters: text, numbers, lists or arrays by name; the others have defaults.

        `together` holds groups of parameters that vary together. Nothing is allocated for the tasks. Raises
        InputError if a value cannot be read or there are more than MAX_TASKS tasks.
        """
        kind = task_kinds.job_of(job)
        for name in given:
            if name not in kind.options:
                raise InputError(str(name), f"is not a parameter of --job {kind.name}")
        fixed: dict[str, Any] = {}
        columns: dict[str, tuple[Value, ...]] = {}
        for name, option in kind.options.items():
            value = _value(option, given.get(name, option.default))
            if isinstance(value, tuple):
                columns[name] = value
            else:
                fixed[name] = value
        plan = cls(kind, fixed, _grouped(columns, together))
        if plan.count > MAX_TASKS:
            sizes = " × ".join(f"{len(axis)} {axis.dimension}" for axis in plan.axes)
            widest = max(plan.axes, key=len).names[0]
            raise InputError(
                widest,
                f"{sizes} = {_large(plan.count)} tasks are more than the {MAX_TASKS} that a sweep may have",
            )
        return plan

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes)

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def task(self, number: int) -> Task:
        """The task of this number, from 0."""
        parameters = dict(self.fixed)
        for axis, place in zip(self.axes, self.place(number), strict=True):
            for name, column in zip(axis.names, axis.columns, strict=True):
                parameters[name] = column[place]
        # The parameters are in the order of the job, whichever of them are axes.
        ordered = {name: parameters[name] for name in self.job.options}
        return Task(number, self.job.name, ordered)

    def place(self, number: int) -> tuple[int, ...]:
        """The index of a task along each axis."""
        places = []
        for size in reversed(self.shape):
            number, place = divmod(number, size)
            places.append(place)
        return tuple(reversed(places))

    def tasks(self) -> Iterator[Task]:
        return (self.task(number) for number in range(self.count))

    def check(self) -> None:
        """Raise InputError if the single command would reject a task.

        Every combination of parameters that depend on each other is checked. Of a parameter that can be
        checked alone, each word is, but only the smallest and largest number, since the allowed numbers are
        an interval.
        """
        alone = {
            name: set(values if isinstance(values[0], str) else (min(values), max(values)))
            for name, values in self._values_alone()
        }
        bound = [name for name, option in self.job.options.items() if not option.alone]
        seen: set[Any] = set()
        for task in self.tasks():
            keys: set[Any] = {str([task.parameters[name] for name in bound])}
            keys |= {
                (name, task.parameters[name])
                for name, values in alone.items()
                if task.parameters[name] in values
            }
            if not keys <= seen:
                task_kinds.check(self.job, task.parameters)
                seen |= keys

    def _values_alone(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Parameters on axes that can be checked alone, with their values; fixed ones are in every task."""
        for axis in self.axes:
            for name, column in zip(axis.names, axis.columns, strict=True):
                if self.job.options[name].alone:
                    yield name, column

    def to_dict(self) -> dict[str, Any]:
        """The plan as it is stored, with a digest of all else."""
        content = {
            "format": FORMAT,
            "version": PROGRAM,
            "job": self.job.name,
            "tasks": self.count,
            "fixed": dict(self.fixed),
            "axes": [
                {name: list(c) for name, c in zip(a.names, a.columns, strict=True)} for a in self.axes
            ],
        }
        return {**content, "digest": digest_of(content)}

    @classmethod
    def from_dict(cls, stored: Any) -> Plan:
        """The inverse of `to_dict`; raises PlanError, or another error if the plan is damaged."""
        if not isinstance(stored, dict) or "digest" not in stored:
            raise PlanError("holds no sweep")
        content = {name: value for name, value in stored.items() if name != "digest"}
        if content.get("version") != PROGRAM:
            raise PlanError(f"is of {content.get('version', 'another version')}, but this is {PROGRAM}")
        if content.get("format") != FORMAT:
            raise PlanError(f"is not of format {FORMAT}, which this version uses")
        if digest_of(content) != stored["digest"]:
            raise PlanError("was changed or is damaged")
        given = dict(content["fixed"])
        for axis in content["axes"]:
            given |= axis
        # A parameter that is None gets its default again, which is None.
        plan = cls.of(
            content["job"],
            {name: value for name, value in given.items() if value is not None},
            [list(axis) for axis in content["axes"] if len(axis) > 1],
        )
        if plan.to_dict() != stored:
            raise PlanError("was changed or is damaged")
        return plan

    def difference(self, other: Plan) -> tuple[str, str] | None:
        """A parameter in which the other plan differs, and its values there; None if none differs.

        Parameters that do not have their defaults there come first, since they were given.
        """
        if other.job.name != self.job.name:
            return "job", other.job.name
        defaults = {name: _value(option, option.default) for name, option in self.job.options.items()}
        for name in sorted(defaults, key=lambda name: other.values(name) == defaults[name]):
            if self.values(name) != other.values(name):
                return name, _shown(other.values(name))
        if self.to_dict() != other.to_dict():
            return "zip", ", ".join(axis.dimension for axis in other.axes) or "no axes"
        return None

    def values(self, name: str) -> Any:
        """The fixed value of a parameter, or its values as a tuple."""
        for axis in self.axes:
            if name in axis.names:
                return axis.columns[axis.names.index(name)]
        return self.fixed[name]


def _value(option: RunOption, given: Any) -> Any:
    """A fixed value, or a tuple for an axis."""
    name = option.name
    if given is None:
        return None
    if option.kind == "times":
        return _times(name, given)
    if option.kind == "matrix":
        return _matrix(name, given)
    if option.kind == "flag":
        return parse_flag(name, given)
    if option.kind == "schedule":
        value: Any = _schedules(given)
    elif option.kind == "activation":
        value = _activations(name, given)
    elif option.kind in LISTS:
        value = parse_lists(name, given)
    else:
        value = parse_axis(name, given, _TYPES[option.kind], option.choices)
    if isinstance(value, tuple) and option.swept != "axis":
        raise InputError(name, "cannot be an axis: give one value")
    return value


def _matrix(name: str, given: Any) -> list[list[float]]:
    """The numbers of a matrix, or of the file of one, on whose later content no result may depend."""
    matrix = read_teacher(given) if isinstance(given, (str, Path)) else given
    if axis_count(name, matrix) != 2:
        raise InputError(name, f"{shown(given)} is neither a matrix (p*, p*) nor the file of one")
    numbers: list[list[float]] = real_array(name, matrix, np.shape(matrix)).tolist()
    return numbers


def _schedules(given: Any) -> str | tuple[str, ...]:
    """The text of a schedule, or of several in an axis: text with semicolons, or a list with texts."""
    if isinstance(given, str):
        parts = [Schedule.of(part).text for part in given.split(";")]
        return tuple(parts) if len(parts) > 1 else parts[0]
    if isinstance(given, (list, tuple)) and any(isinstance(item, (str, Mapping)) for item in given):
        return tuple(Schedule.of(item).text for item in given)
    return Schedule.of(given).text


def _activations(name: str, given: Any) -> str | tuple[str, ...]:
    """The name of a polynomial, or of several in an axis: text with semicolons, or a list with texts."""
    if isinstance(given, str):
        given = given.split(";") if ";" in given else given
    if isinstance(given, list) and any(isinstance(item, (str, list)) for item in given):
        return tuple(Activation.of(item, name).name for item in given)
    return Activation.of(given, name).name


def _times(name: str, given: Any) -> float | list[float]:
    """A number or ascending times, from text, a number, a list or an array; "10," is a list of one."""
    given = python_value(name, given)
    if isinstance(given, str) and given.endswith(","):
        given = given.removesuffix(",").split(",")
    items = given.split(",") if isinstance(given, str) else given
    if not isinstance(items, list):
        items = [items]
    times = []
    for item in items:
        time = parse_axis(name, item, float)
        if isinstance(time, tuple):
            raise InputError(name, "cannot be an axis: give an end, or times separated by commas")
        times.append(float(time))
    single = len(times) == 1 and not isinstance(given, list)
    output_times(times[0] if single else times)
    return times[0] if single else times


def _grouped(
    columns: Mapping[str, tuple[Value, ...]], together: Sequence[Sequence[str]]
) -> tuple[Axis, ...]:
    """The axes in the order of the parameters; a group has the place of its first member."""
    group_of: dict[str, tuple[str, ...]] = {}
    for names in together:
        for name in names:
            if not columns.keys() >= set(names):
                absent = min(set(names) - columns.keys())
                raise InputError("zip", f"{absent!r} has no list of values to vary")
            if name in group_of or list(names).count(name) > 1:
                raise InputError("zip", f"{name!r} is named twice")
            if len(columns[name]) != len(columns[names[0]]):
                raise InputError(
                    "zip",
                    f"{names[0]} has {len(columns[names[0]])} values, and {name} {len(columns[name])}",
                )
            group_of[name] = tuple(sorted(names, key=list(columns).index))
    axes: dict[tuple[str, ...], None] = {}
    for name in columns:
        axes[group_of.get(name, (name,))] = None
    grouped = tuple(Axis(names, tuple(columns[name] for name in names)) for names in axes)
    for axis in grouped:
        _check_distinct(axis)
    return grouped


def _check_distinct(axis: Axis) -> None:
    seen = set()
    for values in zip(*axis.columns, strict=True):
        if values in seen and len(values) == 1:
            raise InputError(axis.names[0], f"{values[0]} is given twice")
        if values in seen:
            both = ", ".join(f"{name} {value}" for name, value in zip(axis.names, values, strict=True))
            raise InputError("zip", f"{both} is given twice")
        seen.add(values)


def _shown(values: Any) -> str:
    if not isinstance(values, tuple):
        return str(values)
    separator = ";" if any("," in str(value) for value in values) else ","
    first = separator.join(str(value) for value in itertools.islice(values, 4))
    return first + (f"{separator}…" if len(values) > 4 else "")


def _large(count: int) -> str:
    return str(count) if len(str(count)) <= _DIGITS_SHOWN else f"{float(count):.0e}"
