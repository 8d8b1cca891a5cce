"""Measures escape times of random starts at several N, and compares them with `escape_theory`.

A trajectory has escaped when its loss comes down to a fraction of the plateau's (half of it unless
said otherwise); the time is located on the interpolant of the step. The plateau is that of the ODE
at this η and Δ, so the threshold is the same for all starts and N. For p < p* part of the loss is
never learned, and the fraction must be above it.

The median over starts is ln N / (2r) and a constant. The fitted slope is compared with 1/(2r), the
growth on the plateau at the largest N with the rate r itself.

SGD at finite N escapes earlier, by a shift that theory knows; `simulated_escapes` measures it from the
same starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from derive.parameters import PARAMETERS
from runtime.analysis.escape.escape_study import EscapeStudy
from runtime.analysis.escape.escape_theory import PATIENCE, EscapeTheory, escape_theory
from runtime.analysis.escape.growth_fit import NO_GROWTH, Growth, fit_growth
from runtime.analysis.escape.simulated_escapes import (
    SimulatedEscapes,
    median_error,
    simulated_escapes,
    simulated_variables,
)
from runtime.analysis.plateau.fixed_point import find_plateau
from runtime.ensemble.ensemble_run import integrate_ensemble
from runtime.output.plain_result import PlainResult
from runtime.output.progress import AskedProgress, Progress, asked_progress, part_of
from runtime.output.quantiles import QUANTILES, quantiles
from runtime.output.result_attributes import result_attributes
from runtime.run_options import ATOL, Q0_NORM, RTOL, SEED, default
from runtime.start.checked_arrays import Array
from runtime.start.initial_overlaps import OverlapSampler
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.seeds import derived_seed
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.trajectory_dataset import layer_variables

if TYPE_CHECKING:
    import xarray

# Probabilities at which figures show the law of escape times as N → ∞.
PROBABILITIES = np.linspace(0.005, 0.995, 100)
_MEDIAN = QUANTILES.index(0.5)
# So many trajectories are integrated together; the growth is fitted to others, at so many output times.
_BATCH = 2**15
_FITTED, _TIMES = 64, 400
# The number of η of the curve of rates, and the last one in units of the largest given η.
_CURVE, _BEYOND = 100, 1.25
# Starts whose χ² is below its quantile at this probability are taken not to occur.
_RARE = 1e-9


@takes_parameters
def escape_times(
    system: System,
    *,
    n: int | Sequence[int] = default("n", "escape"),
    eta: Any = PARAMETERS["eta"].usual,
    trajectories: int = default("trajectories", "escape"),
    fraction: float = default("fraction", "escape"),
    q0: float = Q0_NORM,
    seed: int = SEED,
    rtol: float = RTOL,
    atol: float = ATOL,
    threads: int | None = None,
    progress: AskedProgress = None,
    simulate: bool = default("simulate", "escape"),
    **parameters: Any,
) -> xarray.Dataset:
    """Measure escape times of random starts at each N and η, and compare them with theory.

    Parameters
    ----------
    system
        From `oo.load`.
    n
        Input dimensions N, ascending, or a single one, which gives no slope.
    eta
        A learning rate, or several.
    trajectories
        Random starts at each N and η, all independent.
    fraction
        Threshold in units of the plateau's loss, between 0 and 1.
    label_noise, T, rtol, atol, threads
        As for `oo.integrate_ensemble`, and so all other run-time parameters.
    q0
        Variance of a student's weights at the start.
    seed
        Seed.
    progress
        True: a bar on a terminal or in a notebook. A function: it is called with (finished, all)
        trajectories; of SGD each counts N times.
    simulate
        Whether SGD at these N is simulated too, from the same starts. A run takes N steps for each unit of
        α until it has escaped: at (4, 2) and N = 10⁶ about a second, in proportion to N and roughly to p.

    Returns
    -------
    xarray.Dataset
        With dims ``eta``, ``n``, ``trajectory``: ``escape_alpha`` (NaN without escape), its
        ``alpha_quantile``, ``median_error``, and ``theory_quantile``, the law as N → ∞ (see
        `escape_theory`); ``escaped`` and ``diverged``, their numbers. Per η: ``slope`` of the median per ln
        N with ``slope_error``, ``slope_theory`` = 1/(2 rate); the plateau's ``rate``, ``plateau_loss``,
        ``plateau_q``, ``threshold``; ``gain`` and ``curvature`` of the theory, ``fitted_rate`` and
        ``fitted_gain`` with errors, from the growth at the largest N; ``law`` (eta, probability), the time
        as N → ∞ less ln N / (2 rate). For one-pass SGD as N → ∞ ``sgd_noise``, the variance that its noise
        adds to that of R₀, in parts of the latter (V/Γ² − 1 in docs/plateau.md), ``sgd_shift``, by how much
        earlier it escapes, in α, and ``theory_quantile_sgd``; in gradient flow these are 0 and the law of
        the ODE. With `simulate` also ``sgd_escape_alpha``, ``sgd_escaped``, ``sgd_diverged``,
        ``sgd_alpha_quantile`` and ``sgd_median_error``, as those of the ODE; ``sgd_measured_shift`` of the
        median with ``sgd_measured_shift_error``, ``sgd_deviation`` from theory in these errors, and
        ``sgd_resolution``, the time between two looks at the loss. For several η also ``rate_curve`` over
        (curve), the escape rate at learning rates up to 5/4 of the largest, NaN where there is no plateau.

    Raises
    ------
    InputError
        A value is not allowed, or there is no plateau or no escape from it at one of the η; or SGD cannot
        be simulated (in gradient flow, or at N > 10⁹).
    """
    study = EscapeStudy(
        as_system(system).model,
        {"eta": eta, **parameters},
        n=n,
        trajectories=trajectories,
        fraction=fraction,
        q0=q0,
        seed=seed,
        rtol=rtol,
        atol=atol,
        threads=threads,
        simulate=simulate,
    )
    with asked_progress("steps" if study.simulate else "trajectories", progress) as report:
        return measure_escapes(system, study, report)


def measure_escapes(system: System, study: EscapeStudy, progress: Progress | None = None) -> xarray.Dataset:
    """The result of `escape_times` for a study of the model of `system`."""
    # All theories come first, so that an error in one of them is raised before the work.
    theories = [escape_theory(system, study, eta) for eta in study.rates]
    count, sizes = study.trajectories, study.sizes
    times = np.full((len(theories), len(sizes), count), np.nan)
    diverged = np.zeros(times.shape[:2], dtype=np.int64)
    growths: list[Growth] = []
    runs: list[list[SimulatedEscapes]] = []
    # A run of SGD at N counts as much as N trajectories of the ODE.
    total, done = len(theories) * count * sum(1 + n * study.simulate for n in sizes), 0
    for i, theory in enumerate(theories):
        runs.append([])
        for j, n in enumerate(sizes):
            seed, end = derived_seed(study.seed, i * len(sizes) + j), _horizon(theory, n)
            report = part_of(progress, done, count, total)
            times[i, j], diverged[i, j] = _measure(
                system, study, theory, study.sampler(n, seed), end, report
            )
            done += count
            if study.simulate:
                report = part_of(progress, done, n * count, total)
                runs[i].append(simulated_escapes(study, theory, n, seed, end, report))
                done += n * count
        growths.append(
            _growth(system, study, theory, times[i, -1], derived_seed(study.seed, 2**32 - 1 - i))
        )
    variables, coordinates = _measured(theories, growths, study, times)
    variables["diverged"] = (("eta", "n"), diverged, "diverged starts")
    if study.simulate:
        variables |= simulated_variables(runs, times, variables["sgd_shift"][1])
    if not study.single:
        curve = np.linspace(0.0, _BEYOND * study.rates[-1], _CURVE + 1)[1:]
        values = [_rate(system, study, float(eta)) for eta in curve]
        coordinates["curve"] = ("curve", curve, "learning rate of rate_curve")
        variables["rate_curve"] = ("curve", np.array(values), "escape rate at the eta of curve")
    variables |= layer_variables(study.parameters)
    title = f"escape times of {study.model.name}"
    attributes = result_attributes(title, study.model, study.attributes, "escape_times")
    return PlainResult(variables, coordinates, attributes).dataset()


def _rate(system: System, study: EscapeStudy, eta: float) -> float:
    """The escape rate at one η, NaN without a plateau."""
    point = find_plateau(system, study.parameters.replaced(eta=eta), study.norms)
    return np.nan if point is None else point.rate


def _horizon(theory: EscapeTheory, n: int) -> float:
    """A time by which what escapes at all has escaped."""
    from scipy import stats

    rarest = stats.chi2.ppf(_RARE, theory.directions)
    delays = theory.delays[np.isfinite(theory.delays)]
    latest = float(theory.leading(theory.weight / n * rarest)) + float(np.max(delays, initial=0.0))
    return max(latest, 0.0) + PATIENCE / theory.plateau.rate


def _measure(
    system: System,
    study: EscapeStudy,
    theory: EscapeTheory,
    sampler: OverlapSampler,
    end: float,
    progress: Progress | None,
) -> tuple[Array, int]:
    """Escape times (trajectories,) of random starts, NaN without escape by `end`; and how many diverged."""
    count, times, diverged = study.trajectories, [], 0
    for first in range(0, count, _BATCH):
        Q, R = sampler.draw(min(_BATCH, count - first))
        runs = integrate_ensemble(
            system,
            Q,
            R,
            alpha=end,
            output="final",
            stop_loss=theory.threshold,
            progress=part_of(progress, first, len(Q), count),
            **study.solver,
            **theory.plateau.parameters.keywords,
        )
        times.append(runs["escape_alpha"].values)
        diverged += int(np.sum(runs["status"].values == "diverged"))
    return np.concatenate(times), diverged


def _growth(system: System, study: EscapeStudy, theory: EscapeTheory, times: Array, seed: int) -> Growth:
    """The growth on the plateau, from starts of its own at the largest N; NaN if most escape at once.

    `times` are the escape times that were measured at this N.
    """
    n = study.sizes[-1]
    middle = quantiles(times, [0.5])[0]
    if middle == 0.0:
        return NO_GROWTH
    end = middle if np.isfinite(middle) else _horizon(theory, n)
    Q, R = study.sampler(n, seed).draw(_FITTED)
    alpha = np.linspace(0.0, end, _TIMES)
    parameters = theory.plateau.parameters.keywords
    runs = integrate_ensemble(system, Q, R, alpha=alpha, **study.solver, **parameters)
    return fit_growth(runs, theory.plateau)


def fit_slope(n: ArrayLike, medians: Array, errors: Array) -> tuple[float, float]:
    """Slope of medians (k,) per ln N and its standard error, by weighted least squares.

    Both are NaN if fewer than two N have a median.
    """
    usable = np.isfinite(medians) & (errors > 0.0)
    if usable.sum() < 2:
        return np.nan, np.nan
    x, y = np.log(np.asarray(n, dtype=np.float64)[usable]), medians[usable]
    weight = 1.0 / errors[usable] ** 2
    centred = x - np.sum(weight * x) / np.sum(weight)
    spread = float(np.sum(weight * centred**2))
    return float(np.sum(weight * centred * y)) / spread, 1.0 / np.sqrt(spread)


def _measured(
    theories: Sequence[EscapeTheory],
    growths: Sequence[Growth],
    study: EscapeStudy,
    times: Array,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables and coordinates of what all studies measure."""
    measured, errors = quantiles(times, QUANTILES), median_error(times)
    slopes = [fit_slope(study.sizes, measured[i, :, _MEDIAN], errors[i]) for i in range(len(theories))]
    predicted = np.array([[theory.quantiles(n, QUANTILES) for n in study.sizes] for theory in theories])
    law = np.array([theory.quantiles(1.0, PROBABILITIES) for theory in theories])
    for times_in_theory in (predicted, law):
        times_in_theory[~np.isfinite(times_in_theory)] = np.nan
    variables: dict[str, Any] = {
        "escape_alpha": (("eta", "n", "trajectory"), times, "escape time"),
        "escaped": (("eta", "n"), np.sum(np.isfinite(times), axis=-1), "escaped starts"),
        "alpha_quantile": (("eta", "n", "quantile"), measured, "escape time, measured"),
        "median_error": (("eta", "n"), errors, "standard error of the median"),
        "theory_quantile": (("eta", "n", "quantile"), predicted, "escape time, N to infinity"),
        "theory_quantile_sgd": (
            ("eta", "n", "quantile"),
            predicted - np.array([theory.shift for theory in theories])[:, None, None],
            "escape time of SGD, N to infinity",
        ),
        "law": (("eta", "probability"), law, "escape time less ln N / (2 rate), N to infinity"),
    }
    each = _at_each_rate(theories, growths, slopes)
    variables |= {name: (("eta",), np.asarray(values), words) for name, (values, words) in each.items()}
    coordinates = {
        "eta": np.array(study.rates),
        "n": np.array(study.sizes),
        "quantile": np.array(QUANTILES),
        "probability": ("probability", PROBABILITIES, "probability of the time in law"),
    }
    return variables, coordinates


def _at_each_rate(
    theories: Sequence[EscapeTheory], growths: Sequence[Growth], slopes: Sequence[tuple[float, float]]
) -> dict[str, tuple[Any, str]]:
    """What there is at each η, with what it is."""
    plateaus = [theory.plateau for theory in theories]
    return {
        "plateau_q": ([point.q for point in plateaus], "norm of a student on the plateau"),
        "plateau_loss": ([point.loss for point in plateaus], "generalisation error on the plateau"),
        "rate": ([point.rate for point in plateaus], "escape rate per unit of alpha"),
        "multiplicity": ([point.multiplicity for point in plateaus], "directions of R with this rate"),
        "threshold": ([theory.threshold for theory in theories], "loss of an escaped trajectory"),
        "gain": ([theory.gain for theory in theories], "growth of R while Q relaxes"),
        "curvature": ([theory.curvature for theory in theories], "fall of the loss per R^2"),
        "sgd_noise": (
            [theory.noise for theory in theories],
            "variance of SGD's noise in R over that of R0",
        ),
        "sgd_shift": ([theory.shift for theory in theories], "by how much earlier SGD escapes"),
        "slope": ([slope for slope, _ in slopes], "median escape time per ln N"),
        "slope_error": ([error for _, error in slopes], "standard error of the slope"),
        "slope_theory": ([0.5 / point.rate for point in plateaus], "1 / (2 rate)"),
        "fitted_rate": ([growth.rate for growth in growths], "fitted growth rate of R"),
        "fitted_rate_error": ([growth.rate_error for growth in growths], "its standard error"),
        "fitted_gain": ([growth.prefactor for growth in growths], "fitted prefactor of the growth"),
        "fitted_gain_error": ([growth.prefactor_error for growth in growths], "its standard error"),
    }
