"""How much earlier SGD itself escapes than the ODE: theory against simulations from the same starts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matrix import matrix
from rejections import rejected

from runtime.analysis.escape.escape_measurement import escape_times
from runtime.analysis.escape.escape_study import EscapeStudy
from runtime.analysis.escape.escape_theory import escape_theory
from runtime.analysis.escape.simulated_escapes import median_error, shift_of_medians
from runtime.analysis.plateau.plateau_noise import SmallOverlaps

HALF = np.array([[1.0, 0.3], [0.3, 1.0]])


def shift_at(parameters, q0, rate, **methods):
    """ln(1 + σ²)/(2r) of the first overlap, from the theory with other methods: a wrong variant."""
    theory = SmallOverlaps.of(parameters)
    numbers = {field.name: getattr(theory, field.name) for field in dataclasses.fields(theory)}
    one = np.zeros((len(theory.students), len(theory.teachers)), dtype=bool)
    one[0, 0] = True
    variant = type("Variant", (SmallOverlaps,), methods)(**numbers)
    return np.log1p(variant.noise_to_signal(q0, one)[0]) / (2.0 * rate)


@pytest.mark.parametrize(
    ("options", "arguments", "n", "runs"),
    [
        ({}, {"label_noise": 1.0, "batch": 2}, 400, 500),
        matrix(({}, {}, 1000, 1000)),
        matrix(({}, {}, 10_000, 400)),
        matrix(({"constraint": "sphere"}, {"q0": 1.5}, 2000, 1000)),
        matrix(
            ({"teacher": "general"}, {"T": 2.0 * np.eye(2), "eta": 0.2, "label_noise": 0.5}, 2000, 1000)
        ),
        matrix(({"teacher": "general"}, {"T": HALF, "fraction": 0.9}, 20_000, 400)),
        matrix(({}, {"batch": 4}, 2000, 1000)),
        matrix(({}, {"q0": 0.3, "weight_decay": 0.05}, 2000, 1000)),
        matrix(
            ({"second_layer": "fixed"}, {"student_weights": [1.0, 1.0, 1.0, 0.5], "eta": 0.3}, 10_000, 400)
        ),
    ],
)
def test_sgd_escapes_as_much_earlier_as_theory_says(system_of, options, arguments, n, runs):
    one = system_of(4, 2, **options)
    given = {"eta": 0.4, "seed": 2, "n": n, "trajectories": runs} | arguments
    result = escape_times(one, simulate=True, **given).isel(eta=0, n=0)
    assert result["sgd_escaped"] == runs
    assert result["sgd_diverged"] == 0
    assert abs(result["sgd_deviation"]) < 3.0
    error = result["sgd_measured_shift_error"].item()
    # The whole law is earlier, and not the median alone.
    both = result["alpha_quantile"].values - result["sgd_alpha_quantile"].values
    np.testing.assert_allclose(both, result["sgd_shift"].item(), atol=8.0 * error)
    assert result["sgd_resolution"].item() < result["sgd_median_error"].item()
    if arguments.keys() != {"label_noise", "batch"}:
        return
    measured = result["sgd_measured_shift"].item()
    names = ("eta", "label_noise", "batch")
    study = EscapeStudy(one.model, {name: given[name] for name in names}, n=n)
    parameters, rate = study.parameters, result["rate"].item()
    assert shift_at(parameters, 1.0, rate) == pytest.approx(result["sgd_shift"].item(), rel=1e-9)

    def undivided(theory, q):
        return SmallOverlaps.diffusion(theory, q) / theory.share

    def noise_without_eta(theory, q):
        step = 4.0 * theory.students[0] ** 2 * theory.share * theory.label_noise * (1.0 - theory.eta**2)
        return SmallOverlaps.diffusion(theory, q) + step * q[0]

    def slower(theory, q):
        return SmallOverlaps.growth_rate(theory, q) / 2.0

    def at_the_start(theory, q):
        return SmallOverlaps.diffusion(theory, np.ones_like(q))

    for method in ({"diffusion": undivided}, {"diffusion": noise_without_eta}, {"growth_rate": slower}):
        assert abs(shift_at(parameters, 1.0, rate, **method) - measured) > 4.0 * error
    assert shift_at(parameters, 1.0, rate, diffusion=at_the_start) > measured


def test_theory_of_sgd_at_the_defaults(system_of):
    """The numbers of docs/plateau.md; in gradient flow SGD is the ODE."""
    result = escape_times(system_of(4, 2), n=[1000, 10_000], trajectories=2)
    assert result["sgd_noise"].item() == pytest.approx(0.36815239, rel=1e-7)
    assert result["sgd_shift"].item() == pytest.approx(0.91751694, rel=1e-7)
    shift = result["theory_quantile"] - result["theory_quantile_sgd"]
    np.testing.assert_allclose(shift, result["sgd_shift"].item(), rtol=1e-12)
    assert not any(str(name).startswith("sgd_escape") for name in result)
    flow = escape_times(system_of(4, 2, flow="gradient"), n=1000, trajectories=2)
    assert flow["sgd_noise"].item() == flow["sgd_shift"].item() == 0.0
    np.testing.assert_array_equal(flow["theory_quantile"], flow["theory_quantile_sgd"])


def test_starts_and_runs_do_not_depend_on_the_threads(system_of):
    """SGD starts where the ODE does, and what is measured of the ODE does not change by simulating."""
    given = {"n": [300, 600], "eta": [0.3, 0.5], "trajectories": 20, "seed": 1}
    first = escape_times(system_of(4, 2), simulate=True, threads=1, **given)
    second = escape_times(system_of(4, 2), simulate=True, threads=2, **given)
    np.testing.assert_array_equal(first["sgd_escape_alpha"], second["sgd_escape_alpha"])
    without = escape_times(system_of(4, 2), **given)
    assert first[list(without)].equals(without)
    times = first["escape_alpha"].values, first["sgd_escape_alpha"].values
    correlations = [np.corrcoef(times[0][i, j], times[1][i, j])[0, 1] for i in range(2) for j in range(2)]
    assert np.min(correlations) > 0.5


def test_runs_that_never_escape_are_missing(system_of):
    result = escape_times(system_of(1, 3), n=100, eta=0.05, trajectories=3, fraction=0.5, simulate=True)
    assert result["sgd_escaped"].item() == result["sgd_diverged"].item() == 0
    for name in ("escape_alpha", "alpha_quantile", "median_error", "measured_shift", "deviation"):
        assert np.isnan(result[f"sgd_{name}"]).all()


def test_progress_counts_steps(system_of):
    seen = []
    given = {"n": [100, 200], "trajectories": 4, "simulate": True}
    escape_times(system_of(4, 2), progress=lambda *counts: seen.append(counts), **given)
    assert {total for _, total in seen} == {4 * (1 + 100 + 1 + 200)}
    finished = [done for done, _ in seen]
    assert finished == sorted(finished)
    assert finished[-1] == 4 * 302


def test_error_of_a_shift_is_the_spread_of_shifts():
    """Correlated times, and others without any correlation, against the spread over many samples."""
    rng = np.random.default_rng(0)
    common, own = rng.standard_normal((3000, 300)), rng.standard_normal((3000, 300))
    for early in (0.9 * common + 0.4 * own - 1.0, own - 1.0):
        shift, error = shift_of_medians(common, early)
        assert np.mean(shift) == pytest.approx(1.0, abs=0.01)
        assert np.median(error) == pytest.approx(np.std(shift), rel=0.1)
    alone = np.hypot(median_error(common), median_error(0.9 * common + 0.4 * own))
    assert np.median(alone) > 1.5 * np.median(shift_of_medians(common, 0.9 * common + 0.4 * own)[1])


def test_overlaps_that_grow_equally_fast_with_different_noise_are_refused(interpreted):
    """Two students of opposite signs, each with a teacher of its sign; the teachers are tuned."""
    one = interpreted(2, 2, constraint="sphere", second_layer="fixed")

    def study(second):
        weights = {"student_weights": [1.0, -0.8], "teacher_weights": [1.0, -second]}
        return EscapeStudy(one.model, {"eta": 0.3, **weights})

    def difference(second):
        rates = SmallOverlaps.of(study(second).parameters).growth_rate(np.ones(2))
        return rates[0, 1] - rates[1, 0]

    low, high = 0.1, 3.0
    assert difference(low) * difference(high) < 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if difference(low) * difference(middle) > 0.0 else (low, middle)
    with rejected("student_weights", "grow equally fast with different noise"):
        escape_theory(one, study(low), 0.3, 1)


def test_what_cannot_be_simulated_is_refused(interpreted):
    one = interpreted(4, 2)
    with rejected("simulate", "1 is neither True nor False"):
        escape_times(one, simulate=1)
    with rejected("n", r"2000000000 is not an integer from 2 to 10\^9"):
        escape_times(one, n=2 * 10**9, simulate=True)
    with rejected("weight_decay", "not less than n"):
        escape_times(one, n=2, weight_decay=10.0, simulate=True)
    with rejected("flow", "has no finite N"):
        escape_times(interpreted(4, 2, flow="gradient"), simulate=True)
