"""A `Problem` is checked when it is made, before anything is derived, and is not changed afterwards."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rejections import rejected

import runtime
from derive import InputError, Model
from runtime.problem import Problem, chosen_problem
from runtime.start.chosen_start import ChosenStart
from runtime.start.starts import GivenStart

MODEL = Model(2, 1)
GENERAL = Model(2, 2, teacher="general")
T = np.array([[1.0, 0.5], [0.5, 2.0]])
SOLVER = {"alpha": 5.0, "rtol": 1e-8, "atol": 1e-10, "method": "prince8"}


def problem(model=MODEL, start=None, values=None, **solver) -> Problem:
    start = GivenStart(np.eye(model.p), np.zeros((model.p, model.pstar))) if start is None else start
    return Problem(model, start, {"eta": 0.3, **(values or {})}, **SOLVER | solver)


def test_checked_values():
    found = problem(GENERAL, values={"T": T.tolist(), "label_noise": 0.1}, alpha=[0, 1, 2], stop_loss=1)
    np.testing.assert_array_equal(found.T, T)
    np.testing.assert_array_equal(found.alpha, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(found.parameters.packed, [[0.3, 0.1, 1.0, 0.5, 2.0, 0.0, 1.0]])
    assert found.attributes == {
        "eta": 0.3,
        "label_noise": 0.1,
        "weight_decay": 0.0,
        "batch": 1.0,
        **{name: SOLVER[name] for name in ("rtol", "atol", "method")},
        "stop_loss": 1.0,
    }
    np.testing.assert_array_equal(problem().T, np.eye(1))
    assert problem().alpha.size == 201


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("method", {"method": "rk4"}),
        ("rtol", {"rtol": 0.0}),
        ("atol", {"atol": -1.0}),
        ("alpha", {"alpha": [1.0, 0.5]}),
        ("stop_loss", {"stop_loss": np.inf}),
        ("eta", {"values": {"eta": 0.0}}),
        ("eta", {"values": {"eta": [0.1, 0.2]}}),
        ("eta", {"values": {"eta": None}}),
        ("label_noise", {"values": {"label_noise": -1.0}}),
        ("T", {"values": {"T": 2 * np.eye(1)}}),
        ("T", {"model": GENERAL}),
        ("temperature", {"values": {"temperature": 1.0}}),
        ("Q0", {"start": GivenStart(-np.eye(2), np.zeros((2, 1)))}),
        ("R0", {"start": GivenStart(np.eye(2), np.ones((1, 1)))}),
    ],
)
def test_the_wrong_value_is_named(option, arguments):
    with pytest.raises(InputError) as caught:
        problem(**arguments)
    assert caught.value.option == option


def test_a_changed_problem_is_checked_too():
    first = problem()
    changed = dataclasses.replace(first, method="tsit5", rtol=1e-6)
    assert (changed.method, changed.rtol, first.method) == ("tsit5", 1e-6, "prince8")
    np.testing.assert_array_equal(changed.alpha, first.alpha)
    with rejected("rtol", "at least"):
        dataclasses.replace(first, rtol=0.0)
    with rejected("parameters", "are those of .*, not of .*_general$"):
        dataclasses.replace(first, model=dataclasses.replace(first.model, teacher="general"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.rtol = 1.0  # type: ignore[misc]


def test_one_value_per_trajectory():
    many = GivenStart(np.array([np.eye(2)] * 3), np.zeros((3, 2, 1)), many=True)
    found = problem(start=many, values={"eta": [0.1, 0.2, 0.3], "label_noise": 0.5})
    packed = [[0.1, 0.5, 0.0, 1.0], [0.2, 0.5, 0.0, 1.0], [0.3, 0.5, 0.0, 1.0]]
    np.testing.assert_array_equal(found.parameters.packed, packed)
    assert "eta" not in found.attributes
    assert found.attributes["label_noise"] == 0.5
    with rejected("eta", "shape"):
        problem(start=many, values={"eta": [0.1, 0.2]})
    fewer = GivenStart(np.array([np.eye(2)] * 2), np.zeros((2, 2, 1)), many=True)
    with rejected("parameters", "are those of 3 trajectories, not of 2"):
        dataclasses.replace(found, start=fewer)


def test_a_chosen_start_is_named_by_the_choice():
    with rejected("ideal", "too large"):
        chosen_problem(MODEL, ChosenStart(ideal=2.0), eta=0.3, **SOLVER)
    with rejected("ideal", "too large"):
        chosen_problem(MODEL, ChosenStart(ideal=2.0), 1000, eta=0.3, **SOLVER)


def test_random_starts_are_the_same_each_time_and_in_batches_of_any_size():
    start = ChosenStart(seed=4, n=100, teacher_correlation=0.3)
    chosen = chosen_problem(GENERAL, start, 7, eta=0.3, **SOLVER)
    whole = chosen.start.all()
    for size in (1, 3, 7, 100):
        parts = [np.concatenate(part) for part in zip(*chosen.start.batches(size), strict=True)]
        for part, expected in zip(parts, whole, strict=True):
            np.testing.assert_array_equal(part, expected)
    single = chosen_problem(GENERAL, start, eta=0.3, **SOLVER)
    np.testing.assert_array_equal(single.start.all()[0][0], whole[0][0])


def test_nothing_is_derived_before_the_problem_is_checked(tmp_path):
    system = runtime.load(MODEL, tmp_path / "generated")
    with pytest.raises(InputError):
        runtime.integrate(system, np.eye(2), np.zeros((2, 1)), eta=-1.0)
    with pytest.raises(InputError):
        runtime.integrate_ensemble(system, np.eye(2)[None], np.zeros((1, 2, 1)), eta=0.1, output="none")
    with pytest.raises(InputError):
        runtime.ensemble_statistics(system, runtime.OverlapSampler(3, 1), 5, eta=0.1)
    assert not (tmp_path / "generated").exists()


def test_parameters_are_keywords_with_the_defaults_of_the_table():
    with pytest.raises(TypeError, match=r"^integrate\(\): missing a required .*argument: 'eta'"):
        runtime.integrate(None, None, None)
    with pytest.raises(TypeError, match="unexpected keyword argument 'temperature'"):
        runtime.integrate(None, None, None, eta=0.1, temperature=1.0)
    assert "Learning rate η" in (runtime.integrate.__doc__ or "")
