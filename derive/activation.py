"""The activation of the units: a polynomial with rational coefficients, in all forms.

What the derivation needs of an activation are Gaussian moments of its derivatives, which are polynomials
in the variance.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Any

from derive.errors import InputError, shown

# The drift has moments of twice this degree and more.
LARGEST_DEGREE = 6
# Activations that have a name, and how others are written.
ACTIVATION_NAMES = ("quadratic", *(f"he{k}" for k in range(1, LARGEST_DEGREE + 1)))
ALLOWED = (
    f"quadratic, he1 to he{LARGEST_DEGREE}, a sum such as he2+he3, or coefficients such as 0,1/2,0,1/6"
)
# Numerators and denominators up to this size keep the generated code exact in float literals.
_LARGEST_NUMBER = 10**12
_TOO_LONG = "has a coefficient with more than 12 digits"
# Text of numbers with more characters is not read, as Python refuses to read thousands of digits.
_LONGEST_TEXT = 100
_HERMITE = re.compile(r"he([1-9][0-9]?)")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(/\d+)?")
# Folder names of longer coefficient lists end with a digest.
_LONG_NAME = 40


@dataclasses.dataclass(frozen=True)
class Activation:
    """A polynomial activation σ.

    coefficients
        From the constant term up to the highest power, whose coefficient is not zero.
    """

    coefficients: tuple[Fraction, ...]

    def __repr__(self) -> str:
        return f"{type(self).__name__}.of({self.name!r})"

    @classmethod
    def of(cls, value: Any, option: str = "activation") -> Activation:
        """The activation that a user means; InputError names the option and what is allowed.

        ``"quadratic"``; ``"he1"`` to ``"he6"``, the probabilists' Hermite polynomials; sums such as
        ``"he2+he3"``; or coefficients from the constant term up, as text (``"0,1/2,0,1/6"``) or as a
        sequence of integers, Fractions and decimal strings. Decimals are taken exactly, and nothing is
        evaluated.
        """
        if isinstance(value, Activation):
            return value
        if isinstance(value, str):
            return cls._of_text(value.strip(), option)
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            return cls._of_numbers([_number(item, option) for item in value], option)
        raise InputError(option, f"{shown(value)} is neither a name nor coefficients")

    @classmethod
    def _of_text(cls, text: str, option: str) -> Activation:
        if text == "quadratic":
            return QUADRATIC
        if "," in text or _NUMBER.fullmatch(text):
            return cls._of_numbers([_number(part.strip(), option) for part in text.split(",")], option)
        total: list[Fraction] = []
        for part in text.split("+"):
            found = _HERMITE.fullmatch(part.strip())
            if not found or int(found[1]) > LARGEST_DEGREE:
                raise InputError(option, f"{shown(text)} is not {ALLOWED}")
            total = _sum(total, hermite(int(found[1])))
        return cls._of_numbers(total, option)

    @classmethod
    def _of_numbers(cls, numbers: Sequence[Fraction], option: str) -> Activation:
        kept = list(numbers)
        while kept and not kept[-1]:
            kept.pop()
        for number in kept:
            if max(abs(number.numerator), number.denominator) > _LARGEST_NUMBER:
                raise InputError(option, _TOO_LONG)
        text = shown(",".join(map(str, numbers)))
        if len(kept) < 2:
            raise InputError(
                option, f"{text} is constant: some coefficient beyond the first must not be zero"
            )
        if len(kept) - 1 > LARGEST_DEGREE:
            raise InputError(
                option, f"{text} has degree {len(kept) - 1}, and at most {LARGEST_DEGREE} is derived"
            )
        return cls(tuple(kept))

    @property
    def degree(self) -> int:
        return len(self.coefficients) - 1

    @property
    def name(self) -> str:
        """The shortest text that means this activation."""
        if self == QUADRATIC:
            return "quadratic"
        in_hermite = self.hermite_coefficients
        if set(in_hermite) <= {0, 1} and not in_hermite[0]:
            return "+".join(f"he{k}" for k, c in enumerate(in_hermite) if c)
        return ",".join(map(str, self.coefficients))

    @property
    def folder(self) -> str:
        """The name as part of a folder's name: letters, digits, + and -."""
        text = self.name
        if "," not in text:
            return text
        text = "poly" + text.replace("-", "m").replace("/", "d").replace(",", "-")
        if len(text) <= _LONG_NAME:
            return text
        return f"{text[:24]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def hermite_coefficients(self) -> tuple[Fraction, ...]:
        """The coefficients in He₀, He₁ …"""
        rest, found = list(self.coefficients), [Fraction(0)] * len(self.coefficients)
        for k in reversed(range(len(rest))):
            found[k] = rest[k]
            for power, c in enumerate(hermite(k)):
                rest[power] -= found[k] * c
        return tuple(found)

    @property
    def parity(self) -> int | None:
        """0 if the polynomial is even, 1 if it is odd, None if it is neither."""
        found = {k % 2 for k, c in enumerate(self.coefficients) if c}
        return found.pop() if len(found) == 1 else None

    def derivative(self, order: int) -> tuple[Fraction, ...]:
        """The coefficients of a derivative; none of a zero."""
        c = list(self.coefficients)
        for _ in range(order):
            c = [k * c[k] for k in range(1, len(c))]
        return tuple(c)

    def moment(self, order: int) -> dict[int, Fraction]:
        """E[σ^(order)(z)] for z ~ N(0, q), as coefficients of powers of q; empty if it is zero."""
        return {
            power // 2: c * prod(range(1, power, 2))
            for power, c in enumerate(self.derivative(order))
            if c and power % 2 == 0
        }


def _number(value: Any, option: str) -> Fraction:
    """An exact number from an integer, a Fraction or a decimal or rational in text."""
    if isinstance(value, (int, Fraction)) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        if len(value) > _LONGEST_TEXT:
            raise InputError(option, _TOO_LONG)
        above, _, below = value.partition("/")
        if not below or int(below):
            return Fraction(above) / (int(below) if below else 1)
    raise InputError(option, f"{shown(value)} is not an integer, a fraction or a decimal in text")


def _sum(left: Sequence[Fraction], right: Sequence[Fraction]) -> list[Fraction]:
    size = max(len(left), len(right))
    return [
        (left[k] if k < len(left) else Fraction(0)) + (right[k] if k < len(right) else Fraction(0))
        for k in range(size)
    ]


@lru_cache
def hermite(order: int) -> tuple[Fraction, ...]:
    """The probabilists' Hermite polynomial: He₀ = 1, He₁ = z, Heₙ₊₁ = z Heₙ − n Heₙ₋₁."""
    if order < 2:
        return (Fraction(0),) * order + (Fraction(1),)
    shifted = (Fraction(0), *hermite(order - 1))
    lower = hermite(order - 2)
    return tuple(c - (order - 1) * (lower[k] if k < len(lower) else 0) for k, c in enumerate(shifted))


QUADRATIC = Activation((Fraction(0), Fraction(0), Fraction(1)))
