"""`cli hessian`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
import xarray

import cli
import overlap_ode as oo


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
    # The command, JSON and Python agree that this is no critical point of the loss.
    assert result["attributes"]["classification"] == "not stationary"
    text = call(f"hessian --generated {run_file.parent / 'generated'}")[1]
    assert text.splitlines()[-1].startswith("not stationary: 8 negative, ")
    spectrum = oo.hessian_spectrum(oo.Model(4, 2), q * np.eye(4), np.zeros((4, 2)), 1000)
    assert (spectrum.classification, spectrum.negative) == ("not stationary", 8)


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
    [
        "--at solution --p 2 --pstar 4",
        "--at start --seed 3",
        "--constraint sphere",
        "--at plateau --n 50",
        "--teacher general --teacher-correlation 0.3",
        "--teacher general --teacher-correlation 0.3 --at start",
    ],
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
