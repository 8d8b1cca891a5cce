"""`runtime.integrate`: results against SciPy, their shape, ends of trajectories, bad input."""

from __future__ import annotations

import math

import closed_form_numpy as oracle
import numpy as np
import pytest
import xarray
from rejections import rejected

import runtime
from derive.version import VERSION
from runtime import final_state, random_overlaps
from runtime.run_options import METHODS
from runtime.trajectory.single_run import integrate
from runtime.trajectory.tableaux import TABLEAUX

OWN = tuple(TABLEAUX)
T = np.array([[1.0, 0.4], [0.4, 0.8]])
# Every kind: p > p*, p = p*, p < p*, one student, one teacher, every option.
CASES = {
    "4-2": (4, 2, {}),
    "1-1": (1, 1, {}),
    "1-3": (1, 3, {}),
    "2-3": (2, 3, {"readout": "sum"}),
    "3-1 sphere": (3, 1, {"constraint": "sphere"}),
    "3-2 gradient": (3, 2, {"flow": "gradient"}),
    "3-2 general": (3, 2, {"teacher": "general"}),
    "2-2 sphere general": (2, 2, {"constraint": "sphere", "teacher": "general", "readout": "sqrt"}),
}


@pytest.fixture
def case(request, system_of):
    """A system, its start and settings."""
    p, pstar, options = CASES[request.param]
    system = system_of(p, pstar, **options)
    general = {"T": T[:pstar, :pstar]} if system.model.teacher == "general" else {}
    start = random_overlaps(p, pstar, n=100, seed=5, constraint=system.model.constraint, **general)
    # Readout weights of 1 make steps large.
    eta = 0.05 if p == 1 or system.model.readout == "sum" else 0.2
    return system, start, {"eta": eta, "label_noise": 0.05, **general}


TIMES = np.array([0.0, 1.0, 17.3, 40.0])
# Radau needs a Jacobian, which takes long to compile.
WITH_JACOBIAN = ("3-1 sphere", "2-2 sphere general")
METHODS_OF_CASES = [
    (name, method)
    for name in CASES
    for method in (*OWN, "scipy:LSODA", "scipy:DOP853", *(["scipy:Radau"] if name in WITH_JACOBIAN else []))
]


@pytest.fixture(scope="module")
def exact():
    """States at `TIMES` by SciPy, from the closed form and not the generated code, once for each case."""
    from scipy.integrate import solve_ivp

    known = {}

    def exact(system, start, settings):
        def slope(_, y):
            Q, R = system.unpack(y)
            drift = oracle.drift(
                system.model, Q, R, settings["eta"], settings["label_noise"], settings.get("T")
            )
            return system.pack(*drift)

        if system.model not in known:
            y0, span = system.pack(*start), (0.0, TIMES[-1])
            solution = solve_ivp(slope, span, y0, "DOP853", t_eval=TIMES, rtol=1e-12, atol=1e-14)
            known[system.model] = solution.y.T
        return known[system.model]

    return exact


@pytest.mark.parametrize(("case", "method"), METHODS_OF_CASES, indirect=["case"])
def test_agrees_with_scipy_on_the_closed_form(case, method, exact):
    system, start, settings = case
    tolerances = {"rtol": 1e-9, "atol": 1e-11}
    run = integrate(system, *start, alpha=TIMES, method=method, **tolerances, **settings)
    assert run["status"].item() == "ok"
    assert run.attrs["method"] == method
    Q, R = system.unpack(exact(*case))
    # Something must have happened for this to mean anything.
    assert np.abs(Q - Q[0]).max() > 0.05
    np.testing.assert_allclose(run["Q"].values, Q, rtol=0, atol=2e-7)
    np.testing.assert_allclose(run["R"].values, R, rtol=0, atol=2e-7)
    loss = oracle.loss(system.model, Q, R, settings.get("T"))
    np.testing.assert_allclose(run["loss"].values, loss, rtol=0, atol=2e-7)


# What a dataset is.


def test_dimensions_coordinates_and_variables(escape):
    assert isinstance(escape, xarray.Dataset)
    assert dict(escape.sizes) == {"alpha": 201, "i": 4, "j": 4, "r": 2, "s": 2}
    dims = {name: variable.dims for name, variable in escape.data_vars.items()}
    assert dims == {
        "Q": ("alpha", "i", "j"),
        "R": ("alpha", "i", "r"),
        "T": ("r", "s"),
        "loss": ("alpha",),
        "status": (),
        "alpha_end": (),
        "steps": (),
        "rejected": (),
        "evaluations": (),
    }
    for name, count in (("i", 4), ("j", 4), ("r", 2), ("s", 2)):
        np.testing.assert_array_equal(escape[name], range(1, count + 1))
    assert escape["alpha"].attrs == {"long_name": "time, steps / N", "units": "1"}
    for name in ("Q", "R", "T", "loss", "alpha"):
        assert escape[name].dtype == np.float64
    for name in ("steps", "rejected", "evaluations"):
        assert np.issubdtype(escape[name].dtype, np.integer)


def test_attributes_say_what_was_done(escape, system):
    expected = {
        **system.model.attributes,
        "eta": 0.4,
        "label_noise": 0.0,
        "weight_decay": 0.0,
        "batch": 1.0,
        "rtol": 1e-8,
        "atol": 1e-10,
        "method": "prince8",
        "version": f"overlap-ode {VERSION}",
        "history": f"integrate of overlap-ode {VERSION}",
        "title": "overlap trajectory of p4_pstar2",
        "Conventions": "CF-1.9",
    }
    assert escape.attrs == expected


def test_number_as_alpha_gives_201_times_with_both_ends(escape, start):
    np.testing.assert_array_equal(escape["alpha"], np.arange(201))
    assert escape["loss"].sel(alpha=100) == escape["loss"].values[100]
    np.testing.assert_allclose(escape["Q"].values[0], start[0], rtol=1e-15)
    np.testing.assert_array_equal(escape["R"].values[0], start[1])
    assert escape["alpha_end"].item() == 200.0


def test_times_as_alpha_are_used_as_they_are(escape, system, start):
    times = [0.25, 10.0, 99.5, 200.0]
    run = integrate(system, *start, eta=0.4, alpha=times)
    np.testing.assert_array_equal(run["alpha"], times)
    np.testing.assert_array_equal(run["Q"].values[-1], escape["Q"].values[-1])
    # The same in other containers.
    for other in (tuple(times), np.array(times), xarray.DataArray(times)):
        np.testing.assert_array_equal(integrate(system, *start, eta=0.4, alpha=other)["Q"], run["Q"])


def test_start_alone(system, start):
    run = integrate(system, *start, eta=0.4, alpha=[0.0])
    assert run["status"].item() == "ok"
    assert (run["steps"].item(), run["evaluations"].item()) == (0, 1)
    np.testing.assert_array_equal(run["R"].values[0], start[1])


def test_learning_is_seen(escape):
    loss = escape["loss"].values
    assert loss[0] > 0.5
    assert loss[-1] < 1e-3
    np.testing.assert_array_equal(escape["Q"], escape["Q"].transpose("alpha", "j", "i"))
    np.testing.assert_array_equal(escape["T"], np.eye(2))


def test_runs_are_reproducible(escape, system, start):
    again = integrate(system, *start, eta=0.4, alpha=200.0)
    xarray.testing.assert_identical(again, escape)


def test_arguments_are_not_changed(system, start):
    Q0, R0 = (array.copy() for array in start)
    times = np.array([0.0, 1.0])
    integrate(system, Q0, R0, eta=0.4, alpha=times)
    np.testing.assert_array_equal(Q0, start[0])
    np.testing.assert_array_equal(R0, start[1])
    np.testing.assert_array_equal(times, [0.0, 1.0])


def test_split_run_goes_on_from_its_final_state(escape, system, start):
    half = integrate(system, *start, eta=0.4, alpha=[100.0])
    rest = integrate(system, *final_state(half), eta=0.4, alpha=[100.0])
    np.testing.assert_allclose(rest["R"].values[-1], escape["R"].values[-1], atol=1e-5)


# Physics that integration must not spoil.


@pytest.mark.parametrize("method", OWN)
def test_sphere_keeps_norms_bit_by_bit(system_of, method):
    system = system_of(3, 2, constraint="sphere")
    Q0, R0 = random_overlaps(3, 2, n=50, seed=1, constraint="sphere", q0=0.7)
    run = integrate(system, Q0, R0, eta=0.3, alpha=100.0, method=method)
    norms = np.diagonal(run["Q"].values, axis1=1, axis2=2)
    np.testing.assert_array_equal(norms, np.broadcast_to(0.7, norms.shape))
    assert np.abs(run["R"].values[-1] - R0).max() > 0.1


@pytest.mark.parametrize("method", OWN)
def test_gradient_flow_ignores_label_noise(system_of, method):
    system = system_of(3, 2, flow="gradient")
    start = random_overlaps(3, 2, n=50, seed=1)
    quiet, noisy = (
        integrate(system, *start, eta=0.3, alpha=50.0, label_noise=noise, method=method)
        for noise in (0.0, 7.0)
    )
    np.testing.assert_array_equal(quiet["Q"], noisy["Q"])
    np.testing.assert_array_equal(quiet["R"], noisy["R"])
    # In SGD it matters.
    loud = [integrate(system_of(3, 2), *start, eta=0.3, alpha=50.0, label_noise=x) for x in (0.0, 0.5)]
    assert np.abs(loud[0]["Q"].values[-1] - loud[1]["Q"].values[-1]).max() > 1e-3


@pytest.mark.parametrize("method", OWN)
def test_long_plateau_from_tiny_overlaps(system, method):
    # Overlaps grow as exp(rate α) from R0; the rate at (4, 2), η = 0.4 is known.
    rate, escapes = 0.17082, []
    times = np.linspace(0.0, 400.0, 4001)
    direction = random_overlaps(4, 2, None, seed=2, scale=1e-3)[1] / 1e-3
    for size in (1e-6, 1e-12):
        run = integrate(
            system, np.eye(4), size * direction, eta=0.4, alpha=times, atol=1e-18, method=method
        )
        loss = run["loss"].values
        plateau = loss[(times > 20.0) & (times < 28.0)]
        np.testing.assert_allclose(plateau, 0.67376, rtol=0, atol=2e-5)
        assert loss[-1] < 1e-3
        escapes.append(times[np.flatnonzero(loss < 0.3)[0]])
    assert escapes[1] - escapes[0] == pytest.approx(math.log(1e6) / rate, abs=0.2)


def test_general_teacher_is_given_and_kept(system_of):
    system = system_of(3, 2, teacher="general")
    Q0, R0 = random_overlaps(3, 2, n=50, seed=1, T=T)
    run = integrate(system, Q0, R0, eta=0.2, alpha=300.0, T=T)
    np.testing.assert_array_equal(run["T"], T)
    # A student that has learned this teacher: WᵀW/N = (b/a) T on the teacher's space.
    R = run["R"].values[-1]
    np.testing.assert_allclose(R.T @ R, 1.5 * T @ T, atol=0.02)


# Trajectories that end early.


@pytest.mark.parametrize("method", [*OWN, "scipy:DOP853", "scipy:LSODA"])
def test_large_learning_rate_diverges_and_keeps_what_it_had(system, start, method):
    times = np.append(np.linspace(0.0, 1.2e-4, 81), 1.0)
    run = integrate(system, *start, eta=100.0, alpha=times, method=method)
    assert run["status"].item() == "diverged"
    end = run["alpha_end"].item()
    reached = times <= end
    assert 10 < reached.sum() < 80
    for name in ("Q", "R", "loss"):
        values = run[name].values
        assert np.isfinite(values[reached]).all()
        assert np.isnan(values[~reached]).all()
    # Earlier outputs are good: on the way to infinity Q_11 grows.
    reference = integrate(system, *start, eta=100.0, alpha=times[: reached.sum() // 2], rtol=1e-12)
    np.testing.assert_allclose(run["Q"].values[: reached.sum() // 2], reference["Q"], rtol=1e-5)


def test_nothing_reached_is_all_nan(system, start):
    run = integrate(system, *start, eta=100.0, alpha=[1.0, 2.0])
    assert run["status"].item() == "diverged"
    assert np.isnan(run["Q"].values).all()
    assert np.isnan(run["loss"].values).all()


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("eta", [1e10, 1e100])
def test_enormous_learning_rates_end(system, start, method, eta, time_limit):
    with time_limit(60.0):
        run = integrate(system, *start, eta=eta, alpha=10.0, method=method)
    assert run["status"].item() in ("diverged", "step_too_small")
    assert run["alpha_end"].item() < 1e-9


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize(("eta", "norm"), [(1e200, 1.0), (0.4, 1e200)])
def test_overflow_at_the_start_ends(system, eta, norm, method, time_limit):
    with time_limit(60.0):
        run = integrate(system, norm * np.eye(4), np.zeros((4, 2)), eta=eta, alpha=10.0, method=method)
    assert run["status"].item() == "diverged"


@pytest.mark.parametrize("eta", [1e-300, 1e-12])
def test_tiny_learning_rates_do_nothing(system, start, eta):
    run = integrate(system, *start, eta=eta, alpha=1.0)
    assert run["status"].item() == "ok"
    np.testing.assert_allclose(run["Q"].values[-1], start[0], atol=1e-10)


# Bad input: one value for each rule; what counts as a number or as overlaps is tested with the checks.

GOOD = {"Q0": np.eye(2), "R0": [[0.1], [0.2]], "eta": 0.3, "alpha": 1.0}
BAD = [
    *((name, value) for name in ("eta", "label_noise", "rtol", "atol") for value in ("0.4", -1.0, [0.4])),
    *[("eta", 0.0), ("atol", 0.0), ("rtol", 1e-15), ("eta", np.array([0.4, 0.5]))],
    *(("alpha", value) for value in (math.nan, 0.0, None, [], [1.0, 1.0], [-1.0, 0.0], [[0.0, 1.0]])),
    *(("method", value) for value in ("euler", "LSODA", "scipy:Euler", "", None, ["prince8"])),
    ("method", np.array(["prince8", "tsit5"])),
    *(("Q0", value) for value in (np.eye(3), np.eye(2)[None], [[1.0, 0.1], [0.2, 1.0]], -np.eye(2), None)),
    *(("R0", value) for value in ([0.1, 0.2], [[2.0], [0.0]], [[math.nan], [0.0]], "R0")),
    ("T", 2 * np.eye(1)),
]


@pytest.mark.parametrize(("option", "value"), BAD, ids=lambda value: repr(value).replace("\n", "")[:30])
def test_bad_arguments_are_named_in_one_line(system_of, option, value):
    with rejected(option):
        integrate(system_of(2, 1), **{**GOOD, option: value})


def test_teacher_decides_what_overlaps_there_can_be(system_of):
    system = system_of(3, 2, teacher="general")
    settings = {"Q0": np.eye(3), "R0": np.full((3, 2), 0.1), "eta": 0.3, "alpha": 1.0}
    integrate(system, **settings, T=np.eye(2))
    for option, teacher in (("R0", 1e-3 * np.eye(2)), ("T", None), ("T", -np.eye(2))):
        with rejected(option):
            integrate(system, **settings, T=teacher)


def test_largest_floats_do_not_overflow_in_the_checks(system_of, time_limit):
    with time_limit(60.0):
        integrate(system_of(2, 1), **{**GOOD, "Q0": 1e308 * np.eye(2)})


def test_asymmetry_of_rounding_is_mended(system_of):
    Q0 = np.array([[1.0, 0.3 + 1e-10], [0.3, 1.0]])
    run = integrate(system_of(2, 1), **{**GOOD, "Q0": Q0})
    assert run["Q"].values[0, 0, 1] == run["Q"].values[0, 1, 0] == 0.5 * (Q0[0, 1] + Q0[1, 0])


def test_methods_are_listed():
    assert METHODS[:3] == ("prince8", "dop853", "tsit5")
    assert runtime.METHODS is METHODS


def test_a_late_blow_up_is_divergence(system_of):
    # Above η = 1.2 there is no plateau at (4, 2); the norms grow slowly past it, then blow up.
    system, start = system_of(4, 2), (0.5 * np.eye(4), np.zeros((4, 2)))
    run = integrate(system, *start, eta=1.21, alpha=3000.0)
    assert run["status"].item() == "diverged"
    assert 10.0 < run["alpha_end"].item() < 3000.0
    runs = runtime.integrate_ensemble(system, *(np.array([x] * 3) for x in start), eta=1.21, alpha=3000.0)
    assert (runs["status"] == "diverged").all()
    np.testing.assert_allclose(runs["alpha_end"], run["alpha_end"], rtol=1e-6)


@pytest.mark.parametrize("method", ["prince8", "dop853", "tsit5"])
def test_stop_loss_ends_where_the_ensemble_does(system, start, method):
    settings = {"eta": 0.4, "alpha": 200.0, "method": method, "stop_loss": 0.3}
    run = integrate(system, *start, **settings)
    runs = runtime.integrate_ensemble(system, *(x[None] for x in start), **settings)
    assert run["status"] == "ok"
    assert run["escape_alpha"].item() == run["alpha_end"].item()
    np.testing.assert_allclose(run["escape_alpha"], runs["escape_alpha"][0], rtol=1e-6)
    written = np.isfinite(run["loss"].values)
    np.testing.assert_array_equal(written, run["alpha"] <= run["alpha_end"])
    assert run.attrs["stop_loss"] == 0.3
    # Until then it is the run without a level, to the last bit.
    whole = integrate(system, *start, eta=0.4, alpha=200.0, method=method)
    for name in ("Q", "R", "loss"):
        np.testing.assert_array_equal(run[name][written], whole[name][written])


def test_a_level_that_is_not_reached(system, start, escape):
    run = integrate(system, *start, eta=0.4, alpha=200.0, stop_loss=1e-9)
    assert np.isnan(run["escape_alpha"])
    np.testing.assert_array_equal(run["Q"], escape["Q"])
    assert "escape_alpha" not in escape
    at_once = integrate(system, *start, eta=0.4, alpha=200.0, stop_loss=2.0)
    assert (at_once["escape_alpha"], at_once["steps"]) == (0.0, 0)
    assert np.isfinite(at_once["loss"].values).tolist() == [True] + [False] * 200
