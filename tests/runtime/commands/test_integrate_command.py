"""What `cli integrate` prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray

from runtime.output.run_summaries import as_json, trajectory_table
from runtime.trajectory.single_run import integrate


@pytest.fixture(scope="module")
def failed(system_of):
    """A run that diverged between its outputs."""
    return integrate(
        system_of(2, 1), np.eye(2), np.full((2, 1), 0.1), eta=100.0, alpha=[0.0, 1e-6, 1.0, 2.0]
    )


def test_json_has_everything_and_no_nan(failed):
    content = json.loads(json.dumps(as_json(failed), allow_nan=False))
    assert {**content["attributes"], "Conventions": "CF-1.9"} == failed.attrs
    assert content["alpha"] == [0.0, 1e-6, 1.0, 2.0]
    assert content["status"] == "diverged"
    assert content["Q"][1] == failed["Q"].values[1].tolist()
    assert content["Q"][2] == [[None, None], [None, None]]
    assert content["loss"][2:] == [None, None]
    assert set(content) == {"attributes", "alpha", *failed.data_vars}


def test_table_shows_both_ends_and_the_status(escape, failed):
    lines = trajectory_table(escape, 9).splitlines()
    assert len(lines) == 11
    assert lines[0].split() == ["alpha", "loss", "mean", "Q_ii", "max", "|R_ir|"]
    first, last = (line.split() for line in (lines[1], lines[-2]))
    assert float(first[0]) == 0.0
    assert float(last[0]) == 200.0
    assert float(last[1]) == pytest.approx(escape["loss"].values[-1], rel=1e-6)
    assert float(last[2]) == pytest.approx(np.trace(escape["Q"].values[-1]) / 4, abs=1e-6)
    assert float(last[3]) == pytest.approx(np.abs(escape["R"].values[-1]).max(), abs=1e-6)
    assert f"status ok, {escape['steps'].item()} steps" in lines[-1]
    assert "prince8" in lines[-1]
    assert "status diverged" in trajectory_table(failed, 100)
    assert len(trajectory_table(failed, 100).splitlines()) == 6


def test_table_has_the_last_weights_of_a_trained_second_layer(trained_run):
    weights = trained_run["v"].values
    *_, line, status = trajectory_table(trained_run, 5).splitlines()
    assert status.startswith("status ok")
    assert [float(x) for x in line.removeprefix("last v: ").split(", ")] == pytest.approx(
        weights[-1], rel=1e-5
    )
    # Those at the last output that was reached, and their range where students are many.
    loss = trained_run["loss"]
    stopped = trained_run.assign(loss=loss.where(loss["alpha"] < loss["alpha"][-1]))
    assert f"last v: {weights[-2, 0]:.6g}, " in trajectory_table(stopped, 5)
    many = trajectory_table(trained_run.assign(v=(("alpha", "k"), np.tile(weights, 3))), 5)
    assert f"last v: from {weights[-1].min():.6g} to {weights[-1].max():.6g}, mean " in many
    assert "last v" not in trajectory_table(trained_run.assign(loss=np.nan * loss), 5)


def test_integrate_derives_on_demand_and_prints_a_table(call, tmp_path):
    code, out, err = call("integrate --p 2 --pstar 1 --alpha 10")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["alpha", "loss", "mean", "Q_ii", "max", "|R_ir|"]
    assert lines[-1].startswith("status ok")
    assert float(lines[-2].split()[0]) == 10.0
    assert (tmp_path / "generated" / "p2_pstar1" / "manifest.json").exists()


def test_integrate_alone_shows_the_escape_from_the_plateau(call, generated):
    code, out, _ = call("integrate --json --generated", str(generated))
    run = json.loads(out)
    assert code == 0
    loss = np.array(run["loss"])
    assert run["status"] == "ok"
    assert (len(run["alpha"]), run["alpha"][0], run["alpha"][-1]) == (201, 0.0, 200.0)
    # The known plateau: 0.67376 at η = 0.4; then the escape.
    assert np.min(np.abs(loss - 0.67376)) < 2e-3
    assert loss[-1] < 1e-3
    assert np.shape(run["Q"]) == (201, 4, 4)
    assert run["attributes"]["n"] == 10**6


def test_integrate_writes_netcdf_and_figures_and_goes_on_from_them(call, generated, tmp_path):
    options = f"--generated {generated} --eta 0.3 --label-noise 0.1"
    code, _, err = call(f"integrate {options} --alpha 0,5,10 --out run.nc --plot run.svg")
    assert code == 0
    assert err.splitlines() == ["wrote run.nc", "wrote run.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.nc", "run.svg"]
    with xarray.open_dataset(tmp_path / "run.nc") as first:
        np.testing.assert_array_equal(first["alpha"], [0.0, 5.0, 10.0])
        assert first.attrs["eta"] == 0.3
        last = first["Q"].values[-1]
    code, out, _ = call(f"integrate {options} --overlaps run.nc --alpha 10,11 --json")
    assert code == 0
    run = json.loads(out)
    assert run["alpha"] == [10.0, 11.0]
    np.testing.assert_array_equal(run["Q"][0], last)


LAYERS = {
    "ones": "",
    "fixed": "--second-layer fixed --student-weights 1,-0.5,0.25,1 --teacher-weights power:1",
    "trained": "--second-layer trained --eta-second 0.05 --student-weights -1,1,1,1 --teacher-weights 1,-1",
}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_run_goes_on_from_its_last_state_and_time(call, generated, layer):
    """A schedule, a second layer and a teacher are those of the whole run; the wrong clock is not."""
    common = (
        f"--generated {generated} --teacher general --eta 0.2 --weight-decay 0.01 --batch 4 --ideal 0.1"
    )
    rates = "--schedule exponential:20 --rtol 1e-10 --atol 1e-12"
    start = f"integrate {common} {rates} --teacher-spectrum 1,0.5 {LAYERS[layer]}"
    whole = json.loads(call(f"{start} --alpha 0,10,20 --json")[1])
    assert call(f"{start} --alpha 0,10 --out half.nc --quiet")[0] == 0
    with xarray.open_dataset("half.nc") as file:
        half = file.isel(alpha=-1).load()
    words = LAYERS[layer].split()[: 4 if layer == "trained" else 2]
    again = f"integrate {common.replace('--ideal 0.1', '')} {' '.join(words)} --overlaps half.nc --json"
    rest = json.loads(call(f"{again} {rates} --alpha 10,20")[1])
    assert rest["alpha"] == [10.0, 20.0]
    for name in {"Q", "R", "loss", "v"} & whole.keys():
        np.testing.assert_allclose(rest[name], whole[name][1:], rtol=1e-8, atol=1e-10)
    assert ("v" in whole) == (layer == "trained")
    np.testing.assert_array_equal(rest["T"], np.diag([1.0, 0.5]))
    # Without the time in the file, the schedule begins anew, which gives other numbers.
    stored = ("Q", "R", "T", "v", "student_weights", "teacher_weights")
    np.savez("half.npz", **{name: half[name] for name in stored if name in half})
    wrong = json.loads(call(f"{again.replace('half.nc', 'half.npz')} {rates} --alpha 0,10")[1])
    np.testing.assert_array_equal(wrong["Q"][0], rest["Q"][0])
    assert np.max(np.abs(np.subtract(wrong["Q"][1], rest["Q"][1]))) > 1e-3


def test_a_run_goes_on_for_the_default_length_or_to_a_later_end(call, generated):
    options = f"--generated {generated} --eta 0.3"
    assert call(f"integrate {options} --alpha 0,5 --out run.nc --quiet")[0] == 0
    alpha = json.loads(call(f"integrate {options} --overlaps run.nc --json")[1])["alpha"]
    assert (len(alpha), alpha[0], alpha[-1]) == (201, 5.0, 205.0)
    alpha = json.loads(call(f"integrate {options} --overlaps run.nc --alpha 7 --json")[1])["alpha"]
    assert (len(alpha), alpha[0], alpha[-1]) == (201, 5.0, 7.0)
    for end, problem in (
        ("5", "5 is not after 5, the time of the start"),
        ("0,9", "0 is out of place: times are 5, the time of the start, or more and strictly ascending"),
    ):
        code, _, err = call(f"integrate {options} --overlaps run.nc --alpha {end}")
        assert (code, err) == (2, f"cli: --alpha: {problem}\n")


def test_seeds_start_different_trajectories_and_the_same_ones_again(call, generated):
    outputs = [
        call(f"integrate --generated {generated} --alpha 1 --seed {seed}")[1] for seed in ("1", "1", "2")
    ]
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize("method", ["tsit5", "scipy:LSODA", "scipy:DOP853"])
def test_methods_agree(call, generated, method):
    line = f"integrate --generated {generated} --alpha 0,60 --ideal 0.01 --json --method"
    ours, other = (json.loads(call(f"{line} {name}")[1]) for name in ("prince8", method))
    np.testing.assert_allclose(other["R"], ours["R"], atol=2e-6)


def test_correlated_teachers_and_the_sphere(call):
    line = "integrate --p 2 --pstar 3 --constraint sphere --teacher general --alpha 5 --json"
    code, out, _ = call(f"{line} --teacher-correlation 0.3")
    run = json.loads(out)
    assert code == 0
    np.testing.assert_allclose(run["T"], 0.7 * np.eye(3) + 0.3)
    np.testing.assert_array_equal(np.diagonal(run["Q"], axis1=1, axis2=2), 1.0)


def test_a_diverging_trajectory_is_a_result(call, generated):
    code, out, err = call(f"integrate --generated {generated} --eta 100 --json")
    run = json.loads(out)
    assert code == 1
    assert run["status"] == "diverged"
    assert "cli: warning: stopped at alpha" in err
    assert run["loss"][0] is not None
    assert run["loss"][-1] is None


def test_tables_of_one_trajectory_have_no_nan_and_no_endless_numbers(call, generated):
    for line in ("--eta 30", "--q0 1e300", "--q0 1e12"):
        code, out, err = call(f"integrate --generated {generated} --alpha 1 --quiet {line}")
        assert (code, err.count("\n")) == (1, 1)
        assert "nan" not in out
        assert max(map(len, out.splitlines())) <= 80


def test_stop_loss_ends_the_table(call):
    code, out, _ = call("integrate --stop-loss 0.3")
    assert code == 0
    lines = out.splitlines()
    assert lines[-2].startswith("loss came down to 0.3 at alpha = ")
    assert "nan" not in out
    _, out, _ = call("integrate --alpha 1 --stop-loss 1e-9")
    assert out.splitlines()[-2] == "loss did not come down to 1e-09"


@pytest.mark.parametrize("command", ["integrate", "simulate --n 50 --trajectories 2", "sweep --out runs"])
def test_one_time_can_be_asked_for(call, generated, command):
    """A comma makes a list of the number; without it the number would be the end of many times."""
    places = "" if command.startswith("simulate") else f"--generated {generated}"
    line = f"{command} --p 1 --pstar 1 --eta 0.1 --alpha 2, {places} --json"
    code, out, _ = call(line)
    assert code == 0
    if command.startswith("sweep"):
        assert call("merge runs --out runs.nc")[0] == 0
        with xarray.open_dataset("runs.nc") as merged:
            assert merged["alpha"].values.tolist() == [2.0]
    else:
        assert json.loads(out)["alpha"] == [2.0]
