"""Writes numbers for people: digits, powers of ten and signs as in print."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

DIGITS = 5
# Outside of this range, a power of ten reads better.
_SMALL, _LARGE = 1e-3, 1e5
_NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"
_NONE = "–"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = DIGITS) -> str:
    """The value with so many significant digits, and with a power of ten where that reads better."""
    if math.isnan(value):
        return _NONE
    if value < 0.0:
        return f"−{number(-value, digits)}"
    if math.isinf(value):
        return "∞"
    if value == 0.0 or _SMALL <= value < _LARGE:
        text = f"{value:.{digits}g}"
        # With five digits 12345.6 is 12346, but 99999.6 is 1e+05.
        if "e" not in text:
            return text
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = f"10{str(int(exponent)).translate(_RAISED)}"
    return power if mantissa == "1" else f"{mantissa} × {power}"


def integer(value: int) -> str:
    """The integer, with its digits in groups of three where there are more than four."""
    text = f"{abs(value):,}".replace(",", _NARROW_SPACE) if abs(value) >= 10_000 else str(abs(value))
    return f"−{text}" if value < 0 else text


def spread(values: NDArray[np.float64]) -> str:
    """The smallest and the largest of several numbers, or the one number if all are equal."""
    low, high = float(values.min()), float(values.max())
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def plain(value: float) -> str:
    """The value as plain text for descriptions that are read aloud."""
    return "not a number" if math.isnan(value) else f"{value:.4g}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """The count and the word for it, such as "1 student" or "4 students"."""
    return f"{integer(count)} {one if count == 1 else many or one + 's'}"
