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
