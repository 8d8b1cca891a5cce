"""The chain's code: one step against the update formulas of docs/finite-n.md with the same inputs."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from chain_lanes import EPSILON, Lanes, WatchedEmitter, WatchedRecord
from matrix import thinned

from runtime.sgd import chain_step, overlap_chain
from runtime.sgd.overlap_chain import OverlapChain
from runtime.sgd.sgd_process import SgdProcess
from runtime.start.schedules import Schedule
from runtime.start.teacher_directions import Teacher
from runtime.vector import jit
from runtime.vector.random_numbers import streams


@pytest.fixture
def watched(monkeypatch, recompiled):  # noqa: ARG001 (its end empties the caches)
    for module in (chain_step, overlap_chain):
        monkeypatch.setattr(module, "ChainRecord", WatchedRecord)
    monkeypatch.setattr(overlap_chain, "ChainEmitter", WatchedEmitter)


# (p, k, others): N = k + p, one more, two more (the fewest for gamma), many; p = 1; k = 0; loops.
SHAPES = [(1, 1, 0), (1, 1, 1), (1, 0, 5), (2, 3, 0), (2, 3, 1), (3, 0, 0), (4, 2, 2), (4, 2, 10**6)]
LOOPS = [(12, 5, 0), (12, 5, 1), (12, 5, 30), (11, 0, 3), (1, 70, 2), (2, 40, 0)]


# Not every combination: each is compiled.
@pytest.mark.parametrize(("sphere", "noise"), [(False, True), (True, False)], ids=["free", "sphere"])
@pytest.mark.parametrize("shape", SHAPES + LOOPS, ids=str)
@pytest.mark.usefixtures("watched")
def test_a_step_is_the_update_of_the_overlaps(shape, sphere, noise):
    lanes = Lanes(*shape, sphere=sphere, noise=noise)
    p, k, others = shape
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(20):
        lanes.check_step()
        u, v, other, _ = lanes.inputs()
        assert (other > 0.0).all() if others else (other == 0.0).all()
        drawn.append(np.concatenate([u, v], axis=1))
        # The next step starts elsewhere, with the same norms.
        lanes.A, S = lanes.chain.coordinates(lanes.work)
        assert (np.diagonal(S, axis1=1, axis2=2) >= 0.0).all()
        directions = rng.standard_normal((lanes.chain.lanes, p, k + p))
        directions[:, :, k:] = np.tril(directions[:, :, k:])
        directions *= np.sqrt(lanes.norms / np.sum(directions**2, axis=2))[:, :, None]
        lanes.A, lanes.S = directions[:, :, :k], directions[:, :, k:]
    # Every step has inputs of its own, in every lane.
    assert np.unique(drawn).size == 20 * lanes.chain.lanes * (p + k)


OPTIONS = {
    "fixed": {"second_layer": "fixed"},
    "trained": {"second_layer": "trained", "sphere": True},
    "decay": {"decaying": True},
    "all": {"second_layer": "trained", "decaying": True},
    "general teacher": {"second_layer": "fixed", "pstar": 4},
}


@pytest.mark.parametrize("shape", [(4, 2, 3), (12, 3, 0)], ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.usefixtures("watched")
def test_a_step_with_a_second_layer_and_decay(shape, options):
    lanes = Lanes(*shape, **options)
    assert lanes.chain.process.form.separate == ("pstar" not in options)
    for _ in range(5):
        lanes.check_step()


QUADRATIC = "quadratic"
GENERAL = "1,1/3,-1/7,1/2,1/5"
ACTIVATIONS = [
    ((4, 2, 3), ("he3", "he3"), {}),
    ((4, 2, 10**6), ("he4", "he3"), {"second_layer": "fixed", "sphere": True}),
    ((2, 3, 0), (GENERAL, "he6"), {"second_layer": "trained", "decaying": True, "noise": False}),
    # λ² of student or teacher alone; more teachers than directions, and none: He2 is not zero there.
    ((3, 2, 1), (QUADRATIC, "he1"), {"pstar": 4, "second_layer": "trained"}),
    ((3, 2, 1), ("he5", QUADRATIC), {"pstar": 4, "second_layer": "fixed"}),
    ((2, 0, 3), ("he2", "he2"), {}),
    # Loops.
    ((12, 3, 0), ("he3", GENERAL), {"pstar": 5, "second_layer": "trained"}),
    ((11, 0, 3), ("he2", "he4"), {"sphere": True}),
]


@pytest.mark.parametrize(("shape", "activations", "options"), thinned(ACTIVATIONS, 1, 2, 3, 5, 6), ids=str)
@pytest.mark.usefixtures("watched")
def test_a_step_with_polynomial_activations(shape, activations, options):
    lanes = Lanes(*shape, activations=activations, **options)
    # Kicks of high powers would be all that there is.
    lanes.eta *= 0.1
    for _ in range(5):
        lanes.check_step()


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_options_that_change_nothing_change_no_bit(batch):
    """Second-layer weights of 1, no decay, rates of 0 of the second layer, and no schedule."""
    found = []
    for options in ({}, {"second_layer": "trained", "decaying": True}):
        lanes = Lanes(4, 2, 5, batch=batch, **options)
        lanes.v, lanes.vstar, lanes.decay, lanes.eta_second = (
            factor * np.ones_like(value)
            for factor, value in ((1, lanes.v), (1, lanes.vstar), (0, lanes.decay), (0, lanes.eta))
        )
        work = lanes.start()
        lanes.chain.advance(work, 50)
        found.append(b"".join(part.tobytes() for part in lanes.overlaps(work)))
    assert found[0] == found[1]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("schedule", ["exponential:2", "inverse:2", "inverse-sqrt:2"])
def test_each_step_has_the_rates_of_its_time(schedule, batch):
    """Steps with a smooth schedule are steps at constant rates, which are written before each."""
    options = {"second_layer": "trained", "decaying": True, "batch": batch}
    smooth, constant = Lanes(4, 2, 5, schedule=schedule, origin=0.3, **options), Lanes(4, 2, 5, **options)
    smooth.chain.advance(smooth.work, 3)
    smooth.chain.advance(smooth.work, 22)
    for step in range(25):
        factor = float(Schedule.of(schedule).factors(np.array(0.3 + step / constant.n)))
        assert 0.1 < factor < 1.0
        constant.chain.set_rates(constant.work, constant.parameters, factor)
        constant.chain.advance(constant.work, 1)
    for found, expected in zip(smooth.overlaps(), constant.overlaps(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    layers = [lanes.chain.second_layer(lanes.work) for lanes in (smooth, constant)]
    np.testing.assert_allclose(*layers, rtol=1e-11)


@pytest.mark.usefixtures("watched")
def test_steps_in_a_row_are_updates():
    lanes = Lanes(4, 2, 20)
    lanes.eta *= 0.2
    for _ in range(30):
        lanes.check_step()
        lanes.A, lanes.S = lanes.chain.coordinates(lanes.work)


@pytest.mark.usefixtures("watched")
def test_a_step_with_a_singular_teacher():
    lanes = Lanes(3, 2, 4, pstar=4)
    for _ in range(10):
        lanes.check_step()


@pytest.mark.parametrize("others", [0, 1, 5])
@pytest.mark.usefixtures("watched")
def test_a_step_of_students_that_are_not_independent(others):
    """Parallel students, students within the teacher, and one of norm zero: C is singular."""
    lanes = Lanes(4, 2, others)
    lanes.A[:, 1], lanes.S[:, 1] = 2.0 * lanes.A[:, 0], 2.0 * lanes.S[:, 0]
    lanes.S[:, 2] = 0.0
    lanes.A[:, 3] = lanes.S[:, 3] = 0.0
    for _ in range(10):
        lanes.check_step()
    lanes.chain.advance(lanes.work, 5)
    Q, R = lanes.overlaps()
    # A student of norm zero has no gradient.
    assert (Q[:, 3] == 0.0).all()
    assert (R[:, 3] == 0.0).all()
    # Parallel students stay parallel.
    np.testing.assert_allclose(Q[:, 1], 2.0 * Q[:, 0], rtol=1e-10)


@pytest.mark.parametrize("sphere", [False, True], ids=["free", "sphere"])
def test_solutions_are_left_alone(sphere):
    """Where the loss is zero every error is, whatever the input: W = √(b/a) O W*."""
    lanes = Lanes(2, 2, 50, sphere=sphere, noise=False)
    a, b = lanes.readout
    # Solutions are unstable at large rates.
    lanes.eta *= 0.2
    lanes.A[:] = np.sqrt(b / a) * np.linalg.qr(lanes.A)[0]
    lanes.S[:] = 0.0
    work = lanes.start()
    lanes.chain.advance(work, 5000)
    Q, R = lanes.overlaps(work)
    np.testing.assert_allclose(Q, np.broadcast_to(b / a * np.eye(2), Q.shape), atol=1e-12)
    np.testing.assert_allclose(R, lanes.A, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 2, 30), (12, 5, 0)], ids=str)
def test_norms_stay_on_the_sphere(shape):
    lanes = Lanes(*shape, sphere=True)
    lanes.chain.advance(lanes.work, 20_000)
    Q, R = lanes.overlaps()
    # Squared norms are sums of as many squares as there are coordinates.
    np.testing.assert_allclose(np.diagonal(Q, axis1=1, axis2=2), lanes.norms, rtol=20 * EPSILON)
    assert not np.allclose(R, lanes.A @ lanes.teacher.factor.T, atol=0.05)


@pytest.mark.parametrize("sphere", [False, True], ids=["free", "sphere"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 0), (1, 0, 2), (1, 2, 1), (2, 3, 0), (3, 0, 7), (4, 2, 9)], ids=str
)
@pytest.mark.usefixtures("recompiled")
def test_loops_do_what_unrolled_code_does(monkeypatch, shape, sphere):
    found = []
    for entries in (0, 10**6):
        monkeypatch.setattr(chain_step, "_UNROLLED_ENTRIES", entries)
        overlap_chain._compile.cache_clear()
        lanes = Lanes(*shape, sphere=sphere)
        lanes.chain.advance(lanes.work, 25)
        found.append((*lanes.overlaps(), lanes.work["words"].view(np.uint64).copy()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(found[0][2], found[1][2])


@pytest.mark.usefixtures("recompiled")
def test_unrolled_code_does_what_loops_of_many_students_do(monkeypatch):
    found = []
    for entries in (chain_step._UNROLLED_ENTRIES, 10**6):
        monkeypatch.setattr(chain_step, "_UNROLLED_ENTRIES", entries)
        overlap_chain._compile.cache_clear()
        lanes = Lanes(9, 3, 4, sphere=True)
        lanes.chain.advance(lanes.work, 10)
        found.append(lanes.overlaps())
    for loops, unrolled in zip(*found, strict=True):
        np.testing.assert_allclose(loops, unrolled, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 3, 2), (12, 5, 30)], ids=str)
def test_every_kind_of_vectors_runs_the_same_chain(shape):
    found = {}
    words = streams(2, 0, 0, 8)
    for kind in jit.RESTRICTIONS:
        make = functools.partial(Lanes, *shape, sphere=True, kind=kind)
        lanes = make()
        work = lanes.start(words[: lanes.chain.lanes])
        lanes.chain.advance(work, 200)
        # The first four lanes are there in every kind.
        found[kind] = np.concatenate([x[:4].ravel() for x in lanes.overlaps(work)])
    assert found["avx512"].tobytes() == found["avx2"].tobytes()
    np.testing.assert_allclose(found["baseline"], found["avx512"], rtol=0, atol=1e-9)


def test_lanes_know_nothing_of_each_other():
    lanes = Lanes(4, 2, 2)
    lanes.chain.advance(lanes.work, 300)
    together = lanes.overlaps()
    for lane in range(lanes.chain.lanes):
        # Neighbours that have diverged, with streams of their own.
        wild = Lanes(4, 2, 2)
        words = streams(77, 0, 0, wild.chain.lanes)
        words[lane] = streams(2, 0, lane, 1)[0]
        others = np.arange(wild.chain.lanes) != lane
        wild.eta[others] = 1e10
        wild.S[others] = np.nan
        work = wild.start(words)
        wild.chain.advance(work, 300)
        for alone, all_of_them in zip(wild.overlaps(work), together, strict=True):
            assert alone[lane].tobytes() == all_of_them[lane].tobytes()
            assert not np.isfinite(alone[others]).any()


def test_steps_in_pieces_are_the_same_steps():
    whole, pieces = Lanes(4, 2, 3), Lanes(4, 2, 3)
    whole.chain.advance(whole.work, 100)
    for count in (1, 0, 2, 30, 67):
        pieces.chain.advance(pieces.work, count)
    assert pieces.work.doubles.tobytes() == whole.work.doubles.tobytes()


def test_too_few_dimensions_are_rejected():
    with pytest.raises(ValueError, match="fewer dimensions"):
        OverlapChain(
            SgdProcess(4, Teacher.from_overlaps(np.eye(2)), 5, (1.0, 1.0), False, False), jit.target()
        )
