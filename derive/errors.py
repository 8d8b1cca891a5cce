"""The error for values that are not allowed, and text that is safe and short enough to be printed."""

from __future__ import annotations

import math
import re
import reprlib
from typing import Any

# These characters may have to be escaped: all except the printable ones of ASCII.
_UNUSUAL = re.compile(r"[^ -~]")
# A longer text is shortened, and this many characters at its end are kept.
_LONGEST = 400
_KEPT_END = 100
# A larger array is shown by its shape alone.
_MOST_NUMBERS = 20
# A larger integer is shown by its number of digits, since Python refuses to print very long ones.
_MOST_BITS = 1000


def printable(text: str, kept: str = "") -> str:
    """The text with escapes for what cannot be printed, except the characters `kept`.

    Names and values may come from somebody else. They may hold commands for the terminal (ESC, the C1
    characters), characters of Unicode that reverse the direction of writing, and bytes that are not text.
    """

    def escaped(match: re.Match[str]) -> str:
        character = match[0]
        known = character.isprintable() or character in kept
        return character if known else character.encode("unicode_escape").decode()

    return _UNUSUAL.sub(escaped, text)


def one_line(text: str) -> str:
    """The text on one line, `printable`, and shortened if it is very long."""
    line = printable(" ".join(text.split()))
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - _KEPT_END]} … {line[-_KEPT_END:]}"
    return line


def shown(value: Any) -> str:
    """A short text for a value, as its user would write it; NumPy's values are written like Python's."""
    return _VALUES.repr(value)


class _Values(reprlib.Repr):
    """Shows np.int64(3) as 3, inside lists too."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = _LONGEST

    def repr1(self, x: Any, level: int) -> str:
        # NumPy is not imported here; its values are recognised by their attributes.
        if hasattr(x, "tolist") and hasattr(x, "dtype"):
            if x.size > _MOST_NUMBERS:
                return f"an array of the shape {x.shape}"
            plain = x.tolist()
            return str(x) if hasattr(plain, "dtype") else super().repr1(plain, level)
        return super().repr1(x, level)

    def repr_str(self, x: str, level: int) -> str:
        # A NumPy text is a str, but its repr is not that of a str.
        return super().repr_str(str(x), level)

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() > _MOST_BITS:
            return f"an integer of about {math.ceil(x.bit_length() * math.log10(2.0))} digits"
        return super().repr_int(x, level)


_VALUES = _Values()


class InputError(ValueError):
    """An argument has a value that is not allowed.

    option
        The name of the argument, as in Python.
    problem
        The value and what is allowed, on one line.
    """

    def __init__(self, option: str, problem: str) -> None:
        self.option = option
        self.problem = one_line(problem)
        super().__init__(f"{option}: {self.problem}")
