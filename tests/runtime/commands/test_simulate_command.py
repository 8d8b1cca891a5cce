"""`cli simulate`: what it prints and writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray

import derive
import runtime

ROOT = Path(__file__).parents[3]
SMALL = "--p 2 --pstar 1 --eta 0.2"
SIMULATE = f"simulate {SMALL} --n 50 --trajectories 9 --alpha 0,0.5,1 --seed 3"


def test_simulate_prints_a_table_and_writes_nothing(call, tmp_path):
    code, out, err = call(SIMULATE)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["alpha", "mean", "loss", "error", "deviation", "mean", "Q_ii", "runs"]
    rows = [[float(x) for x in line.split()] for line in lines[1:-1]]
    assert lines[-1] == "status: 9 ok, chain at n = 50"
    runs = runtime.simulate(derive.Model(2, 1), n=50, eta=0.2, alpha=[0, 0.5, 1], trajectories=9, seed=3)
    for row, k in zip(rows, range(3), strict=True):
        loss = runs["loss"].values[:, k]
        norm = np.trace(runs["Q"].values[:, k], axis1=1, axis2=2).mean() / 2
        spread = loss.std(ddof=1)
        expected = [runs["alpha"].values[k], loss.mean(), spread / 3, spread, norm, 9]
        np.testing.assert_allclose(row, expected, rtol=0.01, atol=1e-6)
    assert list(tmp_path.iterdir()) == []


def test_a_long_table_is_cut(call):
    _, out, _ = call("simulate --p 1 --pstar 1 --n 100 --eta 0.1 --alpha 2 --trajectories 1")
    lines = out.splitlines()
    assert len(lines) == 13
    assert float(lines[1].split()[0]) == 0.0
    assert float(lines[-2].split()[0]) == 2.0


def test_simulate_speaks_json(call):
    code, out, err = call(f"{SIMULATE} --json --quiet --label-noise 0.1 --constraint sphere")
    runs = json.loads(out)
    assert (code, err) == (0, "")
    assert runs["alpha"] == [0.0, 0.5, 1.0]
    assert runs["status"] == ["ok"] * 9
    assert np.shape(runs["Q"]) == (9, 3, 2, 2)
    assert np.shape(runs["loss"]) == (9, 3)
    assert runs["attributes"]["n"] == 50
    assert runs["attributes"]["method"] == "chain"
    assert runs["attributes"]["label_noise"] == 0.1
    np.testing.assert_allclose(np.diagonal(runs["Q"], axis1=2, axis2=3), 1.0, rtol=1e-14)


def test_simulate_writes_netcdf_and_figures(call, generated, tmp_path):
    code, _, err = call(f"{SIMULATE} --generated {generated} --out runs.nc --plot runs.svg")
    assert code == 0
    assert err.splitlines() == ["wrote runs.nc", "wrote runs.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs.nc", "runs.svg"]
    assert "<svg" in (tmp_path / "runs.svg").read_text()[:1000]
    runs = runtime.simulate(derive.Model(2, 1), n=50, eta=0.2, alpha=[0, 0.5, 1], trajectories=9, seed=3)
    with xarray.open_dataset(tmp_path / "runs.nc") as saved:
        for name in ("Q", "R", "loss", "alpha_end", "status"):
            np.testing.assert_array_equal(saved[name], runs[name])
        assert runs.attrs.items() <= saved.attrs.items()
        assert (saved.attrs["q0"], saved.attrs["seed"]) == (1.0, 3)
    # The ODE from the same starts is drawn beside the runs.
    text = (tmp_path / "runs.svg").read_text()
    assert "stroke-dasharray" in text
    code, _, err = call(f"{SIMULATE} --generated {generated} --plot runs.png")
    assert err == "wrote runs.png\n"
    assert (tmp_path / "runs.png").read_bytes()[:4] == b"\x89PNG"


def test_threads_do_not_matter_and_seeds_do(call):
    outputs = [call(f"{SIMULATE} {more}")[1] for more in ("--threads 1", "--threads 3", "--seed 4")]
    assert outputs[0] == outputs[1] != outputs[2]


def test_weights_on_request_and_where_n_is_small(call):
    code, out, err = call(f"{SIMULATE} --method weights")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "status: 9 ok, weights at n = 50"
    line = "simulate --p 4 --pstar 2 --eta 0.02 --alpha 1 --trajectories 3 --n"
    code, out, err = call(f"{line} 5")
    assert code == 0
    assert out.splitlines()[-1] == "status: 3 ok, weights at n = 5"
    assert err == "n = 5 is less than p + p*: the weights themselves were run\n"
    assert call(f"{line} 6")[2] == ""
    assert call(f"{line} 5 --quiet")[2] == ""


def test_simulate_from_ideal_and_from_given_overlaps(call, tmp_path):
    code, out, _ = call(f"{SIMULATE} --ideal 0.1 --q0 0.5 --json")
    runs = json.loads(out)
    assert code == 0
    first = np.array(runs["Q"])[:, 0]
    np.testing.assert_allclose(first, np.broadcast_to(0.5 * np.eye(2), first.shape), atol=1e-15)
    assert len({run[0][0][0] for run in runs["R"]}) == 9
    assert runs["attributes"]["ideal"] == 0.1
    Q, R = np.array([[1.0, 0.3], [0.3, 0.8]]), np.array([[0.2], [0.4]])
    np.savez(tmp_path / "start.npz", Q=Q, R=R)
    code, out, _ = call(f"{SIMULATE} --overlaps start.npz --json")
    runs = json.loads(out)
    assert code == 0
    assert runs["attributes"]["overlaps"] == "start.npz"
    for k in range(9):
        np.testing.assert_allclose(runs["Q"][k][0], Q, atol=1e-15)
        np.testing.assert_allclose(runs["R"][k][0], R, atol=1e-15)


def test_simulate_goes_on_from_the_last_state_of_each_run(call, tmp_path):
    assert call(f"{SIMULATE} --out runs.nc")[0] == 0
    later = SIMULATE.replace("--alpha 0,0.5,1", "--alpha 1,1.5")
    code, out, _ = call(f"{later} --overlaps runs.nc --json")
    runs = json.loads(out)
    assert code == 0
    assert runs["alpha"] == [1.0, 1.5]
    with xarray.open_dataset(tmp_path / "runs.nc") as saved:
        np.testing.assert_allclose(np.array(runs["Q"])[:, 0], saved["Q"][:, -1], atol=1e-14)
        np.testing.assert_allclose(np.array(runs["R"])[:, 0], saved["R"][:, -1], atol=1e-14)
    code, _, err = call(f"{later} --overlaps runs.nc --trajectories 8")
    assert (code, err) == (2, "cli: --trajectories: 8 is not the number of starts, 9\n")


def test_simulate_correlated_teachers(call):
    line = "simulate --p 2 --pstar 3 --teacher general --teacher-correlation 0.3 --n 40 --eta 0.1"
    code, out, _ = call(f"{line} --alpha 0,1 --trajectories 2 --readout sqrt --json")
    runs = json.loads(out)
    assert code == 0
    np.testing.assert_allclose(runs["T"], 0.7 * np.eye(3) + 0.3)
    assert runs["attributes"]["readout"] == "sqrt"


def test_diverged_runs_are_a_result(call, generated):
    line = "simulate --p 1 --pstar 1 --n 10 --eta 1 --alpha 8 --trajectories 20 --label-noise 1"
    code, out, err = call(f"{line} --generated {generated} --plot runs.png --out runs.nc")
    warning = "cli: warning: 20 of 20 runs diverged; a smaller --eta may help\n"
    assert (code, err) == (1, f"wrote runs.nc\nwrote runs.png\n{warning}")
    assert out.splitlines()[-1] == "status: 20 diverged, chain at n = 10, Δ = 1"
    assert out.splitlines()[-2].split()[1:] == ["-"] * 4 + ["0"]
    runs = json.loads(call(f"{line} --json")[1])
    assert runs["loss"][0][0] is not None
    assert runs["loss"][0][-1] is None
    # What is not there cannot be resumed from.
    code, _, err = call(f"{line} --overlaps runs.nc")
    assert code == 2
    assert err.startswith("cli: --overlaps: ")


@pytest.mark.parametrize("command", ["simulate --n 10", "ensemble", "ensemble --output all"])
def test_a_figure_of_runs_that_all_diverged_before_the_first_time(call, generated, command):
    line = f"{command} --p 1 --pstar 1 --eta 50 --alpha 5,6 --trajectories 9"
    assert call(f"{line} --generated {generated} --plot runs.png")[0] == 1
    assert Path("runs.png").exists()


def test_a_seed_goes_with_given_overlaps(call, tmp_path):
    np.savez(tmp_path / "start.npz", Q=np.eye(2), R=np.zeros((2, 1)), T=[[1.0 + 1e-12]])
    first, second = (call(f"{SIMULATE} --overlaps start.npz --seed {seed} --json") for seed in (1, 2))
    assert first[0] == second[0] == 0
    assert json.loads(first[1])["Q"] != json.loads(second[1])["Q"]
