"""`integrate_ensemble`: accuracy against `integrate`, output times, events, symmetries."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from runtime import integrate_ensemble, random_overlaps
from runtime.trajectory.single_run import integrate
from runtime.trajectory.tableaux import TABLEAUX
from runtime.vector import jit

METHODS = tuple(TABLEAUX)
TEACHER = np.array([[1.0, 0.4], [0.4, 0.8]])
TIGHT = {"rtol": 1e-13, "atol": 1e-15}
# Its kernels compile fastest.
FAST = {"method": "tsit5"}


def references(system, Q, R, *, eta, alpha, label_noise=0.0, **settings) -> xarray.Dataset:
    """Tight runs of `integrate`, one after the other, as an ensemble."""
    settings = {**TIGHT, **settings}
    rates, noises = (np.broadcast_to(x, len(Q)) for x in (eta, label_noise))
    runs = [
        integrate(system, Q[k], R[k], eta=rates[k], label_noise=noises[k], alpha=alpha, **settings)
        for k in range(len(Q))
    ]
    return xarray.concat(runs, "trajectory", combine_attrs="override")


def largest_error(ensemble: xarray.Dataset, reference: xarray.Dataset) -> float:
    """The largest absolute error of all overlaps and losses."""
    errors = [np.abs(ensemble[name].values - reference[name].values) for name in ("Q", "R", "loss")]
    assert all(np.isfinite(error).all() for error in errors)
    return max(float(error.max()) for error in errors)


# Accuracy.

SPREAD = np.geomspace(1e-3, 0.5, 13)
SPREAD_TIMES = np.array([0.0, 1.0, 17.3, 40.0, 90.0, 150.0])


@pytest.fixture(scope="module")
def spread(system, start) -> xarray.Dataset:
    """Tight runs with rates so different that step sizes are 500 times apart."""
    return references(system, *start, eta=SPREAD, alpha=SPREAD_TIMES, label_noise=0.02)


@pytest.mark.parametrize("rtol", [1e-5, 1e-8, 1e-11])
@pytest.mark.parametrize("method", METHODS)
def test_error_at_a_tolerance(system, start, spread, method, rtol):
    ensemble = integrate_ensemble(
        system,
        *start,
        eta=SPREAD,
        label_noise=0.02,
        alpha=SPREAD_TIMES,
        method=method,
        rtol=rtol,
        atol=0.01 * rtol,
    )
    assert (ensemble["status"] == "ok").all()
    # Escape from the plateau amplifies errors.
    assert largest_error(ensemble, spread) < 30.0 * rtol
    steps = ensemble["steps"].values
    assert steps.max() > 5 * steps.min()


@pytest.mark.parametrize(
    ("widths", "options"),
    [
        ((2, 1), {}),
        ((1, 3), {"readout": "sum"}),
        ((3, 2), {"constraint": "sphere", "teacher": "general"}),
        ((2, 2), {"flow": "gradient", "readout": "sqrt"}),
    ],
    ids=str,
)
def test_other_systems(system_of, widths, options):
    system = system_of(*widths, **options)
    general = {"T": TEACHER} if "teacher" in options else {}
    constraint = system.model.constraint
    Q, R = random_overlaps(*widths, n=100, seed=5, trajectories=11, constraint=constraint, **general)
    rates = np.linspace(0.01, 0.05, 11) * (1.0 if system.model.readout == "sum" else widths[0])
    settings = {"alpha": [0.0, 1.0, 17.3, 40.0], "label_noise": np.linspace(0.0, 0.1, 11), **general}
    ensemble = integrate_ensemble(system, Q, R, eta=rates, rtol=1e-9, atol=1e-11, **FAST, **settings)
    assert (ensemble["status"] == "ok").all()
    reference = references(system, Q, R, eta=rates, **settings)
    # Something must have happened, or this would mean nothing.
    assert np.abs(reference["Q"].values[:, -1] - reference["Q"].values[:, 0]).max() > 0.05
    assert largest_error(ensemble, reference) < 1e-7
    np.testing.assert_array_equal(ensemble["T"], reference["T"].values[0])
    if constraint == "sphere":
        np.testing.assert_allclose(np.diagonal(ensemble["Q"], axis1=2, axis2=3), 1.0, rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_long_plateau(system, method):
    Q, R = random_overlaps(4, 2, n=None, scale=1e-12, seed=1, trajectories=5)
    times = [50.0, 100.0, 150.0, 200.0]
    reference = references(system, Q, R, eta=0.4, alpha=times, atol=1e-24)
    # With a tolerance below R, it grows by twelve orders of magnitude with its relative error.
    tight = integrate_ensemble(system, Q, R, eta=0.4, alpha=times, rtol=1e-9, atol=1e-20, method=method)
    np.testing.assert_allclose(tight["R"], reference["R"], rtol=1e-8)
    assert (np.abs(reference["R"][:, 0]) < 1e-7).all()
    assert (reference["loss"][:, -1] < 0.1).all()
    # With a tolerance far above R, growth is as good as steps that are right for Q.
    with pytest.warns(UserWarning, match="smaller than 100 atol"):
        loose = integrate_ensemble(system, Q, R, eta=0.4, alpha=times, rtol=1e-9, atol=1e-10, method=method)
    np.testing.assert_allclose(loose["R"], reference["R"], rtol=1e-2)


def near_solution(count: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps of weights √(b/a) O W* + noise: a zero-loss solution, but for the noise."""
    generator = np.random.default_rng(4)
    solutions = np.sqrt(2.0) * np.linalg.qr(generator.standard_normal((count, 4, 2)))[0]
    weights = np.concatenate([solutions, np.zeros((count, 4, 4))], axis=2)
    weights += distance * generator.standard_normal(weights.shape)
    return weights @ np.swapaxes(weights, 1, 2), weights[:, :, :2]


@pytest.mark.parametrize("method", METHODS)
def test_near_the_solution_manifold(system, method):
    Q, R = near_solution(5, distance=1e-6)
    times = [0.0, 1.0, 10.0, 300.0]
    reference = references(system, Q, R, eta=0.4, alpha=times)
    ensemble = integrate_ensemble(system, Q, R, eta=0.4, alpha=times, rtol=1e-10, atol=1e-14, method=method)
    assert (ensemble["status"] == "ok").all()
    np.testing.assert_allclose(ensemble["Q"], reference["Q"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(ensemble["R"], reference["R"], rtol=0, atol=1e-10)
    assert (np.abs(ensemble["loss"].values[:, 0]) > 1e-13).all()
    assert (np.abs(ensemble["loss"].values[:, -1]) < 1e-14).all()


def test_on_the_solution_manifold(system):
    Q, R = near_solution(9, distance=0.0)
    ensemble = integrate_ensemble(system, Q, R, eta=0.4, alpha=[1e4], output="final", **FAST)
    assert (ensemble["status"] == "ok").all()
    np.testing.assert_allclose(ensemble["Q"], Q, rtol=0, atol=1e-7)
    np.testing.assert_allclose(ensemble["loss"], 0.0, rtol=0, atol=1e-14)


@pytest.mark.parametrize("atol", [1e-30, 1e-50, 1e-300])
def test_overlaps_of_zero_with_a_tiny_tolerance(system, start, atol):
    Q, R = start[0], np.zeros_like(start[1])
    ensemble = integrate_ensemble(system, Q, R, eta=0.4, alpha=[0.0, 50.0], atol=atol, **FAST)
    assert (ensemble["status"] == "ok").all()
    assert (ensemble["R"] == 0.0).all()
    reference = references(system, Q, R, eta=0.4, alpha=[0.0, 50.0])
    assert largest_error(ensemble, reference) < 1e-7


def test_diverging_rates(system, start):
    rates = np.where(np.arange(13) % 3 == 1, np.linspace(1.5, 50.0, 13), 0.4)
    wild = rates > 1.0
    settings = {"alpha": np.linspace(0.0, 20.0, 1001), "rtol": 1e-8, "atol": 1e-10}
    ensemble = integrate_ensemble(system, *start, eta=rates, **settings)
    assert (ensemble["status"][wild] == "diverged").all()
    assert (ensemble["status"][~wild] == "ok").all()
    reached = ensemble["alpha"].values <= ensemble["alpha_end"].values[:, None]
    for name in ("Q", "R", "loss"):
        finite = np.isfinite(ensemble[name].values.reshape(*reached.shape, -1))
        assert (finite == reached[:, :, None]).all()
    assert reached[~wild].all()
    single = references(system, start[0][wild], start[1][wild], eta=rates[wild], **settings)
    assert (single["status"] == "diverged").all()
    np.testing.assert_allclose(ensemble["alpha_end"][wild], single["alpha_end"], rtol=1e-6)
    for name in ("steps", "rejected"):
        assert (single[name] > 100).all()
        np.testing.assert_allclose(ensemble[name][wild], single[name], rtol=0.1)


@pytest.mark.parametrize("eta", [1e10, 1e100, 1e300])
def test_absurd_rates_end(system, start, eta):
    rates = np.full(13, 0.4)
    rates[3] = eta
    ensemble = integrate_ensemble(system, *start, eta=rates, alpha=[0.0, 100.0], **FAST)
    status = ensemble["status"].values
    assert status[3] in ("diverged", "step_too_small")
    assert (np.delete(status, 3) == "ok").all()
    assert np.isnan(ensemble["loss"].values[3, 1])
    assert np.isfinite(ensemble["loss"].values[3, 0])


def test_steps_are_those_of_integrate(system, start):
    # Both have the same controller: only first steps and rounding differ.
    rates = np.linspace(0.2, 0.5, 13)
    settings = {"alpha": 200.0, "rtol": 1e-8, "atol": 1e-10}
    for method in METHODS:
        ensemble = integrate_ensemble(system, *start, eta=rates, method=method, **settings)
        single = references(system, *start, eta=rates, method=method, **settings)
        assert (single["steps"] > (40 if method == "dop853" else 50)).all()
        np.testing.assert_allclose(ensemble["steps"], single["steps"], rtol=0.1)
        np.testing.assert_allclose(ensemble["rejected"], single["rejected"], rtol=0.1, atol=3)
        np.testing.assert_array_equal(ensemble["alpha_end"], single["alpha_end"])
        np.testing.assert_array_equal(ensemble["status"], single["status"])


# Output times.


@pytest.mark.parametrize(
    "times",
    [
        [200.0],
        [0.0, 200.0],
        [1e-9, 3.0, 3.0 + 1e-12, 150.0, 200.0],
        np.linspace(0.0, 200.0, 10_000),
        np.concatenate([np.linspace(40.0, 40.001, 10_000), [200.0]]),
    ],
    ids=["one", "ends", "irregular", "many", "many in a step"],
)
def test_output_times(system, start, times):
    start = start[0][:3], start[1][:3]
    ensemble = integrate_ensemble(system, *start, eta=0.4, alpha=times)
    np.testing.assert_array_equal(ensemble["alpha"], times)
    assert largest_error(ensemble, references(system, *start, eta=0.4, alpha=times)) < 1e-7
    assert (ensemble["alpha_end"] == 200.0).all()
    if times[0] == 0.0:
        np.testing.assert_array_equal(ensemble["Q"][:, 0], start[0])
        np.testing.assert_array_equal(ensemble["R"][:, 0], start[1])


@pytest.mark.parametrize("output", ["all", "final", "loss"])
@pytest.mark.parametrize("threshold", [None, 0.75])
def test_only_the_start(system, start, output, threshold):
    settings = {"eta": 0.4, "alpha": [0.0], "output": output, "stop_loss": threshold}
    ensemble = integrate_ensemble(system, *start, **settings, **FAST)
    assert (ensemble["status"] == "ok").all()
    assert (ensemble["steps"] == 0).all()
    assert (ensemble["alpha_end"] == 0.0).all()
    losses = ensemble["loss"].values.reshape(13)
    np.testing.assert_allclose(losses, system.loss(*start), rtol=1e-12)
    if output != "loss":
        np.testing.assert_array_equal(ensemble["Q"].values.reshape(start[0].shape), start[0])
        np.testing.assert_array_equal(ensemble["R"].values.reshape(start[1].shape), start[1])
    if threshold is not None:
        below = losses <= threshold
        assert 0 < below.sum() < 13
        np.testing.assert_array_equal(ensemble["escape_alpha"] == 0.0, below)


def test_a_short_time_is_one_step(system, start):
    ensemble = integrate_ensemble(system, *start, eta=0.4, alpha=[1e-300], output="final", **FAST)
    assert (ensemble["steps"] == 1).all()
    np.testing.assert_allclose(ensemble["Q"], start[0], rtol=1e-15, atol=1e-15)


# Events.

THRESHOLD = 0.1


@pytest.fixture(scope="module")
def escapes(system, start) -> tuple[np.ndarray, np.ndarray]:
    """Rates, and the times when tight runs come down to the threshold; NaN if not by α = 150."""
    rates = np.linspace(0.05, 0.5, 13)

    def escape(k: int) -> float:
        settings = {"eta": rates[k], **TIGHT}

        def excess(alpha: float) -> float:
            run = integrate(system, start[0][k], start[1][k], alpha=[alpha], **settings)
            return run["loss"].item() - THRESHOLD

        coarse = integrate(system, start[0][k], start[1][k], alpha=150.0, **settings)
        below = np.flatnonzero(coarse["loss"].values <= THRESHOLD)
        if not below.size:
            return np.nan
        times = coarse["alpha"].values[below[0] - 1 : below[0] + 1]
        return brentq(excess, *times, xtol=1e-12, rtol=1e-14)

    return rates, np.array([escape(k) for k in range(13)])


@pytest.mark.parametrize("output", ["all", "final", "loss"])
@pytest.mark.parametrize(("method", "rtol"), [("tsit5", 1e-10), ("prince8", 1e-8), ("prince8", 1e-11)])
def test_escape_times(system, start, escapes, method, rtol, output):
    rates, expected = escapes
    settings = {"method": method, "rtol": rtol, "atol": 0.01 * rtol, "output": output}
    ensemble = integrate_ensemble(system, *start, eta=rates, alpha=150.0, stop_loss=THRESHOLD, **settings)
    escaped = np.isfinite(expected)
    assert 0 < escaped.sum() < escaped.size
    assert ensemble.attrs["stop_loss"] == THRESHOLD
    np.testing.assert_array_equal(np.isfinite(ensemble["escape_alpha"]), escaped)
    # An error of the state is divided by the slope of the loss, about 1/50.
    np.testing.assert_allclose(ensemble["escape_alpha"], expected, rtol=0, atol=2e3 * rtol)
    np.testing.assert_array_equal(ensemble["alpha_end"][escaped], ensemble["escape_alpha"][escaped])
    assert (ensemble["alpha_end"][~escaped] == 150.0).all()
    assert (ensemble["status"] == "ok").all()
    if output == "final":
        assert ensemble["loss"].dims == ("trajectory",)
        np.testing.assert_allclose(ensemble["loss"][escaped], THRESHOLD, rtol=0, atol=1e-12)
        losses = system.loss(ensemble["Q"].values, ensemble["R"].values)
        np.testing.assert_allclose(losses[escaped], THRESHOLD, rtol=0, atol=1e-12)
        assert (ensemble["loss"][~escaped] > THRESHOLD).all()
    else:
        reached = ensemble["alpha_end"].values[:, None] >= ensemble["alpha"].values
        np.testing.assert_array_equal(np.isfinite(ensemble["loss"]), reached)
        assert (ensemble["loss"].values[reached] > THRESHOLD).all()


def test_threshold_above_the_start(system, start):
    settings = {"eta": 0.4, "alpha": 150.0, **FAST}
    at_once = integrate_ensemble(system, *start, stop_loss=1e3, **settings)
    assert (at_once["escape_alpha"] == 0.0).all()
    assert (at_once["steps"] == 0).all()
    np.testing.assert_array_equal(at_once["Q"][:, 0], start[0])
    np.testing.assert_array_equal(np.isfinite(at_once["loss"]).sum("alpha"), 1)
    final = integrate_ensemble(system, *start, stop_loss=1e3, output="final", **settings)
    np.testing.assert_array_equal(final["Q"], start[0])
    np.testing.assert_array_equal(final["R"], start[1])


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1e-30])
def test_threshold_that_is_never_reached(system, start, threshold):
    settings = {"eta": 0.4, "alpha": 60.0, **FAST}
    watched = integrate_ensemble(system, *start, stop_loss=threshold, **settings)
    assert np.isnan(watched["escape_alpha"]).all()
    # Watching the loss changes nothing.
    plain = integrate_ensemble(system, *start, **settings)
    assert "escape_alpha" not in plain
    for name in plain.data_vars:
        np.testing.assert_array_equal(watched[name], plain[name])


@pytest.mark.parametrize("end", [1e20, 1e30, 1e160, 1e300])
def test_event_long_before_the_end(system, start, end):
    settings = {"eta": 0.4, "stop_loss": THRESHOLD, "output": "final", **FAST}
    soon, late = (integrate_ensemble(system, *start, alpha=[alpha], **settings) for alpha in (150.0, end))
    assert (late["status"] == "ok").all()
    np.testing.assert_array_equal(late["escape_alpha"], soon["escape_alpha"])


def test_a_diverging_trajectory_has_no_event(system, start):
    rates = np.where(np.arange(13) == 5, 3.0, 0.4)
    ensemble = integrate_ensemble(system, *start, eta=rates, alpha=150.0, stop_loss=THRESHOLD, **FAST)
    np.testing.assert_array_equal(np.isnan(ensemble["escape_alpha"]), rates == 3.0)
    np.testing.assert_array_equal(ensemble["status"] == "diverged", rates == 3.0)


# Symmetries.


@pytest.fixture(scope="module")
def few() -> tuple[np.ndarray, np.ndarray]:
    return random_overlaps(4, 2, n=50, seed=9, trajectories=5)


@settings(max_examples=15)
@given(
    students=st.permutations(range(4)),
    teachers=st.permutations(range(2)),
    lanes=st.permutations(range(5)),
    noise=st.sampled_from([0.0, 0.3]),
)
def test_permutations(system, few, students, teachers, lanes, noise):
    Q, R = few
    rates = np.linspace(0.1, 0.5, 5)
    settings = {"label_noise": noise, "alpha": [0.0, 10.0, 40.0], "rtol": 1e-10, "atol": 1e-12}
    expected = integrate_ensemble(system, Q, R, eta=rates, **settings)
    # The order of lanes does not matter, to the last bit.
    shuffled = integrate_ensemble(system, Q[lanes], R[lanes], eta=rates[lanes], **settings)
    for name in ("Q", "R", "loss", "steps"):
        np.testing.assert_array_equal(shuffled[name], expected[name][lanes])
    # The orders of students and of teachers make other sums with other rounding.
    pairs = np.ix_(range(5), students, students), np.ix_(range(5), students, teachers)
    permuted = integrate_ensemble(system, Q[pairs[0]], R[pairs[1]], eta=rates, **settings)
    np.testing.assert_allclose(permuted["loss"], expected["loss"], rtol=0, atol=1e-8)
    for name, columns in (("Q", students), ("R", teachers)):
        values = expected[name].values[:, :, students][:, :, :, columns]
        np.testing.assert_allclose(permuted[name], values, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["avx2", "baseline"])
def test_restricted_vectors(system, start, kind, monkeypatch):
    settings = {"eta": 0.4, "rtol": 1e-10, "atol": 1e-12, **FAST}
    expected = integrate_ensemble(system, *start, **settings)
    monkeypatch.setenv(jit.ENVIRONMENT, kind)
    restricted = integrate_ensemble(system, *start, **settings)
    if jit.target(kind).fma:
        # Lanes, not arithmetic, are what is different.
        xarray.testing.assert_identical(restricted, expected)
    assert largest_error(restricted, expected) < 1e-8


def test_number_of_threads_does_not_matter(system, start):
    first, *others = (
        integrate_ensemble(system, *start, eta=0.4, threads=n, **FAST) for n in (None, 1, 2, 30)
    )
    for run in others:
        xarray.testing.assert_identical(run, first)
