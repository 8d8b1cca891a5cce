"""The law of the chain: two-sample tests against weights and against plain NumPy at small N.

Each case compares all overlaps and the loss at several times over 7000 runs. Deliberately wrong
chains must fail the test that the right one passes.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from matrix import thinned
from two_samples import (
    COMPARISONS,
    Case,
    brute_force,
    deviation,
    other_directions_of_students_too,
    simulated,
)

from runtime.sgd import overlap_chain
from runtime.sgd.chain_step import ChainEmitter
from runtime.sgd.overlap_chain import OverlapChain

pytestmark = pytest.mark.usefixtures("short_runs")

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
