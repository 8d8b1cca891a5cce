"""Escape times and growth on the plateau: measured over random starts against the theory."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
from matrix import thinned
from rejections import rejected

import runtime
from runtime import InputError
from runtime.analysis.escape.escape_measurement import escape_times, fit_slope
from runtime.analysis.escape.escape_study import EscapeStudy
from runtime.analysis.escape.escape_theory import escape_theory
from runtime.analysis.escape.growth_fit import fit_growth
from runtime.analysis.escape.simulated_escapes import median_error
from runtime.analysis.plateau.plateau_curve import plateau

CORRELATED = np.array([[1.0, 0.3], [0.3, 1.0]])
# Widths, options of the model, other arguments.
CASES = [
    (4, 2, {}, {"eta": 0.4}),
    (7, 3, {}, {"eta": 1.2, "label_noise": 0.5}),
    (4, 2, {"constraint": "sphere"}, {"eta": 0.4, "q0": 1.5}),
    (4, 2, {"teacher": "general"}, {"eta": 0.3, "T": CORRELATED, "fraction": 0.9}),
    (4, 2, {"flow": "gradient"}, {"eta": 0.4, "q0": 0.5}),
]


@pytest.fixture(scope="module")
def measured(system_of):
    """(4, 2) at the defaults."""
    return escape_times(system_of(4, 2), n=[10**4, 10**5, 10**6], trajectories=1000)


# --- measured against theory -----------------------------------------------------------------


@pytest.mark.parametrize(("p", "pstar", "options", "arguments"), thinned(CASES, 0, 2, 4))
def test_escape_times_follow_the_theory(system_of, p, pstar, options, arguments):
    """Quantiles at N = 10⁷ within five standard errors; growth rate and prefactor to 10⁻³."""
    count = 500
    result = escape_times(
        system_of(p, pstar, **options), n=[10**7], trajectories=count, seed=3, **arguments
    )
    one = result.isel(eta=0, n=0)
    assert one["escaped"] == count
    assert one["diverged"] == 0
    times = one["escape_alpha"].values
    for probability, expected in zip(one["quantile"].values, one["theory_quantile"].values, strict=True):
        # The part of the times below a quantile is binomial; 256 shapes of R0 add to its error.
        below = np.mean(times < expected)
        error = np.sqrt(probability * (1.0 - probability) * (1.0 / count + 1.0 / 256))
        assert abs(below - probability) < 5.0 * error
    assert one["fitted_rate"] == pytest.approx(one["rate"].item(), rel=1e-3)
    assert one["fitted_gain"] == pytest.approx(one["gain"].item(), rel=2e-3)
    assert one["rate"].item() == pytest.approx(
        plateau(
            system_of(p, pstar, **options),
            arguments["eta"],
            arguments.get("label_noise", 0.0),
            arguments.get("T"),
            norms=np.full(p, arguments["q0"]) if options.get("constraint") == "sphere" else None,
        ).rate,
        rel=1e-14,
    )


def test_slope_of_the_median(measured):
    assert measured["slope_theory"].item() == pytest.approx(1.0 / (2.0 * 0.17082), rel=1e-4)
    deviation = measured["slope"] - measured["slope_theory"]
    assert abs(deviation.item()) < 4.0 * measured["slope_error"].item()
    assert measured["slope_error"].item() < 0.05
    # The whole law moves: quantiles keep their distances.
    spread = measured["alpha_quantile"].values[0, :, -1] - measured["alpha_quantile"].values[0, :, 0]
    assert np.ptp(spread) < 0.15 * spread.mean()


def test_fitted_growth(measured):
    rate, error = measured["fitted_rate"].item(), measured["fitted_rate_error"].item()
    assert error < 1e-4 * rate
    assert rate == pytest.approx(0.170820393, rel=1e-4)


def test_escape_time_is_where_a_single_trajectory_crosses(system_of, measured):
    """A trajectory of the other engine, from a start of the same law."""
    one = system_of(4, 2)
    Q0, R0 = runtime.random_overlaps(4, 2, n=10**5, seed=8)
    runs = runtime.integrate_ensemble(
        one, Q0[None], R0[None], eta=0.4, output="final", stop_loss=measured["threshold"].item()
    )
    found = runs["escape_alpha"].item()
    run = runtime.integrate(one, Q0, R0, eta=0.4, alpha=np.linspace(found - 1e-3, found + 1e-3, 3))
    assert run["loss"].values[1] == pytest.approx(0.5 * 0.67376208, rel=1e-6)
    assert run["loss"].values[0] > run["loss"].values[2]
    low, high = np.nanmin(measured["escape_alpha"].values[0, 1]), np.nanmax(measured["escape_alpha"].values)
    assert low < found < high


def test_several_learning_rates(system_of):
    result = escape_times(system_of(4, 2), n=[10**4, 10**6], eta=[0.2, 0.8], trajectories=64)
    assert result["escape_alpha"].dims == ("eta", "n", "trajectory")
    np.testing.assert_allclose(result["fitted_rate"], result["rate"], rtol=1e-3)
    rates = [plateau(system_of(4, 2), eta).rate for eta in (0.2, 0.8)]
    np.testing.assert_allclose(result["rate"], rates, rtol=1e-14)
    # 1.25 · 0.8 is still below the largest η of 1.2.
    assert np.isfinite(result["rate_curve"]).all()
    place = np.argmin(np.abs(result["curve"].values - 0.8))
    assert result["rate_curve"].values[place] == pytest.approx(rates[1], rel=1e-6)
    assert "eta" not in result.attrs


def test_the_same_seed_gives_the_same_times(system_of, measured):
    again = escape_times(system_of(4, 2), n=[10**4], trajectories=100, threads=1)
    np.testing.assert_array_equal(
        again["escape_alpha"].values[0, 0], measured["escape_alpha"].values[0, 0, :100]
    )
    other = escape_times(system_of(4, 2), n=[10**4], trajectories=100, seed=1)
    assert not np.any(other["escape_alpha"].values == again["escape_alpha"].values)


def test_narrow_students_never_learn_half(system_of):
    """p < p*: all trajectories stay above half of the plateau's loss, most of the loss remains."""
    result = escape_times(system_of(1, 3), n=[10**4], eta=0.05, trajectories=20)
    assert result["escaped"].item() == 0
    for name in ("escape_alpha", "alpha_quantile", "median_error", "theory_quantile", "slope", "law"):
        assert np.isnan(result[name]).all()
    # One student learns one direction: a tenth of the loss goes.
    partly = escape_times(system_of(1, 3), n=[10**4], eta=0.05, trajectories=20, fraction=0.9)
    assert partly["escaped"].item() == 20


# --- the theory ------------------------------------------------------------------------------


def theory_of(system, eta, shapes=1, **study):
    """The law of escape times from `shapes` random shapes; `study` are arguments of `escape_times`."""
    given = {name: study.pop(name) for name in ("T", "label_noise") if name in study}
    return escape_theory(system, EscapeStudy(system.model, {"eta": eta} | given, **study), eta, shapes)


@pytest.mark.parametrize("q0", [0.25, 1.0, 3.0])
def test_gain_of_gradient_flow_follows_from_the_conserved_shape(system_of, q0):
    """Rᵀ(Q − RRᵀ)⁻¹R exp(−8abηα) is constant, so R/√Q grows as exp(rα): G = √(q/q₀)."""
    theory = theory_of(system_of(4, 2, flow="gradient"), 0.4, q0=q0)
    assert theory.gain == pytest.approx(np.sqrt(2 / 3 / q0), rel=1e-9)


def test_fall_of_the_loss_on_the_sphere(system_of):
    """Q_ii cannot follow R, so to second order ε falls by 2ab ρ² alone."""
    theory = theory_of(system_of(4, 2, constraint="sphere"), 0.4)
    assert theory.curvature == pytest.approx(2 / 8, rel=1e-6)
    assert theory.gain == 1.0


def test_fall_of_the_loss_along_a_trajectory(system_of):
    """K from the unstable manifold, against a trajectory that leaves along it."""
    one = system_of(4, 2)
    theory = theory_of(one, 0.4)
    point = theory.plateau
    R0 = 1e-8 * np.random.default_rng(1).standard_normal((4, 2))
    end = np.log(1e-3 / np.linalg.norm(R0)) / point.rate
    run = runtime.integrate(one, point.Q, R0, eta=0.4, alpha=np.array([end]), rtol=1e-13, atol=1e-20)
    fall = point.loss - run["loss"].values[0]
    assert fall / np.sum(run["R"].values[0] ** 2) == pytest.approx(theory.curvature, rel=1e-4)


@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_delay_vanishes_with_the_depth_of_the_threshold(system_of, constraint):
    """In units of 1/(2r); half way down most of the time of the last e-fold is saturation."""
    one = system_of(4, 2, constraint=constraint)
    sizes = []
    for fraction in (0.5, 0.9, 0.99, 0.999):
        theory = theory_of(one, 0.4, fraction=fraction, shapes=32)
        sizes.append(2.0 * theory.plateau.rate * np.median(theory.delays))
    assert sizes[0] > 0.5
    # Proportional to the depth.
    assert sizes[2] == pytest.approx(0.1 * sizes[1], rel=0.3)
    assert sizes[3] == pytest.approx(0.01 * sizes[1], rel=0.35)


def test_leading_time_is_logarithmic(system_of):
    theory = theory_of(system_of(4, 2), 0.4, shapes=4)
    rate = theory.plateau.rate
    assert theory.leading(1e-8) - theory.leading(1e-6) == pytest.approx(np.log(100.0) / (2 * rate))
    moved = theory.quantiles(1e8, [0.1, 0.9]) - theory.quantiles(1e4, [0.1, 0.9])
    np.testing.assert_allclose(moved, np.log(1e4) / (2 * rate), rtol=1e-12)


def test_norm_of_random_overlaps_is_that_of_the_theory(system_of):
    """ρ₀² = q₀τ χ²_{pm}/N: here along the largest eigenvalue 1.3 of T, m = 1."""
    theory = theory_of(system_of(4, 2, teacher="general"), 0.3, T=CORRELATED, q0=2.0)
    assert theory.directions == 4
    _, R = runtime.random_overlaps(4, 2, n=1000, seed=1, trajectories=20000, T=CORRELATED, q0=2.0)
    squared = np.sum((R @ np.full(2, np.sqrt(0.5))) ** 2, axis=(1,))
    assert squared.mean() * 1000 == pytest.approx(theory.weight * 4, rel=0.03)
    assert theory.weight == pytest.approx(2.6)


# --- fits ------------------------------------------------------------------------------------


def exponential(rate=0.3, prefactor=0.8, count=3, end=40.0):
    """Runs of (4, 2) that grow on the plateau of η = 0.4 with both corrections."""
    alpha = np.linspace(0.0, end, 300)
    start = 1e-4 * np.arange(1, count + 1)[:, None]
    deviation = 0.2 * np.exp(-0.5 * alpha)
    size = prefactor * start * np.exp(rate * alpha - 0.7 * (deviation - 0.2)) / np.exp(0.14)
    size[:, 0] = start[:, 0]
    R = np.zeros((count, alpha.size, 4, 2))
    R[..., 2, 1] = size
    Q = np.broadcast_to(
        (0.76393202 + deviation)[None, :, None, None] * np.eye(4), (count, alpha.size, 4, 4)
    )
    loss = 0.67376 * np.clip(1.0 - size**2, 0.1, None)
    return xarray.Dataset(
        {
            "Q": (("trajectory", "alpha", "i", "j"), Q),
            "R": (("trajectory", "alpha", "i", "r"), R),
            "loss": (("trajectory", "alpha"), loss),
        },
        {"alpha": alpha},
    )


def test_growth_of_an_exponential(system_of):
    growth = fit_growth(exponential(), plateau(system_of(4, 2), 0.4))
    assert growth.trajectories == 3
    assert growth.rate == pytest.approx(0.3, rel=1e-6)
    assert growth.prefactor == pytest.approx(0.8, rel=1e-5)
    assert growth.rate_error < 1e-6


def test_no_growth_without_a_window(system_of):
    point = plateau(system_of(4, 2), 0.4)
    short = fit_growth(exponential(end=2.0), point)
    assert (short.trajectories, np.isnan(short.rate)) == (0, True)
    assert np.isnan(fit_growth(exponential(rate=0.01), point).rate)
    assert np.isnan(fit_growth(exponential(count=1), point).rate_error)


def test_median_error_is_the_spread_of_medians():
    rng = np.random.default_rng(0)
    samples = rng.standard_exponential((4000, 400))
    claimed = median_error(samples)
    assert np.median(claimed) == pytest.approx(np.std(np.median(samples, axis=1)), rel=0.1)
    assert np.isnan(median_error(np.ones((2, 1)))).all()


def test_slope_of_a_line():
    n = np.array([10, 100, 1000, 10000])
    noise = np.array([0.1, -0.2, 0.05, 0.0])
    errors = np.array([0.1, 0.2, 0.1, 0.3])
    slope, error = fit_slope(n, 2.0 * np.log(n) + 5.0 + noise, errors)
    expected, covariance = np.polyfit(
        np.log(n), 2.0 * np.log(n) + 5.0 + noise, 1, w=1 / errors, cov="unscaled"
    )
    assert slope == pytest.approx(expected[0], rel=1e-10)
    assert error == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-10)
    assert np.isnan(fit_slope(n, np.array([1.0, np.nan, np.nan, np.nan]), errors)).all()


# --- what is rejected ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": []}, r"^n: needs ascending dimensions"),
        ({"n": [100, 10]}, r"^n: needs ascending dimensions"),
        ({"n": [1]}, r"^n: 1 is not an integer from 2"),
        ({"eta": -1.0}, r"^eta: -1\.0 is not a finite number greater than 0"),
        ({"eta": [0.4, 0.2]}, r"^eta: needs ascending learning rates"),
        ({"eta": 1.5}, r"^eta: 1\.5 has no plateau"),
        ({"fraction": 1.0}, r"^fraction: 1 is not less than 1"),
        ({"fraction": 0.0}, r"^fraction: 0\.0 is not a finite number greater than 0"),
        # At η near 1.2 norms of 1 are below the plateau's, where the loss is smaller.
        ({"eta": 1.15, "fraction": 0.98}, r"^fraction: 0\.98: the loss falls to 0\.89.. of the plateau's"),
        # From norms of 0.3 the loss passes its minimum, at 2/3, on the way.
        ({"eta": 0.95, "fraction": 0.99, "q0": 0.3}, r"^fraction: 0\.99: the loss falls to"),
        ({"trajectories": 0}, r"^trajectories: "),
        ({"seed": -1}, r"^seed: "),
        ({"q0": 0.0}, r"^q0: "),
        ({"q0": 10.0}, r"^q0: 10: students of this norm do not relax to the plateau"),
        ({"T": 2 * np.eye(2)}, r"^T: is not 1"),
        ({"rtol": 0.0}, r"^rtol: "),
        ({"threads": 0}, r"^threads: "),
    ],
)
def test_rejects(system_of, arguments, message):
    with pytest.raises(InputError, match=message):
        escape_times(system_of(4, 2), **({"n": [1000], "trajectories": 2} | arguments))


def test_rejects_a_plateau_that_attracts(system_of, interpreted):
    with pytest.raises(InputError, match=r"^eta: 2\.75: there is no escape, the plateau attracts"):
        escape_times(interpreted(7, 3), n=[1000], eta=2.75)
    with pytest.raises(InputError, match=r"^eta: 0\.5: .* students align|^eta: 0\.5: there is no escape"):
        escape_times(system_of(2, 1, constraint="sphere"), n=[1000], eta=0.5)


def test_a_single_n_is_a_list_of_one(system_of):
    one_system = system_of(4, 2)
    settings = {"trajectories": 2, "eta": 0.4}
    one = escape_times(one_system, n=1000, **settings)
    assert one.identical(escape_times(one_system, n=xarray.DataArray([1000]), **settings))
    for wrong in (None, 2.5, "many", 1):
        with rejected("n", r"^n: "):
            escape_times(one_system, n=wrong, **settings)
