"""Runs with schedules: from jump to jump as if it were one run, each trajectory on its own."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from lane_ensembles import (
    COUNT,
    DIVERGING,
    END,
    FIELDS,
    MODES,
    STUCK,
    TIMES,
    Ensemble,
    assert_same,
    make_ensemble,
)

from derive.parameters import scheduled_places
from runtime.ensemble.ensemble_results import EnsembleResults
from runtime.ensemble.ensemble_run import EnsembleEngine
from runtime.start.parameter_values import RunParameters
from runtime.start.schedules import Schedule
from runtime.trajectory.controller import FINISHED
from runtime.vector import jit

# Jumps at outputs, between them, before the first step of some trajectories has ended, and after the end.
JUMPS = "0:1,0.013:0.5,1:1.5,7:0,8.25:2,30:0.75,50:3"
SMOOTH = "inverse:5"


@pytest.fixture(params=MODES, scope="module")
def mode(request) -> dict[str, Any]:
    return MODES[request.param]


def by_hand(
    engine: EnsembleEngine, jumps: EnsembleEngine, ensemble: Ensemble, mode: Any
) -> EnsembleResults:
    """Each trajectory alone, one run of an engine with constant rates for each stretch."""
    options = {"times": TIMES, **mode}
    times, places = options["times"], list(scheduled_places(engine.system.model))
    parts = []
    for k in range(len(ensemble)):
        one = ensemble[k : k + 1]
        total = EnsembleResults.room(one.plan(**options), 1, one.initial.shape[1])
        for array in (total.states, total.losses):
            array[:] = np.nan
        for since, until, factor in jumps.schedule.segments(0.0, times[-1]):
            rates = one.parameters.copy()
            rates[:, places] *= factor
            inside = (times >= since if since == 0.0 else times > since) & (times <= until)
            asked = {**options, "start": since, "times": np.union1d(times[inside], [until])}
            found = Ensemble(one.initial, rates).run(engine, **asked)
            count = int(inside.sum())
            if options.get("output") == "final":
                total.states[:] = found.states
            elif options.get("output", "all") == "all":
                total.states[:, inside] = found.states[:, :count]
            if options.get("losses", True):
                total.losses[:, inside] = found.losses[:, :count]
            for name in ("accepted", "rejected"):
                total.outcomes[name] += found.outcomes[name]
            for name in ("end", "status", "crossed"):
                total.outcomes[name] = found.outcomes[name]
            if found.outcomes["status"][0] != FINISHED or found.outcomes["crossed"][0]:
                break
            # The state at the end of the stretch is its last output.
            last = {**asked, "times": np.array([until]), "output": "final", "losses": False}
            one = Ensemble(Ensemble(one.initial, rates).run(engine, **last).states[:, 0], one.parameters)
        parts.append(total)
    return EnsembleResults(
        times, *(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS)
    )


@pytest.mark.parametrize("widths", [(4, 2), (1, 1)], ids=str)
def test_stretches_are_runs_of_their_own(engine_of, widths, mode):
    engine, jumps = engine_of(*widths), engine_of(*widths, schedule=JUMPS)
    ensemble = make_ensemble(engine)
    found, expected = ensemble.run(jumps, **mode), by_hand(engine, jumps, ensemble, mode)
    # Divergence in a later stretch is measured from the start of the run, and may be noted a step earlier.
    late = (found.status == "diverged") & (found.outcomes["end"] > 0.013)
    np.testing.assert_allclose(found.outcomes["end"], expected.outcomes["end"], rtol=1e-12)
    assert (found.status == expected.status).all()
    assert late.sum() < COUNT // 4
    others = {field: getattr(found, field)[~late] for field in FIELDS}
    assert_same(dataclasses.replace(found, **others), expected, ~late)
    # It would mean little if nothing ended in the first stretches, or none of them changed anything.
    assert len(set(found.outcomes["end"])) > 3
    assert found.outcomes.tobytes() != ensemble.run(engine, **mode).outcomes.tobytes()


def test_jumps_of_nothing_change_nothing(engine_of):
    ensemble = make_ensemble(engine_of(4, 2))
    tolerances = {"rtol": 1e-10, "atol": 1e-12}
    once = ensemble.run(engine_of(4, 2), **tolerances)
    many = ensemble.run(engine_of(4, 2, schedule="0:1,0.5:1,7:1,23:1"), **tolerances)
    assert (many.status == once.status).all()
    ok = once.status == "ok"
    assert ok.sum() > COUNT // 2
    np.testing.assert_allclose(many.states[ok], once.states[ok], rtol=1e-7, atol=1e-8)
    assert (many.outcomes["accepted"][ok] > once.outcomes["accepted"][ok]).all()


def test_a_jump_before_the_start_is_a_factor(engine_of):
    engine, jumps = engine_of(4, 2), engine_of(4, 2, schedule="0:1,2:0.5,60:7")
    ensemble = make_ensemble(engine)
    rates = ensemble.parameters.copy()
    rates[:, 0] *= 0.5
    times = {"times": TIMES + 5.0, "start": 5.0}
    expected = Ensemble(ensemble.initial, rates).run(engine, **times)
    assert_same(ensemble.run(jumps, **times), expected)


def test_rates_of_zero_stop_everything(engine_of):
    engine = engine_of(4, 2, schedule="0:1,5:0,15:1")
    ensemble = make_ensemble(engine)
    results = ensemble.run(engine, times=np.array([5.0, 9.0, 15.0, 20.0]))
    reached = results.outcomes["end"] >= 5.0
    assert reached.sum() > COUNT // 2
    for later in (1, 2):
        assert results.states[reached, later].tobytes() == results.states[reached, 0].tobytes()
    assert np.abs(results.states[reached, 3] - results.states[reached, 0]).max() > 1e-3


def test_divergence_is_measured_from_the_start_of_the_run(system_of):
    """Norms that grow as e^α, since the noise of labels is large and the students hardly count."""
    system = system_of(2, 1, second_layer="fixed")
    parameters = RunParameters.of(
        system.model,
        {"eta": 1.0, "label_noise": 1e16, "student_weights": [1e-8, 1e-8], "teacher_weights": [0.0]},
    ).packed
    ensemble = Ensemble(system.pack(np.eye(2)[None], np.zeros((1, 2, 1))), parameters)
    for schedule in ("constant", "0:1,5:1,10:1"):
        engine = EnsembleEngine(system, "tsit5", schedule=Schedule.of(schedule))
        results = ensemble.run(engine, times=np.array([20.0]))
        assert results.status.tolist() == ["diverged"]
        assert 0.0 <= results.outcomes["end"][0] - 6.0 * np.log(10.0) < 3.0


# A trajectory's numbers depend on nothing else.


@pytest.mark.parametrize("schedule", [JUMPS, SMOOTH, "exponential:9"])
def test_order_chunks_threads_and_neighbours(engine_of, schedule, mode):
    engine = engine_of(4, 2, schedule=schedule)
    ensemble = make_ensemble(engine)
    expected = ensemble.run(engine, **mode)
    order = np.random.default_rng(1).permutation(COUNT)
    for picks in (order, np.arange(COUNT)[::-1], *(np.arange(count) for count in (1, 2, 9))):
        assert_same(ensemble[picks].run(engine, **mode), expected, picks)
    for chunk, threads in ((1, 2), (3, 4), (512, 2)):
        assert_same(ensemble.run(engine, **mode, chunk=chunk, threads=threads), expected)
    for k, wild in itertools.product(range(0, COUNT, 8), (DIVERGING[0], STUCK)):
        picks = np.full(COUNT, wild)
        picks[k] = k
        assert_same(ensemble[picks].run(engine, **mode), expected, picks)


@pytest.mark.parametrize("schedule", [JUMPS, SMOOTH])
def test_outputs_do_not_depend_on_other_output_times(engine_of, schedule):
    engine = engine_of(4, 2, schedule=schedule)
    ensemble = make_ensemble(engine)
    few = ensemble.run(engine)
    fine = np.unique(np.concatenate([np.linspace(0.0, END, 1000), TIMES]))
    many, places = ensemble.run(engine, times=fine), np.searchsorted(fine, TIMES)
    assert many.states[:, places].tobytes() == few.states.tobytes()
    assert many.losses[:, places].tobytes() == few.losses.tobytes()
    assert many.outcomes.tobytes() == few.outcomes.tobytes()


@pytest.mark.parametrize("schedule", [JUMPS, "exponential:9"])
def test_width_of_the_vectors(engine_of, schedule):
    if jit.target("avx512").name != "avx512":
        pytest.skip("this processor has no AVX-512")
    wide, narrow = (engine_of(4, 2, "tsit5", kind, schedule) for kind in ("avx512", "avx2"))
    ensemble = make_ensemble(wide)
    assert_same(ensemble.run(narrow), ensemble.run(wide))
