"""The formulas of docs/theory.md, each against numbers that are computed another way."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction
from math import factorial, prod

import numpy as np
import pytest

import runtime
from derive import Model
from derive.wick import error_moment, quadratic_moment

P, PSTAR = 2, 2
A, B, NOISE, ETA = 1 / P, 1 / PSTAR, 0.3, 0.2
KAPPA = 2 * A * ETA
D = np.diag([A] * P + [-B] * PSTAR)


def covariance(seed: int) -> np.ndarray:
    weights = np.random.default_rng(seed).standard_normal((P + PSTAR, 9)) / 3
    return weights @ weights.T


def average(C: np.ndarray, of) -> np.ndarray:
    """E[of(z)] for z ~ N(0, C): a Gauss-Hermite rule, exact for polynomials up to degree seven."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    weights = weights / weights.sum()
    points = np.array(list(itertools.product(nodes, repeat=len(C)))) @ np.linalg.cholesky(C).T
    shares = [prod(share) for share in itertools.product(weights, repeat=len(C))]
    return sum(share * of(z) for share, z in zip(shares, points, strict=True))


@pytest.fixture(params=range(3))
def C(request):
    return covariance(request.param)


def test_moments_with_one_and_two_factors(C):
    s, t = np.trace(D @ C), np.trace(D @ C @ D @ C)
    chain = [C, C @ D @ C, C @ D @ C @ D @ C]
    one = average(C, lambda z: (z @ D @ z) * np.outer(z, z))
    # The label noise is independent of z: E[e²] at given z is (zᵀDz)² + Δ.
    two = average(C, lambda z: ((z @ D @ z) ** 2 + NOISE) * np.outer(z, z))
    np.testing.assert_allclose(one, s * chain[0] + 2 * chain[1], rtol=1e-11, atol=1e-12)
    expected = (s**2 + 2 * t + NOISE) * chain[0] + 4 * s * chain[1] + 8 * chain[2]
    np.testing.assert_allclose(two, expected, rtol=1e-11, atol=1e-12)
    loss = average(C, lambda z: 0.5 * (z @ D @ z) ** 2)
    assert loss == pytest.approx(0.5 * (s**2 + 2 * t), rel=1e-12)


def test_the_generating_function(C):
    """E[exp(θ zᵀDz) zzᵀ] = det(1 − 2θDC)^(−1/2) (C⁻¹ − 2θD)⁻¹, by its series up to θ²."""
    s, t = np.trace(D @ C), np.trace(D @ C @ D @ C)

    def closed(theta: float) -> np.ndarray:
        matrix = np.linalg.inv(np.linalg.inv(C) - 2 * theta * D)
        return matrix / np.sqrt(np.linalg.det(np.eye(len(C)) - 2 * theta * D @ C))

    h = 1e-4
    first = (closed(h) - closed(-h)) / (2 * h)
    second = (closed(h) - 2 * closed(0.0) + closed(-h)) / h**2
    np.testing.assert_allclose(first, s * C + 2 * C @ D @ C, atol=1e-5)
    expected = (s**2 + 2 * t) * C + 4 * s * C @ D @ C + 8 * C @ D @ C @ D @ C
    np.testing.assert_allclose(second, expected, atol=1e-5)


@pytest.mark.parametrize("power", [1, 2, 3, 4])
def test_how_many_pairings_give_a_picture(power):
    """Choose the boxes of each loop and of the chain; m! 2ᵐ a chain, (m−1)! 2^(m−1) a loop."""
    counted = quadratic_moment(power, outer=True)
    assert sum(counted.values()) == prod(range(2 * power + 1, 0, -2))
    for diagram, count in counted.items():
        parts = [*diagram.loops, diagram.chain]
        expected = Fraction(factorial(power), prod(factorial(m) for m in parts))
        expected *= prod(factorial(m - 1) * 2 ** (m - 1) for m in diagram.loops)
        # Loops of equal length can be exchanged.
        expected /= prod(factorial(k) for k in Counter(diagram.loops).values())
        assert count == expected * factorial(diagram.chain) * 2**diagram.chain


def test_the_numbers_of_the_picture():
    found = {(d.loops, d.chain, d.noise): count for d, count in error_moment(2).items()}
    assert found == {((1, 1), 0, 0): 1, ((2,), 0, 0): 2, ((1,), 1, 0): 4, ((), 2, 0): 8, ((), 0, 1): 1}


def blocks(C):
    return C[:P, :P], C[:P, P:], C[P:, P:]


def drift(C):
    """The equations of the page in blocks."""
    Q, R, T = blocks(C)
    X, Y = A * Q @ Q - B * R @ R.T, A * Q @ R - B * R @ T
    s = A * np.trace(Q) - B * np.trace(T)
    t = A**2 * np.trace(Q @ Q) - 2 * A * B * np.trace(R @ R.T) + B**2 * np.trace(T @ T)
    dR = -KAPPA * (s * R + 2 * Y)
    dQ = -2 * KAPPA * (s * Q + 2 * X)
    noise = KAPPA**2 * ((s**2 + 2 * t + NOISE) * Q + 4 * s * X + 8 * (A * Q @ X - B * R @ Y.T))
    return dQ, noise, dR, 0.5 * (s**2 + 2 * t)


def test_the_equations_in_blocks(C, system_of):
    Q, R, T = blocks(C)
    dQ, noise, dR, loss = drift(C)
    for flow, expected in (("sgd", dQ + noise), ("gradient", dQ)):
        system = system_of(P, PSTAR, teacher="general", flow=flow)
        found = system.rhs(Q, R, eta=ETA, label_noise=NOISE, T=T)
        np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found[1], dR, rtol=1e-12, atol=1e-14)
        assert system.loss(Q, R, T=T) == pytest.approx(loss, rel=1e-12)


def test_the_sphere_is_the_rescaled_step(C, system_of):
    """A small step of the free drift, then the rescaling of the page, against the sphere's equations."""
    Q, R, T = blocks(C)
    dQ, noise, dR, _ = drift(C)
    h = 1e-6

    def rescaled(step: float):
        q, r = Q + step * (dQ + noise), R + step * dR
        scale = np.sqrt(np.diag(Q) / np.diag(q))
        return q * np.outer(scale, scale), r * scale[:, None]

    forward, back = rescaled(h), rescaled(-h)
    found = system_of(P, PSTAR, teacher="general", constraint="sphere").rhs(
        Q, R, eta=ETA, label_noise=NOISE, T=T
    )
    for k in range(2):
        np.testing.assert_allclose((forward[k] - back[k]) / (2 * h), found[k], atol=1e-8)


def test_one_step_of_sgd_changes_the_overlaps_as_the_page_says():
    """With weights and an input; no average, no limit."""
    generator, N = np.random.default_rng(0), 50
    W, teacher, x = (generator.standard_normal(shape) for shape in ((P, N), (PSTAR, N), (N,)))
    fields, labels = W @ x / np.sqrt(N), teacher @ x / np.sqrt(N)
    e = A * np.sum(fields**2) - B * np.sum(labels**2) - np.sqrt(NOISE) * generator.standard_normal()
    moved = W - KAPPA * e * np.outer(fields, x) / np.sqrt(N)
    outer = np.outer(fields, fields)
    dQ = -2 * KAPPA / N * e * outer + KAPPA**2 / N * e**2 * outer * (x @ x) / N
    np.testing.assert_allclose((moved @ moved.T - W @ W.T) / N, dQ, atol=1e-13)
    dR = -KAPPA / N * e * np.outer(fields, labels)
    np.testing.assert_allclose((moved - W) @ teacher.T / N, dR, atol=1e-13)


# --- second layer, weight decay and batches ----------------------------------------------

V, VSTAR = np.array([0.7, -1.2]), np.array([1.5, -0.4])
DECAY, BATCH, ETA_SECOND = 0.6, 3, 0.5
STEPS = 2 * A * ETA * V
WEIGHTED = np.diag([*A * V, *-B * VSTAR])


def weighted_drift(C):
    """The equations of the page in blocks, with everything."""
    Q, R, T = blocks(C)
    Dv, Dvstar, K = np.diag(V), np.diag(VSTAR), np.diag(STEPS)
    s = A * np.trace(Dv @ Q) - B * np.trace(Dvstar @ T)
    t = A**2 * np.trace(Dv @ Q @ Dv @ Q) - 2 * A * B * np.trace(Dv @ R @ Dvstar @ R.T)
    t += B**2 * np.trace(Dvstar @ T @ Dvstar @ T)
    X, Y = A * Q @ Dv @ Q - B * R @ Dvstar @ R.T, A * Q @ Dv @ R - B * R @ Dvstar @ T
    M = s * Q + 2 * X
    S = (s**2 + 2 * t + NOISE) * Q + 4 * s * X + 8 * (A * Q @ Dv @ X - B * R @ Dvstar @ Y.T)
    dQ = -K @ M - M @ K + K @ S @ K / BATCH - 2 * ETA * DECAY * Q
    return dQ, -K @ (s * R + 2 * Y) - ETA * DECAY * R, -ETA_SECOND * A * np.diag(M)


def test_the_equations_with_a_second_layer_are_means_over_inputs(C):
    """Blocks against expectations, each by a Gauss-Hermite rule."""

    def errors(z):
        return z @ WEIGHTED @ z

    Q, R, _ = blocks(C)
    first = average(C, lambda z: errors(z) * np.outer(z, z))
    second = average(C, lambda z: (errors(z) ** 2 + NOISE) * np.outer(z, z))
    dQ, dR, dv = weighted_drift(C)
    k = STEPS[:, None]
    mean = -(k + k.T) * first[:P, :P] + k * k.T * second[:P, :P] / BATCH
    np.testing.assert_allclose(dQ, mean - 2 * ETA * DECAY * Q, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(dR, -k * first[:P, P:] - ETA * DECAY * R, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(dv, -ETA_SECOND * A * np.diag(first)[:P], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("second_layer", ["fixed", "trained"])
def test_the_equations_with_a_second_layer_are_those_of_the_program(C, second_layer, system_of):
    Q, R, T = blocks(C)
    system = system_of(P, PSTAR, teacher="general", second_layer=second_layer)
    given = {"eta": ETA, "label_noise": NOISE, "weight_decay": DECAY, "batch": BATCH}
    rates = {"eta_second": ETA_SECOND} if second_layer == "trained" else {}
    found = system.rhs(Q, R, T=T, student_weights=V, teacher_weights=VSTAR, **given, **rates)
    expected = weighted_drift(C)[: len(found)]
    assert len(found) == (3 if second_layer == "trained" else 2)
    for drift_of_one, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(drift_of_one, value, rtol=1e-12, atol=1e-14)


def test_one_step_on_a_batch_changes_the_overlaps_as_the_page_says():
    """With weights and inputs; no average, no limit."""
    generator, N = np.random.default_rng(1), 50
    W, teacher = generator.standard_normal((P, N)), generator.standard_normal((PSTAR, N))
    x = generator.standard_normal((BATCH, N))
    fields, labels = x @ W.T / np.sqrt(N), x @ teacher.T / np.sqrt(N)
    e = A * fields**2 @ V - B * labels**2 @ VSTAR - np.sqrt(NOISE) * generator.standard_normal(BATCH)
    # The gradients of the mean loss, by the chain rule.
    by_f = e / BATCH
    moved = W - ETA * 2 * A * V[:, None] * np.einsum("b,bi,bn->in", by_f, fields, x) / np.sqrt(N)
    k = STEPS[:, None]
    mean = np.einsum("b,bi,bj->ij", e, fields, fields) / BATCH
    dQ = -(k + k.T) / N * mean + k * k.T / (BATCH**2 * N) * np.einsum(
        "b,c,bi,cj,bc->ij", e, e, fields, fields, x @ x.T / N
    )
    np.testing.assert_allclose((moved @ moved.T - W @ W.T) / N, dQ, atol=1e-13)
    dR = -k / N * np.einsum("b,bi,br->ir", e, fields, labels) / BATCH
    np.testing.assert_allclose((moved - W) @ teacher.T / N, dR, atol=1e-13)
    shrunk = (1 - ETA * DECAY / N) * moved
    decayed = moved @ moved.T / N * (1 - 2 * ETA * DECAY / N)
    np.testing.assert_allclose(shrunk @ shrunk.T / N, decayed, atol=(ETA * DECAY / N) ** 2 * 10)


def test_rescaling_on_the_sphere_undoes_the_decay(C, system_of):
    Q, R, T = blocks(C)
    system = system_of(P, PSTAR, teacher="general", constraint="sphere")
    given = {"eta": ETA, "label_noise": NOISE, "T": T}
    decayed = system.rhs(Q, R, weight_decay=DECAY, **given)
    for found, expected in zip(decayed, system.rhs(Q, R, **given), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-14)


def test_gradient_flow_depends_on_the_integral_of_the_schedule(system_of):
    """∫ dα/(1 + α/τ) = τ ln(1 + α/τ)."""
    system = system_of(2, 1, flow="gradient", second_layer="trained")
    given = {"eta": 0.3, "eta_second": 0.2, "rtol": 1e-10, "atol": 1e-12}
    Q0, R0, tau, end = np.eye(2), np.array([[0.5], [0.1]]), 5.0, 20.0
    scheduled = runtime.integrate(system, Q0, R0, alpha=[end], schedule=f"inverse:{tau}", **given)
    constant = runtime.integrate(system, Q0, R0, alpha=[tau * np.log1p(end / tau)], **given)
    for name in ("Q", "R", "v"):
        np.testing.assert_allclose(scheduled[name], constant[name], atol=1e-8)


def test_different_samples_of_a_batch_are_almost_orthogonal():
    """E[e λᵢ x]·E[e λⱼ x]/N is mᵢᵀC⁻¹mⱼ, from the weights and N inputs against the overlaps."""
    N = P + PSTAR + 1
    weights = np.random.default_rng(2).standard_normal((P + PSTAR, N))
    C = weights @ weights.T / N

    def moment(x):
        z = weights @ x / np.sqrt(N)
        return (z @ WEIGHTED @ z) * np.outer(z[:P], x)

    direct = average(np.eye(N), moment)
    m = average(C, lambda z: (z @ WEIGHTED @ z) * np.outer(z[:P], z))
    np.testing.assert_allclose(direct @ direct.T, m @ np.linalg.solve(C, m.T), rtol=1e-10)


def test_the_mean_of_runs_is_off_by_one_over_n(system_of):
    """Fluctuations of order 1/√N and a bias of order 1/N, from a given start."""
    model = Model(2, 1)
    Q0, R0 = np.eye(2), np.array([[0.5], [0.1]])
    ode = runtime.integrate(system_of(2, 1), Q0, R0, eta=0.1, alpha=[4.0]).loss.values[0]
    spread, bias = [], []
    for n in (250, 1000):
        runs = runtime.simulate(model, n=n, eta=0.1, alpha=[4.0], trajectories=20_000, Q0=Q0, R0=R0, seed=2)
        loss = runs.loss.values[:, 0]
        spread.append(np.sqrt(n) * loss.std())
        bias.append(n * (loss.mean() - ode))
    assert spread[1] == pytest.approx(spread[0], rel=0.25)
    assert 0.3 < bias[1] / bias[0] < 2.0
