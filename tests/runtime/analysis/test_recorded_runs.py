"""Runs read again for analysis: second layers, schedules, times of starts, files of earlier versions."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import rejected

import runtime
from runtime.analysis.recorded_runs import read_run, states_of_run

TIMES = [30.0, 33.0, 35.0]
TRAINING = {"eta": 0.2, "weight_decay": 0.02, "batch": 3, "teacher_weights": [1.0, -0.5]}


@pytest.fixture(scope="module")
def trained(system_of, tmp_path_factory):
    """A run with a trained second layer that starts late, as its file gives it back."""
    R0 = 0.1 * np.random.default_rng(0).standard_normal((3, 2))
    run = runtime.integrate(
        system_of(3, 2, second_layer="trained"),
        np.eye(3),
        R0,
        **TRAINING,
        eta_second=0.1,
        student_weights=[1.0, 0.5, -0.25],
        alpha=TIMES,
        schedule="0:1,34:0.5",
        start_alpha=29.0,
    )
    return read_run(runtime.save_netcdf(run, tmp_path_factory.mktemp("run") / "run.nc"), "run"), run


def test_a_trained_run_comes_back_whole(trained):
    read, run = trained
    found = states_of_run(read)
    assert (found.schedule.text, found.start_alpha) == ("0:1,34:0.5", 29.0)
    assert {name: values.item() for name, values in found.parameters.items()} == {
        "eta": 0.2,
        "label_noise": 0.0,
        "weight_decay": 0.02,
        "batch": 3.0,
        "eta_second": 0.1,
    }
    assert list(found.weights) == ["teacher_weights"]
    np.testing.assert_array_equal(found.weights["teacher_weights"], TRAINING["teacher_weights"])
    np.testing.assert_array_equal(found.v, run["v"].values)
    np.testing.assert_array_equal(found.alpha, TIMES)


def test_fixed_layers_come_back_and_others_are_ones(system_of):
    given = {"student_weights": [1.0, -2.0], "teacher_weights": [0.5]}
    run = runtime.integrate(
        system_of(2, 1, second_layer="fixed"), np.eye(2), np.zeros((2, 1)), eta=0.1, alpha=1.0, **given
    )
    found = states_of_run(run)
    assert {name: values.tolist() for name, values in found.weights.items()} == given
    assert found.v is None
    plain = runtime.integrate(system_of(2, 1), np.eye(2), np.zeros((2, 1)), eta=0.1, alpha=1.0)
    found = states_of_run(plain)
    assert [values.tolist() for values in found.weights.values()] == [[1.0, 1.0], [1.0]]
    assert found.schedule.constant
    assert found.start_alpha == 0.0
    # Files of version 0.3 and before say nothing of what was new after it.
    for name in ("second_layer", "weight_decay", "batch"):
        del plain.attrs[name]
    earlier = states_of_run(plain)
    assert earlier.model == found.model
    assert (earlier.parameters["weight_decay"], earlier.parameters["batch"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("has no v", lambda run: run.drop_vars("v")),
        ("has no teacher_weights", lambda run: run.drop_vars("teacher_weights")),
        ("teacher_weights", lambda run: run.assign(teacher_weights=("r", [np.nan, 1.0]))),
        ("no such teacher_weights", lambda run: run.assign(teacher_weights=("i", np.ones(3)))),
        ("not finite at alpha = 30", lambda run: run.assign(v=run["v"].where(run["v"] > 0.0))),
        ("wrong schedule", lambda run: run.assign_attrs(schedule="0:2")),
        ("wrong schedule", lambda run: run.assign_attrs(schedule=3.0)),
        ("wrong start_alpha", lambda run: run.assign_attrs(start_alpha=-1.0)),
    ],
)
def test_what_no_run_has_is_named(trained, words, change):
    with rejected("run", words):
        states_of_run(change(trained[0].copy()))
