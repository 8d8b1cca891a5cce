"""Polynomials in a few named scalars with rational coefficients: the coefficients of diagrams and matrices.

The class is small on purpose. It is needed each time a system is loaded, so that it must not need FLINT or
SymPy, which take long to import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

# The names of the factors, sorted; x² has the name x twice.
Monomial = tuple[str, ...]


class ScalarPolynomial:
    """An immutable polynomial; `terms` maps sorted tuples of the names of factors to coefficients."""

    __slots__ = ("terms",)

    def __init__(self, terms: Mapping[Monomial, Fraction | int] | None = None) -> None:
        self.terms: dict[Monomial, Fraction] = {
            monomial: Fraction(value) for monomial, value in (terms or {}).items() if value
        }

    @classmethod
    def constant(cls, value: Fraction | int) -> ScalarPolynomial:
        return cls({(): value})

    @classmethod
    def name(cls, name: str) -> ScalarPolynomial:
        return cls({(name,): 1})

    def __add__(self, other: ScalarPolynomial) -> ScalarPolynomial:
        terms: dict[Monomial, Fraction | int] = dict(self.terms)
        for monomial, value in other.terms.items():
            terms[monomial] = terms.get(monomial, 0) + value
        return ScalarPolynomial(terms)

    def __mul__(self, other: ScalarPolynomial | Fraction | int) -> ScalarPolynomial:
        if isinstance(other, (int, Fraction)):
            return ScalarPolynomial({m: v * other for m, v in self.terms.items()})
        terms: dict[Monomial, Fraction | int] = {}
        for left, x in self.terms.items():
            for right, y in other.terms.items():
                monomial = tuple(sorted(left + right))
                terms[monomial] = terms.get(monomial, 0) + x * y
        return ScalarPolynomial(terms)

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScalarPolynomial) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __repr__(self) -> str:
        return f"ScalarPolynomial({self.terms!r})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that occur, sorted."""
        return tuple(sorted({name for monomial in self.terms for name in monomial}))

    def sorted_terms(self) -> list[tuple[Monomial, Fraction]]:
        """The terms in a fixed order: by degree, then by name."""
        return sorted(self.terms.items(), key=lambda item: (len(item[0]), item[0]))

    def derivative(self, name: str) -> ScalarPolynomial:
        """∂/∂name."""
        terms: dict[Monomial, Fraction | int] = {}
        for monomial, value in self.terms.items():
            power = monomial.count(name)
            if power:
                k = monomial.index(name)
                rest = monomial[:k] + monomial[k + 1 :]
                terms[rest] = terms.get(rest, 0) + value * power
        return ScalarPolynomial(terms)

    def collect(self, names: Iterable[str]) -> dict[Monomial, ScalarPolynomial]:
        """The polynomial as one in `names` alone, with polynomials in the other names as coefficients."""
        chosen = set(names)
        parts: dict[Monomial, dict[Monomial, Fraction | int]] = {}
        for monomial, value in self.terms.items():
            inside = tuple(name for name in monomial if name in chosen)
            outside = tuple(name for name in monomial if name not in chosen)
            parts.setdefault(inside, {})[outside] = value
        return {inside: ScalarPolynomial(terms) for inside, terms in parts.items()}

    def evaluate(self, values: Mapping[str, Any], number: Callable[[Fraction], Any]) -> Any:
        """The value in any ring; `number` converts a rational coefficient into it."""
        result = number(Fraction(0))
        for monomial, coefficient in self.sorted_terms():
            term = number(coefficient)
            for factor in monomial:
                term = term * values[factor]
            result = result + term
        return result
