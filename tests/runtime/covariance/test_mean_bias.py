"""The bias at order 1/N as users integrate it: schedules, continued runs, random weights, and refusals."""

from __future__ import annotations

import matrix
import numpy as np
import pytest
from sphere_chain import bias

import runtime
from derive import InputError
from runtime.covariance.mean_bias import initial_bias

ETA, NOISE, R0 = 0.05, 0.2, 0.7
ONE = np.eye(1)
RUN = {"eta": ETA, "label_noise": NOISE}
SCHEDULES = {
    None: None,
    "exponential:2": lambda alpha: np.exp(-alpha / 2.0),
    "0:1,1:0.5": lambda alpha: np.where(alpha < 1.0, 1.0, 0.5),
}


@pytest.mark.matrix
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_is_that_of_the_chain_with_a_schedule(system_of, schedule):
    """On the sphere (1, 1) the mean over all runs is known without any random number."""
    run = runtime.fluctuations(
        system_of(1, 1, constraint="sphere"),
        ONE,
        R0 * ONE,
        alpha=[0.0, 2.0],
        schedule=schedule,
        bias=True,
        **RUN,
    )
    R, loss = run.R.values.ravel(), run.loss.values
    functions = (lambda R: R, lambda R: 2.0 * (1.0 - R * R))
    exact = bias(R0, 2.0, (R[1], loss[1]), functions, eta=ETA, noise=NOISE, schedule=SCHEDULES[schedule])
    found = [run.R_bias.values.ravel(), run.loss_bias.values]
    np.testing.assert_allclose(found, [[0.0, exact[0]], [0.0, exact[1]]], rtol=1e-4, atol=1e-12)
    assert not run.Q_bias.values.any()


@pytest.mark.parametrize("schedule", matrix.thinned(["inverse:3", "0:1,1:0.5"], 1))
def test_a_run_is_continued_from_its_last_state(system_of, schedule):
    system = system_of(1, 1, constraint="sphere")
    given = RUN | {"schedule": schedule, "bias": True, "rtol": 1e-10, "atol": 1e-12}
    whole = runtime.fluctuations(system, ONE, R0 * ONE, alpha=[1.0, 3.0], **given)
    given["bias"] = system.pack(whole.Q_bias.values, whole.R_bias.values)[0]
    covariance, R = whole.covariance.values[0], whole.R.values[0]
    rest = runtime.fluctuations(
        system, ONE, R, alpha=[1.0, 3.0], covariance=covariance, start_alpha=1.0, **given
    )
    for name in ("R_bias", "loss_bias", "covariance"):
        np.testing.assert_allclose(rest[name], whole[name], rtol=1e-7, atol=1e-10)
    lost = runtime.fluctuations(
        system, ONE, R, alpha=3.0, covariance=covariance, start_alpha=1.0, **given | {"bias": True}
    )
    assert abs(lost.R_bias.values[-1].item() / whole.R_bias.values[1].item() - 1.0) > 0.1


def test_all_else_is_that_of_a_run_without_it(system_of):
    system = system_of(1, 1, constraint="sphere")
    times = {"alpha": [0.0, 1.0, 5.0], "n": 100}
    plain = runtime.fluctuations(system, ONE, R0 * ONE, **times, **RUN)
    run = runtime.fluctuations(system, ONE, R0 * ONE, **times, bias=True, **RUN)
    added = {"Q_bias", "R_bias", "loss_bias"}
    assert run.data_vars.keys() - plain.data_vars.keys() == added
    for name in plain.data_vars.keys() - {"steps", "rejected", "evaluations", "status"}:
        np.testing.assert_allclose(run[name], plain[name], rtol=1e-6, atol=1e-9)
    assert all(run[name].attrs["units"] == "1" and run[name].attrs["long_name"] for name in added)


@pytest.mark.matrix
def test_in_gradient_flow_it_is_the_mean_over_the_starts(system_of):
    """Starts at ±δ around one, each integrated: their mean has the bias ½ (∂²y/∂y₀²) δ² at order δ²."""
    system, delta = system_of(1, 1, flow="gradient"), 1e-3
    times = {"eta": 0.2, "alpha": [0.0, 3.0], "rtol": 1e-12, "atol": 1e-13, "schedule": "inverse:2"}
    spread = np.diag([0.0, 1.0])
    run = runtime.fluctuations(system, ONE, R0 * ONE, covariance=spread, bias=True, **times)
    ends = [runtime.integrate(system, ONE, (R0 + side * delta) * ONE, **times) for side in (-1.0, 0.0, 1.0)]
    for name in ("Q", "R", "loss"):
        low, middle, high = (end[name].values[1].item() for end in ends)
        expected = (low - 2.0 * middle + high) / (2.0 * delta**2)
        assert run[f"{name}_bias"].values[1].item() == pytest.approx(expected, rel=1e-4)
        assert abs(expected) > 1e-2


def test_a_choice_may_be_that_of_numpy(system_of):
    model = system_of(1, 1).model
    assert np.array_equal(initial_bias(model, np.True_), np.zeros(2))
    assert initial_bias(model, np.False_) is None


def test_what_is_refused_is_one_line(system_of):
    sphere, he3 = system_of(1, 1, constraint="sphere"), system_of(1, 1, flow="gradient", activation="he3")
    cases = [
        (he3, True, "activation: 'he3': the bias at order 1/N is derived for quadratic networks only"),
        (sphere, [0.0], "bias: has the shape (1,), not (2,)"),
        (sphere, [0.5, 0.0], "bias: has an entry of some Q_ii that is not 0, but the sphere fixes Q_ii"),
        (sphere, "yes", None),
    ]
    for system, given, message in cases:
        with pytest.raises(InputError) as error:
            runtime.fluctuations(system, ONE, R0 * ONE, eta=0.1, bias=given)
        assert "\n" not in str(error.value)
        if message is not None:
            assert message in str(error.value)
