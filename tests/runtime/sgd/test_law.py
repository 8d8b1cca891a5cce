"""The law of the chain: two-sample tests against weights and against plain NumPy at small N.

Each case compares all overlaps and the loss at several times over 7000 runs. Deliberately wrong
chains must fail the test that the right one passes.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import closed_form_numpy as oracle
import numpy as np
import pytest
from matrix import thinned

from derive import Model
from runtime.sgd import overlap_chain
from runtime.sgd.chain_step import ChainEmitter
from runtime.sgd.overlap_chain import OverlapChain
from runtime.sgd.simulation import simulate

RUNS = 7_000
# Chance that one of all comparisons here fails though the laws are equal.
FALSE_ALARMS = 1e-4
# At least as many as there are: of every pair of simulations, observables times times.
COMPARISONS = 2500
# |D| of two samples of RUNS: R. M. Dudley and F. Wei (2012) show that this bound is no approximation.
ALLOWED = math.sqrt(math.log(2.0 * COMPARISONS / FALSE_ALARMS) / RUNS)
# The simulations' own rule of what has diverged.
DIVERGED = 1e6
# So that rounding of numbers that cannot change, norms on the sphere, is not compared.
DECIMALS = 9

pytestmark = pytest.mark.usefixtures("short_runs")


@dataclasses.dataclass(frozen=True)
class Case:
    """A model at one N; the runs start from the same weights and take up to `steps` steps."""

    p: int
    pstar: int
    n: int
    steps: int
    eta: float
    constraint: str = "free"
    readout: str = "mean"
    label_noise: float = 0.3
    # Rank of a general teacher; 0 is the orthonormal one.
    rank: int = 0

    def __str__(self) -> str:
        return f"{self.p}-{self.pstar}-{self.constraint}-{self.readout}-N{self.n}"

    @property
    def model(self) -> Model:
        teacher = "general" if self.rank else "orthonormal"
        return Model(self.p, self.pstar, constraint=self.constraint, teacher=teacher, readout=self.readout)

    @property
    def records(self) -> list[int]:
        return sorted({1 + self.steps // 8, self.steps // 2, self.steps})

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Students, partly aligned with the teacher and with each other, and the teacher."""
        rng = np.random.default_rng([self.p, self.pstar, self.n])
        teacher = np.linalg.qr(rng.standard_normal((self.n, self.rank or self.pstar)))[0].T
        if self.rank:
            teacher = rng.standard_normal((self.pstar, self.rank)) / math.sqrt(self.rank) @ teacher
        mixing = rng.standard_normal((self.p, self.pstar)) / math.sqrt(self.pstar)
        students = rng.standard_normal((self.p, self.n)) / math.sqrt(self.n)
        students += 0.3 * students[:1] + 0.6 * mixing @ teacher
        return math.sqrt(self.n) * students, math.sqrt(self.n) * teacher


def observables(case: Case, Q: np.ndarray, R: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """(run, observable): all independent overlaps and the loss at all records, +inf where diverged."""
    norms = np.diagonal(Q, axis1=2, axis2=3).max(axis=2)
    start = np.sum(case.weights()[0] ** 2, axis=1).max() / case.n
    gone = np.logical_or.accumulate(~(norms <= DIVERGED * max(1.0, start)), axis=1)
    rows, columns = np.triu_indices(case.p)
    parts = [Q[..., rows, columns], R.reshape(*R.shape[:2], -1), loss[..., None]]
    values = np.round(np.concatenate(parts, axis=2), DECIMALS)
    values[gone] = np.inf
    return values.reshape(len(values), -1)


def simulated(case: Case, method: str, seed: int = 1) -> np.ndarray:
    W, teacher = case.weights()
    runs = simulate(
        case.model,
        n=case.n,
        eta=case.eta,
        alpha=np.array(case.records) / case.n,
        method=method,
        trajectories=RUNS,
        seed=seed,
        label_noise=case.label_noise,
        T=teacher @ teacher.T / case.n if case.rank else None,
        Q0=W @ W.T / case.n,
        R0=W @ teacher.T / case.n,
    )
    np.testing.assert_array_equal(runs["alpha"], np.array(case.records) / case.n)
    return observables(case, runs["Q"].values, runs["R"].values, runs["loss"].values)


def brute_force(case: Case, seed: int = 2) -> np.ndarray:
    """SGD as the model states it, on weights, all runs at once."""
    rng = np.random.default_rng([seed, case.n])
    start, teacher = case.weights()
    power = {"mean": 1.0, "sum": 0.0, "sqrt": 0.5}[case.readout]
    a, b = case.p**-power, case.pstar**-power
    W = np.tile(start, (RUNS, 1, 1))
    Q, R = [], []
    # A run that has diverged overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(1, case.steps + 1):
            x = rng.standard_normal((RUNS, case.n)) / math.sqrt(case.n)
            fields = np.einsum("kin,kn->ki", W, x)
            labels = b * np.sum((x @ teacher.T) ** 2, axis=1)
            labels += math.sqrt(case.label_noise) * rng.standard_normal(RUNS)
            error = a * np.sum(fields**2, axis=1) - labels
            W -= (2.0 * a * case.eta * error)[:, None, None] * fields[:, :, None] * x[:, None, :]
            if case.constraint == "sphere":
                W *= np.sqrt(np.sum(start**2, axis=1) / np.sum(W**2, axis=2))[:, :, None]
            if step in case.records:
                Q.append(np.einsum("kin,kjn->kij", W, W) / case.n)
                R.append(W @ teacher.T / case.n)
        T = teacher @ teacher.T / case.n
        losses = [oracle.loss(case.model, q, r, T) for q, r in zip(Q, R, strict=True)]
        return observables(case, *(np.stack(values, axis=1) for values in (Q, R, losses)))


def deviation(one: np.ndarray, other: np.ndarray) -> float:
    """The largest Kolmogorov-Smirnov statistic over the allowed one."""
    assert one.shape == other.shape == (RUNS, one.shape[1])
    assert not np.isnan(one).any()
    assert not np.isnan(other).any()
    largest = 0.0
    for x, y in zip(np.sort(one, axis=0).T, np.sort(other, axis=0).T, strict=True):
        points = np.concatenate([x, y])
        steps = np.searchsorted(x, points, "right") - np.searchsorted(y, points, "right")
        largest = max(largest, np.abs(steps).max() / RUNS)
    return largest / ALLOWED


# N = p + p* and a little more.
SMALL = [
    Case(1, 1, 2, 12, 0.03),
    Case(1, 1, 4, 12, 0.3, "sphere", label_noise=1.0),
    Case(2, 1, 3, 12, 0.1),
    Case(2, 1, 4, 12, 0.2, "sphere"),
    Case(4, 2, 7, 20, 0.2),
    Case(4, 2, 6, 20, 0.4, "sphere"),
    Case(2, 3, 6, 12, 0.1),
    Case(2, 3, 5, 12, 0.3, "sphere"),
    Case(2, 1, 10, 16, 0.1, label_noise=2.0),
    Case(2, 3, 20, 16, 0.4, "sphere"),
    # Some runs of this one diverge.
    Case(1, 1, 6, 16, 0.3),
]
# Other conventions, and singular teachers.
OTHERS = [
    Case(3, 2, 12, 16, 0.1, readout="sqrt", label_noise=0.0),
    Case(2, 2, 8, 12, 0.03, "sphere", "sum", rank=3),
    Case(2, 4, 9, 16, 0.05, rank=2),
    Case(1, 3, 2, 10, 0.03, rank=1),
    Case(3, 2, 9, 16, 0.1, "sphere", "sqrt", rank=1),
]
# Chain, weights and NumPy, each with each.
ALL_THREE = [
    Case(1, 1, 24, 20, 0.03),
    Case(2, 1, 20, 20, 0.3, "sphere"),
    Case(4, 2, 12, 24, 0.5, "sphere", label_noise=1.0),
    Case(2, 3, 16, 16, 0.1),
]
# Where NumPy is slow.
LARGE = [
    Case(1, 1, 200, 60, 0.2, "sphere"),
    Case(2, 1, 100, 50, 0.15),
    Case(4, 2, 200, 100, 0.4),
    Case(2, 3, 200, 80, 0.5, "sphere"),
]
# More students and teachers than dimensions: the chain's method runs weights.
FEW_DIMENSIONS = [
    Case(4, 2, 4, 12, 0.05),
    Case(6, 2, 4, 16, 0.3, "sphere"),
    Case(2, 4, 3, 12, 0.05, rank=2),
]


def test_the_level_is_that_of_all_comparisons():
    pairs = [*SMALL, *OTHERS, *ALL_THREE, *ALL_THREE, *ALL_THREE, *LARGE, *FEW_DIMENSIONS]
    count = sum(3 * (c.p * (c.p + 1) // 2 + c.p * c.pstar + 1) for c in pairs)
    assert count <= COMPARISONS


@pytest.mark.parametrize("case", thinned(SMALL + OTHERS, 1, 8, 10, 12), ids=str)
def test_chain_against_numpy(case):
    assert deviation(simulated(case, "chain"), brute_force(case)) < 1.0


@pytest.mark.parametrize("case", thinned(ALL_THREE, 2), ids=str)
def test_chain_weights_and_numpy(case):
    found = [simulated(case, "chain", 1), simulated(case, "weights", 2), brute_force(case, 3)]
    for one, other in itertools.combinations(found, 2):
        assert deviation(one, other) < 1.0


@pytest.mark.parametrize("case", thinned(LARGE, 1), ids=str)
def test_chain_against_weights(case):
    assert deviation(simulated(case, "chain", 1), simulated(case, "weights", 2)) < 1.0


@pytest.mark.parametrize("case", thinned(FEW_DIMENSIONS, 2), ids=str)
def test_fewer_dimensions_than_a_chain_has(case):
    assert case.n < case.p + (case.rank or case.pstar)
    assert deviation(simulated(case, "chain"), brute_force(case)) < 1.0


# Wrong chains.


def no_other_directions(monkeypatch):
    monkeypatch.setattr(ChainEmitter, "_other_directions", lambda emitter, _: emitter.vector.constant(0.0))


def other_directions_of_students_too(monkeypatch):
    start = OverlapChain.__init__

    def init(self, process, target):
        start(self, process, target)
        self._shape += 0.5 * process.p

    monkeypatch.setattr(OverlapChain, "__init__", init)


def mean_of_other_directions(monkeypatch):
    """χ² without its fluctuations."""

    def other(emitter, _):
        vector = emitter.vector
        shape = vector.add(emitter._load(emitter.record.at("shape")), vector.constant(1.0 / 3.0))
        return vector.multiply(vector.constant(2.0), shape)

    monkeypatch.setattr(ChainEmitter, "_other_directions", other)


def no_label_noise(monkeypatch):
    error = ChainEmitter._error
    monkeypatch.setattr(ChainEmitter, "_error", lambda emitter, _: error(emitter, None))


def label_noise_that_is_used_twice(monkeypatch):
    """The label's noise is the first component of the input."""
    error = ChainEmitter._error

    def same(emitter, _):
        return error(emitter, emitter._load(emitter.record.at("inputs_beyond")))

    monkeypatch.setattr(ChainEmitter, "_error", same)


def deviation_for_variance(monkeypatch):
    start = OverlapChain.start

    def wrong(self, A, S, words, given):
        return start(self, A, S, words, {**given, "label_noise": given["label_noise"] ** 2})

    monkeypatch.setattr(OverlapChain, "start", wrong)


def no_projection(monkeypatch):
    monkeypatch.setattr(ChainEmitter, "_project", lambda _: None)


def no_gradient_beyond_the_teacher(monkeypatch):
    """S stays as it was."""
    monkeypatch.setattr(ChainEmitter, "_rotate_in", lambda _: None)


def rate_of_the_next_dimension(monkeypatch):
    start = OverlapChain.start

    def wrong(self, A, S, words, given):
        n = self.process.n
        return start(self, A, S, words, {**given, "eta": given["eta"] * n / (n + 1)})

    monkeypatch.setattr(OverlapChain, "start", wrong)


FREE, SPHERE = SMALL[8], ALL_THREE[2]
WRONG = [
    (no_other_directions, FREE),
    (no_other_directions, SPHERE),
    (no_other_directions, LARGE[2]),
    (other_directions_of_students_too, SPHERE),
    (mean_of_other_directions, SMALL[1]),
    (no_label_noise, FREE),
    (no_label_noise, SPHERE),
    (label_noise_that_is_used_twice, FREE),
    (deviation_for_variance, FREE),
    (no_projection, SPHERE),
    (no_gradient_beyond_the_teacher, FREE),
    (rate_of_the_next_dimension, SMALL[4]),
]


@functools.cache
def right_chain(case: Case) -> np.ndarray:
    return simulated(case, "chain", 2)


@pytest.mark.parametrize(
    ("damage", "case"),
    thinned(WRONG, 0, 5, 8, 9, 10),
    ids=[f"{damage.__name__}-{case}" for damage, case in WRONG],
)
@pytest.mark.usefixtures("recompiled")
def test_wrong_chains_fail(monkeypatch, damage, case):
    right = right_chain(case)
    overlap_chain._compile.cache_clear()
    damage(monkeypatch)
    assert deviation(simulated(case, "chain", 1), right) > 1.0
