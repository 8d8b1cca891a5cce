"""Coefficients against order conditions that nodepy derives from rooted trees."""

from __future__ import annotations

import numpy as np
import pytest
from nodepy import rk

from runtime.tableaux import TABLEAUX

ROUNDING = 1e-13
# Order of the dense output: continuous extensions of order 4 and 7 in the publications.
DENSE_ORDER = {"tsit5": 4, "prince8": 7}
ERROR_ORDER = {"tsit5": 4, "prince8": 6}
ORDER = {"tsit5": 5, "prince8": 8}


@pytest.fixture(params=TABLEAUX, autouse=True)
def tableau(request):
    return TABLEAUX[request.param]


def with_last_slope(tableau):
    """The stages and k_s, the slope at the end of the step, as one Butcher matrix."""
    stages = tableau.b.size
    a = np.zeros((stages + 1, stages + 1))
    a[:stages, :stages] = tableau.a
    a[stages, :stages] = tableau.b
    return a


def order(a, b):
    return rk.ExplicitRungeKuttaMethod(a, b).order(tol=1e-10)


def dense_weights(tableau, theta):
    return tableau.p @ theta ** np.arange(1, tableau.p.shape[1] + 1)


def test_step_has_its_order_and_no_more(tableau):
    assert order(tableau.a, tableau.b) == tableau.order == ORDER[tableau.name]


def test_embedded_solution_has_the_error_order(tableau):
    embedded = np.append(tableau.b, 0.0) - tableau.e
    assert order(with_last_slope(tableau), embedded) == tableau.error_order == ERROR_ORDER[tableau.name]


def test_a_wrong_digit_is_noticed(tableau):
    b = tableau.b.copy()
    b[-1] += 1e-9
    b[0] -= 1e-9
    assert order(tableau.a, b) < tableau.order


def test_nodes_are_row_sums_of_a_strictly_lower_triangle(tableau):
    np.testing.assert_allclose(tableau.a.sum(axis=1), tableau.c, atol=ROUNDING)
    assert not np.triu(tableau.a).any()


def test_weights_of_step_and_error_are_consistent(tableau):
    assert tableau.b.sum() == pytest.approx(1.0, abs=ROUNDING)
    assert tableau.e.sum() == pytest.approx(0.0, abs=ROUNDING)
    assert tableau.e.size == tableau.b.size + 1


def test_dense_output_joins_both_ends_of_the_step(tableau):
    np.testing.assert_array_equal(dense_weights(tableau, 0.0), 0.0)
    # Why 1e-12: the coefficients of the polynomials are up to 1600.
    np.testing.assert_allclose(dense_weights(tableau, 1.0), np.append(tableau.b, 0.0), atol=1e-12)


@pytest.mark.parametrize("theta", [0.1, 0.35, 0.5, 0.8, 0.99])
def test_order_of_dense_output(tableau, theta):
    # y(θ) is a step of size θh by the tableau scaled by 1/θ.
    scaled = with_last_slope(tableau) / theta, dense_weights(tableau, theta) / theta
    assert rk.ExplicitRungeKuttaMethod(*scaled).order(tol=1e-9) == DENSE_ORDER[tableau.name]


def test_dense_output_is_continuously_differentiable(tableau):
    powers = np.arange(1, tableau.p.shape[1] + 1)
    at_start, at_end = tableau.p[:, 0], tableau.p @ powers
    np.testing.assert_allclose(at_start, np.eye(tableau.e.size)[0], atol=1e-12)
    np.testing.assert_allclose(at_end, np.eye(tableau.e.size)[-1], atol=1e-11)


def test_tableaux_cannot_be_changed(tableau):
    for array in (tableau.a, tableau.b, tableau.c, tableau.e, tableau.p):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0


def test_the_paper_is_cited(tableau):
    assert any(year in tableau.source for year in ("2011", "2018"))
