"""Tasks are what the single commands do."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import xarray

from runtime import InputError, run_options
from runtime.run_options import METHODS, OWN_METHODS, SIMULATION_METHODS
from runtime.sweep import shard_netcdf
from runtime.sweep.task_kinds import JOBS, coordinate_of, result_of
from runtime.sweep.task_plan import Plan

SMALL = {
    "ode": {"p": 2, "pstar": 1, "alpha": [0.0, 5.0]},
    "ensemble": {"p": 2, "pstar": 1, "alpha": [0.0, 5.0], "trajectories": 5, "method": "dop853"},
    "chain": {"p": 2, "pstar": 1, "alpha": [0.0, 1.0], "trajectories": 3, "n": 50},
    "escape": {"p": 2, "pstar": 1, "trajectories": 5, "n": 1000, "eta": 0.1},
}


@pytest.mark.parametrize(
    ("name", "methods"),
    [("ode", METHODS), ("ensemble", OWN_METHODS), ("chain", SIMULATION_METHODS)],
)
def test_methods_are_those_of_the_command(name, methods):
    Plan.of(name, {**SMALL[name], "method": list(methods)}).check()
    with pytest.raises(InputError, match=f"^method: 'euler' is not one of {', '.join(methods)}$"):
        Plan.of(name, {**SMALL[name], "method": "euler"})


def test_no_axis_is_named_as_an_argument_of_xarray():
    """As ``runs.sel(method="tsit5")``, which would ask for a way of interpolation."""
    functions = (xarray.Dataset.sel, xarray.Dataset.isel, xarray.DataArray.sel, xarray.DataArray.interp)
    taken = {name for function in functions for name in inspect.signature(function).parameters}
    assert "method" in taken
    assert taken.isdisjoint(coordinate_of(name) for job in JOBS.values() for name in job.options)


# Second layers, teachers and protocols that tasks may have besides.
PROTOCOLS = {
    "ode": {
        "second_layer": "fixed",
        "student_weights": "1,-0.5",
        "teacher_weights": "power:1",
        "teacher": "general",
        "teacher_spectrum": "0.5",
        "schedule": "0:1,2:0.5",
        "weight_decay": 0.1,
        "batch": 4,
        "eta": 0.1,
    },
    "chain": {"second_layer": "trained", "eta_second": 0.1, "schedule": "0:1,0.5:0.5", "batch": 2},
    "ensemble": {"second_layer": "fixed", "student_weights": "random", "schedule": "inverse:2", "eta": 0.1},
    "escape": {"n": 200, "simulate": True},
}


@pytest.mark.parametrize(("name", "more"), [*((name, {}) for name in JOBS), *PROTOCOLS.items()], ids=str)
def test_a_task_has_the_data_of_the_command(name, more, call, generated, tmp_path):
    given = SMALL[name] | more
    task = Plan.of(name, given).task(0)
    ours = result_of(JOBS[name], task.parameters, generated, 1)
    options = []
    for option, value in given.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        options += [f"--{option.replace('_', '-')}"] + ([] if value is True else [text])
    if name != "chain":
        options += ["--generated", str(generated)]
    code, _, err = call(f"{run_options.JOB_COMMANDS[name]} --out single.nc --quiet", *options)
    assert code == 0, err
    with xarray.open_dataset(tmp_path / "single.nc") as file:
        single = file.load()
    if name == "escape":
        single = single.isel(eta=0, n=0)
    assert set(ours.data_vars) <= set(single.data_vars)
    for variable in ours.data_vars:
        np.testing.assert_array_equal(ours[variable].values, single[variable].values)
    for parameter, value in task.parameters.items():
        if value is not None and not isinstance(value, list):
            assert ours.attrs[parameter] == value
    assert ours.attrs["job"] == name


@pytest.mark.parametrize("name", JOBS)
def test_results_do_not_clash_with_axes_and_fit_the_estimate(name, generated, tmp_path):
    task = Plan.of(name, SMALL[name] | PROTOCOLS.get(name, {})).task(0)
    result = result_of(JOBS[name], task.parameters, generated, 1)
    axes = {coordinate_of(name) for name, option in JOBS[name].options.items() if option.swept == "axis"}
    assert axes.isdisjoint({*result.variables, *result.dims})
    values = sum(variable.size for variable in result.variables.values())
    assert values <= JOBS[name].values(task.parameters) + 400
    again = shard_netcdf.decode(shard_netcdf.encode(result, tmp_path / "result.nc"))
    words = {name: v.astype(object) for name, v in result.variables.items() if v.dtype.kind == "U"}
    xarray.testing.assert_identical(again, result.assign(words))


@pytest.mark.parametrize("output", ["statistics", "final", "loss", "all"])
def test_every_output_of_ensembles_is_stored(output, generated, tmp_path):
    given = {**SMALL["ensemble"], "output": output, "stop_loss": 1e-3}
    task = Plan.of("ensemble", given).task(0)
    result = result_of(JOBS["ensemble"], task.parameters, generated, 1)
    assert "escape_alpha" in shard_netcdf.decode(shard_netcdf.encode(result, tmp_path / "result.nc"))


def test_a_trajectory_that_stops_at_a_loss_is_stored(generated, tmp_path):
    task = Plan.of("ode", {**SMALL["ode"], "alpha": 200.0, "eta": 0.1, "stop_loss": 0.4}).task(0)
    result = result_of(JOBS["ode"], task.parameters, generated, 1)
    stored = shard_netcdf.decode(shard_netcdf.encode(result, tmp_path / "result.nc"))
    assert 0.0 < stored["escape_alpha"] < 200.0
    assert stored.attrs["stop_loss"] == 0.4
