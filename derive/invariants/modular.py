"""Linear algebra modulo a prime, as a filter for exact work: ranks, null spaces, singular pencils.

A matrix that has full rank modulo the prime has full rank; what is singular modulo the prime is
looked at again exactly by the caller. The prime is 2³¹ − 1: products fit in 64 bits.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

import numpy as np
from numpy.typing import NDArray

PRIME = 2**31 - 1
# Numerators and denominators up to this are recovered from their value modulo the prime.
LARGEST_FRACTION = isqrt(PRIME // 2)

Array = NDArray[np.int64]


def residue(value: Fraction) -> int:
    """A rational number modulo the prime, which must not divide its denominator."""
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME


def fraction(number: int) -> Fraction | None:
    """The fraction with small numerator and denominator that has this residue, if there is one.

    By the extended Euclidean algorithm (P. S. Wang, Proc. SYMSAC, 212 (1981)).
    """
    previous, current = (PRIME, 0), (number % PRIME, 1)
    while current[0] > LARGEST_FRACTION:
        quotient = previous[0] // current[0]
        previous, current = (
            current,
            (previous[0] - quotient * current[0], previous[1] - quotient * current[1]),
        )
    if current[1] == 0 or abs(current[1]) > LARGEST_FRACTION:
        return None
    return Fraction(current[0], current[1])


def echelon(matrix: Array) -> tuple[Array, list[int]]:
    """The reduced row echelon form without its zero rows, and its pivot columns."""
    A = matrix % PRIME
    pivots: list[int] = []
    for column in range(A.shape[1]):
        row = len(pivots)
        below = np.flatnonzero(A[row:, column])
        if below.size == 0:
            continue
        chosen = row + int(below[0])
        A[[row, chosen]] = A[[chosen, row]]
        A[row] = A[row] * pow(int(A[row, column]), -1, PRIME) % PRIME
        others = np.flatnonzero(A[:, column])
        others = others[others != row]
        A[others] = (A[others] - A[others, column, None] * A[row]) % PRIME
        pivots.append(column)
        if len(pivots) == A.shape[0]:
            break
    return A[: len(pivots)], pivots


def rank(matrix: Array) -> int:
    return len(echelon(matrix)[1])


def null_space(matrix: Array) -> Array:
    """A basis (rows) of the vectors that the matrix sends to zero, one free column each."""
    reduced, pivots = echelon(matrix)
    free = [column for column in range(matrix.shape[1]) if column not in set(pivots)]
    basis = np.zeros((len(free), matrix.shape[1]), dtype=np.int64)
    for row, column in enumerate(free):
        basis[row, column] = 1
        basis[row, pivots] = -reduced[:, column] % PRIME
    return basis


def product(A: Array, B: Array) -> Array:
    """AB modulo the prime."""
    result = np.zeros((A.shape[0], B.shape[1]), dtype=np.int64)
    for k in range(A.shape[1]):
        result = (result + A[:, k, None] * B[None, k]) % PRIME
    return result


def determinants(stack: Array) -> list[int]:
    """The determinants of matrices (m, n, n), all at once."""
    A = stack % PRIME
    count, size, _ = A.shape
    every = np.arange(count)
    result = [1] * count
    for k in range(size):
        pivot = k + np.argmax(A[:, k:, k] != 0, axis=1)
        swapped = A[every, pivot].copy()
        A[every, pivot] = A[:, k]
        A[:, k] = swapped
        heads = A[:, k, k].tolist()
        signs = (-1) ** (pivot != k)
        result = [
            value * head * int(sign) % PRIME for value, head, sign in zip(result, heads, signs, strict=True)
        ]
        inverses = np.array([pow(head, -1, PRIME) if head else 0 for head in heads], dtype=np.int64)
        factors = A[:, k + 1 :, k] * inverses[:, None] % PRIME
        A[:, k + 1 :, k:] = (A[:, k + 1 :, k:] - factors[:, :, None] * A[:, None, k, k:]) % PRIME
    return result


def pencil_eigenvalues(A: Array, B: Array) -> list[Fraction]:
    """Every small fraction x at which A − xB, (m, n) with m ≥ n, may lose rank; ascending.

    Where the rank drops, so do the determinants of all n combinations of its rows; two random
    sets of combinations have hardly another root in common. Empty if it drops everywhere.
    """
    from sympy import ZZ
    from sympy.polys.galoistools import gf_gcd, gf_monic, gf_sqf_part

    size = A.shape[1]
    if A.shape[0] < size:
        return []
    generator = np.random.default_rng(size)
    common: list[int] = []
    for _ in range(2):
        mix = generator.integers(1, PRIME, size=(size, A.shape[0]), dtype=np.int64)
        left, right = product(mix, A), product(mix, B)
        points = np.arange(size + 1, dtype=np.int64)
        stack = np.asarray((left[None] - points[:, None, None] * right[None]) % PRIME, dtype=np.int64)
        polynomial = interpolated(determinants(stack))
        common = gf_gcd(common, polynomial, PRIME, ZZ)
    if len(common) <= 1:
        return []
    _, monic = gf_monic(gf_sqf_part(common, PRIME, ZZ), PRIME, ZZ)
    roots = (fraction(root) for root in _roots(monic))
    return sorted(root for root in roots if root is not None)


def interpolated(values: list[int]) -> list[int]:
    """Coefficients, highest first, of the polynomial with these values at 0, 1, 2, …"""
    divided = list(values)
    count = len(values)
    for order in range(1, count):
        inverse = pow(order, -1, PRIME)
        for k in range(count - 1, order - 1, -1):
            divided[k] = (divided[k] - divided[k - 1]) * inverse % PRIME
    # Newton's form by Horner's rule.
    coefficients = [0]
    for k in range(count - 1, -1, -1):
        shifted = [*coefficients, 0]
        for j, coefficient in enumerate(coefficients):
            shifted[j + 1] = (shifted[j + 1] - k * coefficient) % PRIME
        shifted[-1] = (shifted[-1] + divided[k]) % PRIME
        coefficients = shifted
    while coefficients and coefficients[0] == 0:
        coefficients.pop(0)
    return coefficients


def _roots(polynomial: list[int]) -> list[int]:
    """The roots of a monic square-free polynomial."""
    from sympy import ZZ
    from sympy.polys.galoistools import gf_factor_sqf

    _, factors = gf_factor_sqf(polynomial, PRIME, ZZ)
    return [int(-factor[1]) % PRIME for factor in factors if len(factor) == 2]
