"""Ideals of polynomials, and whether a polynomial belongs to one.

A polynomial in the ideal of some generators vanishes wherever they do. Membership is decided
by division: at once where the remainder by the generators themselves is zero, else by the
remainder modulo a Gröbner basis (B. Buchberger, thesis, Innsbruck (1965)), which is zero only
for members.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

# Bases of nonlinear generators in more variables take minutes and more.
LARGEST_NONLINEAR = 12


class Ideal:
    """The ideal that some polynomials of one PolyRing generate.

    generators
        Not zero; at least one.
    """

    def __init__(self, generators: Sequence[Any]) -> None:
        from sympy.polys.groebnertools import groebner

        ring = generators[0].ring
        straight = [generator for generator in generators if _degree(generator) <= 1]
        # Why linear ones first: they eliminate a variable each, also from all others.
        self._linear: list[Any] = groebner(straight, ring) if straight else []
        others = (g.rem(self._linear) if straight else g for g in generators if _degree(g) > 1)
        self._others: list[Any] = [generator.monic() for generator in others if generator]

    @cached_property
    def _basis(self) -> list[Any] | None:
        """The reduced Gröbner basis of the nonlinear part, or None if it would take too long."""
        from sympy.polys.groebnertools import groebner

        # One generator is a basis as it is.
        if len(self._others) <= 1:
            return self._others
        if len(_variables(self._others)) > LARGEST_NONLINEAR:
            return None
        basis: list[Any] = groebner(self._others, self._others[0].ring)
        return basis

    def contains(self, polynomial: Any) -> bool | None:
        """Whether the polynomial is a member; None if that was not decided."""
        rest = self._reduced(polynomial)
        if not rest or (self._others and not rest.rem(self._others)):
            return True
        if self._basis is None:
            return None
        return bool(self._basis) and not rest.rem(self._basis)

    def _reduced(self, polynomial: Any) -> Any:
        return polynomial.rem(self._linear) if self._linear else polynomial


def _degree(polynomial: Any) -> int:
    return max(int(sum(monomial)) for monomial in polynomial.itermonoms())


def _variables(polynomials: Iterable[Any]) -> set[int]:
    """Positions of the generators of the ring that occur."""
    return {
        position
        for polynomial in polynomials
        for monomial in polynomial.itermonoms()
        for position, exponent in enumerate(monomial)
        if exponent
    }
