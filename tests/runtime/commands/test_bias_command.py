"""`cli bias`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray

from runtime.commands.bias import run_table

STUDY = "bias --n 50,200 --trajectories 16 --alpha 80 --conditions 1,10 --scale 1e-4"


def test_study_is_a_table_a_figure_and_a_file(call, generated, tmp_path):
    code, out, err = call(f"{STUDY} --generated {generated} --plot bias.png --out bias.nc")
    assert (code, err.splitlines()) == (0, ["wrote bias.nc", "wrote bias.png"])
    rows = [line.split() for line in out.splitlines()]
    assert [row[:2] for row in rows[1:5]] == [["50", "ODE"], ["50", "SGD"], ["200", "ODE"], ["200", "SGD"]]
    assert out.splitlines()[5].startswith("theory of SGD for large N: alignment 0.83")
    assert [row[:2] for row in rows[7:9]] == [["1", "ODE"], ["10", "ODE"]]
    alignment, theory = float(rows[8][5]), float(rows[8][8])
    assert alignment == pytest.approx(theory, abs=2e-3)
    assert (tmp_path / "bias.png").stat().st_size > 20_000
    with xarray.open_dataset(tmp_path / "bias.nc") as dataset:
        assert dataset["sgd_alignment"].shape == (2, 16)
        assert dataset["norms_theory"].dims == ("condition", "trajectory")


def test_runs_without_an_end_have_dashes():
    names = ("closest", "reached", "excess", "alignment", "remaining", "missed", "loss")
    result = xarray.Dataset({name: ("trajectory", [1.5, np.nan]) for name in names})
    lines = run_table(result, 10).splitlines()
    assert lines[2].split() == ["1", *"-------"]
    assert lines[3].split() == ["mean", *["1.5"] * 7]
    assert lines[4] == "1 of 2 runs reached the end"


def test_json_has_the_coordinates(call, generated):
    code, out, _ = call(f"{STUDY} --generated {generated} --json --quiet")
    result = json.loads(out)
    assert code == 0
    assert (result["n"], result["condition"]) == ([50, 200], [1.0, 10.0])
    assert np.shape(result["ode_excess"]) == (2, 16)
    assert result["attributes"]["scale"] == 1e-4


def test_runs_that_are_too_short_say_so(call, generated):
    line = STUDY.replace("--alpha 80", "--alpha 1")
    code, out, _ = call(f"{line} --generated {generated}")
    assert code == 0
    assert "0/16" in out
    assert out.splitlines()[-1].startswith("where nothing is solved")


def test_runs_of_a_file_are_judged(call, tmp_path):
    assert call("simulate --n 100 --alpha 0,60 --trajectories 3 --out runs.nc --quiet")[0] == 0
    code, out, _ = call("bias --run runs.nc --out judged.nc")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["run", "closest", "reached", "excess"]
    assert [line.split()[0] for line in lines[1:5]] == ["0", "1", "2", "mean"]
    assert lines[-1] == "3 of 3 runs reached the end"
    with xarray.open_dataset(tmp_path / "judged.nc") as dataset:
        assert dataset["alignment"].shape == (3,)
