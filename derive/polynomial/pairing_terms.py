"""Writes a Gaussian moment of polynomials as a sum of products of covariances, by Isserlis' theorem."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from math import prod

from derive.isserlis import pairing_sum

# How often each pair of factors is joined, pairs of a factor with itself included.
Pairs = tuple[tuple[tuple[int, int], int], ...]


@lru_cache(maxsize=4096)
def pairings(powers: tuple[int, ...]) -> tuple[tuple[int, Pairs], ...]:
    """Isserlis' sum of Π z_k^powers_k: multiplicities, and how often each pair of factors occurs."""
    word = tuple(str(k) for k, power in enumerate(powers) for _ in range(power))
    terms = []
    for multiplicity, pairs in pairing_sum(word):
        counts: dict[tuple[int, int], int] = {}
        for first, second in pairs:
            key = (int(first), int(second))
            counts[key] = counts.get(key, 0) + 1
        terms.append((multiplicity, tuple(sorted(counts.items()))))
    return tuple(terms)


def pairing_terms(
    polynomials: Sequence[Sequence[Fraction]],
) -> Iterator[tuple[Fraction, Pairs]]:
    """The terms of E[Π h_k(z_k)]: coefficients, and the powers of covariances of pairs of factors."""
    for powers in itertools.product(*(range(len(polynomial)) for polynomial in polynomials)):
        coefficient = prod(
            (polynomial[k] for polynomial, k in zip(polynomials, powers, strict=True)), start=Fraction(1)
        )
        if coefficient and sum(powers) % 2 == 0:
            for multiplicity, counts in pairings(powers):
                yield coefficient * multiplicity, counts
