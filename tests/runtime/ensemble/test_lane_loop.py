"""The loop over lanes: no trajectory depends on another one; outputs, events, cancellation."""

from __future__ import annotations

import dataclasses
import itertools
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_ensembles import (
    COUNT,
    DIVERGING,
    END,
    HUGE,
    MODES,
    STUCK,
    TIMES,
    Ensemble,
    assert_same,
    make_ensemble,
)
from processes import started

from runtime.ensemble.ensemble_results import EnsembleResults
from runtime.ensemble.ensemble_run import EnsembleEngine
from runtime.vector import jit


@pytest.fixture(params=[(4, 2), (1, 1), (9, 5)], ids=str, scope="module")
def engine(request, engine_of) -> EnsembleEngine:
    """Engines that step one vector, two vectors, and with loops over tiles."""
    return engine_of(*request.param)


@pytest.fixture(scope="module")
def ensemble(engine) -> Ensemble:
    return make_ensemble(engine)


@pytest.fixture(params=MODES, scope="module")
def mode(request) -> dict[str, Any]:
    return MODES[request.param]


@pytest.fixture(scope="module")
def expected(engine, ensemble, mode) -> EnsembleResults:
    return ensemble.run(engine, **mode)


# A trajectory's numbers depend on nothing else.


def test_the_ensemble_has_every_kind_of_trajectory(engine_of):
    engine = engine_of(4, 2)
    results = make_ensemble(engine).run(engine, stop_loss=0.7)
    assert set(results.status) == {"ok", "diverged", "step_too_small"}
    assert results.status[STUCK] == "step_too_small"
    assert results.outcomes["accepted"][HUGE] > 10
    np.testing.assert_array_equal(np.flatnonzero(results.status == "diverged"), DIVERGING)
    crossed = results.outcomes["crossed"] == 1
    assert 0 < crossed.sum() < (results.status == "ok").sum()
    assert results.outcomes["accepted"].max() > 5 * results.outcomes["accepted"].min()
    assert results.outcomes["rejected"].max() > 0


def test_order_and_number_of_trajectories(engine, ensemble, mode, expected):
    order = np.random.default_rng(1).permutation(COUNT)
    # Fewer than lanes, as many, more, and some that never find a free lane.
    first = [np.arange(count) for count in (1, 2, 8, 9, 17)]
    for picks in (order, np.arange(COUNT)[::-1], *first):
        assert_same(ensemble[picks].run(engine, **mode), expected, picks)


@pytest.mark.parametrize(
    ("chunk", "threads"), [(1, 1), (3, 1), (512, 1), (1, 2), (3, 4), (512, 2), (512, 4)]
)
def test_chunks_and_threads(engine, ensemble, mode, expected, chunk, threads):
    assert_same(ensemble.run(engine, **mode, chunk=chunk, threads=threads), expected)


def test_neighbours(engine, ensemble, mode, expected):
    # Each trajectory is among copies of one that fails.
    for k, wild in itertools.product(range(0, COUNT, 4), (DIVERGING[0], STUCK)):
        picks = np.full(COUNT, wild)
        picks[k] = k
        assert_same(ensemble[picks].run(engine, **mode), expected, picks)


def test_runs_at_the_same_time(engine, ensemble, mode, expected):
    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(lambda _: ensemble.run(engine, **mode, threads=2), range(8)):
            assert_same(results, expected)


@pytest.mark.parametrize("widths", [(4, 2), (1, 1)], ids=str)
def test_width_of_the_vectors(engine_of, widths, mode):
    if jit.target("avx512").name != "avx512":
        pytest.skip("this processor has no AVX-512")
    wide, narrow = (engine_of(*widths, "tsit5", kind) for kind in ("avx512", "avx2"))
    assert wide.kernels.lanes == 2 * narrow.kernels.lanes
    ensemble = make_ensemble(wide)
    assert_same(ensemble.run(narrow, **mode), ensemble.run(wide, **mode))


def test_without_fused_multiply_adds(engine_of):
    # Other rounding, which also steps of other sizes turn into errors of the tolerance.
    ensemble = make_ensemble(engine_of(4, 2))
    tolerances = {"rtol": 1e-10, "atol": 1e-12}
    fused = ensemble.run(engine_of(4, 2), **tolerances)
    plain = ensemble.run(engine_of(4, 2, "tsit5", "baseline"), **tolerances)
    assert (plain.status == fused.status).all()
    ok = plain.status == "ok"
    np.testing.assert_allclose(plain.states[ok], fused.states[ok], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(plain.losses[ok], fused.losses[ok], rtol=1e-8, atol=1e-8)


def test_parameters_of_all_are_those_of_each(engine, ensemble):
    same = dataclasses.replace(ensemble, parameters=ensemble.parameters[3:4])
    each = dataclasses.replace(ensemble, parameters=np.repeat(ensemble.parameters[3:4], COUNT, axis=0))
    assert_same(same.run(engine), each.run(engine))


@settings(max_examples=20)
@given(picks=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=30), chunk=st.integers(1, 20))
def test_any_selection_in_any_order(engine_of, picks, chunk):
    engine = engine_of(4, 2)
    ensemble = make_ensemble(engine)
    expected = ensemble.run(engine, stop_loss=0.7)
    assert_same(ensemble[picks].run(engine, stop_loss=0.7, chunk=chunk), expected, picks)


# Outputs.


def test_outputs_do_not_depend_on_what_else_is_written(engine, ensemble):
    everything = ensemble.run(engine)
    final = ensemble.run(engine, **MODES["final"])
    assert final.states.shape == (COUNT, 1, ensemble.initial.shape[1])
    assert final.states[:, 0].tobytes() == everything.states[:, -1].tobytes()
    losses = ensemble.run(engine, output="loss")
    assert losses.states.size == 0
    assert losses.losses.tobytes() == everything.losses.tobytes()
    states = ensemble.run(engine, losses=False)
    assert states.losses.size == 0
    assert states.states.tobytes() == everything.states.tobytes()
    for results in (final, losses, states):
        assert results.outcomes.tobytes() == everything.outcomes.tobytes()


def test_no_output_at_all(engine, ensemble):
    results = ensemble.run(engine, output="loss", losses=False, stop_loss=0.7)
    expected = ensemble.run(engine, stop_loss=0.7)
    assert results.outcomes.tobytes() == expected.outcomes.tobytes()


def test_outputs_do_not_depend_on_other_output_times(engine, ensemble):
    # Ten thousand: many in every step, all of them in one step of some trajectories.
    fine = np.unique(np.concatenate([np.linspace(3.0, 3.001, 9_970), TIMES]))
    everything = ensemble.run(engine, times=fine)
    places = np.searchsorted(fine, TIMES)
    few = ensemble.run(engine)
    assert everything.states[:, places].tobytes() == few.states.tobytes()
    assert everything.losses[:, places].tobytes() == few.losses.tobytes()
    for first in (1, 5, len(TIMES) - 1):
        later = ensemble.run(engine, times=TIMES[first:])
        assert later.states.tobytes() == few.states[:, first:].tobytes()
        assert later.losses.tobytes() == few.losses[:, first:].tobytes()


def test_many_outputs_in_a_step_are_smooth(engine_of):
    engine = engine_of(4, 2)
    ensemble = make_ensemble(engine)[:3]
    times = np.concatenate([np.linspace(3.0, 3.001, 10_000), [END]])
    states = ensemble.run(engine, times=times).states[:, :-1]
    # A row that was skipped or written twice would be a jump of one difference.
    curvature = np.abs(np.diff(states, n=2, axis=1)).max()
    assert curvature < 1e-12 < np.abs(np.diff(states, axis=1)).max()


def test_the_start_is_written_as_it_is_and_nothing_after_a_failure(engine, ensemble):
    results = ensemble.run(engine)
    assert results.states[:, 0].tobytes() == ensemble.initial.tobytes()
    failed = results.status != "ok"
    assert failed[[*DIVERGING, STUCK]].all()
    assert not failed.all()
    reached = results.outcomes["end"][:, None] >= TIMES
    np.testing.assert_array_equal(np.isfinite(results.losses), reached)
    np.testing.assert_array_equal(np.isfinite(results.states).all(axis=2), reached)
    assert np.isnan(results.states[~reached]).all()
    assert (results.outcomes["end"][~failed] == END).all()
    assert (results.outcomes["end"][failed] < END).all()
    assert np.isnan(ensemble.run(engine, **MODES["final"]).states[failed]).all()


# Events.


def test_outputs_end_at_the_event(engine_of):
    engine = engine_of(4, 2)
    ensemble = make_ensemble(engine)
    # So many that events and outputs share steps.
    times = np.linspace(0.0, END, 10_000)
    everything, stopped = (ensemble.run(engine, times=times, stop_loss=stop) for stop in (None, 0.7))
    crossed = stopped.outcomes["crossed"] == 1
    reached = stopped.outcomes["end"][:, None] >= times
    np.testing.assert_array_equal(np.isfinite(stopped.losses), reached)
    np.testing.assert_array_equal(np.isfinite(stopped.states).all(axis=2), reached)
    # Until then nothing changes, and trajectories without an event are the same.
    assert stopped.losses[reached].tobytes() == everything.losses[reached].tobytes()
    assert stopped.states[reached].tobytes() == everything.states[reached].tobytes()
    assert_same(ensemble[~crossed].run(engine, times=times), stopped, ~crossed)
    # The loss comes down to the threshold between the last output and the next one.
    last = reached.sum(axis=1) - 1
    rows = np.flatnonzero(crossed)
    assert (everything.losses[rows, last[rows]] > 0.7).all()
    assert (everything.losses[rows, last[rows] + 1] <= 0.7).all()


def test_state_of_the_event(engine_of):
    engine = engine_of(4, 2)
    results = make_ensemble(engine).run(engine, **MODES["event final"])
    crossed = results.outcomes["crossed"] == 1
    losses = engine.system.loss_of_states(results.states[:, 0])
    np.testing.assert_allclose(losses[crossed], 0.7, rtol=0, atol=1e-12)
    ok = (results.status == "ok") & ~crossed
    assert (losses[ok] > 0.7).all()


@pytest.mark.parametrize("widths", [(2, 1), (4, 2), (8, 4)], ids=str)
def test_losses_of_given_states(engine_of, widths):
    engine = engine_of(*widths)
    states = make_ensemble(engine).initial
    # Every number of idle lanes at the end; no number stays none, and harms no neighbour.
    for count in range(1, 2 * engine.kernels.lanes + 2):
        some = states[:count].copy()
        some[count // 2, 0] = np.nan
        losses = engine.losses(some, engine.system.parameters(0.4)[None, :])
        expected = engine.system.loss_of_states(some)
        np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-15 * engine.system.model.p)
        assert np.isnan(losses).sum() == 1


@pytest.mark.parametrize("times", [TIMES, TIMES[1:]], ids=["from 0", "later"])
@pytest.mark.parametrize("output", ["all", "final", "loss"])
def test_low_loss_at_the_start_is_an_event_at_zero(engine_of, times, output):
    engine = engine_of(4, 2)
    ensemble = make_ensemble(engine)
    start = engine.system.loss_of_states(ensemble.initial)
    # Some are below at the start, among others that go on; the smallest is just reached.
    threshold = float(np.sort(start)[COUNT // 2])
    at_start = start <= threshold
    if output == "final":
        times = times[-1:]
    options = {"times": times, "output": output, "losses": output != "final"}
    results = ensemble.run(engine, **options, stop_loss=threshold)
    assert (results.outcomes["crossed"][at_start] == 1).all()
    assert (results.outcomes["end"][at_start] == 0.0).all()
    assert (results.outcomes["end"][~at_start] > 0.0).all()
    assert (results.outcomes["accepted"][at_start] == 0).all()
    assert (results.status[at_start] == "ok").all()
    now = times == 0.0
    if output == "final":
        assert results.states[at_start, 0].tobytes() == ensemble.initial[at_start].tobytes()
    elif output == "all":
        starts = ensemble.initial[at_start][:, None][:, now[:1]]
        assert results.states[at_start][:, now].tobytes() == starts.tobytes()
        assert np.isnan(results.states[at_start][:, ~now]).all()
    if output != "final":
        assert np.isfinite(results.losses[at_start][:, now]).all()
        assert np.isnan(results.losses[at_start][:, ~now]).all()
    assert_same(ensemble[~at_start].run(engine, **options, stop_loss=threshold), results, ~at_start)


# Progress and cancellation.


def test_progress_counts_to_the_end(engine, ensemble):
    calls: list[tuple[int, int]] = []
    ensemble.run(engine, chunk=3, threads=2, progress=lambda done, total: calls.append((done, total)))
    done = [call[0] for call in calls]
    assert done == sorted(set(done))
    assert done[-1] == COUNT
    assert {total for _, total in calls} == {COUNT}


def test_exception_in_progress_stops_the_run(engine_of):
    engine = engine_of(4, 2)
    # Hours of work, should it go on.
    many = make_ensemble(engine)[np.zeros(50_000, dtype=int)]
    seen = []

    def progress(done: int, _: int) -> None:
        seen.append(done)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        many.run(engine, output="loss", times=np.array([1e5]), chunk=2, threads=2, progress=progress)
    assert len(seen) == 1
    assert seen[0] < len(many)


PREPARE = """
    import os, signal, sys
    import numpy as np
    import runtime
    from derive import Model
    from runtime.ensemble.ensemble_run import EnsembleEngine
    system = runtime.load(Model(2, 1), sys.argv[1])
    Q, R = runtime.random_overlaps(2, 1, seed=1, trajectories=COUNT)
    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGALRM, interrupt)
    def run(**options):
        return runtime.integrate_ensemble(system, Q, R, eta=0.2, method="tsit5", threads=2, **options)
    EnsembleEngine(system, "tsit5")  # compiled before the clock starts
    print("ready", flush=True)
"""
# Far more than the wait for a step, far less than the work would take.
LONGEST_WAIT = 60.0


def run_script(generated: Path, count: int, script: str) -> tuple[int, str]:
    """Exit status and last line of errors of a script, from when it is ready; kills it at the limit."""
    text = textwrap.dedent(PREPARE).replace("COUNT", str(count)) + textwrap.dedent(script)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started([sys.executable, "-c", text, str(generated)], **streams) as child:
        assert child.stdout.readline() == "ready\n"
        _, errors = child.communicate(timeout=LONGEST_WAIT)
    return child.returncode, errors.strip().splitlines()[-1] if errors else ""


def test_interrupt_of_many_trajectories(generated):
    script = "run(alpha=[2e4], output='loss', progress=interrupt)"
    assert run_script(generated, 100_000, script) == (-signal.SIGINT, "KeyboardInterrupt")


def test_interrupt_within_a_trajectory(generated):
    script = "signal.setitimer(signal.ITIMER_REAL, 0.3); run(alpha=[1e10], output='loss')"
    assert run_script(generated, 2, script) == (-signal.SIGINT, "KeyboardInterrupt")
