"""The formulas of docs/theory.md, each against numbers that are computed another way."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from fractions import Fraction
from math import factorial, prod
from pathlib import Path

import numpy as np
import pytest

import runtime
from derive import Model
from derive.expansion import operation_count
from derive.pipeline import Pipeline
from derive.polynomial.noise_graphs import multigraphs
from derive.proof import evaluate_exactly
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


# --- any polynomial activation -----------------------------------------------------------

# σ and σ* by their coefficients, neither even nor odd, and of different degrees.
SIGMA, SIGMA_STAR = np.array([0.2, -1.0, 0.5, 1.0]), np.array([0.0, 0.7, -0.4])
UNITS = P + PSTAR
WEIGHTS = np.array([*A * V, *-B * VSTAR])


def polynomial(m: int) -> np.ndarray:
    return SIGMA if m < P else SIGMA_STAR


def moment_of(coefficients: np.ndarray, order: int, q: float) -> float:
    """h_k(q), the mean of a derivative of z ~ N(0, q), by E[z^n] = (n − 1)!! q^(n/2)."""
    slope = np.polynomial.polynomial.polyder(coefficients, order) if order < len(coefficients) else [0.0]
    return sum(c * prod(range(1, n, 2)) * q ** (n // 2) for n, c in enumerate(slope) if n % 2 == 0)


def moments(C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """h_k,i and c_k,m of the page, by k; those beyond the degree vanish."""
    orders = range(len(SIGMA) + 1)
    h = np.array([[moment_of(SIGMA, k, C[i, i]) for i in range(P)] for k in orders])
    c = np.array(
        [[WEIGHTS[m] * moment_of(polynomial(m), k, C[m, m]) for m in range(UNITS)] for k in orders]
    )
    return h, c


def of_units(z: np.ndarray, order: int = 0) -> np.ndarray:
    """A derivative of the activation of every unit at z."""
    slopes = [np.polynomial.polynomial.polyder(polynomial(m), order) for m in range(UNITS)]
    return np.array([np.polynomial.polynomial.polyval(x, c) for x, c in zip(z, slopes, strict=True)])


def error_of(z: np.ndarray) -> float:
    return float(WEIGHTS @ of_units(z))


def exact_average(C: np.ndarray, of) -> np.ndarray:
    """E[of(z)] by a Gauss-Hermite rule that is exact for the noise term, of degree ten."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    weights = weights / weights.sum()
    points = np.array(list(itertools.product(nodes, repeat=len(C)))) @ np.linalg.cholesky(C).T
    shares = [prod(share) for share in itertools.product(weights, repeat=len(C))]
    return sum(share * of(z) for share, z in zip(shares, points, strict=True))


def mean_terms(C: np.ndarray) -> dict[str, np.ndarray]:
    """H, u, M, the mean of e σ and ε of the page."""
    h, c = moments(C)
    orders = range(len(SIGMA))
    H = sum(np.outer(h[k + 1], c[k + 1]) * C[:P] ** k / factorial(k) for k in orders[:-1])
    u = sum(h[k + 2] * (C[:P] ** k @ c[k]) / factorial(k) for k in orders[:-2])
    return {
        "M": H @ C + u[:, None] * C[:P],
        "e sigma": sum(h[k] * (C[:P] ** k @ c[k]) / factorial(k) for k in orders),
        "loss": 0.5 * sum(c[k] @ C**k @ c[k] / factorial(k) for k in orders),
    }


def noise_term(C: np.ndarray) -> np.ndarray:
    """S of the page, as a sum over all multigraphs between m, n, i and j."""
    h, c = moments(C)
    Q, S = C[:P, :P], np.zeros((P, P))
    for k in range(len(SIGMA) - 1):
        S += NOISE * np.outer(h[k + 1], h[k + 1]) * Q**k / factorial(k)
    most = (len(SIGMA) - 1, len(SIGMA) - 1, len(SIGMA) - 2, len(SIGMA) - 2)
    for mn, im, jm, in_, jn, ij in itertools.product(range(max(most) + 1), repeat=6):
        degrees = (mn + im + jm, mn + in_ + jn, im + in_ + ij, jm + jn + ij)
        if any(degree > limit for degree, limit in zip(degrees, most, strict=True)):
            continue
        left = np.einsum("m,im,jm->ijm", c[degrees[0]], C[:P] ** im, C[:P] ** jm)
        right = np.einsum("n,in,jn->ijn", c[degrees[1]], C[:P] ** in_, C[:P] ** jn)
        value = np.einsum("ijm,mn,ijn->ij", left, C**mn, right)
        share = prod(map(factorial, (mn, im, jm, in_, jn, ij)))
        S += np.outer(h[degrees[2] + 1], h[degrees[3] + 1]) * Q**ij * value / share
    return S


def test_the_means_of_any_polynomial_activation_are_sums_over_graphs(C):
    found = mean_terms(C)
    M = exact_average(C, lambda z: error_of(z) * np.outer(of_units(z, 1)[:P], z))
    np.testing.assert_allclose(found["M"], M, rtol=1e-10, atol=1e-11)
    errors = exact_average(C, lambda z: error_of(z) * of_units(z)[:P])
    np.testing.assert_allclose(found["e sigma"], errors, rtol=1e-10, atol=1e-11)
    assert found["loss"] == pytest.approx(exact_average(C, lambda z: 0.5 * error_of(z) ** 2), rel=1e-10)


def test_the_noise_term_is_a_sum_over_graphs():
    C = covariance(1)

    def squared(z):
        slopes = of_units(z, 1)[:P]
        return (error_of(z) ** 2 + NOISE) * np.outer(slopes, slopes)

    np.testing.assert_allclose(noise_term(C), exact_average(C, squared), rtol=1e-9, atol=1e-10)


def test_the_equations_of_any_polynomial_activation_are_those_of_the_program():
    C = covariance(2)
    names = {"activation": "0.2,-1,0.5,1", "teacher_activation": "0,0.7,-0.4"}
    model = Model(P, PSTAR, teacher="general", second_layer="trained", **names)
    values = {"a": A, "b": B, "eta": ETA, "label_noise": NOISE, "weight_decay": DECAY}
    values |= {"inverse_batch": 1 / BATCH, "eta_second": ETA_SECOND}
    values |= {f"v_{i + 1}": V[i] for i in range(P)} | {f"vstar_{r + 1}": VSTAR[r] for r in range(PSTAR)}
    for k, m in itertools.combinations_with_replacement(range(UNITS), 2):
        letter = "Q" if m < P else "R" if k < P else "T"
        values[f"{letter}_{k % P + 1}_{m % P + 1}"] = C[k, m]
    found = evaluate_exactly(Pipeline.of(model).program, {name: Fraction(x) for name, x in values.items()})
    means, S = mean_terms(C), noise_term(C)
    kappa = A * ETA * V
    for i, j in itertools.combinations_with_replacement(range(P), 2):
        change = -kappa[i] * means["M"][i, j] - kappa[j] * means["M"][j, i]
        change += kappa[i] * kappa[j] / BATCH * S[i, j] - 2 * ETA * DECAY * C[i, j]
        assert float(found[f"dQ_{i + 1}_{j + 1}"]) == pytest.approx(change, rel=1e-10)
    for i, r in itertools.product(range(P), range(PSTAR)):
        change = -kappa[i] * means["M"][i, P + r] - ETA * DECAY * C[i, P + r]
        assert float(found[f"dR_{i + 1}_{r + 1}"]) == pytest.approx(change, rel=1e-10)
    for i in range(P):
        change = -ETA_SECOND * A * means["e sigma"][i]
        assert float(found[f"dv_{i + 1}"]) == pytest.approx(change, rel=1e-10)
    assert float(found["loss"]) == pytest.approx(means["loss"], rel=1e-10)


def test_he3_has_25_graphs_and_one_for_the_third_rule():
    """Units are differentiated an odd number of times and slopes an even one, else a moment vanishes."""
    graphs = [
        graph
        for graph in multigraphs((3, 3, 2, 2))
        if [graph.degree(k) % 2 for k in range(4)] == [1, 1, 0, 0]
    ]
    assert len(graphs) == 25
    assert [graph.edges for graph in graphs if all(graph.edges[:5])] == [(1, 1, 1, 1, 1, 0)]


def test_the_operations_in_the_table():
    page = (Path(__file__).parent.parent.parent / "docs" / "theory.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+), (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 3
    for p, pstar, *counts in rows:
        for activation, count in zip(("quadratic", "he3", "he4", "0,1,1,1"), counts, strict=True):
            model = Model(int(p), int(pstar), activation=activation)
            assert operation_count(Pipeline.of(model).functions["rhs"]) == int(count), (p, activation)


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
