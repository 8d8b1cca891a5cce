"""`cli compare`: what it prints and writes, and its exit codes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import xarray

from runtime.sgd import comparison

SMALL = "--p 2 --pstar 1 --eta 0.2"
COMPARE = f"compare {SMALL} --n 100,200 --trajectories 32 --alpha 0,0.5,1 --no-weights"


@pytest.fixture
def compare(call, generated):
    return lambda line, *more: call(line, "--generated", str(generated), *more)


def test_compare_agrees_and_says_so(compare, tmp_path):
    code, out, err = compare(COMPARE)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert " ".join(lines[0].split()) == "alpha loss (ODE) N = 100 error N = 200 error"
    assert [float(line.split()[0]) for line in lines[1:4]] == [0.0, 0.5, 1.0]
    assert lines[4].startswith("N = 100: N |mean loss - ODE| = ")
    assert lines[5].startswith("N = 200: ")
    assert lines[6].startswith("SGD agrees with the ODE as N grows: largest deviation ")
    assert "for 12 comparisons" in lines[6]
    assert list(tmp_path.iterdir()) == []
    assert "chain and weights differ by at most" in compare(f"{COMPARE} --weights")[1]


def test_compare_writes_netcdf_figures_and_json(compare, tmp_path):
    code, out, err = compare(f"{COMPARE} --json --out c.nc --plot c.png --ideal 0.05 --q0 0.7")
    result = json.loads(out)
    assert (code, err) == (0, "wrote c.nc\nwrote c.png\n")
    assert result["attributes"]["verdict"] == "agree"
    assert result["attributes"]["ideal"] == 0.05
    assert result["alpha"] == [0.0, 0.5, 1.0]
    assert np.shape(result["Q_mean"]) == (2, 3, 2, 2)
    np.testing.assert_allclose(result["Q"][0], 0.7 * np.eye(2))
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    with xarray.open_dataset(tmp_path / "c.nc") as saved:
        np.testing.assert_array_equal(saved["n"], [100, 200])
        np.testing.assert_array_equal(saved["loss_mean"], result["loss_mean"])
        assert saved["observable"].values.tolist()[0] == "loss"
        assert saved.attrs["verdict"] == "agree"
    assert compare(f"{COMPARE} --quiet --plot c.svg")[2] == ""
    assert "<svg" in (tmp_path / "c.svg").read_text()[:1000]


def test_json_names_the_sizes_and_the_observables(compare):
    result = json.loads(compare(f"{COMPARE} --json")[1])
    assert result["n"] == [100, 200]
    assert len(result["observable"]) == len(result["limit"])


def test_compare_from_given_overlaps(compare, tmp_path):
    Q, R = np.array([[1.0, 0.3], [0.3, 0.8]]), np.array([[0.2], [0.4]])
    np.savez(tmp_path / "start.npz", Q=Q, R=R)
    code, out, _ = compare(f"{COMPARE} --overlaps start.npz --json")
    result = json.loads(out)
    assert code == 0
    np.testing.assert_array_equal(result["Q"][0], Q)
    assert result["attributes"]["overlaps"] == "start.npz"
    assert "ideal" not in result["attributes"]


def test_compare_disagrees_with_a_wrong_ode(compare, monkeypatch, tmp_path):
    right = comparison.integrate_problem

    def wrong(system, problem):
        given = {**problem.parameters.attributes, "eta": 1.5 * problem.parameters["eta"]}
        return right(system, dataclasses.replace(problem, parameters=given))

    monkeypatch.setattr(comparison, "integrate_problem", wrong)
    line = f"compare {SMALL} --n 200,400 --trajectories 200 --alpha 0,1,2 --no-weights"
    code, out, err = compare(f"{line} --out c.nc")
    assert (code, err) == (1, "wrote c.nc\n")
    assert out.splitlines()[-1].startswith("SGD differs from the ODE as N grows: largest deviation ")
    with xarray.open_dataset(tmp_path / "c.nc") as saved:
        assert saved.attrs["verdict"] == "disagree"


def test_compare_is_undecided_when_runs_diverge(compare, tmp_path):
    line = f"compare {SMALL} --n 10,20 --eta 5 --alpha 5 --trajectories 20 --no-weights"
    code, out, err = compare(f"{line} --out c.nc --plot c.png")
    warning = "cli: warning: 40 of 40 runs diverged; a smaller --eta may help\n"
    assert (code, err) == (1, f"wrote c.nc\nwrote c.png\n{warning}")
    assert out.splitlines()[-1] == "undecided: 40 runs diverged, and the mean of the others is biased"
    with xarray.open_dataset(tmp_path / "c.nc") as saved:
        np.testing.assert_array_equal(saved["diverged"], [20, 20])
    assert json.loads(compare(f"{line} --json")[1])["loss_mean"][0][-1] is None


@pytest.mark.parametrize("weights", ["--weights", "--no-weights"])
def test_compare_when_all_runs_diverge_before_the_first_time(compare, weights):
    line = f"compare {SMALL} --n 10,20 --eta 20 --alpha 5,6 --trajectories 20 {weights}"
    code, _, err = compare(line)
    assert (code, err) == (1, "cli: warning: 40 of 40 runs diverged; a smaller --eta may help\n")


def test_compare_derives_on_demand(call, tmp_path, monkeypatch):
    # Without the theory at order 1/N, whose code would be compiled.
    monkeypatch.setattr(comparison, "predicted", lambda *_: {})
    code, _, err = call("compare --p 1 --pstar 1 --eta 0.1 --alpha 0.5 --n 50,100 --trajectories 16")
    assert (code, err) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"generated"}
