"""Known results for the mean readout and an orthonormal teacher, from the generated code."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

import runtime

WIDTHS = [(1, 1), (2, 1), (4, 2), (2, 3), (7, 3)]


@pytest.mark.parametrize(("p", "pstar"), WIDTHS)
def test_gradient_flow_plateau(interpreted, p, pstar):
    """R = 0, Q = p/(p+2): stationary, ε = 1/(p+2) + 1/p*, and R grows at the rate 4abη."""
    flow = interpreted(p, pstar, flow="gradient")
    Q, eta = p / (p + 2) * np.eye(p), 0.3
    dQ, dR = flow.rhs(Q, np.zeros((p, pstar)), eta)
    np.testing.assert_allclose(dQ, 0.0, atol=1e-15)
    np.testing.assert_array_equal(dR, 0.0)
    np.testing.assert_allclose(flow.loss(Q, np.zeros((p, pstar))), 1 / (p + 2) + 1 / pstar, rtol=1e-14)
    small = 1e-8 * np.random.default_rng(0).standard_normal((p, pstar))
    _, growth = flow.rhs(Q, small, eta)
    np.testing.assert_allclose(growth / small, 4 / (p * pstar) * eta, rtol=1e-12)


def test_sgd_plateau(interpreted):
    """(p, p*, η) = (4, 2, 0.4): q = 0.76393, ε = 0.67376, escape rate 0.17082."""
    sgd = interpreted(4, 2)
    no_alignment = np.zeros((4, 2))

    def growth_of_norm(q):
        return sgd.rhs(q * np.eye(4), no_alignment, 0.4)[0][0, 0]

    q = brentq(growth_of_norm, 0.6, 0.9, xtol=1e-14)
    small = np.full((4, 2), 1e-8)
    rate = sgd.rhs(q * np.eye(4), small, 0.4)[1] / small
    assert q == pytest.approx(0.76393, abs=5e-6)
    assert sgd.loss(q * np.eye(4), no_alignment) == pytest.approx(0.67376, abs=5e-6)
    np.testing.assert_allclose(rate, 0.17082, atol=5e-6)


@pytest.mark.parametrize(("p", "pstar"), WIDTHS)
def test_sphere_plateau(interpreted, p, pstar):
    sphere = interpreted(p, pstar, constraint="sphere")
    Q, R = np.eye(p), np.zeros((p, pstar))
    dQ, dR = sphere.rhs(Q, R, 0.4)
    np.testing.assert_array_equal(dQ, 0.0)
    np.testing.assert_array_equal(dR, 0.0)
    assert sphere.loss(Q, R) == pytest.approx(1 / p + 1 / pstar, rel=1e-14)


@pytest.mark.parametrize("readout", ["mean", "sum", "sqrt"])
@pytest.mark.parametrize(("p", "pstar"), [(2, 2), (4, 2), (5, 3)])
def test_zero_loss_manifold(interpreted, p, pstar, readout):
    """W = √(b/a) O W* with OᵀO = 1 has no loss and no drift, with the η² term too."""
    sgd = interpreted(p, pstar, readout=readout)
    ratio = {"mean": p / pstar, "sum": 1.0, "sqrt": np.sqrt(p / pstar)}[readout]
    orthogonal, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((p, pstar)))
    R = np.sqrt(ratio) * orthogonal
    dQ, dR = sgd.rhs(R @ R.T, R, 0.4)
    np.testing.assert_allclose(dQ, 0.0, atol=1e-13)
    np.testing.assert_allclose(dR, 0.0, atol=1e-13)
    assert sgd.loss(R @ R.T, R) == pytest.approx(0.0, abs=1e-13)


@pytest.mark.parametrize("flow", ["sgd", "gradient"])
def test_polar_factor_is_conserved_and_reached(system_of, flow):
    """From Q0 ∝ 1: singular vectors and polar factor of R constant, R(∞) = √(b/a) polar(R0)."""
    R0 = 0.05 * np.random.default_rng(2).standard_normal((4, 2))
    run = runtime.integrate(
        system_of(4, 2, flow=flow),
        np.eye(4),
        R0,
        eta=0.4,
        alpha=np.array([5.0, 20.0, 40.0, 80.0, 2e4]),
        rtol=1e-12,
        atol=1e-14,
    )
    left, _, right = np.linalg.svd(R0, full_matrices=False)
    polar = left @ right
    for R in run["R"].values:
        u, _, v = np.linalg.svd(R, full_matrices=False)
        np.testing.assert_allclose(u @ v, polar, atol=1e-10)
        diagonal = left.T @ R @ right.T
        np.testing.assert_allclose(diagonal, np.diag(np.diag(diagonal)), atol=1e-10)
    # The approach is a power law, so at α = 20 000 a distance of order 1/α remains.
    np.testing.assert_allclose(run["R"].values[-1], np.sqrt(4 / 2) * polar, atol=1e-4)


def test_squared_distance_to_the_nearest_solution():
    """tr Q0 + (b/a)p* − 2√(b/a)‖R0‖ is the least of |W − W_sol|²/N over sampled solutions."""
    rng = np.random.default_rng(4)
    N, p, pstar = 40, 4, 2
    W, teacher = (
        rng.standard_normal((p, N)),
        np.sqrt(N) * np.linalg.qr(rng.standard_normal((N, pstar)))[0].T,
    )
    Q0, R0 = W @ W.T / N, W @ teacher.T / N
    predicted = np.trace(Q0) + p - 2 * np.sqrt(p / pstar) * np.linalg.svd(R0, compute_uv=False).sum()

    def distance(orthogonal):
        return np.sum((W - np.sqrt(p / pstar) * orthogonal @ teacher) ** 2) / N

    u, _, v = np.linalg.svd(R0, full_matrices=False)
    assert distance(u @ v) == pytest.approx(predicted, rel=1e-12)
    others = [distance(np.linalg.qr(rng.standard_normal((p, pstar)))[0]) for _ in range(2000)]
    assert min(others) >= predicted


def test_gradient_flow_conserves_the_shape_of_K(system_of):
    """K = Rᵀ(Q − RRᵀ)⁻¹R grows as exp(8abηα) with a constant K / tr K, from any Q0."""
    p, pstar, eta = 4, 2, 0.3
    W = np.random.default_rng(5).standard_normal((p, 12)) / np.sqrt(12)
    run = runtime.integrate(
        system_of(p, pstar, flow="gradient"),
        W @ W.T,
        W[:, :pstar],
        eta=eta,
        alpha=np.linspace(0.0, 20.0, 11),
        rtol=1e-12,
        atol=1e-14,
    )
    K = np.array(
        [
            R.T @ np.linalg.solve(Q - R @ R.T, R)
            for Q, R in zip(run["Q"].values, run["R"].values, strict=True)
        ]
    )
    traces = np.trace(K, axis1=1, axis2=2)
    np.testing.assert_allclose(
        K / traces[:, None, None], np.broadcast_to(K[0] / traces[0], K.shape), atol=1e-11
    )
    alpha = run["alpha"].values
    np.testing.assert_allclose(np.log(traces / traces[0]), 8 / (p * pstar) * eta * alpha, atol=1e-10)


def test_late_decay_is_a_power_law_only_with_more_students(system_of):
    """p > p*: ε ~ α⁻² in gradient flow; p = p*: exponential, gone long before."""
    rng = np.random.default_rng(6)
    alpha = np.array([800.0, 1600.0, 3200.0, 6400.0])

    def late_loss(p):
        run = runtime.integrate(
            system_of(p, 2, flow="gradient"),
            np.eye(p),
            0.05 * rng.standard_normal((p, 2)),
            eta=0.4,
            alpha=alpha,
            rtol=1e-12,
            atol=1e-14,
        )
        return run["loss"].values

    slopes = np.diff(np.log(late_loss(4))) / np.diff(np.log(alpha))
    np.testing.assert_allclose(slopes, -2.0, atol=0.04)
    # The approach to -2 is monotonic: the deviation halves with each doubling of time.
    assert np.all(np.diff(np.abs(slopes + 2.0)) < 0.0)
    np.testing.assert_allclose(late_loss(2), 0.0, atol=1e-14)


def test_only_eta_times_alpha_matters_in_gradient_flow(system_of):
    flow = system_of(4, 2, flow="gradient")
    Q0, R0 = runtime.random_overlaps(4, 2, n=1000, seed=7)
    slow = runtime.integrate(flow, Q0, R0, eta=0.1, alpha=np.array([50.0, 100.0]), rtol=1e-11, atol=1e-13)
    fast = runtime.integrate(flow, Q0, R0, eta=0.4, alpha=np.array([12.5, 25.0]), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(slow["R"].values, fast["R"].values, atol=1e-9)


def test_sgd_approaches_gradient_flow_as_the_square_of_eta(system_of):
    """At fixed ηα the η² term leaves a difference proportional to η."""
    Q0, R0 = runtime.random_overlaps(4, 2, n=1000, seed=8)
    settings = {"rtol": 1e-11, "atol": 1e-13}
    flow = runtime.integrate(
        system_of(4, 2, flow="gradient"), Q0, R0, eta=1.0, alpha=np.array([10.0]), **settings
    )
    gaps = []
    for eta in (0.02, 0.01, 0.005):
        run = runtime.integrate(system_of(4, 2), Q0, R0, eta=eta, alpha=np.array([10.0 / eta]), **settings)
        gaps.append(float(np.max(np.abs(run["Q"].values - flow["Q"].values))))
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 2.0, rtol=0.05)
