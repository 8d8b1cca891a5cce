"""The law of SGD with second layers, weight decay, batches and schedules, tested as in test_law."""

from __future__ import annotations

import dataclasses

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
from runtime.sgd.chain_batch import BatchChainEmitter
from runtime.sgd.chain_step import ChainEmitter

pytestmark = pytest.mark.usefixtures("short_runs")

MIXED, TWO, THREE = (1.0, -0.6, 0.4, 0.0), (0.8, -0.5), (1.0, -1.0, 0.5)
EVERYTHING = {"v": MIXED, "vstar": TWO, "eta_second": 0.3, "decay": 0.5}
# Where the size of the batch counts.
NOISY = Case(3, 2, 8, 16, 2.5, "sphere", batch=6)
# Where every option counts.
ALL = Case(4, 2, 8, 16, 0.2, batch=3, schedule="inverse:1", **EVERYTHING)
LAYERS = [
    Case(4, 2, 8, 16, 0.2, v=MIXED, vstar=TWO),
    Case(2, 3, 6, 12, 0.1, v=(1.5, -0.5), vstar=THREE, rank=2),
    Case(2, 3, 7, 12, 0.2, "sphere", v=(1.5, -0.5), vstar=THREE, rank=3),
    Case(2, 2, 6, 12, 0.2, v=(1.0, 0.5), vstar=TWO, eta_second=0.4),
    Case(2, 1, 10, 16, 0.2, decay=3.0),
]
BATCHES = [
    Case(4, 2, 8, 12, 0.2, batch=3),
    Case(4, 2, 8, 12, 0.3, batch=4),
    Case(4, 2, 8, 12, 0.3, batch=7),
    Case(4, 2, 8, 12, 0.5, "sphere", batch=5),
    NOISY,
    # No dimension beyond teacher and students, one, fewer than students.
    *(Case(3, 2, 5 + beyond, 8, 0.2, batch=size) for beyond in (0, 1, 2) for size in (2, 5)),
    Case(1, 1, 2, 8, 0.1, batch=2),
    Case(1, 1, 3, 8, 0.1, batch=3),
    # Weights alone.
    Case(4, 2, 5, 8, 0.1, batch=4),
]
SCHEDULES = [
    Case(2, 1, 8, 16, 0.2, schedule="inverse:0.5"),
    Case(2, 1, 8, 16, 0.2, schedule="inverse-sqrt:0.2"),
    Case(2, 1, 8, 16, 0.2, schedule="exponential:0.7"),
    Case(2, 1, 8, 16, 0.2, schedule="0:1,0.3:0.4,0.6:2"),
    ALL,
    Case(4, 2, 7, 16, 0.2, batch=6, schedule="0:1,0.5:0.3", rank=2, **EVERYTHING),
]
CASES = [*LAYERS, *BATCHES, *SCHEDULES]


def test_the_level_is_that_of_all_comparisons():
    count = sum(3 * (c.p * (c.p + 3) // 2 + c.p * c.pstar + 1) for c in CASES)
    assert count <= COMPARISONS


@pytest.mark.parametrize("case", thinned(CASES, 1, 3, 14, 23), ids=str)
def test_chain_against_numpy(case):
    assert deviation(simulated(case, "chain"), brute_force(case)) < 1.0


@pytest.mark.parametrize("case", thinned(CASES, 3), ids=str)
def test_chain_against_weights(case):
    assert deviation(simulated(case, "chain", 1), simulated(case, "weights", 2)) < 1.0


# Wrong variants of the process.
VARIANTS = [
    ("v before w", dataclasses.replace(LAYERS[3], n=4, eta_second=2.0)),
    ("half the decay", LAYERS[4]),
    ("decay without schedule", dataclasses.replace(LAYERS[4], schedule="inverse:0.3", decay=6.0)),
    ("factor of the next step", dataclasses.replace(SCHEDULES[3], schedule="0:1,0.125:0.1")),
]


@pytest.mark.parametrize(("wrong", "case"), thinned(VARIANTS, 0, 1), ids=[wrong for wrong, _ in VARIANTS])
def test_wrong_variants_fail(wrong, case):
    chain = simulated(case, "chain")
    assert deviation(chain, brute_force(case)) < 1.0
    assert deviation(chain, brute_force(case, wrong=wrong)) > 1.0


@pytest.mark.parametrize("batch", thinned([1, 7], 0))
def test_the_noise_of_a_batch_is_that_of_its_size(batch):
    """Steps of single samples have the drift of a batch, and more noise."""
    other = dataclasses.replace(NOISY, batch=batch)
    assert deviation(simulated(other, "chain"), brute_force(NOISY)) > 1.0


# Wrong chains.


def kicks_without_second_layer(monkeypatch):
    def kick(emitter, c, i):
        return emitter.vector.multiply(c, emitter._load(emitter.record.at("fields"), i))

    monkeypatch.setattr(ChainEmitter, "_kick", kick)


def no_other_directions(monkeypatch):
    monkeypatch.setattr(BatchChainEmitter, "_rotate_other_directions_in", lambda _: None)


WRONG = [
    (kicks_without_second_layer, LAYERS[0]),
    (other_directions_of_students_too, NOISY),
    (no_other_directions, NOISY),
]


@pytest.mark.parametrize(
    ("damage", "case"), thinned(WRONG, 1), ids=[damage.__name__ for damage, _ in WRONG]
)
@pytest.mark.usefixtures("recompiled")
def test_wrong_chains_fail(monkeypatch, damage, case):
    right = simulated(case, "chain", 2)
    overlap_chain._compile.cache_clear()
    damage(monkeypatch)
    assert deviation(simulated(case, "chain", 1), right) > 1.0
