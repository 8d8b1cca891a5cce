"""Checks names, whole numbers and flags that a user passes; errors say in one line what is allowed."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from derive.errors import InputError, shown

# Powers of ten and of two from this number on are easier to read as powers.
_LONG = 10**7


def one_of(option: str, value: Any, allowed: Iterable[str]) -> str:
    """`value` as plain text, if it is one of the `allowed` names; else InputError."""
    names = list(allowed)
    # The type is looked at first, since "in" would ask an array for its elements.
    if not isinstance(value, str) or value not in names:
        raise InputError(option, f"{shown(value)} is not one of {', '.join(names)}")
    return str(value)


def alternatives(words: Iterable[str]) -> str:
    """The words as a list that ends with "or"."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def whole_number(option: str, value: Any, least: int, largest: int) -> int:
    """An integer from `least` to `largest`; else InputError."""
    try:
        # True would pass as 1, and so would that of NumPy before version 2.3.
        number = None if _is_flag(value) else operator.index(value)
    except TypeError:
        number = None
    # A masked array of one number would pass as the number that its mask hides.
    if number is not None and getattr(value, "mask", False):
        number = None
    if number is None or not least <= number <= largest:
        raise InputError(option, f"{shown(value)} is not an integer from {least} to {_readable(largest)}")
    return number


def true_or_false(option: str, value: Any) -> bool:
    """A flag as bool; else InputError."""
    if not _is_flag(value) or bool(getattr(value, "shape", ())):
        raise InputError(option, f"{shown(value)} is neither True nor False")
    return bool(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool"


def is_unicode(path: Path) -> bool:
    """Whether a name is text: file systems take any bytes, which Python shows as surrogates."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _readable(number: int) -> str:
    """A number as text; large powers of ten and of two are written as powers."""
    for base in (10, 2):
        exponent = round(math.log(number, base)) if number >= _LONG else 0
        if exponent and base**exponent - number in (0, 1):
            return f"{base}^{exponent}" if base**exponent == number else f"{base}^{exponent} - 1"
    return str(number)
