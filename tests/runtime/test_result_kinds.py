"""Results of every kind: files of them describe each variable, and say who made them and what they keep."""

from __future__ import annotations

import re

import netCDF4
import numpy as np
import pytest
from all_commands import COMMANDS

import cli
import overlap_ode as oo
from derive.version import VERSION
from runtime.output.plain_result import PlainResult, is_cf_coordinate

SMALL = "--p 2 --pstar 1 --eta 0.1"
FIXED = "--second-layer fixed"
TRAINED = "--second-layer trained --eta-second 0.1"
# For each file the command that writes it, the functions of its history, and whether it keeps CF.
KINDS = {
    "run": (f"integrate {SMALL} --alpha 0,1,2", "integrate", True),
    "stopped": (f"integrate {SMALL} --alpha 0,99 --stop-loss 0.4 {TRAINED}", "integrate", True),
    "sector": ("sector --p 5 --alpha 0,1", "integrate_sector", True),
    "aligned": ("sector --p 1 --alpha 0,1 --singular-values 0.1 --eta 0.1", "integrate_sector", True),
    # Names of ends, activations and observables are no numbers, as coordinates in CF have to be.
    "statistics": (
        f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --stop-loss 0.2 --output statistics",
        "ensemble_statistics",
        False,
    ),
    "final": (
        f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --output final {TRAINED}",
        "integrate_ensemble",
        True,
    ),
    "losses": (
        f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --output loss {FIXED} --student-weights random",
        "integrate_ensemble",
        True,
    ),
    "runs": (
        f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --output all --stop-loss 0.2",
        "integrate_ensemble",
        True,
    ),
    "sgd": (
        f"simulate {SMALL} --n 50 --trajectories 3 --alpha 0,1 {TRAINED} --batch 2 --schedule inverse:5",
        "simulate",
        True,
    ),
    "compared": (
        f"compare {SMALL} --n 50,100 --trajectories 20 --alpha 0,1 --no-weights",
        "compare",
        False,
    ),
    "plateau": ("plateau --p 2 --pstar 1 --eta 0.1,0.2", "plateau", True),
    "hessian": (f"hessian {SMALL} --second-layer fixed --student-weights 1,2", "hessian_spectrum", True),
    "along": ("hessian --along run.nc", "integrate,spectra_along", True),
    "bias": (
        f"bias {SMALL} --n 50 --trajectories 3 --alpha 20 --conditions 1,3",
        "bias_at_finite_n,bias_of_norms",
        True,
    ),
    "biased": ("bias --run run.nc", "integrate,bias_of_run", True),
    "escape": (
        "escape --p 2 --pstar 1 --n 1000 --trajectories 20 --eta 0.1,0.2 --second-layer fixed",
        "escape_times",
        True,
    ),
    "simulated": (
        f"escape {SMALL} --n 200 --trajectories 10 --simulate",
        "escape_times",
        True,
    ),
    "fluctuations": (f"fluctuations {SMALL} --alpha 0,1,2", "fluctuations", False),
    "exponent": ("exponent --activation he2 --n 100", "information_exponent", False),
    "drift": ("invariants --monitor run.nc --degree 1", "integrate,drift_monitors", True),
    "merged": ("merge sweep", "run_sweep,merge_sweep", True),
    "chains": ("merge chains", "run_sweep,merge_sweep", True),
}
SWEEPS = (
    "sweep --p 2 --pstar 1 --eta 0.1,0.2 --alpha 1 --out sweep",
    # Methods are words. At n = 2 there is no chain, so that the method differs from what was asked for.
    "sweep --job chain --p 2 --pstar 1 --n 2,50 --alpha 0,1 --trajectories 2 --method chain --out chains",
)

# What these commands write is no result: folders, pages and text.
OTHER_OUTPUTS = {"derive", "sweep", "report", "reproduce", "latex"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a file of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in SWEEPS:
            assert cli.run([*line.split(), "--quiet"]) == 0
        for name, (line, _, _) in KINDS.items():
            quiet = [] if line.startswith("merge") else ["--quiet"]
            code = cli.run([*line.split(), "--out", f"{name}.nc", *quiet])
            assert code == 0 or name == "compared", line
    return folder


def assert_described(file):
    for name, variable in file.variables.items():
        attributes = {key: variable.getncattr(key) for key in variable.ncattrs()}
        assert attributes["long_name"].strip(), name
        if variable.dtype is str:
            assert "units" not in attributes, name
        else:
            assert attributes["units"] == "1", name
        if name in file.dimensions:
            assert "_FillValue" not in attributes, name


@pytest.mark.parametrize("name", KINDS)
def test_every_variable_is_described(folder, name):
    _, made_by, keeps_cf = KINDS[name]
    with netCDF4.Dataset(folder / f"{name}.nc") as file:
        assert_described(file)
        assert re.fullmatch("[a-zA-Z].*", file.title)
        assert file.history.splitlines() == [f"{f} of overlap-ode {VERSION}" for f in made_by.split(",")]
        assert ("Conventions" in file.ncattrs()) == keeps_cf
        if keeps_cf:
            assert file.Conventions == "CF-1.9"
            names = [*file.variables, *file.dimensions, *file.ncattrs()]
            assert all(re.fullmatch("[a-zA-Z][a-zA-Z0-9_]*", name) for name in names)
        for dimension in set(file.dimensions) & set(file.variables) if keeps_cf else ():
            steps = np.diff(file.variables[dimension][:])
            assert (steps > 0).all() or (steps < 0).all()


def test_all_commands_that_write_results_are_above():
    writing = {line.split()[0] for line, *_ in KINDS.values()}

    other = {"derive", "sweep", "report", "reproduce", "latex"}
    assert (
        writing == {name for name, c in COMMANDS.items() if any(p.name == "out" for p in c.params)} - other
    )


def test_an_undescribed_variable_is_found(tmp_path):
    """The wrong variants: a variable without words, and a file whose variable has no units."""
    with pytest.raises(KeyError, match="unknown"):
        PlainResult({"unknown": ((), 1.0)}, {}, {})
    dataset = PlainResult({"loss": ("alpha", [1.0])}, {"alpha": [0.0]}, {}).dataset()
    del dataset["loss"].attrs["units"]
    dataset.to_netcdf(tmp_path / "wrong.nc")
    with netCDF4.Dataset(tmp_path / "wrong.nc") as file, pytest.raises(KeyError, match="units"):
        assert_described(file)


def test_coordinates_of_cf_are_numbers_in_order():
    assert is_cf_coordinate(np.array([3, 2, 1]))
    assert is_cf_coordinate(np.array([0.5]))
    wrong = ([1.0, 1.0], [1.0, 3.0, 2.0], [1.0, np.nan], ["a", "b"], [True, False])
    assert not any(is_cf_coordinate(np.array(values)) for values in wrong)


def test_axes_out_of_order_are_no_cf(folder, monkeypatch):
    monkeypatch.chdir(folder)
    line = "sweep --p 2 --pstar 1 --eta 0.1,0.3,0.2 --alpha 1 --quiet --out mixed"
    assert cli.run(line.split()) == 0
    oo.merge_sweep("mixed", "mixed.nc")
    with netCDF4.Dataset("mixed.nc") as file:
        assert_described(file)
        assert "Conventions" not in file.ncattrs()
