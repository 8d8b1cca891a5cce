"""Runs in files that were edited: every command that reads one refuses in one line, or computes."""

from __future__ import annotations

import tracemalloc

import netCDF4
import numpy as np
import pytest
import xarray

import runtime

COMMANDS = {
    "along": "hessian --along run.nc --quiet",
    "monitor": "invariants --monitor run.nc --degree 0 --quiet",
    "run": "bias --run run.nc --quiet",
}


@pytest.fixture(scope="module")
def whole(system_of):
    """A run that all of them take, with a general teacher."""
    system = system_of(2, 1, flow="gradient", teacher="general")
    Q, R = runtime.random_overlaps(2, 1, n=100, seed=1)
    return runtime.integrate(system, Q, R, eta=0.3, alpha=[0.0, 1.0, 2.0, 3.0], T=np.eye(1))


def set_attribute(name, value):
    return lambda run: run.assign_attrs({name: value})


def set_entries(name, value, at=...):
    def edit(run):
        values = run[name].values.copy()
        values[at] = value
        return run.assign({name: (run[name].dims, values)})

    return edit


def replace(name, values, dims=None):
    return lambda run: run.assign(
        {name: (run[name].dims if dims is None else dims, values(run[name].values))}
    )


EDITS = {
    "p of an array": set_attribute("p", [1, 2]),
    "p of text": set_attribute("p", "two"),
    "p that is another": set_attribute("p", 3),
    "constraint of a number": set_attribute("constraint", 1.5),
    "flow with commands": set_attribute("flow", "\x1b[2Jgradient"),
    "eta of text": set_attribute("eta", "0.3"),
    "eta of an array": set_attribute("eta", [0.3, 0.4]),
    "rtol of text": set_attribute("rtol", "small"),
    "atol that is no number": set_attribute("atol", np.nan),
    "label_noise below zero": set_attribute("label_noise", -1.0),
    "method of a number": set_attribute("method", 5),
    "method of an array": set_attribute("method", [1.0, 2.0]),
    "trajectories of text": set_attribute("trajectories", "many"),
    "a state that is no number": set_entries("Q", np.nan, 1),
    "an entry that is no number": set_entries("Q", np.nan, (-1, 0, 0)),
    "R that is no number": set_entries("R", np.nan, -1),
    "an infinite state": set_entries("Q", np.inf, -1),
    "an infinite R": set_entries("R", -np.inf, 0),
    "states too large for squares": set_entries("Q", 1e300, -1),
    "Q of text": replace("Q", lambda values: values.astype(str)),
    "Q of dates": replace("Q", lambda values: np.zeros(values.shape, "datetime64[ns]")),
    "Q of one row": replace("Q", lambda values: values[0, 0], ("j",)),
    "R with other axes": replace("R", lambda values: values.swapaxes(1, 2), ("alpha", "r", "i")),
    "T with an axis more": replace("T", lambda _: np.ones((2, 1, 1)), ("i", "r", "s")),
    "T that is no number": set_entries("T", np.nan),
    "T below zero": set_entries("T", -1.0),
    "no T": lambda run: run.drop_vars("T"),
    "no Q": lambda run: run.drop_vars("Q"),
    "times of text": lambda run: run.assign_coords(alpha=list("abcd")),
    "times that descend": lambda run: run.assign_coords(alpha=[3.0, 2.0, 1.0, 0.0]),
    "no times": lambda run: run.drop_vars("alpha"),
    "no outputs": lambda run: run.isel(alpha=slice(0)),
    "last states": lambda run: run.isel(alpha=-1),
    "units that are none": lambda run: run.assign(
        Q=(run["Q"].dims, run["Q"].values, {"units": "days since yesterday"})
    ),
    "a scale of text": lambda run: run.assign(Q=(run["Q"].dims, run["Q"].values, {"scale_factor": "x"})),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_runs_are_refused_in_one_line(call, tmp_path, whole, name):
    EDITS[name](whole).to_netcdf(tmp_path / "run.nc", engine="netcdf4")
    for option, line in COMMANDS.items():
        code, out, err = call(line)
        assert (code, out) == (2, ""), line
        assert err.startswith(f"cli: --{option}: run.nc"), err
        assert err.count("\n") == 1
        assert err[:-1].isprintable()


@pytest.mark.parametrize("json", ["", " --json"])
def test_what_does_not_matter_may_be_anything(call, tmp_path, whole, json):
    run = whole.assign_attrs(note=[1.0, 2.0], title=3.0, version="\x1b[2J", rtol=np.array([1e-8]))
    run = run.assign(status=((), 5), steps=((), "many"), other=(("x",), [np.nan]))
    run.to_netcdf(tmp_path / "run.nc", engine="netcdf4")
    for line in COMMANDS.values():
        code, out, err = call(line + json)
        assert (code, err) == (0, ""), line
        assert "\x1b" not in out


def test_a_run_that_ended_early_is_none_that_was_edited(call, tmp_path, whole):
    ended = whole.copy(deep=True)
    for name in ("Q", "R", "loss"):
        ended[name].values[2:] = np.nan
    ended.to_netcdf(tmp_path / "run.nc", engine="netcdf4")
    for line in COMMANDS.values():
        assert call(line)[0] == 0, line


def test_a_run_larger_than_memory_is_not_read(call, tmp_path, whole):
    """A variable that nobody has written takes no room in a file, and half a terabyte in memory."""
    whole.to_netcdf(tmp_path / "run.nc", engine="netcdf4")
    with netCDF4.Dataset(tmp_path / "run.nc", "a") as file:
        file.createDimension("x", 2**36)
        file.createVariable("huge", "f8", ("x",), zlib=True, chunksizes=(2**20,))
    assert (tmp_path / "run.nc").stat().st_size < 10**6
    for option, line in COMMANDS.items():
        code, _, err = call(line)
        assert code == 2
        assert err.startswith(f"cli: --{option}: run.nc cannot be read: its arrays are larger than")


@pytest.mark.parametrize("suffix", ["npz", "nc"])
def test_shapes_are_looked_at_before_arrays_are_inflated(call, tmp_path, suffix):
    """Zeros are compressed to a thousandth."""
    zeros = {"Q": (("i", "j"), np.zeros((2000, 2000))), "R": (("i", "r"), np.zeros((2000, 2)))}
    if suffix == "npz":
        np.savez_compressed(tmp_path / "start.npz", **{name: values for name, (_, values) in zeros.items()})
    else:
        encoding = {name: {"zlib": True} for name in zeros}
        xarray.Dataset(zeros).to_netcdf(tmp_path / "start.nc", engine="netcdf4", encoding=encoding)
    del zeros
    assert (tmp_path / f"start.{suffix}").stat().st_size < 10**6
    tracemalloc.start()
    try:
        code, _, err = call(f"integrate --overlaps start.{suffix}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert code == 2
    assert err.startswith(f"cli: --overlaps: start.{suffix} holds p = 2000 and p* = 2")
    assert peak < 20 * 2**20
