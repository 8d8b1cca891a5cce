"""Finds the Darboux polynomials of a numeric field up to a degree, with cofactors k₀ + k₁ c."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from flint import fmpq

from derive.errors import InputError
from derive.flint_polynomials import number
from derive.invariants.linear_algebra import Span, coefficients, null_space, pencil_eigenvalues, residues
from derive.invariants.monomials import MonomialBlock, NumericField
from derive.invariants.ring import positive

# This is the largest number of columns of a matrix pencil; the time grows as its cube.
LARGEST_BLOCK = 160


@dataclasses.dataclass(frozen=True)
class NumericDarboux:
    """A Darboux polynomial f with numbers for the parameters.

    polynomial
        f in the ring of the model; its coefficients are integers without a common factor.
    label
        The name of f if it is known, else "".
    cofactor
        (k₀, k₁) with L f = (k₀ + k₁ c) f.
    degree
        The degree of f.
    """

    polynomial: Any
    label: str
    cofactor: tuple[fmpq, fmpq]
    degree: int


class DarbouxSearch:
    """Collects Darboux polynomials degree by degree; products of earlier ones are left out.

    field
        The drift with numbers.
    direction
        The polynomial c, without a constant part; it may be 0.
    known
        Polynomials with names, which are chosen before others with the same cofactor.
    """

    def __init__(self, field: NumericField, direction: Any, known: Sequence[tuple[str, Any]]) -> None:
        self.field = field
        self.found: list[NumericDarboux] = []
        self._direction = direction
        self._eigenvalues_at_infinity: set[Fraction] = set()
        self._known = known

    def extend(self, degree: int) -> None:
        """Find all Darboux polynomials up to `degree`, which grows by one from call to call.

        Raises InputError if there are too many monomials.
        """
        if self._even:
            for block in self.field.blocks(degree, degree):
                self._eigenvalues_at_infinity |= set(self._pencil(block, fmpq(0), degree))
        for block in self.field.blocks(degree):
            if len(block.monomials) > LARGEST_BLOCK:
                raise InputError(
                    "degree",
                    f"{degree} means {len(block.monomials)} monomials of one parity,"
                    f" more than {LARGEST_BLOCK}",
                )
            for k0 in sorted(set(block.rates)):
                for k1 in self._eigenvalues(block, k0):
                    if any((k0, k1)):
                        self._collect(block, (k0, number(k1)), degree)

    def conserved(self, degree: int) -> list[Any]:
        """A basis of the polynomials up to `degree` with L f = 0, without constants."""
        found = (combined(v, b.monomials) for b in self.field.blocks(degree) for v in null_space(b.columns))
        ring = self.field.ring
        changing = (polynomial - ring.constant_term(polynomial) for polynomial in found)
        return [positive(polynomial) for polynomial in changing if polynomial]

    @property
    def _even(self) -> bool:
        """Whether L f and c f reach the same degree, so that the leading part of f alone fixes k₁."""
        return bool(self._direction) and self._direction.total_degree() == self.field.degree - 1

    def _eigenvalues(self, block: MonomialBlock, k0: fmpq) -> Sequence[Fraction]:
        """The k₁ at which there may be an f in the block."""
        if not self._direction:
            return [Fraction(0)]
        if self._even:
            return sorted(self._eigenvalues_at_infinity)
        return self._pencil(block, k0, 0)

    def _pencil(self, block: MonomialBlock, k0: fmpq, leading: int) -> Sequence[Fraction]:
        """The k₁ at which (L − k₀) − k₁ c loses rank, or its leading part if `leading` is their degree."""
        shifted = self._columns(block, (k0, fmpq(0)))
        multiplied = [self._direction * monomial for monomial in block.monomials]
        top = leading + self.field.degree - 1
        rows = {e for f in (*shifted, *multiplied) for e in f.monoms() if not leading or sum(e) == top}
        A, B = (residues(coefficients(columns, sorted(rows))) for columns in (shifted, multiplied))
        return pencil_eigenvalues(A, B)

    def _columns(self, block: MonomialBlock, cofactor: tuple[fmpq, fmpq]) -> list[Any]:
        """(L − k₀ − k₁ c) on the monomials of the block."""
        factor = cofactor[0] + cofactor[1] * self._direction
        return [
            derivative - factor * monomial
            for monomial, derivative in zip(block.monomials, block.columns, strict=True)
        ]

    def _collect(self, block: MonomialBlock, cofactor: tuple[fmpq, fmpq], degree: int) -> None:
        vectors = [combined(v, block.monomials) for v in null_space(self._columns(block, cofactor))]
        every, there = Span(), Span()
        for vector in vectors:
            every.add(vector)
        for product in self._products(cofactor, degree):
            if not every.remainder(product):
                there.add(product)
        for label, polynomial in self._known:
            if not every.remainder(polynomial) and there.add(polynomial):
                self._keep(polynomial, label, cofactor)
        for vector in vectors:
            rest = there.remainder(vector)
            if rest:
                there.add(rest)
                self._keep(positive(rest), "", cofactor)

    def _keep(self, polynomial: Any, label: str, cofactor: tuple[fmpq, fmpq]) -> None:
        degree = self.field.ring.degree(polynomial)
        self.found.append(NumericDarboux(polynomial, label, cofactor, degree))

    def _products(self, cofactor: tuple[fmpq, fmpq], degree: int) -> Iterator[Any]:
        """The products of found polynomials that have this cofactor, up to the degree."""

        def grow(start: int, product: Any, left: int, missing: tuple[fmpq, fmpq]) -> Iterator[Any]:
            if not any(missing) and left < degree:
                yield product
            for k in range(start, len(self.found)):
                factor = self.found[k]
                if factor.degree <= left:
                    rest = (missing[0] - factor.cofactor[0], missing[1] - factor.cofactor[1])
                    yield from grow(k, product * factor.polynomial, left - factor.degree, rest)

        return grow(0, self.field.ring.one, degree, cofactor)


def combined(vector: Sequence[fmpq], polynomials: Sequence[Any]) -> Any:
    """Σ vector_k polynomial_k."""
    return sum(x * f for x, f in zip(vector, polynomials, strict=True) if x != 0)
