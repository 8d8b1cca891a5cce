"""The end of a run, or of each trajectory of an ensemble, to go on from: Q, R and trained weights."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import rejected

from runtime import final_state, final_weights, integrate_ensemble, random_overlaps
from runtime.trajectory.single_run import integrate


def test_final_state_is_the_last_that_was_reached(system, start, escape):
    run = integrate(system, *start, eta=100.0, alpha=[0.0, 1e-6, 1.0])
    assert run["status"].item() == "diverged"
    Q, R = final_state(run)
    np.testing.assert_array_equal(Q, run["Q"].values[1])
    np.testing.assert_array_equal(R, run["R"].values[1])
    np.testing.assert_array_equal(final_state(escape)[0], escape["Q"].values[-1])


@pytest.mark.parametrize("alpha", [[0.0, 5.0], [5.0]], ids=str)
@pytest.mark.parametrize("output", ["all", "final"])
def test_final_state_of_an_ensemble_has_trajectories_in_front(system, output, alpha):
    Q0, R0 = random_overlaps(4, 2, n=1000, seed=3, trajectories=3)
    settings = {"eta": 0.4, "alpha": alpha, "method": "tsit5"}
    runs = integrate_ensemble(system, Q0, R0, output=output, **settings)
    Q, R = final_state(runs)
    assert (Q.shape, R.shape) == ((3, 4, 4), (3, 4, 2))
    for k in range(3):
        single = final_state(integrate(system, Q0[k], R0[k], **settings))
        np.testing.assert_allclose(Q[k], single[0], rtol=0, atol=1e-7)
        np.testing.assert_allclose(R[k], single[1], rtol=0, atol=1e-7)
    # And of one of them, taken out.
    np.testing.assert_array_equal(final_state(runs.isel(trajectory=1))[0], Q[1])


def test_final_states_are_each_the_last_that_was_reached(system):
    Q0, R0 = random_overlaps(4, 2, n=1000, seed=3, trajectories=3)
    alpha = np.linspace(1.0, 60.0, 60)
    runs = integrate_ensemble(
        system, Q0, R0, eta=[0.2, 0.4, 40.0], alpha=alpha, stop_loss=0.3, method="tsit5"
    )
    Q, R = final_state(runs)
    for k in (0, 1):
        reached = np.flatnonzero(np.isfinite(runs["loss"].values[k]))[-1]
        assert reached < 59
        np.testing.assert_array_equal(Q[k], runs["Q"].values[k, reached])
        np.testing.assert_array_equal(R[k], runs["R"].values[k, reached])
    # The last one diverges before the first time.
    assert np.isnan(Q[2]).all()
    assert np.isnan(R[2]).all()


def test_final_state_of_losses_alone_is_rejected(system):
    Q0, R0 = random_overlaps(4, 2, n=1000, seed=3, trajectories=2)
    runs = integrate_ensemble(system, Q0, R0, eta=0.4, alpha=[1.0], output="loss", method="tsit5")
    with rejected("run", "holds no Q, R and loss"):
        final_state(runs)


def test_final_state_of_nothing_is_rejected(system, start):
    run = integrate(system, *start, eta=100.0, alpha=[1.0])
    with rejected("run", "no output"):
        final_state(run)


def test_final_weights_are_those_of_the_final_state(system_of, trained_run, escape):
    np.testing.assert_array_equal(final_weights(trained_run), trained_run["v"].values[-1])
    system, (Q0, R0) = system_of(3, 1, second_layer="trained"), random_overlaps(3, 1, n=100, trajectories=2)
    settings = {
        "eta": [0.2, 0.4],
        "eta_second": 0.3,
        "alpha": np.linspace(0.0, 20.0, 41),
        "method": "tsit5",
    }
    runs = integrate_ensemble(system, Q0, R0, stop_loss=0.5, **settings)
    v = final_weights(runs)
    for k in range(2):
        reached = np.flatnonzero(np.isfinite(runs["loss"].values[k]))[-1]
        assert 0 < reached < 40
        np.testing.assert_array_equal(v[k], runs["v"].values[k, reached])
    with rejected("run", "holds no v: its second layer is not trained"):
        final_weights(escape)
    losses = integrate_ensemble(system, Q0, R0, output="loss", **settings)
    with rejected("run", "an ensemble needs output 'all' or 'final'"):
        final_weights(losses)
