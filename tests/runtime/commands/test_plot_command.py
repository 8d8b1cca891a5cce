"""`cli plot`: what it draws from files, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import xarray

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def run_file(call, generated, tmp_path):
    line = f"integrate --p 2 --pstar 1 --generated {generated} --alpha 0,5,10 --out run.nc --quiet"
    assert call(line)[0] == 0
    return tmp_path / "run.nc"


def test_a_file_is_drawn_as_its_command_draws_it(call, run_file, generated, tmp_path):
    assert call(f"plot {run_file.name}") == (0, "", "wrote run.png\n")
    assert (tmp_path / "run.png").read_bytes().startswith(PNG)
    line = (
        f"integrate --p 2 --pstar 1 --generated {generated} --alpha 0,5,10 --log-x --plot own.svg --quiet"
    )
    assert call(line)[0] == 0
    assert call("plot run.nc --log-x --plot file.svg --quiet") == (0, "", "")
    assert (tmp_path / "file.svg").read_bytes() == (tmp_path / "own.svg").read_bytes()
    assert call("plot run.nc --panels R --log-x --plot panels.svg --quiet") == (0, "", "")
    assert (tmp_path / "panels.svg").read_bytes() != (tmp_path / "own.svg").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("missing.nc", "FILE: missing.nc does not exist"),
        ("text.nc", "FILE: text.nc cannot be read: it is not a netCDF file"),
        ("other.nc", "FILE: other.nc holds no result of overlap-ode that can be drawn"),
        ("edited.nc", "FILE: edited.nc cannot be drawn: "),
        ("run.nc --panels S", "--panels: 'S' is not one of loss, R, Q"),
        ("run.nc --plot run.gif", "--plot: 'run.gif' does not end in .png"),
        ("run.nc --plot no/run.png", "--plot: "),
        ("start.nc --log-x", "--log-x: needs a positive number to begin with"),
    ],
)
def test_refusals_are_a_line(call, run_file, tmp_path, options, words):
    (tmp_path / "text.nc").write_text("text")
    xarray.Dataset({"x": ("t", np.ones(2))}).to_netcdf(tmp_path / "other.nc")
    run = xarray.load_dataset(run_file)
    run.isel(alpha=[0]).to_netcdf(tmp_path / "start.nc")
    run.assign_attrs(p="many").to_netcdf(tmp_path / "edited.nc")
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = call(f"plot {options}")
    assert (code, out) == (2, "")
    assert err.startswith(f"cli: {words}")
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
