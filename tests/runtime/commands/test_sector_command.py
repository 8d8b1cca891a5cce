"""`cli sector`, `cli derive --sector`, and sectors in `cli list`."""

from __future__ import annotations

import json

import pytest
import xarray

import cli
import runtime
from derive.sector import SectorModel
from runtime import LoadError


def test_sectors_are_derived_listed_and_run(tmp_path, capsys):
    folder = ["--generated", str(tmp_path)]
    assert cli.run(["derive", "--sector", "--pstar", "1", "--flow", "gradient", *folder]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "sector_pstar1_gradient")
    assert "for any p" in captured.err
    assert cli.run(["derive", "--sector", "--pstar", "1", "--flow", "gradient", "--json", *folder]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "sector"
    command = ["sector", "--pstar", "1", "--flow", "gradient", "--json", *folder]
    assert cli.run(command) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["status"] == "ok"
    assert run["attributes"]["p"] == 10**6
    assert cli.run(["list", *folder]) == 0
    assert "3 order parameters" in capsys.readouterr().out
    system = runtime.load_sector(SectorModel(1, flow="gradient"), tmp_path)
    with pytest.raises(LoadError, match="holds a sector, not a system"):
        runtime.load(system.folder)


def test_what_there_is_not_is_a_dash(tmp_path, capsys):
    """As many students as teachers have no direction beyond them; a run that diverges has no end."""
    command = ["sector", "--p", "1", "--pstar", "1", "--generated", str(tmp_path), "--alpha"]
    assert cli.run([*command, "0,1", "--eta", "0.05"]) == 0
    _, *rows, _ = capsys.readouterr().out.splitlines()
    assert all(row.split()[-1] == "-" and "-" not in row.split()[:-1] for row in rows)
    assert cli.run([*command, "0,1,1000", "--eta", "3"]) == 1
    _, *rows, status = capsys.readouterr().out.splitlines()
    assert rows[-1].split() == ["1000", *"-----"]
    assert "diverged" in status


def test_a_run_goes_past_the_escape_and_is_drawn(call, generated, tmp_path):
    code, out, err = call(f"sector --generated {generated} --out run.nc --plot run.svg")
    assert (code, err) == (0, "wrote run.nc\nwrote run.svg\n")
    assert (tmp_path / "run.svg").exists()
    with xarray.open_dataset(tmp_path / "run.nc") as run:
        assert run["alpha"].values[-1] == pytest.approx(40.0 / (4 * 0.4 / (2 * 10**6)))
        assert run["loss"].values[0] > 0.5
        assert run["loss"].values[-1] < 1e-2
    assert len(out.splitlines()) == 13
    assert out.splitlines()[-1].startswith("status ok")


def test_fewer_students_than_teachers(call, generated):
    line = f"sector --p 2 --pstar 3 --flow gradient --readout sqrt --generated {generated}"
    code, out, _ = call(f"{line} --singular-values 0.2,0.1")
    *rows, _ = (row.split() for row in out.splitlines())
    assert code == 0
    # Two students have no direction outside the space of the teachers: no q_perp.
    assert rows[0][-1] == "q_perp"
    assert all(row[-1] == "-" for row in rows[1:])
    # The best that two students can do for three teachers is to leave one out.
    assert float(rows[-1][1]) == pytest.approx(float(rows[-2][1]), abs=1e-4)


def test_equal_second_layers_rescale_the_readout(call, generated):
    """v = v* = 2 at η/4 has the trajectory of weights of one at η, and four times its loss."""
    line = f"sector --p 1000 --singular-values 1e-3 --generated {generated} --quiet --json"
    _, plain, _ = call(f"{line} --readout mean --eta 0.4")
    code, out, _ = call(f"{line} --second-layer fixed --student-weights 2 --teacher-weights 2 --eta 0.1")
    found, expected = json.loads(out), json.loads(plain)
    assert code == 0
    assert (found["attributes"]["student_weights"], found["attributes"]["teacher_weights"]) == (2.0, 2.0)
    # The default end of the time axis is the same, too.
    assert found["alpha"] == pytest.approx(expected["alpha"], rel=1e-12)
    assert found["m"][-1] == pytest.approx(expected["m"][-1], rel=1e-6)
    assert found["loss"][0] == pytest.approx(4.0 * expected["loss"][0], rel=1e-12)
