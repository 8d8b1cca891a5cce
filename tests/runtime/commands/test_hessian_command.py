"""`cli hessian`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
import xarray

import cli


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    """A gradient flow that escapes, with the system it needs."""
    folder = tmp_path_factory.mktemp("run")
    path = folder / "run.nc"
    line = (
        f"integrate --flow gradient --alpha 0,15,60 --quiet --out {path} --generated {folder / 'generated'}"
    )
    assert cli.run(shlex.split(line)) == 0
    return path


def test_plateau_of_gradient_flow_is_a_saddle(call, tmp_path):
    code, out, err = call("hessian --flow gradient")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()[1:-1]]
    assert rows == [
        ["-0.5", "8", "teachers"],
        ["0", "6", "students"],
        ["0", "3976", "complement"],
        ["0.33333333", "9", "students"],
        ["1", "1", "students"],
    ]
    assert out.splitlines()[-1].startswith("saddle: 8 negative, 3982 flat, 10 positive of 4000")
    # Known in closed form: nothing is derived.
    assert list(tmp_path.iterdir()) == []


def test_plateau_of_sgd_comes_from_the_generated_drift(call, run_file):
    code, out, _ = call(f"hessian --json --generated {run_file.parent / 'generated'}")
    result = json.loads(out)
    assert code == 0
    # q = 0.76393, and 2as + 4a²q in the complement, less 4ab along the teachers.
    q = 0.76393202
    least = 2 * (q - 1) / 4 + q / 4
    np.testing.assert_allclose(min(result["eigenvalue"]), least - 0.5, atol=1e-7)
    assert sum(result["multiplicity"]) == 4000
    assert (result["attributes"]["stationary"], result["attributes"]["negative"]) == (0, 8)


def test_solution_and_its_flat_directions(call, tmp_path):
    code, out, err = call("hessian --at solution --p 6 --pstar 3 --n 1000000 --out solution.nc")
    assert (code, err) == (0, "wrote solution.nc\n")
    assert "marginal minimum: 0 negative, 3000003 flat" in out
    assert "loss 0; by theory 3000003 flat directions: 12 along the manifold" in out
    with xarray.open_dataset(tmp_path / "solution.nc") as dataset:
        assert dataset["multiplicity"].values.sum() == 6_000_000
        assert dataset.attrs["at"] == "solution"


@pytest.mark.parametrize(
    "line",
    ["--at solution --p 2 --pstar 4", "--at start --seed 3", "--constraint sphere", "--at plateau --n 50"],
)
def test_every_place(call, line, run_file):
    code, out, err = call(f"hessian {line} --generated {run_file.parent / 'generated'}")
    assert (code, err) == (0, "")
    assert "directions" in out.splitlines()[-1] or "directions" in out.splitlines()[-2]


def test_state_of_a_file(call, run_file):
    code, out, _ = call(f"hessian --overlaps {run_file} --flow gradient --json")
    result = json.loads(out)
    assert code == 0
    assert result["attributes"]["overlaps"] == str(run_file)
    # Close to a solution at the end.
    assert max(result["eigenvalue"]) == pytest.approx(2.0, abs=0.1)


def test_spectra_along_a_trajectory_with_a_figure(call, run_file, tmp_path):
    code, out, err = call(f"hessian --along {run_file} --n 500 --plot spectrum.png --out spectra.nc")
    assert (code, err.splitlines()) == (0, ["wrote spectra.nc", "wrote spectrum.png"])
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [float(row[0]) for row in rows] == [0.0, 15.0, 60.0]
    assert float(rows[1][2]) == pytest.approx(-0.5, abs=0.01)
    assert (tmp_path / "spectrum.png").stat().st_size > 20_000
    with xarray.open_dataset(tmp_path / "spectra.nc") as dataset:
        assert dataset.attrs["n"] == 500


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--n 5 --flow gradient", "--n: 5 is less than 6:"),
        ("--n 0", "--n: 0 is not an integer from 1"),
        ("--at nowhere", "--at:"),
        ("--at start --overlaps RUN", "--at: does not go with --overlaps"),
        ("--along RUN --eta 0.3", "--eta: does not go with --along"),
        ("--along RUN --p 4", "--p: does not go with --along"),
        ("--along missing.nc", "--along: missing.nc does not exist"),
        ("--along .", "--along: . cannot be read: it is not a regular file"),
        ("--plot a.png", "--plot: draws spectra over time: it needs --along"),
        ("--out a.csv", "--out: 'a.csv' does not end in .nc"),
        ("--eta 5 --generated GENERATED", "--eta: 5 has no plateau"),
        ("--at solution --constraint sphere", "--constraint: 'sphere': solutions differ"),
        ("--p 64 --pstar 64 --flow gradient", "--p: 64 is too large"),
        ("--overlaps RUN --p 5 --flow gradient", "--overlaps: RUN holds p = 4 and p* = 2, not 5 and 2"),
        ("--overlaps RUN --seed 0", "--seed: does not go with --overlaps"),
        ("--overlaps RUN --q0 1", "--q0: does not go with --overlaps"),
        ("--overlaps RUN --eta 0", "--eta: 0.0 is not a finite number greater than 0"),
        ("--n 5", "--n: 5 is less than 6: these overlaps need 4 dimensions beyond the 2 of the teacher"),
        ("--n 1", "--n: 1 is less than 6"),
        ("--at start --n 1", "--n: 1 is not an integer from 2 to"),
        ("--flow gradient --eta -1", "--eta: -1.0 is not a finite number greater than 0"),
        ("--at solution --q0 -1", "--q0: -1.0 is not a finite number greater than 0"),
        ("--at solution --label-noise -4", "--label-noise: -4.0 is not a finite number of at least 0"),
        ("--at plateau --seed -1", "--seed: -1 is not an integer from 0"),
        ("--at start --eta -1", "--eta: -1.0 is not a finite number greater than 0"),
        ("--at start --label-noise -1", "--label-noise: -1.0 is not a finite number of at least 0"),
        ("--flow gradient --tolerance -1", "--tolerance: -1.0 is not a finite number of at least 0"),
    ],
)
def test_refusals_are_one_line(call, run_file, tmp_path, line, words):
    filled = line.replace("RUN", str(run_file)).replace("GENERATED", str(run_file.parent / "generated"))
    code, out, err = call(f"hessian {filled}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"cli: {words.replace('RUN', str(run_file))}")
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_no_run(call, tmp_path):
    xarray.Dataset({"Q": 1.0}).to_netcdf(tmp_path / "other.nc")
    code, _, err = call("hessian --along other.nc")
    assert code == 2
    assert err == "cli: --along: other.nc has no attribute p: it is not a result of overlap-ode\n"
