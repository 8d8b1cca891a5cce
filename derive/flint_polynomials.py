"""Rings of polynomials with rational coefficients, computed by FLINT, in which proofs are done.

FLINT takes 30 ms to import, so `derive` imports this module only when something is proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from math import prod
from typing import Any

from flint import Ordering, fmpq, fmpq_mpoly_ctx


def context_of(names: Sequence[str]) -> fmpq_mpoly_ctx:
    """The ring of polynomials in these names, in graded reverse lexicographic order."""
    return fmpq_mpoly_ctx.get(list(names), Ordering.degrevlex)


def number(value: Fraction | int) -> fmpq:
    """A rational number as one of FLINT."""
    return fmpq(int(value.numerator), int(value.denominator))


def combiner(context: fmpq_mpoly_ctx) -> Callable[[Iterable[tuple[Fraction, Sequence[Any]]]], Any]:
    """The function that sums terms (coefficient, factors) in a ring, for `derive.expansion.evaluate`."""

    def combine(terms: Iterable[tuple[Fraction, Sequence[Any]]]) -> Any:
        zero = context.constant(0)
        return sum((prod(factors, start=number(coefficient)) for coefficient, factors in terms), start=zero)

    return combine
