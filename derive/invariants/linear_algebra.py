"""Finds exact linear relations between polynomials: null spaces, spans, and singular pencils.

A matrix that has full rank modulo a prime has full rank. A matrix that is singular modulo the prime is
examined again over the rational numbers.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from fractions import Fraction
from math import isqrt
from typing import Any

from flint import fmpq, fmpq_mat, nmod, nmod_mat, nmod_poly

PRIME = 2**31 - 1
# Numerators and denominators up to this are recovered from their value modulo the prime.
LARGEST_FRACTION = isqrt(PRIME // 2)


def coefficients(polynomials: Sequence[Any], monomials: Collection[tuple[int, ...]]) -> fmpq_mat:
    """The matrix of coefficients, with a row for each monomial and a column for each polynomial."""
    columns = [polynomial.to_dict() for polynomial in polynomials]
    entries = [column.get(monomial, 0) for monomial in monomials for column in columns]
    return fmpq_mat(len(monomials), len(columns), entries)


def residues(matrix: fmpq_mat) -> nmod_mat:
    """The matrix modulo the prime, which must not divide a denominator."""
    numerators, denominator = matrix.numer_denom()
    return nmod_mat(numerators, PRIME) / int(denominator)


def null_space(polynomials: Sequence[Any]) -> list[list[fmpq]]:
    """A basis of the vectors v with Σ v_k polynomial_k = 0; each has a 1 where the others have 0."""
    matrix = coefficients(polynomials, {monomial for f in polynomials for monomial in f.monoms()})
    count = len(polynomials)
    if nmod_mat(matrix.numer_denom()[0], PRIME).rank() == count:
        return []
    reduced, rank = matrix.rref()
    rows = reduced.tolist()[:rank]
    pivots = [next(k for k, x in enumerate(row) if x != 0) for row in rows]
    basis = []
    for free in sorted(set(range(count)).difference(pivots)):
        vector = [fmpq(int(k == free)) for k in range(count)]
        for pivot, row in zip(pivots, rows, strict=True):
            vector[pivot] = -row[free]
        basis.append(vector)
    return basis


class Span:
    """The span of polynomials, built one at a time."""

    def __init__(self) -> None:
        self._reduced: list[tuple[tuple[int, ...], Any]] = []

    def remainder(self, polynomial: Any) -> Any:
        """The polynomial reduced by the span; it is 0 if the polynomial is in the span."""
        for pivot, row in self._reduced:
            polynomial = polynomial - polynomial[pivot] * row
        return polynomial

    def add(self, polynomial: Any) -> bool:
        """Extend the span by the polynomial; returns whether it was not in the span yet."""
        rest = self.remainder(polynomial)
        if rest:
            self._reduced.append((rest.monomial(0), rest / rest.leading_coefficient()))
        return bool(rest)


def pencil_eigenvalues(A: nmod_mat, B: nmod_mat) -> list[Fraction]:
    """Every small fraction x at which A − xB, of shape (m, n) with m ≥ n, may lose rank; ascending.

    Where the rank drops, the determinant of any n combinations of its rows vanishes. Two random sets of
    combinations have hardly another root in common. The list is empty if the rank drops at every x.
    """
    rows, size = A.nrows(), A.ncols()
    if rows < size:
        return []
    generator = random.Random(size)
    shift = generator.randrange(PRIME)
    common = nmod_poly([], PRIME)
    for _ in range(2):
        mix = nmod_mat(size, rows, [generator.getrandbits(31) for _ in range(size * rows)], PRIME)
        right = mix * B
        shifted = mix * A - right * shift
        # det(M − tB) = det M · tⁿ χ(1/t) for M = A − shift B and the characteristic polynomial χ of M⁻¹B.
        if int(shifted.det()):
            common = common.gcd(shifted.solve(right).charpoly().reverse())
    roots = (small_fraction(root + shift) for root, _ in (common.roots() if common else ()))
    return sorted(root for root in roots if root is not None)


def small_fraction(residue: nmod) -> Fraction | None:
    """The fraction with small numerator and denominator that has this residue, if there is one.

    By the extended Euclidean algorithm (P. S. Wang, Proc. SYMSAC, 212 (1981)).
    """
    previous, current = (PRIME, 0), (int(residue), 1)
    while current[0] > LARGEST_FRACTION:
        quotient = previous[0] // current[0]
        previous, current = (
            current,
            (previous[0] - quotient * current[0], previous[1] - quotient * current[1]),
        )
    if current[1] == 0 or abs(current[1]) > LARGEST_FRACTION:
        return None
    return Fraction(current[0], current[1])
