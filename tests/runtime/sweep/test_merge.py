from __future__ import annotations

import numpy as np
import pytest
import xarray
from limits import files_up_to

import runtime
from runtime import InputError
from runtime.sweep.sweep_errors import SweepError


@pytest.fixture
def opened(merged, tmp_path):
    """The merged dataset of a folder."""

    def opened(folder="runs", **options):
        merged(folder, **options)
        with xarray.open_dataset(tmp_path / f"{folder}.nc") as file:
            return file.load()

    return opened


def single(system, n, eta, seed, alpha):
    start = runtime.random_overlaps(system.model.p, system.model.pstar, n=n, seed=seed)
    return runtime.integrate(system, *start, eta=eta, alpha=alpha)


def test_axes_are_dimensions_and_results_are_in_their_place(sweep, opened, system_of):
    sweep({"p": "2,3", "pstar": 1, "eta": "0.1:0.3:3", "seed": "0:1", "alpha": [0.0, 5.0], "n": 100})
    runs = opened()
    assert dict(runs.sizes) == {"p": 2, "eta": 3, "seed": 2, "alpha": 2, "i": 3, "j": 3, "r": 1, "s": 1}
    for p in (2, 3):
        for eta in (0.1, 0.2, 0.3):
            for seed in (0, 1):
                wanted = single(system_of(p, 1), 100, eta, seed, [0.0, 5.0])
                found = runs.sel(p=p, eta=eta, seed=seed)
                np.testing.assert_array_equal(found["loss"], wanted["loss"])
                np.testing.assert_array_equal(found["Q"][:, :p, :p], wanted["Q"])
                assert np.isnan(found["Q"][:, p:]).all()
                assert found["status"] == "ok"
                assert found["steps"] == wanted["steps"]
    assert runs["steps"].dtype == np.int64
    assert runs["loss"].attrs == {"long_name": "generalisation error", "units": "1"}
    assert runs["eta"].attrs == {"long_name": "learning rate", "units": "1"}
    assert runs.attrs["n"] == 100
    assert runs.attrs["job"] == "ode"
    assert not {"p", "eta", "seed"} & set(runs.attrs)


def test_without_axes_it_is_the_run(sweep, opened, system_of):
    sweep({"p": 2, "pstar": 1, "alpha": 5.0, "n": 100})
    runs = opened()
    np.testing.assert_array_equal(runs["Q"], single(system_of(2, 1), 100, 0.4, 0, 5.0)["Q"])
    assert runs.attrs["eta"] == 0.4


def test_lists_of_numbers_are_coordinates_of_words(sweep, opened, system_of):
    spectra = {"teacher": "general", "teacher_spectrum": "1,1;1,0.5", "schedule": "constant;0:1,2:0.5"}
    sweep({"p": 2, "pstar": 2, "alpha": [0.0, 5.0], "n": 100, **spectra})
    runs = opened()
    assert runs["teacher_spectrum"].values.tolist() == ["1,1", "1,0.5"]
    assert runs["schedule"].values.tolist() == ["constant", "0:1,2:0.5"]
    T = np.diag([1.0, 0.5])
    start = runtime.random_overlaps(2, 2, n=100, seed=0, T=T)
    wanted = runtime.integrate(
        system_of(2, 2, teacher="general"), *start, T=T, eta=0.4, alpha=[0.0, 5.0], schedule={0: 1, 2: 0.5}
    )
    found = runs.sel(teacher_spectrum="1,0.5", schedule="0:1,2:0.5")
    np.testing.assert_array_equal(found["loss"], wanted["loss"])
    np.testing.assert_array_equal(found["T"], T)
    assert (runs["loss"].sel(schedule="constant") != runs["loss"].sel(schedule="0:1,2:0.5"))[:, 1].all()


def test_second_layers_are_coordinates_beside_their_numbers(sweep, opened):
    weights = {"student_weights": "1,-0.5;power:1", "teacher_weights": [2.0], "second_layer": "fixed"}
    sweep({"p": 2, "pstar": 1, "alpha": 5.0, "n": 100, "eta": 0.1, "seed": "0:1", **weights})
    runs = opened()
    assert runs["student_weights_name"].values.tolist() == ["1,-0.5", "power:1"]
    found = runs.sel(student_weights_name="power:1", seed=1)
    np.testing.assert_array_equal(found["student_weights"], [1.0, 0.5])
    np.testing.assert_array_equal(found["teacher_weights"], [2.0])
    assert runs.attrs["teacher_weights"] == "2"


def test_conventions_are_coordinates_of_words(sweep, opened):
    sweep({"p": 2, "pstar": 1, "alpha": 5.0, "constraint": "free,sphere", "seed": [0]})
    runs = opened()
    assert runs["loss"].dims == ("constraint", "seed", "alpha")
    norms = runs["Q"].sel(constraint="sphere", seed=0).values[:, 0, 0]
    assert np.ptp(norms) < 1e-12 < np.ptp(runs["Q"].sel(constraint="free", seed=0).values[:, 0, 0])


def test_what_varies_together_has_one_dimension(sweep, opened):
    sweep({"p": "2,3", "pstar": "1,2", "alpha": 5.0}, zip=[["p", "pstar"]])
    runs = opened()
    assert runs["loss"].dims == ("p_pstar", "alpha")
    np.testing.assert_array_equal(runs["pstar"], [1, 2])
    assert set(runs.coords) >= {"p", "pstar"}
    assert np.isnan(runs["R"].values[0, :, :, 1]).all()


def test_times_that_differ_with_n_become_a_variable(sweep, opened):
    given = {"p": 2, "pstar": 1, "n": "50,70", "alpha": [0.0, 0.5, 1.01], "trajectories": 3}
    sweep(given, job="chain")
    runs = opened()
    assert runs["loss"].dims == ("n", "trajectory", "alpha_index")
    assert runs["alpha"].dims == ("n", "alpha_index")
    np.testing.assert_allclose(runs["alpha"].sel(n=70), np.array([0, 35, 71]) / 70)
    assert runs["Q"].attrs["long_name"] == "student-student overlap"


def test_fewer_steps_than_times_leave_gaps(sweep, opened):
    sweep({"p": 2, "pstar": 1, "n": "4,50", "alpha": 1.0, "trajectories": 3}, job="chain")
    runs = opened()
    assert runs["alpha"].dims == ("n", "alpha_index")
    small, large = runs.sel(n=4), runs.sel(n=50)
    assert small["alpha"].values[:5].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert np.isnan(small["alpha"].values[5:]).all()
    assert np.isnan(small["runs"].values[5:]).all()
    np.testing.assert_allclose(large["alpha"], np.arange(51) / 50, rtol=1e-15)
    assert (large["runs"] == 3).all()


def test_given_times_that_fall_together_are_refused_before_anything_is_written(sweep, tmp_path):
    with pytest.raises(InputError, match=r"^alpha: 0.98 and 1 are the same whole step at n = 4"):
        sweep({"p": 2, "pstar": 1, "n": "4,50", "alpha": [0.0, 0.98, 1.0], "trajectories": 3}, job="chain")
    assert not [path for path in tmp_path.iterdir() if path.name != "generated"]


def test_methods_that_were_used_instead_are_kept(sweep, opened):
    sweep({"p": 2, "pstar": 1, "n": "2,50", "alpha": [0.0, 1.0], "trajectories": 3}, job="chain")
    runs = opened()
    assert runs["method"].values.tolist() == ["weights", "chain"]


def test_methods_can_be_selected(sweep, opened):
    given = {"p": 2, "pstar": 1, "alpha": [0.0, 1.0], "n": "2,50", "trajectories": 3}
    sweep({**given, "method": "chain,weights"}, job="chain")
    runs = opened()
    assert runs["loss"].dims == ("method_name", "n", "trajectory", "alpha")
    assert runs["method"].sel(method_name="chain").values.tolist() == ["weights", "chain"]
    given = {"p": 2, "pstar": 1, "alpha": 1.0, "method": "tsit5,prince8", "eta": "0.1,0.2"}
    sweep(given, "zipped", zip=["method", "eta"])
    runs = opened("zipped")
    assert runs["loss"].dims == ("method_name_eta", "alpha")
    assert runs["loss"].swap_dims(method_name_eta="method_name").sel(method_name="tsit5").eta == 0.1


@pytest.mark.parametrize("output", ["statistics", "final", "loss", "all"])
def test_ensembles(sweep, opened, output):
    given = {"p": 2, "pstar": 1, "alpha": [0.0, 5.0], "eta": "0.1,0.2", "trajectories": "3,5"}
    sweep({**given, "output": output}, job="ensemble")
    runs = opened()
    assert {"eta", "trajectories"} <= set(runs.dims)
    if output == "final":
        assert np.isfinite(runs["loss"].sel(trajectories=3)).sum() == 6
        assert (runs["status"].sel(trajectories=3).values == "").sum() == 4


def test_escapes(sweep, opened):
    given = {"p": 2, "pstar": 1, "eta": "0.2,0.3", "n": "1000,10000", "trajectories": 4, "seed": "0:1"}
    sweep(given, job="escape")
    runs = opened()
    assert runs["escape_alpha"].dims == ("n", "eta", "seed", "trajectory")
    assert np.isfinite(runs["rate"]).all()


def test_the_same_results_are_the_same_bytes(sweep, merged, undisturbed):
    sweep()
    assert merged() == merged() == undisturbed


def test_incomplete_sweeps_need_partial(sweep, merged, opened, tmp_path):
    sweep(task_index=1, task_count=3)
    with pytest.raises(SweepError, match=r"4 of 6 tasks are not done.*--partial"):
        merged()
    assert not (tmp_path / "runs.nc").exists()
    runs = opened(partial=True)
    assert runs["done"].values.ravel().tolist() == [0, 1, 0, 0, 1, 0]
    assert np.isnan(runs["loss"].values[0, 0]).all()
    assert np.isfinite(runs["loss"].values[0, 1]).all()
    assert runs["status"].values.ravel().tolist() == ["", "ok", "", "", "ok", ""]
    assert np.isnan(runs["steps"].values[0, 0])


def test_nothing_to_merge(merged, sweep):
    with pytest.raises(InputError, match="holds no sweep"):
        merged()
    sweep(task_index=7, task_count=8)
    with pytest.raises(SweepError, match="no task is done"):
        merged(partial=True)


def test_damaged_shards_are_not_merged(sweep, merged, tmp_path):
    sweep()
    shard = tmp_path / "runs/shards/0000/0000002.nc"
    content = shard.read_bytes()
    shard.write_bytes(content[:2000] + b"x" + content[2001:])
    with pytest.raises(SweepError, match="1 of 6"):
        merged()


def test_full_disks_are_named(sweep, merged, tmp_path, monkeypatch):
    from collections import namedtuple

    sweep()
    usage = namedtuple("usage", "total used free")(1, 1, 0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(SweepError, match=r"needs .* but 0 bytes are free"):
        merged()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=10**15))
    with files_up_to(5000), pytest.raises(OSError, match=r"File too large: '.*runs\.nc'$"):
        merged()

    def fails(*_):
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr("runtime.sweep.merge._put", fails)
    with pytest.raises(OSError, match=r"NetCDF: HDF error: '.*runs\.nc'$"):
        merged()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
