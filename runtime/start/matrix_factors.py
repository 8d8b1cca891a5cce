"""Factorises small matrices, with results that are the same to the last bit on every machine.

Eigenvectors from LAPACK depend on the processor: by rounding, and altogether where eigenvalues are
equal. These factors are computed by elementwise operations in a fixed order, and are continuous in the
matrix where it is regular.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EPSILON = float(np.finfo(np.float64).eps)
_LARGEST_EXPONENT = math.log(float(np.finfo(np.float64).max))
# A pivot is the first entry that is at least this part of the largest: rows keep their order unless
# they depend on each other, and equal rows do not change places with rounding.
_FIRST = 0.1
_SWEEPS = 60


def sizes_of(matrix: Array) -> Array:
    """Square roots of the diagonals (…, n) of matrices (…, n, n); 0 where an entry is negative."""
    return np.sqrt(np.maximum(np.diagonal(matrix, axis1=-2, axis2=-1), 0.0))


def scaled(matrix: Array, sizes: Array) -> Array:
    """Matrices (…, n, n) with rows and columns divided by their sizes (…, n); 0 where that is 0."""
    inverse = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > 0.0)
    result = matrix * inverse[..., :, None]
    result *= inverse[..., None, :]
    return np.asarray(result)


def pivoted_cholesky(matrix: Array, rounding: float, most: int) -> tuple[Array, NDArray[np.int64], Array]:
    """L (k, n, most), ranks (k,), and how far L Lᵀ is from matrices (k, n, n), (k,).

    Pivots of at most `rounding` count as zero, and only `most` are used; columns of L after the rank
    are zero. Cholesky's factorisation with pivots (N. J. Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd edition, ch. 10.3); the rows stay in place, so that L is lower triangular
    where pivots come in order.
    """
    left = matrix.copy()
    factor = np.zeros((*matrix.shape[:-1], most))
    ranks = np.zeros(len(matrix), dtype=np.int64)
    runs = np.arange(len(matrix))
    for k in range(most):
        diagonal = np.diagonal(left, axis1=1, axis2=2)
        largest = np.max(diagonal, axis=1, initial=0.0)
        # Entries beside the diagonal that exceed those on it are rounding, or the matrix is not positive.
        going = (largest > rounding) & (2.0 * largest >= np.max(np.abs(left), axis=(1, 2)))
        if not going.any():
            break
        pivots = np.argmax(diagonal >= _FIRST * largest[:, None], axis=1)
        roots = np.where(going, np.sqrt(np.where(going, left[runs, pivots, pivots], 1.0)), np.inf)
        column = left[runs, :, pivots] / roots[:, None]
        factor[:, :, k] = column
        left -= column[:, :, None] * column[:, None, :]
        left[runs[going], pivots[going], :] = 0.0
        left[runs[going], :, pivots[going]] = 0.0
        ranks += going
    return factor, ranks, np.max(np.abs(left), axis=(1, 2), initial=0.0)


def lower_triangular(factor: Array) -> Array:
    """Lower triangular S (k, n, m), without negative numbers on the diagonal, with S Sᵀ = F Fᵀ.

    Two columns at a time are rotated, where there is something to rotate.
    """
    factor = factor.copy()
    for i in range(min(factor.shape[1:])):
        for j in range(factor.shape[2] - 1, i, -1):
            turned = np.flatnonzero(factor[:, i, j])
            if not turned.size:
                continue
            first, second = factor[turned, i:, i], factor[turned, i:, j]
            x, y = first[:, :1], second[:, :1]
            size = np.maximum(np.abs(x), np.abs(y))
            length = size * np.sqrt((x / size) ** 2 + (y / size) ** 2)
            cosine, sine = x / length, y / length
            factor[turned, i:, i] = cosine * first + sine * second
            factor[turned, i:, j] = cosine * second - sine * first
            factor[turned, i, j] = 0.0
        factor[:, i:, i] *= np.where(factor[:, i, i] < 0.0, -1.0, 1.0)[:, None]
    return factor


def orthogonal_columns(factor: Array) -> Array:
    """G (n, k) with orthogonal columns, the shortest first, and G Gᵀ = F Fᵀ.

    This is the Jacobi method on columns (M. R. Hestenes, J. SIAM 6, 51 (1958)), on all pairs at once that
    have no column in common. Columns that are orthogonal stay as they are.
    """
    factor = factor.copy()
    count = factor.shape[1]
    for _ in range(_SWEEPS):
        turned = False
        for first, second in _rounds(count):
            x, y = factor[:, first], factor[:, second]
            xx, yy, xy = (np.sum(product, axis=0) for product in (x * x, y * y, x * y))
            skew = np.abs(xy) > len(factor) * EPSILON * np.sqrt(xx) * np.sqrt(yy)
            if not skew.any():
                continue
            turned = True
            ratio = (yy - xx) / np.where(skew, 2.0 * xy, 1.0)
            tangent = np.copysign(1.0, ratio) / (np.abs(ratio) + np.sqrt(1.0 + ratio * ratio))
            tangent = np.where(skew, tangent, 0.0)
            cosine = 1.0 / np.sqrt(1.0 + tangent * tangent)
            factor[:, first] = cosine * (x - tangent * y)
            factor[:, second] = cosine * (tangent * x + y)
        if not turned:
            break
    return factor[:, np.argsort(np.sum(factor * factor, axis=0), kind="stable")]


def _rounds(count: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of columns, in rounds in which each column occurs once, as in a tournament."""
    players = list(range(count + count % 2))
    half = len(players) // 2
    rounds = []
    for _ in range(len(players) - 1):
        pairs = [sorted(pair) for pair in zip(players[:half], players[: half - 1 : -1], strict=True)]
        first, second = (
            np.array([pair for pair in pairs if pair[1] < count], dtype=np.int64).reshape(-1, 2).T
        )
        rounds.append((first, second))
        players = [players[0], players[-1], *players[1:-1]]
    return rounds


def least_squares(design: Array, values: Array, rounding: float = 1e-12) -> Array:
    """x (k,) that minimises |A x − b| for A (n, k) and b (n,); 0 for columns that add nothing.

    This is the modified Gram-Schmidt method on A and b together, which is as stable as reflections
    (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, ch. 20.3).
    """
    columns, rest = design.T.copy(), values.copy()
    count = len(columns)
    triangle, sides = np.zeros((count, count)), np.zeros(count)
    for j in range(count):
        before, norm = (np.sqrt(np.sum(column * column)) for column in (design[:, j], columns[j]))
        if not norm > rounding * before:
            continue
        unit = columns[j] / norm
        triangle[j, j] = norm
        triangle[j, j + 1 :] = np.sum(unit * columns[j + 1 :], axis=1)
        columns[j + 1 :] -= triangle[j, j + 1 :, None] * unit
        sides[j] = np.sum(unit * rest)
        rest -= sides[j] * unit
    solution = np.zeros(count)
    for j in reversed(range(count)):
        if triangle[j, j] > 0.0:
            solution[j] = (sides[j] - np.sum(triangle[j] * solution)) / triangle[j, j]
    return solution


def logarithm(x: Array) -> Array:
    """Natural logarithms by the C library, −∞ at 0 and NaN below; NumPy's own depend on the processor."""

    def one(value: float) -> float:
        return -math.inf if value == 0.0 else math.nan if value < 0.0 else math.log(value)

    return np.array([one(value) for value in x.ravel().tolist()]).reshape(x.shape)


def exponential(x: Array) -> Array:
    """Exponentials by the C library, infinite where they overflow; NumPy's own depend on the processor."""

    def one(value: float) -> float:
        return math.exp(value) if value < _LARGEST_EXPONENT else value if math.isnan(value) else math.inf

    return np.array([one(value) for value in x.ravel().tolist()]).reshape(x.shape)
