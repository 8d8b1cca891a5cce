"""Polynomials with rational coefficients, computed by FLINT: what exact proofs are written in.

FLINT takes 30 ms to import, so that `derive` imports this module only when something is proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from math import prod
from typing import Any

from flint import Ordering, fmpq, fmpq_mpoly_ctx


def context_of(names: Sequence[str]) -> fmpq_mpoly_ctx:
    """The ring of polynomials in these names, graded reverse lexicographic."""
    return fmpq_mpoly_ctx.get(list(names), Ordering.degrevlex)


def number(value: Fraction | int) -> fmpq:
    """A rational number as FLINT has it."""
    return fmpq(int(value.numerator), int(value.denominator))


def combiner(context: fmpq_mpoly_ctx) -> Callable[[Iterable[tuple[Fraction, Sequence[Any]]]], Any]:
    """Sums of (coefficient, factors) terms in a ring, as `derive.program.evaluate` needs them."""

    def combine(terms: Iterable[tuple[Fraction, Sequence[Any]]]) -> Any:
        zero = context.constant(0)
        return sum((prod(factors, start=number(coefficient)) for coefficient, factors in terms), start=zero)

    return combine
