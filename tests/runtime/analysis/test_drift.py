"""Drift monitors: what a run keeps, what it does not, and where that is not determined."""

from __future__ import annotations

import closed_form_numpy as oracle
import numpy as np
import pytest
import xarray
from scipy.integrate import solve_ivp

import runtime
from derive import Model
from runtime import InputError
from runtime.analysis.conservation.monitors import drift_monitors

ALPHA = np.linspace(0.0, 12.0, 13)
ETA = 0.3


def start(p, pstar, seed=0, dimensions=12):
    """Overlaps of students of length about 1 in a few dimensions, with large R."""
    W = np.random.default_rng(seed).standard_normal((p, dimensions)) / np.sqrt(dimensions)
    return W @ W.T, W[:, :pstar].copy()


def solved(p, pstar, Q0=None, R0=None, *, alpha=ALPHA, T=None, eta=ETA, **options):
    """A run as a result of ours, by SciPy from the closed form: nothing to compile."""
    model = Model(p, pstar, **options, teacher="orthonormal" if T is None else "general")
    if Q0 is None:
        Q0, R0 = start(p, pstar)
    teacher = np.eye(pstar) if T is None else T
    R0 = R0 @ np.linalg.cholesky(teacher).T

    def unpacked(y):
        return y[: p * p].reshape(p, p), y[p * p :].reshape(p, pstar)

    def slope(_, y):
        return np.concatenate(
            [block.ravel() for block in oracle.drift(model, *unpacked(y), eta, 0.0, teacher)]
        )

    y0 = np.concatenate([Q0.ravel(), R0.ravel()])
    found = solve_ivp(slope, (0.0, alpha[-1]), y0, "DOP853", t_eval=alpha, rtol=1e-12, atol=1e-14)
    states = [unpacked(y) for y in found.y.T]
    return xarray.Dataset(
        {
            "Q": (("alpha", "i", "j"), np.array([Q for Q, _ in states])),
            "R": (("alpha", "i", "r"), np.array([R for _, R in states])),
            "T": (("r", "s"), teacher),
        },
        {"alpha": alpha},
        {**model.attributes, "eta": eta, "rtol": 1e-12, "atol": 1e-14},
    )


def dataset(Q, R, **attributes):
    """A run with these states, as a result of ours."""
    Q, R = np.asarray(Q, dtype=float), np.asarray(R, dtype=float)
    model = Model(Q.shape[1], R.shape[2], flow="gradient")
    return xarray.Dataset(
        {"Q": (("alpha", "i", "j"), Q), "R": (("alpha", "i", "r"), R)},
        {"alpha": np.arange(float(len(Q)))},
        {**model.attributes, "eta": 0.3, **attributes},
    )


def largest(monitors, name):
    return np.nanmax(np.abs(monitors[name].values))


def kept(monitors):
    return {str(name) for name, variable in monitors.data_vars.items() if variable.attrs["conserved"]}


@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_gradient_flow_keeps_K(constraint):
    monitors = drift_monitors(solved(4, 2, constraint=constraint, flow="gradient"))
    assert {"K_shape", "K_growth", "K_rate", "row_space", "rank"} <= kept(monitors)
    assert ("norms" in kept(monitors)) == (constraint == "sphere")
    assert largest(monitors, "K_shape") < 1e-10
    assert largest(monitors, "K_growth") < 1e-10
    expected = 8 / (4 * 2) * 0.3
    assert monitors["K_rate"].attrs["expected"] == pytest.approx(expected, rel=1e-14)
    rate = monitors["K_rate"].values
    assert np.isnan(rate[0])
    np.testing.assert_allclose(rate[1:], expected, rtol=1e-10)
    # Students that do not start orthogonal turn, and so do their singular vectors.
    assert largest(monitors, "polar_factor") > 1e-3
    assert largest(monitors, "norms") < 1e-12 or constraint == "free"


def test_general_teacher_keeps_K_in_its_frame():
    T = np.array([[1.0, 0.3], [0.3, 0.7]])
    run = solved(3, 2, T=T, flow="gradient")
    monitors = drift_monitors(run)
    assert kept(monitors) == {"K_shape", "K_growth", "rank"}
    assert "K_rate" not in monitors
    assert largest(monitors, "K_shape") < 1e-9
    assert largest(monitors, "K_growth") < 1e-9
    assert largest(monitors, "row_space") < 1e-12  # p > p*: it is everything
    singular = run.assign(T=(("r", "s"), np.ones((2, 2))))
    assert np.isnan(drift_monitors(singular)["K_shape"].values).all()


@pytest.mark.parametrize("constraint", ["free", "sphere"])
@pytest.mark.parametrize("flow", ["sgd", "gradient"])
def test_one_student_keeps_its_direction_among_the_teachers(constraint, flow):
    monitors = drift_monitors(solved(1, 2, eta=0.03, constraint=constraint, flow=flow))
    names = {"K_shape", "polar_factor", "left_vectors", "right_vectors", "commutator", "row_space", "rank"}
    assert names <= kept(monitors)
    for name in names - {"rank"}:
        assert largest(monitors, name) < 1e-10, name
    assert ("K_growth" in kept(monitors)) == (flow == "gradient")


def test_sgd_loses_K_but_keeps_the_row_space():
    monitors = drift_monitors(solved(2, 3))
    assert kept(monitors) == {"row_space", "rank"}
    assert largest(monitors, "K_shape") > 1e-2
    assert largest(monitors, "K_growth") > 1e-2
    assert largest(monitors, "row_space") < 1e-11
    np.testing.assert_array_equal(monitors["rank"].values, 2)


@pytest.mark.parametrize("flow", ["sgd", "gradient"])
def test_equal_orthogonal_students_keep_their_singular_vectors(flow):
    R0 = 0.2 * np.random.default_rng(2).standard_normal((4, 2))
    monitors = drift_monitors(solved(4, 2, np.eye(4), R0, flow=flow))
    names = {"polar_factor", "left_vectors", "right_vectors", "commutator"}
    assert names <= kept(monitors)
    for name in names:
        assert largest(monitors, name) < 1e-10
    sphere = drift_monitors(solved(4, 2, np.eye(4), R0, flow=flow, constraint="sphere"))
    assert not names & kept(sphere)
    assert largest(sphere, "polar_factor") > 1e-3


@pytest.mark.parametrize(("p", "pstar"), [(1, 2), (2, 1), (2, 2), (2, 5)])
def test_one_and_two_students_have_one_more_integral(p, pstar):
    Q0, R0 = start(p, pstar)
    alpha = np.linspace(0.0, 12.0, 9)
    monitors = drift_monitors(solved(p, pstar, Q0, R0, alpha=alpha, eta=0.1, flow="gradient"))
    assert "first_integral" in kept(monitors)
    assert np.isfinite(monitors["first_integral"].values).all()
    assert largest(monitors, "first_integral") < 1e-8
    noisy = drift_monitors(solved(p, pstar, Q0, R0, alpha=alpha, eta=0.1))
    assert "first_integral" not in kept(noisy)
    assert largest(noisy, "first_integral") > 1e-2


def test_ensembles_have_a_monitor_for_each_trajectory():
    alpha = np.linspace(0.0, 5.0, 6)
    runs = [solved(2, 1, *start(2, 1, seed), alpha=alpha, flow="gradient") for seed in range(3)]
    together = xarray.concat([run.drop_vars("T") for run in runs], "trajectory")
    # Only ηα counts in gradient flow.
    eta = ETA * np.array([1.0, 1.0, 1.0])
    monitors = drift_monitors(
        together.drop_attrs().assign_attrs(runs[0].attrs | {"eta": 9.9}).assign(eta=("trajectory", eta))
    )
    assert monitors["K_shape"].dims == ("trajectory", "alpha")
    np.testing.assert_allclose(monitors["K_rate"].attrs["expected"], 8 / 2 * eta)
    assert largest(monitors, "K_growth") < 1e-9
    one = drift_monitors(runs[1])
    for name in one.data_vars:
        np.testing.assert_allclose(one[name], monitors[name][1], atol=1e-12)


def test_runs_of_sgd_keep_nothing_exactly():
    model = Model(2, 2)
    runs = runtime.simulate(model, n=200, eta=0.3, alpha=[0.0, 1.0, 2.0], trajectories=3)
    monitors = drift_monitors(runs)
    assert kept(monitors) == set()
    assert monitors["polar_factor"].shape == (3, 3)
    assert largest(monitors, "row_space") < 1e-12
    assert largest(monitors, "commutator") > 1e-6


def test_nothing_is_said_where_nothing_is_determined():
    Q = np.broadcast_to(np.eye(2), (3, 2, 2)).copy()
    R = np.array([np.diag([0.3, 0.2]), np.diag([0.3, 0.0]), np.zeros((2, 2))])
    monitors = drift_monitors(dataset(Q, R))
    np.testing.assert_array_equal(monitors["rank"].values, [2, 1, 0])
    np.testing.assert_array_equal(np.isnan(monitors["polar_factor"].values), [False, True, True])
    np.testing.assert_array_equal(np.isnan(monitors["left_vectors"].values), [False, False, True])
    np.testing.assert_array_equal(np.isnan(monitors["commutator"].values), [False, False, True])
    assert np.isnan(monitors["first_integral"].values).all()  # w = 0 throughout


def test_students_inside_the_teacher_space_have_no_K():
    R = np.stack([np.diag([0.5, 0.4])] * 2)
    Q = R @ R.swapaxes(1, 2)
    Q[0] += 0.1 * np.eye(2)
    monitors = drift_monitors(dataset(Q, R))
    assert np.isfinite(monitors["K_shape"].values[0])
    assert np.isnan(monitors["K_shape"].values[1])
    # What the integrator leaves of S is no better than its tolerance.
    Q[1] += 1e-7 * np.eye(2)
    assert np.isfinite(drift_monitors(dataset(Q, R))["K_shape"].values[1])
    assert np.isnan(drift_monitors(dataset(Q, R, rtol=1e-8, atol=1e-10))["K_shape"].values[1])


def test_no_alignment_at_the_start_leaves_nothing_to_compare_with():
    Q = np.stack([np.eye(3)] * 2)
    R = np.zeros((2, 3, 2))
    R[1, 0, 0] = 0.1
    monitors = drift_monitors(dataset(Q, R))
    for name in ("K_shape", "K_growth", "polar_factor", "left_vectors", "row_space"):
        assert np.isnan(monitors[name].values[1]), name


def test_a_run_that_diverged_ends_in_nan():
    run = solved(2, 1, alpha=np.array([0.0, 1.0, 2.0]))
    for name in ("Q", "R"):
        run[name].values[-1] = np.nan
    monitors = drift_monitors(run)
    for name in monitors.data_vars:
        assert np.isnan(monitors[name].values[-1]), name
        assert np.isfinite(monitors[name].values[1]), name


def test_long_runs_do_not_overflow():
    run = solved(2, 2, alpha=np.array([0.0, 1.0, 2.0]), T=np.diag([1.0, 0.2]), flow="gradient")
    monitors = drift_monitors(run.assign_coords(alpha=[0.0, 1.0, 1e6]))
    assert not np.isinf(monitors["K_growth"].values).any()
    assert not np.isinf(monitors["K_shape"].values).any()
    assert monitors["K_growth"].values[-1] < -1e4


def test_what_is_no_run_is_rejected():
    run = solved(2, 1)
    with pytest.raises(InputError, match="run: has no attribute p"):
        drift_monitors(run.drop_attrs())
    with pytest.raises(InputError, match="run: has no Q and R: an ensemble needs --output all"):
        drift_monitors(run.drop_vars("Q"))
    with pytest.raises(InputError, match="run: has no states over time"):
        drift_monitors(run.isel(alpha=0))
    with pytest.raises(InputError, match="run: has Q and R of other shapes than p3_pstar1"):
        drift_monitors(run.assign_attrs(p=3))
    with pytest.raises(InputError, match=r"run: has wrong eta: 0\.0 is not a finite number greater than 0"):
        drift_monitors(run.assign_attrs(eta=0.0))
    with pytest.raises(InputError, match="run: has wrong label_noise: has the axes"):
        drift_monitors(run.assign(label_noise=("alpha", np.zeros(run.sizes["alpha"]))))


def test_monitors_survive_a_file(tmp_path):
    run = solved(2, 2, flow="gradient")
    monitors = drift_monitors(run)
    runtime.save_netcdf(run, tmp_path / "run.nc")
    runtime.save_netcdf(monitors, tmp_path / "drift.nc")
    with xarray.open_dataset(tmp_path / "run.nc") as read:
        xarray.testing.assert_allclose(drift_monitors(read), monitors, atol=1e-15)
    with xarray.open_dataset(tmp_path / "drift.nc") as read:
        xarray.testing.assert_equal(read, monitors)
        assert read["K_shape"].attrs["conserved"] == 1
