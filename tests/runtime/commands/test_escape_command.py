"""`cli escape`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray

SMALL = "escape --n 1000,100000 --trajectories 200"


def test_table_figure_and_file(call, generated, tmp_path):
    code, out, err = call(f"{SMALL} --generated {generated} --plot times.png --out times.nc")
    assert (code, err.splitlines()) == (0, ["wrote times.nc", "wrote times.png"])
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["eta", "N", "escaped"]
    for line, n in zip(lines[1:3], ("1000", "100000"), strict=True):
        row = line.split()
        assert row[:3] == ["0.4", n, "200/200"]
        quantiles, error, theory = np.array(row[3:8], float), float(row[8]), float(row[9])
        assert np.all(np.diff(quantiles) > 0.0)
        assert abs(quantiles[2] - theory) < 5.0 * error
    assert lines[3].startswith(
        "eta = 0.4: plateau q = 0.763932, loss 0.673762; escaped below a loss of 0.336"
    )
    assert lines[4].startswith("  escape rate 0.17082 (8 directions), fitted growth 0.1708")
    assert "theory 1/(2 rate) = 2.9271" in lines[5]
    assert lines[6:] == ["  SGD escapes earlier by 0.9175 for large N (noise over signal 0.3682)"]
    assert (tmp_path / "times.png").stat().st_size > 20_000
    with xarray.open_dataset(tmp_path / "times.nc") as dataset:
        assert dataset["escape_alpha"].shape == (1, 2, 200)
        assert dataset.attrs["fraction"] == 0.5
        assert dataset.attrs["eta"] == 0.4


def test_simulated_sgd_has_a_table_of_its_own(call, generated, tmp_path):
    line = f"escape --n 200,400 --trajectories 16 --simulate --plot both.png --generated {generated}"
    code, out, err = call(line)
    assert (code, err.splitlines()) == (0, ["wrote both.png"])
    lines = out.splitlines()
    assert lines[3] == "SGD, from the same starts:"
    assert lines[0].split() == lines[4].split()
    for ode, sgd in ((1, 5), (2, 6)):
        first, second = lines[ode].split(), lines[sgd].split()
        assert first[:3] == second[:3]
        assert float(first[9]) - float(second[9]) == pytest.approx(0.9175, abs=2e-3)
    for k, n in ((-2, 200), (-1, 400)):
        found = re.fullmatch(
            rf"    simulated at N = {n}: (\S+) \+- (\S+) \((\S+) standard errors\);"
            r" the loss is looked at every (\S+)",
            lines[k],
        )
        shift, error, apart, resolution = map(float, found.groups())
        assert (shift - 0.9175) / error == pytest.approx(apart, rel=0.4, abs=0.2)
        assert resolution < error
    assert (tmp_path / "both.png").stat().st_size > 20_000


def test_several_learning_rates_as_json(call, generated, tmp_path):
    code, out, err = call(
        f"{SMALL} --generated {generated} --eta 0.2,0.6 --fraction 0.9 --json --quiet --plot rates.svg"
    )
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert (result["eta"], result["n"]) == ([0.2, 0.6], [1000, 100000])
    np.testing.assert_allclose(result["fitted_rate"], result["rate"], rtol=1e-3)
    assert len(result["rate_curve"]) == len(result["curve"]) == 100
    assert np.shape(result["alpha_quantile"]) == (2, 2, 5)
    assert (tmp_path / "rates.svg").read_text().startswith("<?xml")


def test_errors_that_are_not_known_are_said(call, generated):
    code, out, _ = call(f"escape --n 1000 --trajectories 20 --eta 0.2,0.4 --generated {generated} --quiet")
    assert code == 0
    assert "nan" not in out
    assert out.count("(error unknown: too few points)") == 4


def test_theory_before_the_start_is_not_shown(call, generated):
    line = f"escape --n 1000,100000 --fraction 0.999 --trajectories 20 --generated {generated}"
    code, out, _ = call(f"{line} --quiet")
    lines = out.splitlines()
    assert code == 0
    assert lines[1].split()[-1] == "-"
    assert float(lines[2].split()[-1]) > 0.0
    assert lines[3].startswith("theory -: the law for large N puts this escape before the start")


def test_a_single_start_has_no_error(call, generated):
    out = call(f"escape --n 1000 --trajectories 1 --generated {generated} --quiet")[1]
    assert out.splitlines()[1].split()[-2] == "-"
    assert "nan" not in out


def test_never_escaping_is_said(call, tmp_path):
    line = "escape --p 1 --pstar 3 --eta 0.05 --n 1000 --trajectories 8 --plot none.pdf"
    code, out, err = call(line)
    assert code == 0
    assert out.splitlines()[1].split()[:4] == ["0.05", "1000", "0/8", "-"]
    assert len(out.splitlines()) == 4
    assert err.splitlines() == [
        "wrote none.pdf",
        "8 trajectories stay at a loss above the threshold: raise --fraction, or lower --eta",
    ]
    assert (tmp_path / "generated" / "p1_pstar3").is_dir()


def test_starts_that_have_escaped_are_said(call, generated):
    """At N = 2 most losses are below the threshold at once: times of 0, and no growth to fit."""
    code, out, err = call(f"escape --n 2 --trajectories 20 --generated {generated} --plot wide.png")
    assert code == 0
    row = out.splitlines()[1].split()
    assert row[:3] == ["0.4", "2", "20/20"]
    assert float(row[5]) == 0.0
    assert err.splitlines()[0] == "wrote wide.png"
    count, words = err.splitlines()[1].split(" ", 1)
    assert 10 < int(count) <= 20
    assert len(err.splitlines()) == 2
    assert words == "trajectories start below the threshold: raise --n, or lower --fraction"


def test_runs_of_sgd_that_have_escaped_are_said(call, generated):
    """They have the starts of the ODE, so that as many are below the threshold at once."""
    _, _, err = call(f"escape --n 4 --trajectories 20 --generated {generated} --simulate")
    trajectories, runs = (line.split(" ", 1) for line in err.splitlines()[:2])
    assert trajectories[0] == runs[0]
    assert runs[1] == "runs of SGD start below the threshold: raise --n, or lower --fraction"
