"""First times at which runs of SGD have a loss below a level, against their recorded losses."""

from __future__ import annotations

import numpy as np
import pytest

from derive import Model
from runtime.sgd.passage_recorder import first_passages
from runtime.sgd.simulation import Simulation, simulate
from runtime.start.starts import GivenStart

N, EVERY, END = 60, 7, 14.0
Q0, R0 = np.eye(3), np.full((3, 2), 0.15)
CASES = [
    ({}, {}, "chain"),
    ({"constraint": "sphere"}, {"batch": 2}, "weights"),
    ({"second_layer": "fixed"}, {"student_weights": [1.0, 0.5, 1.5]}, "chain"),
    ({"second_layer": "trained"}, {"eta_second": 0.1}, "chain"),
]


@pytest.mark.parametrize(("options", "given", "method"), CASES)
def test_passages_are_those_of_recorded_losses(options, given, method):
    """The inputs are the same, so the first record below the level is the same, whatever is recorded."""
    model, runs = Model(3, 2, **options), 21
    given = {"eta": 0.3, "label_noise": 0.1} | given
    steps = np.arange(0, int(END * N) + EVERY, EVERY)
    recorded = simulate(
        model, n=N, alpha=steps / N, trajectories=runs, seed=4, Q0=Q0, R0=R0, method=method, **given
    )["loss"].values
    level = 1.001 * float(np.quantile(recorded[:, 60:], 0.4))
    simulation = Simulation(
        model, GivenStart(Q0, R0), given, N, [0.0, END], method, seed=4, trajectories=runs
    )
    found = first_passages(simulation, level, EVERY)
    assert not found.diverged.any()
    below = recorded <= level
    assert np.isfinite(found.alpha).tolist() == below.any(axis=1).tolist()
    assert np.isfinite(found.alpha).sum() > 5
    for run in np.flatnonzero(below.any(axis=1)):
        k = int(np.argmax(below[run]))
        time = np.interp(-level, -recorded[run, k - 1 : k + 1], steps[k - 1 : k + 1] / N)
        assert found.alpha[run] == pytest.approx(time, rel=1e-12)
        # A time that is not interpolated would be later.
        assert found.alpha[run] < steps[k] / N


def test_runs_that_start_below_or_diverge():
    model, given = Model(3, 2), {"eta": 0.4}
    below = Simulation(model, GivenStart(Q0, R0), given, N, [0.0, 1.0], trajectories=3)
    assert first_passages(below, 10.0, EVERY).alpha.tolist() == [0.0] * 3
    wild = Simulation(model, GivenStart(Q0, R0), {"eta": 1e3}, N, [0.0, END], trajectories=9)
    found = first_passages(wild, 1e-9, EVERY)
    assert found.diverged.all()
    assert np.isnan(found.alpha).all()


def test_a_run_that_has_come_down_does_not_diverge_later():
    model = Model(3, 2)
    simulation = Simulation(model, GivenStart(Q0, R0), {"eta": 0.4}, N, [0.0, 1.0], trajectories=2)
    recorder = first_passages(simulation, 0.0, EVERY)
    assert np.isnan(recorder.alpha).all()
    A, S = (np.array(part) for part in simulation.starts)
    both = np.arange(2)
    recorder._level = 1e3
    assert not recorder.write(3, both, A, S)
    found = recorder.alpha.copy()
    assert np.isfinite(found).all()
    assert not recorder.write(4, both, 1e9 * A, S)
    assert not recorder.diverged.any()
    np.testing.assert_array_equal(recorder.alpha, found)
