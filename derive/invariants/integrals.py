"""Products of powers of Darboux polynomials that are conserved or grow exponentially."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np

from derive.invariants import modular
from derive.invariants.null_space import null_space

Exponents = tuple[int, ...]
Cofactor = Mapping[Exponents, Fraction]  # coefficients by monomial
Powers = tuple[int, ...]


def conserved_products(polynomials: Sequence[Any], cofactors: Sequence[Cofactor]) -> list[Powers]:
    """Exponents nᵢ with Σ nᵢ kᵢ = 0 whose products are functionally independent, as many as there are."""
    chosen: list[Powers] = []
    gradients = _logarithmic_gradients(polynomials)
    for powers in _relations(cofactors):
        if _independent([*chosen, powers], gradients):
            chosen.append(powers)
    return chosen


def growing_product(cofactors: Sequence[Cofactor]) -> Powers | None:
    """The smallest exponents found whose cofactors add up to a constant other than zero."""
    changing = [{e: x for e, x in cofactor.items() if any(e)} for cofactor in cofactors]
    constant = [sum(x for e, x in cofactor.items() if not any(e)) for cofactor in cofactors]
    candidates = [
        powers
        for powers in _relations(changing)
        if sum(n * rate for n, rate in zip(powers, constant, strict=True))
    ]
    return min(candidates, key=lambda powers: sum(abs(n) for n in powers), default=None)


def _relations(cofactors: Sequence[Cofactor]) -> Iterator[Powers]:
    """Integer vectors n with Σ nᵢ kᵢ = 0: ratios of equals first, then between those that differ."""
    count = len(cofactors)
    first: dict[frozenset[tuple[Exponents, Fraction]], int] = {}
    for i, cofactor in enumerate(cofactors):
        key = frozenset((e, x) for e, x in cofactor.items() if x)
        if key in first:
            yield tuple((j == i) - (j == first[key]) for j in range(count))
        else:
            first[key] = i
    representatives = list(first.values())
    for vector in null_space([cofactors[i] for i in representatives]):
        scale = lcm(*(x.denominator for x in vector))
        whole = [int(x * scale) for x in vector]
        common = gcd(*whole)
        powers = [0] * count
        for i, n in zip(representatives, whole, strict=True):
            powers[i] = n // common
        yield tuple(powers)


def _logarithmic_gradients(polynomials: Sequence[Any]) -> modular.Array:
    """∇f / f of each polynomial at one random point, modulo the prime; shape (polynomials, generators)."""
    generator = random.Random(0)
    size = len(polynomials[0].ring.gens) if polynomials else 0
    point = [generator.randrange(1, modular.PRIME) for _ in range(size)]

    def value(polynomial: Any) -> int:
        total = 0
        for monomial, coefficient in polynomial.terms():
            term = modular.residue(Fraction(int(coefficient.numerator), int(coefficient.denominator)))
            for x, exponent in zip(point, monomial, strict=True):
                if exponent:
                    term = term * pow(x, exponent, modular.PRIME) % modular.PRIME
            total += term
        return total % modular.PRIME

    rows = []
    for polynomial in polynomials:
        inverse = pow(value(polynomial), -1, modular.PRIME)
        rows.append([value(polynomial.diff(x)) * inverse % modular.PRIME for x in polynomial.ring.gens])
    return np.array(rows, dtype=np.int64).reshape(len(polynomials), size)


def _independent(powers: Sequence[Powers], gradients: modular.Array) -> bool:
    weights = np.array(powers, dtype=np.int64) % modular.PRIME
    return modular.rank(modular.product(weights, gradients)) == len(powers)
