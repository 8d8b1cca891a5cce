"""Parses the values of one parameter of a sweep: numbers, ranges, choices, and lists of numbers.

0.4                 one value: fixed
0.1,0.2,0.4         these values
0:9                 integers, both ends included
0.1:0.5:5           5 evenly spaced values, both ends included
log:1e3:1e6:4       4 values evenly spaced in their logarithm, both ends included
0:4,10,20:30:3      several of these, joined by commas
1,-1;1,1;power:1    three values, of which the first two are lists of numbers
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from derive.arguments import one_of, true_or_false
from derive.errors import InputError, shown

Value = int | float | str

# With more files, checking a sweep would take hours; many small runs belong in an ensemble.
MAX_TASKS = 100_000
LOGARITHMIC = "log:"
# Digits of logarithmic values, few enough to be the same on every machine.
_LOG_DIGITS = 12
_DIGITS = 19
_INTEGER = re.compile(rf"[+-]?[0-9]{{1,{_DIGITS}}}")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_SHOWN = 60
_FLAGS = ("true", "false")


def parse_axis(
    option: str, given: Any, kind: type, choices: Sequence[str] = ()
) -> Value | tuple[Value, ...]:
    """A fixed value, or the values of an axis as a tuple; `kind` is int, float or str.

    `given` is text, a number, or a list of either, as a TOML file has them, or a range or an array.
    Raises InputError.
    """
    given = python_value(option, given)
    if isinstance(given, list):
        if not given:
            raise InputError(option, "has no values")
        values = [value for item in given for value in _parts(option, item, kind, choices)]
        _limited(option, len(values))
        return tuple(values)
    values = _parts(option, given, kind, choices)
    return tuple(values) if isinstance(given, str) and ("," in given or ":" in given) else values[0]


def parse_flag(option: str, given: Any) -> bool:
    """True or False, or the text ``true`` or ``false``; InputError for anything else."""
    if isinstance(given, str):
        return one_of(option, given, _FLAGS) == _FLAGS[0]
    return true_or_false(option, given)


def parse_lists(option: str, given: Any) -> str | tuple[str, ...]:
    """A fixed value that is a list, as text, or the values of an axis as a tuple of texts.

    `given` is text, with semicolons between the values of an axis; or a number or a list of numbers, which
    is one value; or a list of these, which is an axis. Raises InputError.
    """
    given = python_value(option, given)
    if isinstance(given, str):
        texts = given.split(";")
        return tuple(texts) if len(texts) > 1 else given
    if isinstance(given, list) and any(isinstance(item, (str, list)) for item in given):
        _limited(option, len(given))
        return tuple(item if isinstance(item, str) else _listed(option, item) for item in given)
    return _listed(option, given)


def _listed(option: str, given: Any) -> str:
    """A list of numbers as text."""
    items = given if isinstance(given, list) else [given]
    if not items:
        raise InputError(option, "has no values")
    numbers = [_plain(option, item, float, ()) for item in items]
    return ",".join(f"{x:g}" if float(f"{x:g}") == x else repr(x) for x in numbers)


def python_value(option: str, given: Any) -> Any:
    """The value with ranges, arrays and NumPy numbers as Python lists and numbers, inside lists too.

    Raises InputError for sets, which have no order, and generators, which have no length.
    """
    if isinstance(given, (list, tuple)):
        return [python_value(option, item) for item in given]
    if isinstance(given, range):
        return list(given[: MAX_TASKS + 1])
    if hasattr(given, "__array__"):
        return np.asanyarray(given).tolist()
    if isinstance(given, Iterable) and not isinstance(given, str):
        raise InputError(option, f"{shown(given)} is neither a value nor a list or an array of them")
    return given


def _parts(option: str, given: Any, kind: type, choices: Sequence[str]) -> list[Value]:
    if not isinstance(given, str):
        return [_plain(option, given, kind, choices)]
    values: list[Value] = []
    for part in given.split(","):
        if kind is not str and ":" in part:
            values.extend(_range(option, part, kind))
        else:
            values.append(_one(option, part, kind, choices))
        _limited(option, len(values))
    return values


def _plain(option: str, given: Any, kind: type, choices: Sequence[str]) -> Value:
    """A value that is not text, from a TOML file or from Python."""
    allowed = (int, float) if kind is float else (int,)
    if kind is str or isinstance(given, bool) or not isinstance(given, allowed):
        raise InputError(option, f"{shown(given)} is not {_named(kind, choices)}")
    if kind is int and abs(given) >= 10**_DIGITS:
        raise InputError(option, f"{shown(given)} is not an integer of up to {_DIGITS} digits")
    try:
        value = kind(given)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise InputError(option, f"{shown(given)} is not a finite number")
    return value  # type: ignore[no-any-return]


def _one(option: str, text: str, kind: type, choices: Sequence[str]) -> Value:
    if kind is str:
        if choices and text not in choices:
            raise InputError(option, f"{_short(text)!r} is not one of {', '.join(choices)}")
        return text
    # int() and float() alone would accept "１６", "1_6", " 16" and "nan".
    if not (_INTEGER if kind is int else _REAL).fullmatch(text):
        raise InputError(option, f"{_short(text)!r} is not {_named(kind, choices)}")
    value: int | float = kind(text)
    if not math.isfinite(value):
        raise InputError(option, f"{_short(text)!r} is not a finite number")
    return value


def _range(option: str, text: str, kind: type) -> list[Value]:
    """The values of start:end, start:end:count or log:start:end:count."""
    logarithmic = text.startswith(LOGARITHMIC)
    fields = text.removeprefix(LOGARITHMIC).split(":")
    if len(fields) == 2 and kind is int and not logarithmic:
        start, end = (int(_one(option, field, int, ())) for field in fields)
        if end < start:
            raise InputError(option, f"{_short(text)!r} descends: give the smaller end first")
        _limited(option, end - start + 1)
        return list(range(start, end + 1))
    if len(fields) != 3:
        short = "start:end, " if kind is int else ""
        raise InputError(
            option, f"{_short(text)!r} is not a range: {short}start:end:count or log:start:end:count"
        )
    low, high = (float(_one(option, field, float, ())) for field in fields[:2])
    count = int(_one(option, fields[2], int, ()))
    if count < 2:
        raise InputError(option, f"{_short(text)!r} is not a range: its count is less than 2")
    if high <= low:
        raise InputError(option, f"{_short(text)!r} descends: give the smaller end first")
    _limited(option, count)
    if logarithmic:
        return _logarithmic(option, text, low, high, count, kind)
    # Fractions of the decimal text give 0.3 in the middle of 0.1:0.5:5, not 0.30000000000000004.
    first, last = (Fraction(field) for field in fields[:2])
    exact = [first + (last - first) * k / (count - 1) for k in range(count)]
    if kind is int:
        if any(value.denominator != 1 for value in exact):
            raise InputError(option, f"{_short(text)!r} has values that are not integers")
        return [int(value) for value in exact]
    return [float(value) for value in exact]


def _logarithmic(option: str, text: str, low: float, high: float, count: int, kind: type) -> list[Value]:
    if low <= 0.0:
        raise InputError(option, f"{_short(text)!r} needs a start above 0")
    start, end = math.log(low), math.log(high)
    inner = [math.exp(start + (end - start) * k / (count - 1)) for k in range(1, count - 1)]
    values = [low, *(float(f"{value:.{_LOG_DIGITS - 1}e}") for value in inner), high]
    return [round(value) for value in values] if kind is int else list(values)


def _limited(option: str, count: int) -> None:
    if count > MAX_TASKS:
        raise InputError(
            option, f"{count} values are more than the {MAX_TASKS} tasks that a sweep may have"
        )


def _named(kind: type, choices: Sequence[str]) -> str:
    if kind is str:
        return f"one of {', '.join(choices)}" if choices else "text"
    return "an integer" if kind is int else "a finite number"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
