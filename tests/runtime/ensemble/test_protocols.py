"""Ensembles with second layers, decay, batches, schedules and later starts, against `integrate`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import xarray
from kernel_lanes import METHODS
from matrix import thinned

from derive.errors import InputError
from runtime import ensemble_statistics, integrate, integrate_ensemble, random_overlaps
from runtime.start.initial_overlaps import OverlapSampler
from runtime.start.schedules import Schedule

SCHEDULES = ["constant", "exponential:20", "inverse:15", "inverse-sqrt:7", "0:1,10:0.5,25:2"]
JUMPS = SCHEDULES[-1]
# Jumps lie at output times and between them.
TIMES = np.array([0.0, 1.5, 10.0, 17.0, 30.0, 40.0])
TIGHT = {"rtol": 1e-11, "atol": 1e-13}
COUNT = 5
FAST = {"method": "tsit5"}
GENERATOR = np.random.default_rng(8)
# Every trajectory has its own value of each parameter.
SHARED = {
    "eta": np.linspace(0.1, 0.4, COUNT),
    "label_noise": np.linspace(0.0, 0.2, COUNT),
    "weight_decay": np.linspace(0.0, 0.1, COUNT),
    "batch": np.arange(1.0, COUNT + 1.0),
}
WEIGHTS = {
    "student_weights": 1.0 + 0.3 * GENERATOR.standard_normal((COUNT, 4)),
    "teacher_weights": GENERATOR.choice([-1.0, 1.0], (COUNT, 2)) * GENERATOR.uniform(0.3, 1.5, (COUNT, 2)),
}
PARAMETERS = {
    "ones": SHARED,
    "fixed": {**SHARED, **WEIGHTS},
    "trained": {**SHARED, **WEIGHTS, "eta_second": np.linspace(0.0, 0.3, COUNT)},
}


def starts(count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    return random_overlaps(4, 2, n=1000, seed=2, trajectories=count)


def single(system: Any, k: int, parameters: dict[str, Any], **settings: Any) -> xarray.Dataset:
    """Trajectory k of the starts by `integrate`."""
    Q, R = starts()
    own = {name: values[k] for name, values in parameters.items()}
    return integrate(system, Q[k], R[k], **own, **settings)


def assert_close(found: xarray.Dataset, expected: xarray.Dataset, limit: float) -> None:
    for name in ("Q", "R", "v", "loss"):
        if name in expected:
            error = np.abs(found[name].values - expected[name].values)
            assert np.max(error) <= limit * max(1.0, float(np.abs(expected[name]).max())), name


@pytest.mark.parametrize(
    ("layer", "schedule"),
    thinned(
        [
            *(("trained", schedule) for schedule in SCHEDULES),
            *product(["ones", "fixed"], [SCHEDULES[0], JUMPS]),
        ],
        *range(len(SCHEDULES)),
    ),
)
def test_an_ensemble_is_its_trajectories(system_of, schedule, layer):
    system, parameters = system_of(4, 2, second_layer=layer), PARAMETERS[layer]
    settings = {"alpha": TIMES, "schedule": schedule}
    tolerances = {"rtol": 1e-9, "atol": 1e-11}
    ensemble = integrate_ensemble(system, *starts(), **parameters, **settings, **tolerances, **FAST)
    assert (ensemble["status"] == "ok").all()
    for k in (0, COUNT - 1):
        run = single(system, k, parameters, **settings, **TIGHT)
        assert_close(ensemble.isel(trajectory=k), run, 1e-7)
        for name in ("student_weights", "teacher_weights"):
            assert (name in ensemble) == (name in run)
            if name in run:
                np.testing.assert_array_equal(ensemble[name].values[k], run[name])
    assert ensemble.attrs.get("schedule") == (
        None if schedule == "constant" else Schedule.of(schedule).text
    )
    changed = integrate_ensemble(system, *starts(), **parameters, alpha=TIMES, **FAST)
    far = np.abs(changed["Q"].values - ensemble["Q"].values).max()
    assert (far < 1e-4) == (schedule == "constant")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_events_are_those_of_single_runs(system_of, schedule):
    system, parameters = system_of(4, 2, second_layer="trained"), PARAMETERS["trained"]
    # Some come down to it in the first steps, one after a jump, and some never.
    level = 0.3
    settings = {"alpha": TIMES, "schedule": schedule, "stop_loss": level}
    tight = {"rtol": 1e-10, "atol": 1e-12}
    final = integrate_ensemble(system, *starts(), **parameters, **settings, **tight, output="final", **FAST)
    for k in range(COUNT):
        run = single(system, k, parameters, **settings, **tight)
        np.testing.assert_allclose(final["escape_alpha"][k], run["escape_alpha"], rtol=1e-7, atol=1e-9)
    reached = final["escape_alpha"].values > 0.0
    assert 0 < reached.sum() < COUNT
    assert final["escape_alpha"].max() > 10.0 > final["escape_alpha"].min()
    np.testing.assert_allclose(final["loss"].values[reached], level, rtol=1e-9)


@pytest.mark.parametrize(
    ("schedule", "method"),
    [
        *((schedule, "tsit5") for schedule in SCHEDULES[1:]),
        *((SCHEDULES[1], method) for method in METHODS[:2]),
    ],
)
def test_gradient_flow_depends_on_the_integrated_rate_alone(system_of, schedule, method):
    """dy/dα = g(α) f(y) is dy/dτ = f(y) with τ = ∫ g dα, for all rates and for decay at once."""
    system = system_of(2, 1, flow="gradient", second_layer="trained")
    Q, R = random_overlaps(2, 1, n=1000, seed=3, trajectories=3)
    integral: Callable[[Any], Any] = {
        "exponential:20": lambda x: -20.0 * np.expm1(-x / 20.0),
        "inverse:15": lambda x: 15.0 * np.log1p(x / 15.0),
        "inverse-sqrt:7": lambda x: 14.0 * (np.sqrt(1.0 + x / 7.0) - 1.0),
        JUMPS: lambda x: x + (0.5 - 1.0) * np.maximum(x - 10, 0) + (2.0 - 0.5) * np.maximum(x - 25, 0),
    }[schedule]
    parameters = {
        "eta": 0.3,
        "eta_second": 0.2,
        "weight_decay": 0.05,
        "student_weights": [1.2, 0.7],
        "teacher_weights": [1.5],
        "method": method,
        **TIGHT,
    }
    found = integrate_ensemble(system, Q, R, alpha=TIMES, schedule=schedule, **parameters)
    expected = integrate_ensemble(system, Q, R, alpha=integral(TIMES), **parameters)
    assert_close(found, expected, 1e-9)
    # Rates that were those of the start of each step would be this far off.
    late = integrate_ensemble(system, Q, R, alpha=integral(TIMES) * (1.0 + 1e-4), **parameters)
    assert np.abs(late["R"].values - expected["R"].values).max() > 1e-6


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_decay_alone(system_of, schedule):
    """Without students in the output, v = 0, R and Q decay by η γ ∫ g and twice that."""
    system = system_of(4, 2, second_layer="fixed")
    Q, R = starts()
    run = integrate_ensemble(
        system,
        Q,
        R,
        eta=SHARED["eta"],
        weight_decay=0.3,
        student_weights=np.zeros(4),
        alpha=TIMES,
        schedule=schedule,
        **TIGHT,
    )
    fine = np.linspace(0.0, 40.0, 400_001)
    factors = Schedule.of(schedule).factors(0.5 * (fine[1:] + fine[:-1]))
    total = np.concatenate([[0.0], np.cumsum(factors) * (fine[1] - fine[0])])[np.searchsorted(fine, TIMES)]
    for k, eta in enumerate(SHARED["eta"]):
        shrink = np.exp(-eta * 0.3 * total)[:, None, None]
        np.testing.assert_allclose(run["R"][k], shrink * R[k], rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(run["Q"][k], shrink**2 * Q[k], rtol=1e-8, atol=1e-11)


# A start at a later time.


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_is_continued(system_of, schedule):
    system, parameters = system_of(4, 2, second_layer="trained"), PARAMETERS["trained"]
    settings = {"schedule": schedule, "rtol": 1e-10, "atol": 1e-12, **FAST}
    whole = integrate_ensemble(system, *starts(), **parameters, alpha=TIMES, **settings)
    for cut in (2, 3):
        state = whole.isel(alpha=cut)
        later = integrate_ensemble(
            system,
            state["Q"].values,
            state["R"].values,
            **{**parameters, "student_weights": state["v"].values},
            alpha=TIMES[cut:],
            start_alpha=TIMES[cut],
            **settings,
        )
        assert later.attrs["start_alpha"] == TIMES[cut]
        # The first output is the start itself.
        assert later["Q"].values[:, 0].tobytes() == state["Q"].values.tobytes()
        assert_close(later, whole.isel(alpha=slice(cut, None)), 1e-7)


def test_the_start_alone_is_asked_for(system_of):
    system = system_of(4, 2)
    Q, R = starts()
    for output in ("all", "loss", "final"):
        run = integrate_ensemble(
            system, Q, R, eta=0.2, alpha=[3.0], start_alpha=3.0, output=output, schedule=JUMPS, **FAST
        )
        assert (run["alpha_end"] == 3.0).all()
        assert (run["steps"] == 0).all()
        np.testing.assert_allclose(run["loss"].values.ravel(), system.loss(Q, R), rtol=1e-12)


def test_a_loss_that_is_low_at_a_later_start_is_an_event_there(system_of):
    system = system_of(4, 2)
    run = integrate_ensemble(
        system, *starts(), eta=0.2, alpha=[2.0, 9.0], start_alpha=2.0, stop_loss=1e3, **FAST
    )
    assert (run["escape_alpha"] == 2.0).all()
    assert np.isfinite(run["loss"].values[:, 0]).all()
    assert np.isnan(run["loss"].values[:, 1]).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda system, settings: integrate_ensemble(system, *starts(), **settings),
        lambda system, settings: ensemble_statistics(system, OverlapSampler(4, 2), 3, **settings),
    ],
    ids=["ensemble", "statistics"],
)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_alpha": -1.0}, "start_alpha: "),
        ({"start_alpha": 50.0}, "alpha: "),
        ({"schedule": "1:1,2:0.5"}, "schedule: "),
        ({"schedule": "sometimes"}, "schedule: "),
    ],
)
def test_wrong_protocols_are_one_line(system_of, function, options, message):
    system = system_of(4, 2)
    settings = {"eta": 0.2, "alpha": [10.0, 40.0], **options}
    with pytest.raises(InputError, match=message) as error:
        function(system, settings)
    assert "\n" not in str(error.value)


# Statistics.


@pytest.mark.parametrize("schedule", ["inverse:15", JUMPS])
def test_statistics_are_those_of_the_ensemble(system_of, schedule):
    system = system_of(4, 2, second_layer="trained")
    parameters = {"eta": 0.3, "eta_second": 0.1, "batch": 2.0, "student_weights": [1.0, -1.0, 1.0, 0.5]}
    settings = {"alpha": TIMES[1:] + 1.0, "schedule": schedule, "start_alpha": 1.0, **FAST}
    sampler = OverlapSampler(4, 2, n=1000, seed=2)
    statistics = ensemble_statistics(system, sampler, COUNT, **parameters, **settings)
    ensemble = integrate_ensemble(system, *starts(), **parameters, **settings)
    np.testing.assert_allclose(statistics["loss_mean"], ensemble["loss"].mean("trajectory"), rtol=1e-13)
    assert statistics.attrs["schedule"] == Schedule.of(schedule).text
    assert statistics.attrs["start_alpha"] == 1.0
    np.testing.assert_array_equal(statistics["teacher_weights"], [1.0, 1.0])
