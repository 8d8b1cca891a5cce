"""Claim: more students change the prefactor of the escape, not its exponent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.analysis.claims import Claim
from runtime.analysis.escape.escape_measurement import fit_slope
from runtime.analysis.plateau.fixed_point import Plateau
from runtime.analysis.plateau.plateau_curve import plateau
from runtime.analysis.reproduction.studies import Reproduction, StudyResult
from runtime.ensemble.ensemble_run import integrate_ensemble
from runtime.output.figure_axes import COLOURS, log_axis
from runtime.output.figures import Drawing, Panel
from runtime.start.initial_overlaps import random_overlaps
from runtime.start.seeds import seed_sequence
from runtime.trajectory.single_run import integrate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PSTAR = 2
_WIDTHS, _QUICK_WIDTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32), (2, 4, 8, 16)
_SIZES = (10**4, 10**5, 10**6, 10**7)
_RESAMPLED = 400


def study(reproduction: Reproduction) -> StudyResult:
    """Rates of escape for many p, and median times of escape for several p and N."""
    widths = _QUICK_WIDTHS if reproduction.quick else _WIDTHS
    rates = np.array([_rate(reproduction, p, "gradient", 1.0) for p in widths])
    noisy = np.array([_rate(reproduction, p, "sgd", 0.2 * p) for p in widths])
    expected = 4.0 / PSTAR
    claims = [
        Claim(
            "exponent_does_not_depend_on_p",
            f"in time eta alpha/p the loss leaves the plateau of gradient flow at a rate 4/p* for every"
            f" p from {widths[0]} to {widths[-1]} (the rate that differs most)",
            expected,
            float(rates[np.argmax(np.abs(rates - expected))]),
            None,
            1e-6 * expected,
        )
    ]
    times = {p: _times(reproduction, p) for p in (2, 4, 8)}
    for p, medians_and_errors in times.items():
        slope, error = fit_slope(_SIZES, *medians_and_errors)
        claims.append(
            Claim(
                f"escape_time_grows_as_log_n_p{p}",
                f"the median time of escape grows with ln N at half the inverse rate, p*/8, at p = {p}",
                PSTAR / 8.0,
                slope,
                error,
                4.0 * error,
            )
        )
    most, least = times[2][0][-1], times[8][0][-1]
    claims.append(
        Claim(
            "overparameterisation_accelerates_modestly",
            "at N = 10^7 escape with p = 8 takes between half and all of the time with p = p* = 2"
            " (ratio of the medians, in units of p/eta)",
            0.75,
            float(least / most),
            float(least / most * np.hypot(times[2][1][-1] / most, times[8][1][-1] / least)),
            0.25,
        )
    )
    panels = (
        Panel("rate", lambda axes: _draw_rates(axes, reproduction, widths, rates, noisy)),
        Panel("N", lambda axes: _draw_times(axes, times)),
    )
    # Only ηα matters in gradient flow, so the figure holds for every η; that of SGD is in the legend.
    title = (f"$p^{{*}}={PSTAR}$", "free norms", r"in units of $\eta\alpha/p$", f"seed {reproduction.seed}")
    drawing = Drawing(panels, (title,), columns=2, size=(3.9, 3.0), same_x=False, legend_below=True)
    return StudyResult(tuple(claims), drawing)


def _rate(reproduction: Reproduction, p: int, flow: str, eta: float) -> float:
    """Rate of growth of R in units of η α/p, from a run that starts next to the plateau."""
    system = reproduction.system(p, PSTAR, flow=flow)
    fixed: Plateau = plateau(system, eta)
    start = 1e-9 * np.random.default_rng(seed_sequence(reproduction.seed)).standard_normal((p, PSTAR))
    # R grows by e⁵.
    end = 5.0 / fixed.rate
    run = integrate(system, fixed.Q, start, eta=eta, alpha=[0.0, end], rtol=1e-11, atol=1e-18)
    size = np.linalg.norm(run["R"].values, axis=(1, 2))
    return float(np.log(size[1] / size[0])) / end * p / eta


def _times(reproduction: Reproduction, p: int) -> tuple[np.ndarray, np.ndarray]:
    """Median times η α/p, of gradient flow down to half the plateau's loss, and their errors."""
    system = reproduction.system(p, PSTAR, flow="gradient")
    threshold = 0.5 * plateau(system, 1.0).loss
    count = 300 if reproduction.quick else 2000
    generator = np.random.default_rng(seed_sequence(reproduction.seed))
    medians, errors = [], []
    for k, n in enumerate(_SIZES):
        # Starts at different N have seeds of their own, since they must be independent.
        Q0, R0 = random_overlaps(p, PSTAR, n, seed=reproduction.seed + 1000 * k + p, trajectories=count)
        runs = integrate_ensemble(
            system,
            Q0,
            R0,
            eta=float(p),
            alpha=[100.0],
            stop_loss=threshold,
            output="final",
            rtol=1e-7,
            atol=1e-12,
        )
        times = runs["escape_alpha"].values
        # Starts that do not escape by the end are later than all others.
        found = np.where(np.isfinite(times), times, np.inf)
        picks = generator.integers(0, count, (_RESAMPLED, count))
        medians.append(float(np.median(found)))
        with np.errstate(invalid="ignore"):
            errors.append(float(np.std(np.median(found[picks], axis=1))))
    return np.array(medians), np.array(errors)


def _draw_rates(
    axes: Axes, reproduction: Reproduction, widths: tuple[int, ...], rates: np.ndarray, noisy: np.ndarray
) -> None:
    axes.axhline(4.0 / PSTAR, color=COLOURS[0], lw=1.0)
    axes.plot(widths, rates, "o", color=COLOURS[0], ms=4, label="gradient flow")
    theory = [plateau(reproduction.system(p, PSTAR), 0.2 * p).rate / 0.2 for p in widths]
    axes.plot(widths, theory, color=COLOURS[1], lw=1.0)
    axes.plot(widths, noisy, "s", color=COLOURS[1], ms=4, label=r"ODE of SGD, $\eta = 0.2\,p$")
    log_axis(axes, "x")
    axes.set_xticks(widths, map(str, widths))
    axes.minorticks_off()
    axes.set_ylim(0.0, 1.15 * 4.0 / PSTAR)
    axes.set_xlabel("students $p$")
    axes.set_ylabel(r"escape rate $\times\; p/\eta$")


def _draw_times(axes: Axes, times: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    n = np.array(_SIZES, dtype=float)
    for colour, (p, (medians, errors)) in zip(COLOURS[2:], times.items(), strict=False):
        label = f"gradient flow, $p = {p}$"
        axes.errorbar(n, medians, errors, fmt="o", color=colour, ms=4, lw=0.8, label=label)
        line = medians[-1] + PSTAR / 8.0 * np.log(n / n[-1])
        axes.plot(n, line, color=colour, lw=1.0)
    log_axis(axes, "x")
    axes.set_xlabel("input dimension $N$")
    axes.set_ylabel(r"median escape time $\eta\alpha/p$")
