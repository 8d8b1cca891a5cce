"""Finds the Darboux polynomials of a numeric field up to a degree, with cofactors k₀ + k₁ c."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import Any

from derive.errors import InputError
from derive.invariants import modular
from derive.invariants.monomials import Block, Exponents, NumericField, Terms, times
from derive.invariants.null_space import Span, null_space, residues

# The rows and columns of a pencil; its time grows as the cube.
LARGEST_BLOCK = 160


@dataclasses.dataclass(frozen=True)
class NumericDarboux:
    """A Darboux polynomial f with numbers for the parameters.

    polynomial
        f in the ring of the model, integer coefficients without a common factor.
    label
        Its name if it is known, else "".
    cofactor
        (k₀, k₁) with L f = (k₀ + k₁ c) f.
    degree
        Of f.
    """

    polynomial: Any
    label: str
    cofactor: tuple[Fraction, Fraction]
    degree: int


class DarbouxSearch:
    """Collects Darboux polynomials degree by degree, without products of earlier ones.

    field
        The drift with numbers.
    direction
        c, without a constant part; may be empty.
    known
        Named polynomials, chosen before others with the same cofactor.
    """

    def __init__(self, field: NumericField, direction: Terms, known: Sequence[tuple[str, Any]]) -> None:
        self.field = field
        self.found: list[NumericDarboux] = []
        self._direction = direction
        self._eigenvalues_at_infinity: set[Fraction] = set()
        self._known = [(name, polynomial, field.terms(polynomial)) for name, polynomial in known]

    def extend(self, degree: int) -> None:
        """Look at all polynomials up to `degree`, the next one each time.

        Raises InputError if there are too many.
        """
        if self._even:
            for block in self.field.blocks(degree, degree):
                self._eigenvalues_at_infinity |= set(self._pencil(block, Fraction(0), degree))
        for block in self.field.blocks(degree):
            if len(block.monomials) > LARGEST_BLOCK:
                raise InputError(
                    "degree",
                    f"{degree} means {len(block.monomials)} monomials of one parity,"
                    f" more than {LARGEST_BLOCK}",
                )
            for k0 in sorted(set(block.rates)):
                for k1 in self._eigenvalues(block, k0):
                    if k0 or k1:
                        self._collect(block, (k0, k1), degree)

    def conserved(self, degree: int) -> list[Any]:
        """A basis of the polynomials up to `degree` with L f = 0, without constants."""
        found = []
        for block in self.field.blocks(degree):
            for vector in null_space(block.columns):
                terms = {m: x for m, x in zip(block.monomials, vector, strict=True) if any(m) and x}
                if terms:
                    found.append(self._primitive(terms))
        return found

    @property
    def _even(self) -> bool:
        """Whether L f and c f reach the same degree: then the leading part of f alone fixes k₁."""
        reached = max((sum(exponents) for exponents in self._direction), default=-1)
        return reached == self.field.degree - 1

    def _eigenvalues(self, block: Block, k0: Fraction) -> Sequence[Fraction]:
        """The k₁ at which there may be an f in the block."""
        if not self._direction:
            return [Fraction(0)]
        if self._even:
            return sorted(self._eigenvalues_at_infinity)
        return self._pencil(block, k0, 0)

    def _pencil(self, block: Block, k0: Fraction, leading: int) -> Sequence[Fraction]:
        """Where (L − k₀) − k₁ c loses rank; the leading part alone of monomials of degree `leading`."""
        shifted = self._columns(block, k0, Fraction(0))
        multiplied = [times(self._direction, monomial) for monomial in block.monomials]
        if leading:
            top = leading + self.field.degree - 1
            shifted, multiplied = (
                [{e: x for e, x in column.items() if sum(e) == top} for column in columns]
                for columns in (shifted, multiplied)
            )
        both = residues([*shifted, *multiplied])
        size = len(block.monomials)
        return modular.pencil_eigenvalues(both[:, :size], both[:, size:])

    def _columns(self, block: Block, k0: Fraction, k1: Fraction) -> list[Terms]:
        """(L − k₀ − k₁ c) on the monomials of the block."""
        columns = []
        for monomial, derivative in zip(block.monomials, block.columns, strict=True):
            column = dict(derivative)
            column[monomial] = column.get(monomial, Fraction(0)) - k0
            for exponents, coefficient in times(self._direction, monomial).items():
                column[exponents] = column.get(exponents, Fraction(0)) - k1 * coefficient
            columns.append(column)
        return columns

    def _collect(self, block: Block, cofactor: tuple[Fraction, Fraction], degree: int) -> None:
        vectors = [
            dict(zip(block.monomials, vector, strict=True))
            for vector in null_space(self._columns(block, *cofactor))
        ]
        every: Span[Exponents] = Span()
        for vector in vectors:
            every.add(vector)
        there: Span[Exponents] = Span()
        inside = set(block.monomials)
        for product in self._products(cofactor, degree):
            terms = self.field.terms(product)
            if inside.issuperset(terms):
                there.add(terms)
        for label, polynomial, terms in self._known:
            if inside.issuperset(terms) and not every.remainder(terms) and there.add(terms):
                self._keep(polynomial, label, cofactor)
        for vector in vectors:
            rest = there.remainder(vector)
            if rest:
                there.add(rest)
                self._keep(self._primitive(rest), "", cofactor)

    def _keep(self, polynomial: Any, label: str, cofactor: tuple[Fraction, Fraction]) -> None:
        degree = self.field.ring.degree(polynomial)
        self.found.append(NumericDarboux(polynomial, label, cofactor, degree))

    def _products(self, cofactor: tuple[Fraction, Fraction], degree: int) -> Iterator[Any]:
        """Products of what was found that have this cofactor, up to the degree."""

        def grow(start: int, product: Any, left: int, missing: tuple[Fraction, Fraction]) -> Iterator[Any]:
            if not any(missing) and left < degree:
                yield product
            for k in range(start, len(self.found)):
                factor = self.found[k]
                if factor.degree <= left:
                    rest = (missing[0] - factor.cofactor[0], missing[1] - factor.cofactor[1])
                    yield from grow(k, product * factor.polynomial, left - factor.degree, rest)

        return grow(0, self.field.ring.ring.one, degree, cofactor)

    def _primitive(self, terms: Mapping[Exponents, Fraction]) -> Any:
        """Integer coefficients without a common factor, the first one positive."""
        scale = Fraction(
            lcm(*(x.denominator for x in terms.values())), gcd(*(x.numerator for x in terms.values()))
        )
        polynomial = self.field.polynomial({key: x * scale for key, x in terms.items()})
        return polynomial if polynomial.LC > 0 else -polynomial
