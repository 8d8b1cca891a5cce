"""Factors and products of small matrices: right to rounding, in a fixed order, whatever the scales."""

from __future__ import annotations

import gc
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

from runtime.start.matrix_factors import (
    EPSILON,
    least_squares,
    lower_triangular,
    orthogonal_columns,
    pivoted_cholesky,
)
from runtime.vector import matrix_products
from runtime.vector.jit import CompiledModule
from runtime.vector.matrix_products import times_transpose

RNG = np.random.default_rng(0)
SHAPES = [(1, 1), (1, 5), (2, 3), (3, 2), (4, 6), (5, 20)]


@pytest.mark.parametrize(("rows", "depth"), SHAPES)
@pytest.mark.parametrize("columns", [1, 3, 4, 8, 13])
def test_products_are_sums_in_order_with_one_rounding_per_term(rows, columns, depth):
    rng = np.random.default_rng([rows, columns, depth])
    X, Y = rng.standard_normal((2, rows, depth)), rng.standard_normal((2, columns, depth))

    def entry(x, y):
        total = 0.0
        for a, b in zip(x, y, strict=True):
            total = _fma(a, b, total)
        return total

    expected = [[[entry(x, y) for y in Y[k]] for x in X[k]] for k in range(2)]
    np.testing.assert_array_equal(times_transpose(X, Y), expected)
    np.testing.assert_array_equal(times_transpose(X, Y[0])[1], times_transpose(X[1], Y[0]))


def _fma(a, b, c):
    """a b + c with one rounding, by exact fractions."""
    return float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


def test_products_of_empty_and_strided_arrays():
    assert times_transpose(np.zeros((0, 2, 3)), np.zeros((4, 3))).shape == (0, 2, 4)
    np.testing.assert_array_equal(times_transpose(np.zeros((2, 0)), np.zeros((3, 0))), np.zeros((2, 3)))
    X = RNG.standard_normal((3, 4, 5))
    np.testing.assert_array_equal(
        times_transpose(X[:, ::2, 1:], X[:, ::2, 1:]),
        times_transpose(X[:, ::2, 1:].copy(), X[:, ::2, 1:].copy()),
    )
    with pytest.raises(ValueError, match="do not fit"):
        times_transpose(np.zeros((2, 3)), np.zeros((2, 4)))


def test_cholesky_of_regular_matrices_is_the_usual_one():
    W = RNG.standard_normal((6, 5, 9))
    M = W @ np.swapaxes(W, 1, 2) / 9
    L, ranks, missed = pivoted_cholesky(M, 1e-13, 5)
    np.testing.assert_allclose(L, np.linalg.cholesky(M), rtol=1e-12, atol=1e-14)
    assert (ranks == 5).all()
    assert (missed < 1e-14).all()


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_cholesky_of_singular_matrices_has_their_rank(rank):
    W = RNG.standard_normal((20, 5, rank))
    W[:, 1] = 2.0 * W[:, 0]
    M = W @ np.swapaxes(W, 1, 2)
    L, ranks, missed = pivoted_cholesky(M, 1e-13, 5)
    assert (ranks == rank).all()
    assert (L[:, :, rank:] == 0.0).all()
    np.testing.assert_allclose(L @ np.swapaxes(L, 1, 2), M, atol=1e-13)
    assert (missed < 1e-13).all()
    # Fewer columns than directions miss what these hold.
    if rank > 1:
        assert (pivoted_cholesky(M, 1e-13, rank - 1)[2] > 1e-3).all()


def test_rounding_changes_no_order():
    """All rows are alike: the first pivot must not be that whose norm was rounded up."""
    M = 0.7 * np.eye(4) + 0.3
    L = pivoted_cholesky(M[None], 1e-13, 4)[0]
    for _ in range(5):
        noise = 1e-15 * RNG.standard_normal((4, 4))
        np.testing.assert_allclose(
            pivoted_cholesky((M + noise + noise.T)[None], 1e-13, 4)[0], L, atol=1e-14
        )


def test_what_is_not_positive_is_missed():
    M = np.diag([1.0, 1.0, -1e-5])
    assert pivoted_cholesky(M[None], 1e-13, 3)[2].item() == 1e-5
    # On its diagonal this is rounding, beside it is not.
    M = np.array([[1e-12, 1e-6], [1e-6, 1e-12]])
    assert pivoted_cholesky(M[None], 1e-13, 2)[2].item() == 1e-6


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (4, 1), (4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e150])
def test_triangular_factors(rows, columns, scale):
    M = scale * RNG.standard_normal((7, rows, columns))
    M[1, 0] = 0.0
    M[2, -1] = M[2, 0]
    S = lower_triangular(M)
    assert (np.triu(S, 1) == 0.0).all()
    assert (np.diagonal(S, axis1=1, axis2=2) >= 0.0).all()
    M, S = M / scale, S / scale
    np.testing.assert_allclose(S @ np.swapaxes(S, 1, 2), M @ np.swapaxes(M, 1, 2), atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (4, 4), (9, 7), (40, 33)])
def test_orthogonal_columns(shape):
    M = RNG.standard_normal(shape)
    # Rows of any size keep their accuracy.
    sizes = np.logspace(-12, 0, shape[0])
    G = orthogonal_columns(sizes[:, None] * M)
    gram = G.T @ G
    norms = np.sqrt(np.diag(gram))
    assert (np.diff(norms) >= 0.0).all()
    np.testing.assert_allclose(gram / np.outer(norms, norms), np.eye(shape[1]), atol=4 * shape[0] * EPSILON)
    np.testing.assert_allclose((G @ G.T) / np.outer(sizes, sizes), M @ M.T, atol=1e-13 * shape[0])


def test_columns_that_are_orthogonal_stay():
    M = np.array([[0.0, 2.0], [1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(orthogonal_columns(M), M)


def test_least_squares():
    A, b = RNG.standard_normal((30, 4)), RNG.standard_normal(30)
    np.testing.assert_allclose(least_squares(A, b), np.linalg.lstsq(A, b, rcond=None)[0], rtol=1e-12)
    # Nearly dependent columns, and one that adds nothing.
    A[:, 2] = A[:, 1] + 1e-6 * A[:, 2]
    np.testing.assert_allclose(least_squares(A, b), np.linalg.lstsq(A, b, rcond=None)[0], rtol=1e-8)
    A[:, 3] = 0.0
    found = least_squares(A, b)
    assert found[3] == 0.0
    np.testing.assert_allclose(found[:3], np.linalg.lstsq(A[:, :3], b, rcond=None)[0], rtol=1e-8)
    assert math.isfinite(found.sum())


def test_machine_code_lives_as_long_as_its_function():
    """Threads that compile at the same time have a function each, and only one is kept for later calls."""
    function = matrix_products._compile.__wrapped__()
    gc.collect()
    assert isinstance(function.code, CompiledModule)
    X, Y = np.ones((20, 200, 200)), np.ones((200, 200))
    for _ in range(3):
        matrix_products._compile.cache_clear()
        together = threading.Barrier(4)

        def first(together=together):
            together.wait()
            return matrix_products.times_transpose(X, Y)

        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(first) for _ in range(4)]:
                np.testing.assert_array_equal(future.result(), 200.0)
