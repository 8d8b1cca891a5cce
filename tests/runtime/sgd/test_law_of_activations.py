"""The law of SGD with polynomial activations, tested as in test_law; and linear regression."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matrix import thinned
from two_samples import COMPARISONS, Case, brute_force, deviation, simulated

from derive import Model
from runtime import simulate
from runtime.sgd import overlap_chain
from runtime.sgd.unit_code import UnitCode

pytestmark = pytest.mark.usefixtures("short_runs")

MIXED, TWO = (1.0, -0.6, 0.4, 0.0), (0.8, -0.5)
CUBIC, QUARTIC = ("he3", "he3"), ("he4", "he4")
EVERYTHING = {
    "v": MIXED,
    "vstar": TWO,
    "eta_second": 0.1,
    "decay": 0.5,
    "batch": 3,
    "schedule": "inverse:1",
}
PLAIN = Case(2, 1, 4, 12, 0.03, activations=CUBIC)
TRAINED = Case(2, 2, 5, 12, 0.05, v=(1.0, 0.5), vstar=TWO, eta_second=0.4, activations=CUBIC)
# Where every option counts, and the activations differ.
ALL = Case(4, 2, 8, 16, 0.05, rank=2, activations=("he2+he3", "he3"), **EVERYTHING)
CASES = [
    PLAIN,
    TRAINED,
    ALL,
    dataclasses.replace(ALL, constraint="sphere", batch=6),
    Case(4, 2, 7, 12, 0.1, "sphere", activations=CUBIC),
    Case(4, 2, 6, 12, 0.1, activations=("he2", "he2")),
    Case(2, 1, 10, 12, 0.002, activations=QUARTIC),
    Case(2, 1, 5, 12, 0.005, "sphere", activations=QUARTIC),
    Case(3, 2, 9, 12, 0.2, "sphere", "sqrt", activations=("he1", "he3")),
    # The teacher is λ² and the student is not, and the other way round.
    Case(2, 2, 7, 12, 0.02, rank=1, v=(1.5, -0.5), vstar=TWO, activations=("0,1/2,1/3,1/6", "quadratic")),
    Case(2, 3, 7, 12, 0.05, "sphere", rank=2, activations=("quadratic", "he2+he3")),
    # Weights alone: more students and teachers than dimensions.
    Case(4, 2, 5, 8, 0.03, batch=4, activations=CUBIC),
]


def test_the_level_is_that_of_all_comparisons():
    count = sum(3 * (c.p * (c.p + 3) // 2 + c.p * c.pstar + 1) for c in CASES)
    assert count <= COMPARISONS


@pytest.mark.parametrize("case", thinned(CASES, 1, 2, 7), ids=str)
def test_chain_against_numpy(case):
    assert deviation(simulated(case, "chain"), brute_force(case)) < 1.0


@pytest.mark.parametrize("case", thinned(CASES, 2), ids=str)
def test_chain_against_weights(case):
    assert deviation(simulated(case, "chain", 1), simulated(case, "weights", 2)) < 1.0


@pytest.mark.parametrize("wrong", thinned(["σ for σ'", "the kick of λ²", "v before w"], 0))
def test_wrong_variants_fail(wrong):
    case = dataclasses.replace(TRAINED, n=4, eta_second=1.0)
    chain = simulated(case, "chain")
    assert deviation(chain, brute_force(case)) < 1.0
    assert deviation(chain, brute_force(case, wrong=wrong)) > 1.0


def output_for_slope(code, rate, field):
    return code.add_output(rate, field, code.vector.constant(0.0))


def kick_of_squares(code, rate, field):
    return code.vector.multiply(rate, field)


@pytest.mark.parametrize("kick", thinned([output_for_slope, kick_of_squares], 1))
@pytest.mark.usefixtures("recompiled")
def test_wrong_chains_fail(monkeypatch, kick):
    right = simulated(PLAIN, "chain", 2)
    assert deviation(simulated(PLAIN, "chain", 1), right) < 1.0
    overlap_chain._compile.cache_clear()
    monkeypatch.setattr(UnitCode, "kick", kick)
    assert deviation(simulated(PLAIN, "chain", 1), right) > 1.0


@pytest.mark.parametrize("method", ["chain", "weights"])
def test_he1_is_linear_regression(method):
    """The mean of D = |w − w*|²/N is D' = D (1 − 2η/N + η² (N + 2)/N²) + η² Δ/N after a step, at any N."""
    n, eta, noise, count = 6, 0.8, 0.5, 4000
    start = {"Q0": [[1.0]], "R0": [[-0.3]], "label_noise": noise, "eta": eta}
    runs = simulate(
        Model(1, 1, activation="he1"),
        n=n,
        alpha=np.arange(1, 13) / n,
        trajectories=count,
        method=method,
        **start,
    )
    distances = runs["Q"].values[:, :, 0, 0] - 2.0 * runs["R"].values[:, :, 0, 0] + 1.0
    np.testing.assert_allclose(runs["loss"], 0.5 * distances, rtol=1e-12, atol=1e-14)
    expected, D = [], 2.6
    for _ in range(12):
        D = D * (1.0 - 2.0 * eta / n + eta**2 * (n + 2) / n**2) + eta**2 * noise / n
        expected.append(D)
    error = distances.std(axis=0, ddof=1) / np.sqrt(count)
    assert (error < 0.05 * np.array(expected)).all()
    assert np.max(np.abs(distances.mean(axis=0) - expected) / error) < 4.0
    # The term of relative order 1/N counts.
    without = 2.6 * (1.0 - 2.0 * eta / n + eta**2 / n) + eta**2 * noise / n
    assert np.abs(distances.mean(axis=0)[0] - without) / error[0] > 4.0
