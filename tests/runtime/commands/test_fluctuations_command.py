"""`cli fluctuations`: what it prints, writes and draws, and from which starts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray

SMALL = "fluctuations --p 2 --pstar 1 --eta 0.3"


@pytest.fixture
def line(generated):
    return f"{SMALL} --generated {generated}"


def test_bands_are_printed_written_and_drawn(call, line, tmp_path):
    code, out, err = call(f"{line} --alpha 0,2,20 --n 10000 --out bands.nc --plot bands.svg")
    assert (code, err) == (0, "wrote bands.nc\nwrote bands.svg\n")
    assert (tmp_path / "bands.svg").stat().st_size > 1000
    heads, *rows, status = out.splitlines()
    assert heads.split() == [
        *("alpha", "loss", "deviation", "max", "|R_ir|", "deviation", "linear", "from", "N"),
    ]
    assert status.startswith("deviations at N = 10000; status ok")
    with xarray.open_dataset(tmp_path / "bands.nc") as run:
        alpha, loss, spread, R, R_spread, needed = map(float, rows[-1].split())
        assert (alpha, run.attrs["n"], run.attrs["start_covariance"]) == (20.0, 10_000, "none")
        assert loss == pytest.approx(run.loss[-1].item(), rel=1e-5)
        assert spread == pytest.approx(run.loss_std[-1].item() / 100.0, rel=1e-3)
        place = int(abs(run.R[-1].values).argmax())
        assert pytest.approx(abs(run.R[-1, place, 0].item()), abs=1e-6) == R
        assert R_spread == pytest.approx(run.R_std[-1, place, 0].item() / 100.0, rel=1e-3)
        assert needed == pytest.approx(run.linear_n[-1].item(), rel=1e-3)


def test_random_weights_and_where_the_theory_fails(call, line, tmp_path):
    code, out, err = call(f"{line} --alpha 200 --n 100 --covariance random --q0 0.5 --json --plot a.png")
    run = json.loads(out)
    assert code == 0
    assert run["attributes"]["start_covariance"] == "random weights"
    assert np.diag(run["covariance"][0]).tolist() == [0.5, 0.25, 0.5, 0.5, 0.5]
    assert run["Q"][0] == [[0.5, 0.0], [0.0, 0.5]]
    assert not np.any(run["R"])
    until = run["linear_until"]
    assert 0.0 < until < 200.0
    assert err.splitlines()[-1].startswith(
        f"from alpha = {until:.6g} on, the linear theory fails at N = 100:"
    )
    assert err.splitlines()[-1].endswith("from R0 = 0 it never escapes, while SGD does")
    assert call(f"{line} --alpha 200 --n 100 --covariance random --quiet")[2] == ""
    # Where the covariance is not followed, the table has dashes and the figure no bands.
    _, out, _ = call(f"{line} --alpha 0,9999 --n 100 --covariance random --quiet --plot b.png")
    assert out.splitlines()[2].split()[2:] == ["-", "0.000000", "-", "inf"]
    assert (tmp_path / "b.png").exists()


def test_a_run_is_continued_from_its_file(call, line):
    assert call(f"{line} --alpha 0,5,10 --out whole.nc")[0] == 0
    assert call(f"{line} --alpha 0,5 --out first.nc")[0] == 0
    again = "--overlaps first.nc --covariance first.nc"
    assert call(f"{line} --alpha 5,10 {again} --out rest.nc")[0] == 0
    whole, rest = (xarray.load_dataset(f"{name}.nc") for name in ("whole", "rest"))
    np.testing.assert_allclose(rest.covariance[-1], whole.covariance[-1], rtol=1e-6, atol=1e-9)
    assert rest.attrs["start_covariance"] == "given"


def test_a_file_of_a_matrix(call, line, tmp_path):
    np.savetxt(tmp_path / "small.txt", 0.5 * np.eye(5))
    code, out, _ = call(f"{line} --alpha 0,1 --covariance small.txt --json")
    assert code == 0
    assert json.loads(out)["covariance"][0] == (0.5 * np.eye(5)).tolist()


def test_trained_layers_are_drawn(call, line, tmp_path):
    more = "--second-layer trained --eta-second 0.1 --alpha 0,1,2"
    assert call(f"{line} {more} --plot trained.png")[0] == 0
    assert (tmp_path / "trained.png").exists()


@pytest.mark.matrix
def test_the_bias_is_predicted_where_its_start_is_known(call, generated, tmp_path):
    np.savez(tmp_path / "start.npz", Q=[[1.0]], R=[[0.7]])
    line = f"fluctuations --p 1 --pstar 1 --constraint sphere --eta 0.05 --generated {generated}"
    line += " --overlaps start.npz --label-noise 0.2 --bias"
    code, out, err = call(f"{line} --alpha 0,2 --json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    # tests/runtime/covariance has the exact numbers.
    assert found["loss_bias"] == [0.0, pytest.approx(0.3204, abs=1e-4)]
    assert found["R_bias"] == [[[0.0]], [[pytest.approx(-0.1278, abs=1e-4)]]]
    code, out, err = call(f"{line} --covariance matrix.npy")
    assert (code, out) == (2, "")
    assert "--bias: does not go with --covariance FILE" in err
