"""Finds products of powers of Darboux polynomials that are conserved or grow exponentially."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from math import gcd, lcm
from typing import Any

from flint import fmpq_mat

from derive.invariants.linear_algebra import null_space
from derive.invariants.ring import OverlapRing

Powers = tuple[int, ...]
# A random point with integer coordinates up to this is hardly special.
LARGEST_COORDINATE = 2**20


def conserved_products(polynomials: Sequence[Any], cofactors: Sequence[Any]) -> list[Powers]:
    """Exponents nᵢ with Σ nᵢ kᵢ = 0: as many as there are with functionally independent products."""
    chosen: list[Powers] = []
    if polynomials:
        gradients = logarithmic_gradients(polynomials)
        for powers in _relations(cofactors):
            candidates = [*chosen, powers]
            if (fmpq_mat(candidates) * gradients).rank() == len(candidates):
                chosen.append(powers)
    return chosen


def growing_product(ring: OverlapRing, cofactors: Sequence[Any]) -> Powers | None:
    """The smallest exponents found whose cofactors add up to a constant other than zero."""
    constants = [ring.constant_term(cofactor) for cofactor in cofactors]
    changing = [cofactor - constant for cofactor, constant in zip(cofactors, constants, strict=True)]
    candidates = [
        powers
        for powers in _relations(changing)
        if sum(n * rate for n, rate in zip(powers, constants, strict=True))
    ]
    return min(candidates, key=lambda powers: sum(abs(n) for n in powers), default=None)


def _relations(cofactors: Sequence[Any]) -> Iterator[Powers]:
    """Integer vectors n with Σ nᵢ kᵢ = 0: first pairs of equal cofactors, then those of different ones."""
    count = len(cofactors)
    different: list[int] = []
    for i, cofactor in enumerate(cofactors):
        equal = next((j for j in different if cofactors[j] == cofactor), None)
        if equal is None:
            different.append(i)
        else:
            yield tuple((j == i) - (j == equal) for j in range(count))
    for vector in null_space([cofactors[i] for i in different]):
        scale = lcm(*(int(x.denominator) for x in vector))
        whole = [int((x * scale).numerator) for x in vector]
        powers = [0] * count
        for i, n in zip(different, whole, strict=True):
            powers[i] = n // gcd(*whole)
        yield tuple(powers)


def logarithmic_gradients(polynomials: Sequence[Any]) -> fmpq_mat:
    """∇f / f of each polynomial at one random point; a row for each, a column for each generator."""
    generator = random.Random(0)
    names = polynomials[0].context().names()
    point = [generator.randint(1, LARGEST_COORDINATE) for _ in names]
    return fmpq_mat([[f.derivative(name)(*point) / f(*point) for name in names] for f in polynomials])
