"""Coefficients against order conditions that nodepy derives from rooted trees."""

from __future__ import annotations

import numpy as np
import pytest
from nodepy import rk

from runtime.trajectory.tableaux import TABLEAUX

ROUNDING = 1e-13
# Order of the dense output: continuous extensions of order 4 and 7 in the publications.
DENSE_ORDER = {"tsit5": 4, "prince8": 7, "dop853": 7}
EMBEDDED_ORDER = {"tsit5": (4,), "prince8": (6,), "dop853": (5, 3)}
ORDER = {"tsit5": 5, "prince8": 8, "dop853": 8}

NAMES = {tableau: name for name, tableau in TABLEAUX.items()}


@pytest.fixture(params=TABLEAUX, autouse=True)
def tableau(request):
    return TABLEAUX[request.param]


def all_slopes(tableau):
    """The stages, the slope at the end of the step and extra stages as one Butcher matrix."""
    stages = tableau.b.size
    a = np.zeros((tableau.slopes, tableau.slopes))
    a[:stages, :stages] = tableau.a
    a[stages, :stages] = tableau.b
    a[stages + 1 :] = tableau.extra
    return a


def of_all(tableau, weights):
    """Weights of the first slopes as weights of all."""
    return np.append(weights, np.zeros(tableau.slopes - len(weights)))


def order(a, b):
    return rk.ExplicitRungeKuttaMethod(a, b).order(tol=1e-10)


def dense_weights(tableau, theta):
    return tableau.p @ theta ** np.arange(1, tableau.p.shape[1] + 1)


def test_step_has_its_order_and_no_more(tableau):
    assert order(tableau.a, tableau.b) == tableau.order == ORDER[NAMES[tableau]]


def test_embedded_solution_has_the_error_order(tableau):
    orders = []
    for e in (tableau.e, tableau.e_low):
        if e.size:
            embedded = np.append(tableau.b, 0.0) - e
            stages = slice(embedded.size)
            orders.append(order(all_slopes(tableau)[stages, stages], embedded))
    assert tuple(orders) == EMBEDDED_ORDER[NAMES[tableau]]
    # |E|² / |L| of two estimates of h^(m+1) and h^(l+1).
    combined = orders[0] if len(orders) == 1 else 2 * orders[0] - orders[1]
    assert tableau.error_order == combined


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
    for e in (tableau.e, tableau.e_low):
        assert e.sum() == pytest.approx(0.0, abs=ROUNDING)
        assert e.size in (0, tableau.b.size + 1)


def test_dense_output_joins_both_ends_of_the_step(tableau):
    np.testing.assert_array_equal(dense_weights(tableau, 0.0), 0.0)
    # The coefficients of the polynomials are up to 1600.
    np.testing.assert_allclose(dense_weights(tableau, 1.0), of_all(tableau, tableau.b), atol=1e-12)


@pytest.mark.parametrize("theta", [0.1, 0.35, 0.5, 0.8, 0.99])
def test_order_of_dense_output(tableau, theta):
    # y(θ) is a step of size θh by the tableau scaled by 1/θ.
    scaled = all_slopes(tableau) / theta, dense_weights(tableau, theta) / theta
    assert rk.ExplicitRungeKuttaMethod(*scaled).order(tol=1e-9) == DENSE_ORDER[NAMES[tableau]]


def test_dense_output_is_continuously_differentiable(tableau):
    powers = np.arange(1, tableau.p.shape[1] + 1)
    at_start, at_end = tableau.p[:, 0], tableau.p @ powers
    np.testing.assert_allclose(at_start, np.eye(tableau.slopes)[0], atol=1e-12)
    np.testing.assert_allclose(at_end, np.eye(tableau.slopes)[tableau.b.size], atol=1e-11)


def test_tableaux_cannot_be_changed(tableau):
    for array in (tableau.a, tableau.b, tableau.c, tableau.e, tableau.e_low, tableau.extra, tableau.p):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0


def test_the_paper_is_cited(tableau):
    assert any(year in tableau.source for year in ("1993", "2011", "2018"))


def test_dop853_is_that_of_scipy():
    peer = pytest.importorskip("scipy.integrate._ivp.dop853_coefficients")
    own = TABLEAUX["dop853"]
    np.testing.assert_array_equal(all_slopes(own), peer.A)
    np.testing.assert_array_equal((own.e, own.e_low), (peer.E5, peer.E3))
