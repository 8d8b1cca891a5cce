"""Exact division of polynomials in many variables, with a quick way to say no."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import numpy as np

from derive.invariants import modular

# Shorter divisors are tried at once.
_SHORT = 12


def exact_quotient(dividend: Any, divisor: Any) -> Any | None:
    """dividend / divisor in their ring, or None if the divisor leaves a remainder.

    Why not division alone: that of long polynomials takes minutes, and most of it for nothing.
    A divisor divides on every line too, also modulo a prime, and one random line nearly always
    shows that it does not.
    """
    if not dividend:
        return dividend
    if len(divisor) > _SHORT and not _divides_on_a_line(dividend, divisor):
        return None
    quotients, remainder = dividend.div([divisor])
    return None if remainder else quotients[0]


def _divides_on_a_line(dividend: Any, divisor: Any) -> bool:
    from sympy import ZZ
    from sympy.polys.galoistools import gf_rem

    generator = random.Random(0)
    size = len(dividend.ring.gens)
    ends = [[generator.randrange(1, modular.PRIME) for _ in range(size)] for _ in range(2)]
    above, below = (_on_line(polynomial, *ends) for polynomial in (dividend, divisor))
    return not below or not gf_rem(above, below, modular.PRIME, ZZ)


def _on_line(polynomial: Any, start: list[int], slope: list[int]) -> list[int]:
    """Coefficients by t, highest first, of the polynomial at start + t slope, modulo the prime."""
    degree = max(sum(monomial) for monomial in polynomial.itermonoms())
    t = np.arange(degree + 1, dtype=np.int64)
    powers: dict[tuple[int, int], modular.Array] = {}

    def power(variable: int, exponent: int) -> modular.Array:
        key = (variable, exponent)
        if key not in powers:
            line = (start[variable] + t * slope[variable]) % modular.PRIME
            powers[key] = line if exponent == 1 else power(variable, exponent - 1) * line % modular.PRIME
        return powers[key]

    total = np.zeros(degree + 1, dtype=np.int64)
    for monomial, coefficient in polynomial.terms():
        number = modular.residue(Fraction(int(coefficient.numerator), int(coefficient.denominator)))
        term = np.full(degree + 1, number, dtype=np.int64)
        for variable, exponent in enumerate(monomial):
            if exponent:
                term = term * power(variable, exponent) % modular.PRIME
        total = (total + term) % modular.PRIME
    return modular.interpolated(total.tolist())
