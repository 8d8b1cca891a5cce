"""`cli ensemble`: what it prints and writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray


def test_ensemble_prints_quantiles_and_draws_them(call, generated, tmp_path):
    line = f"ensemble --generated {generated} --trajectories 50 --alpha 0,40,80 --out e.nc --plot e.svg"
    code, out, err = call(line)
    lines = out.splitlines()
    assert (code, err.splitlines()) == (0, ["wrote e.nc", "wrote e.svg"])
    assert lines[-1] == "status: 50 ok, prince8"
    assert [float(line.split()[0]) for line in lines[1:-1]] == [0.0, 40.0, 80.0]
    with xarray.open_dataset(tmp_path / "e.nc") as statistics:
        np.testing.assert_array_equal(statistics["count"], 50)
        low, *_, high = statistics["loss_quantile"].values
        assert np.all(low <= high)
    assert call(line)[1] == out


@pytest.mark.parametrize("output", ["final", "loss", "all"])
def test_ensemble_keeps_what_is_asked_for(call, generated, output):
    line = f"ensemble --generated {generated} --trajectories 3 --alpha 0,10 --seed 5 --json --output"
    code, out, _ = call(f"{line} {output}")
    runs = json.loads(out)
    assert code == 0
    assert runs["status"] == ["ok"] * 3
    assert np.shape(runs["loss"]) == ((3,) if output == "final" else (3, 2))
    assert ("Q" in runs) == (output != "loss")
    single = json.loads(call(f"integrate --generated {generated} --alpha 0,10 --seed 5 --json")[1])
    last = np.reshape(runs["loss"], (3, -1))[0, -1]
    assert last == pytest.approx(single["loss"][-1], abs=1e-9)


def test_ensemble_reports_when_losses_come_down(call, generated):
    code, out, _ = call(f"ensemble --generated {generated} --trajectories 20 --stop-loss 0.1 --quiet")
    assert code == 0
    assert "loss came down to 0.1 in 20 of 20; alpha at 5 %, 50 %, 95 %:" in out
    # How many the means are of.
    lines = out.splitlines()
    assert lines[0].split()[-1] == "running"
    assert [line.split()[-1] for line in (lines[1], lines[11])] == ["20", "0"]
    assert lines[11].split()[1:-1] == ["-"] * 6
    assert "nan" not in out


def test_quantiles_that_are_not_reached_are_dashes(call, generated):
    """Of 40 starts a few escape: what is printed is the sorted times of all, and the others are later."""
    line = f"ensemble --generated {generated} --trajectories 40 --stop-loss 0.3 --alpha 0,39 --quiet"
    out = call(f"{line} --output final")[1]
    escapes = json.loads(call(f"{line} --output final --json")[1])["escape_alpha"]
    times = sorted(np.inf if time is None else time for time in escapes)
    low = times[1] + 0.95 * (times[2] - times[1])
    assert 3 <= np.isfinite(times).sum() < 20
    assert f"in {np.isfinite(times).sum()} of 40; alpha at 5 %, 50 %, 95 %: {low:.6g}, -, -" in out
    # Some have come down to the threshold, so the smallest losses of all are not known.
    table = call(line)[1].splitlines()
    assert table[2].split()[2] == "-"
    assert "-" not in table[2].split()[3:]
    assert table[3] == "-: this quantile lies among trajectories that have stopped or failed"
    statistics = json.loads(call(f"{line} --json")[1])
    assert [row[-1] is None for row in statistics["loss_quantile"]] == [True, *[False] * 4]


def test_last_losses_are_those_before_the_stop(call, generated):
    line = f"ensemble --generated {generated} --trajectories 20 --stop-loss 0.1 --output loss --quiet"
    code, out, _ = call(line)
    runs = json.loads(call(f"{line} --json")[1])
    last = [[loss for loss in losses if loss is not None][-1] for losses in runs["loss"]]
    expected = ", ".join(f"{x:.4e}" for x in np.quantile(last, (0.05, 0.5, 0.95)))
    assert code == 0
    assert out.splitlines()[0] == f"last loss, quantiles 5 %, 50 %, 95 %: {expected}"
    assert out.splitlines()[-1] == "status: 20 ok, prince8"


def test_ensembles_that_all_diverge_have_no_last_loss(call, generated):
    line = f"ensemble --generated {generated} --trajectories 3 --eta 30 --alpha 1 --quiet"
    assert "5 %, 50 %, 95 %: none\nstatus: 3 diverged" in call(f"{line} --output loss")[1]
    table = call(line)[1].splitlines()
    assert table[0].split()[-1] == "running"
    assert table[-2].split() == ["1", *["-"] * 6, "0"]
