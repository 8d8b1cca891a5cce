"""Decides whether a polynomial belongs to the ideal of some generators.

A polynomial in the ideal vanishes wherever the generators do. If division by the generators leaves no
remainder, it is a member. Otherwise the remainder modulo a Gröbner basis decides, which is zero for
members alone (B. Buchberger, thesis, Innsbruck (1965)).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from flint import fmpz_mpoly_ctx, fmpz_mpoly_vec

from derive.invariants.ring import primitive

# Gröbner bases of nonlinear generators in more variables take minutes and more.
LARGEST_NONLINEAR = 12


class Ideal:
    """The ideal that polynomials of one ring generate.

    generators
        At least one polynomial; none is zero.
    """

    def __init__(self, generators: Sequence[Any]) -> None:
        context = generators[0].context()
        self._context = fmpz_mpoly_ctx.get(context.names(), context.ordering())
        whole = [self._whole(generator) for generator in generators]
        linear = [generator for generator in whole if generator.total_degree() <= 1]
        # Each linear generator eliminates a variable, also from all other generators.
        self._linear = self._vector(linear).buchberger_naive().autoreduction()
        others = (self._remainder(g, self._linear) for g in whole if g.total_degree() > 1)
        self._others = self._vector([generator for generator in others if generator])

    @cached_property
    def _basis(self) -> Any:
        """A Gröbner basis of the nonlinear part, or None if it would take too long."""
        unused = [set(generator.unused_gens()) for generator in self._others]
        variables = len(self._context.names()) - len(set.intersection(*unused)) if unused else 0
        if len(self._others) > 1 and variables > LARGEST_NONLINEAR:
            return None
        return self._others.buchberger_naive().autoreduction()

    def contains(self, polynomial: Any) -> bool | None:
        """Whether the polynomial is a member; None if that was not decided."""
        rest = self._remainder(self._whole(polynomial), self._linear)
        # A multiple of one generator may have a remainder after division by several.
        single = (self._vector([generator]) for generator in self._others)
        if not rest or any(not self._remainder(rest, divisors) for divisors in (self._others, *single)):
            return True
        return None if self._basis is None else not self._remainder(rest, self._basis)

    def _whole(self, polynomial: Any) -> Any:
        """A multiple of the polynomial that has integer coefficients."""
        terms = primitive(polynomial).terms() if polynomial else ()
        return self._context.from_dict({monomial: int(x.numerator) for monomial, x in terms})

    def _vector(self, polynomials: Sequence[Any]) -> Any:
        return fmpz_mpoly_vec(polynomials, self._context)

    @staticmethod
    def _remainder(polynomial: Any, divisors: Any) -> Any:
        """A multiple of the remainder of the division."""
        return polynomial.reduction_primitive_part(divisors) if len(divisors) else polynomial
