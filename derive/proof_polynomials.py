"""The ring of polynomials in which the proof expands both routes of the derivation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ProofPolynomials:
    """A ring of polynomials, with the products and sums of route 1, which multiplies generators only.

    A factor of route 1 is a sign and the positions of generators, a product a sign and its exponents.
    """

    def __init__(self, names: Sequence[str]) -> None:
        from derive.flint_polynomials import combiner, context_of, number

        self.context = context_of(names)
        self.combine, self.number = combiner(self.context), number
        self.position = {name: k for k, name in enumerate(names)}
        self.values = dict(zip(names, self.context.gens(), strict=True))

    def product(self, factors: list[tuple[int, tuple[int, ...]]]) -> tuple[int, tuple[int, ...]]:
        sign = 1
        monomial = [0] * len(self.position)
        for factor_sign, generators in factors:
            sign *= factor_sign
            for position in generators:
                monomial[position] += 1
        return sign, tuple(monomial)

    def total(self, terms: list[tuple[int, tuple[int, tuple[int, ...]]]]) -> Any:
        collected: dict[tuple[int, ...], int] = {}
        for multiplicity, (sign, monomial) in terms:
            collected[monomial] = collected.get(monomial, 0) + sign * multiplicity
        return self.context.from_dict(collected)


def no_reciprocal(value: Any) -> Any:
    """The inverse for `evaluate` where nothing may be divided; it raises NotImplementedError."""
    raise NotImplementedError("a free drift has no denominators")
