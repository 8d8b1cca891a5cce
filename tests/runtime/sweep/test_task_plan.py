from __future__ import annotations

import dataclasses
import itertools
import json
import tracemalloc

import numpy as np
import pytest
from rejections import rejected

import runtime
from runtime import InputError
from runtime.sweep.task_plan import Plan

GIVEN = {"p": "2,4", "constraint": ["free", "sphere"], "eta": "0.1:0.3:3", "seed": "0:1"}


def test_tasks_are_the_product_with_the_seed_fastest():
    plan = Plan.of("ode", GIVEN)
    assert plan.shape == (2, 2, 3, 2)
    assert [axis.dimension for axis in plan.axes] == ["p", "constraint", "eta", "seed"]
    found = [tuple(task.parameters[name] for name in GIVEN) for task in plan.tasks()]
    assert found == list(itertools.product((2, 4), ("free", "sphere"), (0.1, 0.2, 0.3), (0, 1)))
    assert [task.number for task in plan.tasks()] == list(range(24))
    assert plan.task(23).parameters["pstar"] == 2


def test_the_order_in_which_parameters_are_given_does_not_matter():
    assert Plan.of("ode", dict(reversed(GIVEN.items()))).to_dict() == Plan.of("ode", GIVEN).to_dict()


def test_digests_name_job_parameters_and_version(monkeypatch):
    tasks = [*Plan.of("ode", GIVEN).tasks(), *Plan.of("ode", {**GIVEN, "flow": "gradient"}).tasks()]
    digests = {task.digest for task in tasks}
    assert len(digests) == 48
    before = tasks[0].digest
    monkeypatch.setattr("runtime.sweep.task_plan.PROGRAM", "overlap-ode 99")
    assert tasks[0].digest != before


def test_parameters_that_vary_together():
    plan = Plan.of("ode", {"p": "2,4", "pstar": "1,2", "eta": "0.1,0.2"}, [["pstar", "p"]])
    assert [axis.dimension for axis in plan.axes] == ["p_pstar", "eta"]
    found = [tuple(task.parameters[name] for name in ("p", "pstar", "eta")) for task in plan.tasks()]
    assert found == [(2, 1, 0.1), (2, 1, 0.2), (4, 2, 0.1), (4, 2, 0.2)]
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))).to_dict() == plan.to_dict()


def test_values_that_vary_together_may_repeat_and_combinations_may_not():
    plan = Plan.of("ode", {"p": "1,1,2", "pstar": [1, 2, 1], "seed": "0:1"}, [["p", "pstar"]])
    assert plan.axes[0].columns == ((1, 1, 2), (1, 2, 1))
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))).to_dict() == plan.to_dict()
    for given, groups, problem in (
        ({"p": "1,2,1", "pstar": "1,2,1"}, [["p", "pstar"]], "zip: p 1, pstar 1 is given twice"),
        ({"p": "1,2,1"}, [], "p: 1 is given twice"),
        ({"n": "log:10:12:5"}, [], "n: 10 is given twice"),
        ({"eta": [0.1, 0.1], "p": "1,2"}, [], "eta: 0.1 is given twice"),
    ):
        with pytest.raises(InputError) as refused:
            Plan.of("ode", given, groups)
        assert str(refused.value) == problem


@pytest.mark.parametrize(
    "groups",
    [[["p", "q"]], [["p", "eta"]], [["p", "p"]], [["p", "pstar"], ["p", "pstar"]], [["p", "seed"]]],
)
def test_groups_that_make_no_sense(groups):
    with pytest.raises(InputError) as refused:
        Plan.of("ode", {"p": "2,4", "pstar": "1,2", "eta": 0.1, "seed": "0:2"}, groups)
    assert refused.value.option == "zip"


def test_absurd_sweeps_are_refused_before_anything_is_allocated():
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="1000000000000 tasks"):
            Plan.of("ode", {"seed": "0:9999", "eta": "0.1:1:10000", "label_noise": "0:1:10000"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A few numbers for each value of each axis, nothing for the tasks.
    assert peak < 1000 * 30_000


@pytest.mark.parametrize(
    ("job", "given", "option"),
    [
        ("sgd", {}, "job"),
        (None, {}, "job"),
        ("ode", {"trajectories": 3}, "trajectories"),
        ("ode", {"alpha": "0.1:1:3"}, "alpha"),
        ("ode", {"alpha": "3,2"}, "alpha"),
        ("ode", {"alpha": [[1]]}, "alpha"),
        ("ode", {"method": "prince8,euler"}, "method"),
        ("ensemble", {"output": "final,loss"}, "output"),
        ("ode", {"T": "missing.csv"}, "T"),
        ("ode", {"T": [1.0, 2.0]}, "T"),
        ("ode", {"T": [[1.0, 0.0], [0.0, float("nan")]]}, "T"),
        ("ode", {"schedule": [[0, 1], [5, -1]]}, "schedule"),
        ("ode", {"schedule": "constant;0:1,5:2,3:1"}, "schedule"),
        ("escape", {"schedule": "inverse:50"}, "schedule"),
        ("ode", {"batch": "1.5"}, "batch"),
        ("escape", {"simulate": "true,false"}, "simulate"),
    ],
)
def test_what_no_sweep_can_be(job, given, option):
    with pytest.raises(InputError) as refused:
        Plan.of(job, given)
    assert refused.value.option == option


@pytest.mark.parametrize(
    ("job", "given", "option"),
    [
        ("ode", {"p": "1,2,257"}, "p"),
        ("ode", {"p": 0}, "p"),
        ("ode", {"eta": "0.1,-1"}, "eta"),
        ("ode", {"label_noise": "0,-1"}, "label_noise"),
        ("ode", {"seed": "-1:1"}, "seed"),
        ("ode", {"pstar": "2,4", "n": "3,10"}, "n"),
        ("ode", {"n": 100, "ideal": 0.1}, "ideal"),
        ("ode", {"rtol": "1e-8,1e-20"}, "rtol"),
        ("ode", {"teacher_correlation": 0.5}, "teacher_correlation"),
        (
            "ode",
            {"teacher": "general", "pstar": "2,8", "teacher_correlation": "0,-0.5"},
            "teacher_correlation",
        ),
        ("ode", {"teacher_spectrum": "1,0.5"}, "teacher_spectrum"),
        ("ode", {"teacher": "general", "teacher_spectrum": "1,1;1,-1"}, "teacher_spectrum"),
        ("ode", {"teacher": "general", "pstar": "2,3", "T": [[1.0, 0.0], [0.0, 0.5]]}, "T"),
        ("ode", {"student_weights": "1,1,1,1"}, "student_weights"),
        ("ode", {"second_layer": "fixed", "student_weights": "power:1;1,2"}, "student_weights"),
        ("ode", {"second_layer": "trained"}, "eta_second"),
        ("ode", {"second_layer": "fixed,trained", "eta_second": 0.1}, "eta_second"),
        ("ode", {"batch": "0:2"}, "batch"),
        ("ode", {"weight_decay": "-1,0"}, "weight_decay"),
        ("escape", {"second_layer": "fixed", "student_weights": "random"}, "student_weights"),
        ("ensemble", {"trajectories": "10,0"}, "trajectories"),
        ("ensemble", {"ideal": "0.33,1e-3"}, "ideal"),
        ("ensemble", {"trajectories": 10**8, "output": "all"}, "trajectories"),
        ("chain", {"flow": "sgd,gradient"}, "flow"),
        ("chain", {"n": "1,100"}, "n"),
        ("chain", {"n": "2,100", "alpha": 0.1}, "alpha"),
        ("chain", {"eta": 0}, "eta"),
        ("chain", {"n": 10**9, "method": "chain,weights"}, "n"),
        ("escape", {"fraction": "0.5,1.5"}, "fraction"),
        ("escape", {"seed": "0,-3"}, "seed"),
        ("escape", {"n": "1,100"}, "n"),
        ("escape", {"n": 2 * 10**9, "simulate": True}, "n"),
        ("escape", {"flow": "sgd,gradient", "simulate": "true"}, "flow"),
    ],
)
def test_every_value_is_checked_as_the_single_command_does(job, given, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = Plan.of(job, given)
    with pytest.raises(InputError) as refused:
        plan.check()
    assert refused.value.option == option
    assert list(tmp_path.iterdir()) == []


def test_checks_do_not_grow_with_the_seeds():
    plan = Plan.of("ode", {"seed": "0:99", "p": "2,4"})
    checked = []
    job = dataclasses.replace(plan.job, checked=lambda _model, task, _threads: checked.append(task))
    dataclasses.replace(plan, job=job).check()
    # Each width, and the first and the last seed.
    assert [(task["p"], task["seed"]) for task in checked] == [(2, 0), (2, 99), (4, 0)]


@pytest.mark.parametrize("job", ["ode", "ensemble", "chain", "escape"])
def test_plans_survive_their_file(job):
    plan = Plan.of(job, {"p": "2,4", "label_noise": "0:0.3:4"})
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.to_dict() == plan.to_dict()
    assert [task.digest for task in again.tasks()] == [task.digest for task in plan.tasks()]


@pytest.mark.parametrize(
    "schedule",
    ["constant; inverse:50", "exponential:1e3;inverse:1.0", "0:1,50:.5;0:1, 30.333333333333332:0.5"],
)
def test_plans_with_schedules_of_any_spelling_survive_their_file(schedule):
    plan = Plan.of("ode", {"schedule": schedule})
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))).to_dict() == plan.to_dict()
    with rejected("schedule", "inverse:1 is given twice"):
        Plan.of("ode", {"schedule": "inverse:1;inverse:1.0"})


def test_an_edited_plan_is_not_trusted():
    stored = Plan.of("ode", GIVEN).to_dict()
    for edited, word in (
        ({**stored, "version": "overlap-ode 0.0.0"}, "0.0.0"),
        ({**stored, "format": 2}, "is not of format 1"),
        ({**stored, "fixed": {**stored["fixed"], "pstar": 3}}, "changed"),
        ({**stored, "digest": "0" * 64}, "changed"),
        ({}, "no sweep"),
        ([], "no sweep"),
    ):
        with pytest.raises(ValueError, match=word):
            Plan.from_dict(edited)


@pytest.mark.parametrize("parameters", [["p"], {"p"}, np.array(["p", "q"]), "p", 0.1], ids=repr)
def test_parameters_have_names(parameters, tmp_path):
    with pytest.raises(InputError, match=r"^parameters: .* is not a mapping of names to values"):
        runtime.run_sweep(tmp_path / "runs", "ode", parameters)
    with pytest.raises(InputError, match=r"^job: "):
        runtime.run_sweep(tmp_path / "runs", np.array([]), {"p": 2})
    assert not list(tmp_path.iterdir())


def test_differences_are_named():
    plan = Plan.of("ode", GIVEN)
    assert plan.difference(Plan.of("ode", GIVEN)) is None
    assert plan.difference(Plan.of("chain", GIVEN)) == ("job", "chain")
    assert plan.difference(Plan.of("ode", {**GIVEN, "eta": "0.1,0.2"})) == ("eta", "0.1,0.2")
    assert plan.difference(Plan.of("ode", {**GIVEN, "seed": "0:9"})) == ("seed", "0,1,2,3,…")
    assert plan.difference(Plan.of("ode", {**GIVEN, "pstar": "2,3"})) == ("pstar", "2,3")


def test_values_that_are_lists(tmp_path):
    given = {
        "second_layer": "fixed",
        "teacher": "general",
        "student_weights": "1,1,1,1;power:1",
        "teacher_weights": [1, -0.5],
        "batch": "1,4",
        "schedule": "constant;0:1,5:0.5",
        "T": [[1, 0.25], [0.25, 0.5]],
    }
    plan = Plan.of("ode", given)
    plan.check()
    dimensions = ["student_weights_name", "schedule", "batch"]
    assert [axis.dimension for axis in plan.axes] == dimensions
    assert plan.fixed["teacher_weights"] == "1,-0.5"
    assert [task.parameters["schedule"] for task in plan.tasks()][:3] == ["constant"] * 2 + ["0:1,5:0.5"]
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.to_dict() == plan.to_dict()
    (tmp_path / "T.csv").write_text("1,0.25\n0.25,0.5\n")
    pairs = {**given, "T": tmp_path / "T.csv", "schedule": ["constant", {0: 1, 5: 0.5}]}
    assert Plan.of("ode", pairs).to_dict() == plan.to_dict()
    assert Plan.of("ode", {**given, "schedule": [(0, 1), (5, 0.5)]}).fixed["schedule"] == "0:1,5:0.5"
    assert plan.difference(Plan.of("ode", {**given, "student_weights": "2,2,2,2;power:2"})) == (
        "student_weights",
        "2,2,2,2;power:2",
    )


def test_arrays_are_what_lists_are():
    lists = {"eta": [0.1, 0.2], "n": [100, 1000], "alpha": [0.0, 5.0], "p": 3}
    arrays = {name: np.array(value) for name, value in lists.items()}
    assert Plan.of("ode", arrays) == Plan.of("ode", lists)
    assert Plan.of("ode", {"alpha": np.float64(5.0)}) == Plan.of("ode", {"alpha": 5.0})
