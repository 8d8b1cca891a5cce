"""Computes with small matrices of polynomials, tuples of rows: products, determinants and adjugates.

Entries may be of any commutative ring. Nothing is divided, so results are polynomials again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Matrix = tuple[tuple[Any, ...], ...]


def matrix(rows: int, columns: int, entry: Callable[[int, int], Any]) -> Matrix:
    """The matrix with these entries; indices count from 0."""
    return tuple(tuple(entry(i, j) for j in range(columns)) for i in range(rows))


def diagonal(numbers: Sequence[Any]) -> Matrix:
    """The diagonal matrix of these numbers."""
    return matrix(len(numbers), len(numbers), lambda i, j: numbers[i] if i == j else 0)


def transposed(A: Matrix) -> Matrix:
    return tuple(zip(*A, strict=True))


def product(*factors: Matrix) -> Matrix:
    """The product of one or more matrices, from left to right."""
    result = factors[0]
    for factor in factors[1:]:
        columns = transposed(factor)
        result = tuple(
            tuple(sum(x * y for x, y in zip(row, column, strict=True)) for column in columns)
            for row in result
        )
    return result


def combination(*terms: tuple[Any, Matrix]) -> Matrix:
    """Σ scalar · matrix."""
    (rows, columns) = shape(terms[0][1])
    return matrix(rows, columns, lambda i, j: sum(scalar * A[i][j] for scalar, A in terms))


def commutator(A: Matrix, B: Matrix) -> Matrix:
    """AB − BA."""
    return combination((1, product(A, B)), (-1, product(B, A)))


def trace(A: Matrix) -> Any:
    return sum(A[i][i] for i in range(len(A)))


def shape(A: Matrix) -> tuple[int, int]:
    return len(A), len(A[0])


def determinant(A: Matrix, one: Any = 1) -> Any:
    """The determinant of a matrix of a few rows, by expansion along the first; `one` if there are none."""
    if not A:
        return one
    if len(A) == 1:
        return A[0][0]
    return sum(
        (-1) ** j * entry * determinant(_without(A, 0, j), one) for j, entry in enumerate(A[0]) if entry
    )


def adjugate(A: Matrix, one: Any = 1) -> Matrix:
    """The adjugate adj(A), for which A adj(A) = det(A) 1."""
    size = len(A)
    return matrix(size, size, lambda i, j: (-1) ** (i + j) * determinant(_without(A, j, i), one))


def minors(A: Matrix) -> Iterator[tuple[tuple[int, ...], Any]]:
    """(columns, minor) for the maximal minors of a matrix with at least as many columns as rows."""
    for columns in itertools.combinations(range(shape(A)[1]), len(A)):
        yield columns, determinant(tuple(tuple(row[j] for j in columns) for row in A))


def entries(*matrices: Matrix) -> Iterator[Any]:
    """All entries, row by row."""
    for A in matrices:
        for row in A:
            yield from row


def upper_triangle(A: Matrix) -> list[Any]:
    """The entries on and above the diagonal, row by row."""
    return [A[i][j] for i in range(len(A)) for j in range(i, len(A))]


def below_diagonal(A: Matrix) -> list[Any]:
    return [A[i][j] for i in range(len(A)) for j in range(i)]


def _without(A: Sequence[Sequence[Any]], row: int, column: int) -> Matrix:
    return tuple((*r[:column], *r[column + 1 :]) for k, r in enumerate(A) if k != row)
