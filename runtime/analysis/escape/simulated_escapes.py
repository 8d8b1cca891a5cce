"""Simulates how long SGD itself stays on the plateau, from the starts of the ODE, and compares the two.

A run has escaped when its loss first comes down to the threshold of the ODE. The loss is looked at now
and then, and is taken to be a straight line in between (`passage_recorder`). SGD and the ODE share
their starts, so the difference of their medians, the shift, is known better than from independent
starts. To leading order a sample median is off by the mean of ½ − [x < median] over the density at the
median. So the error of a difference of two medians follows from their own errors and from the
correlation of these signs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.analysis.escape.escape_study import EscapeStudy
from runtime.analysis.escape.escape_theory import EscapeTheory
from runtime.output.progress import Progress
from runtime.output.quantiles import QUANTILES, quantiles
from runtime.sgd.passage_recorder import first_passages
from runtime.start.checked_arrays import Array

# The time between two looks at the loss, in units of 1/(2r√k) for k runs. This is less than half the error
# of the median, and moves it by less than a hundredth of its error: losses are nearly straight lines.
_LOOKS = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedEscapes:
    """Escape times of SGD at one η and N.

    times
        α (trajectory,), NaN for runs that have not escaped.
    diverged
        How many of these have diverged.
    resolution
        The time α between two looks at the loss.
    """

    times: Array
    diverged: int
    resolution: float


def simulated_escapes(
    study: EscapeStudy, theory: EscapeTheory, n: int, seed: int, end: float, progress: Progress | None
) -> SimulatedEscapes:
    """Simulate SGD at N = n up to α = end, from the starts of the seed."""
    simulation = study.simulation(theory.plateau.parameters, n, end, seed)
    wanted = _LOOKS / (2.0 * theory.plateau.rate * np.sqrt(study.trajectories))
    every = max(1, int(wanted * n))
    found = first_passages(simulation, theory.threshold, every, progress)
    return SimulatedEscapes(found.alpha, int(np.sum(found.diverged)), every / n)


def median_error(times: Array) -> Array:
    """Standard errors of the medians of escape times (…, k), from order statistics.

    They are half the distance of the quantiles at ½ ± ½/√k, whatever the law; NaN for a single time.
    """
    if times.shape[-1] < 2:
        return np.full(times.shape[:-1], np.nan)
    half = 0.5 / np.sqrt(times.shape[-1])
    ends = quantiles(times, [max(0.5 - half, 0.0), min(0.5 + half, 1.0)])
    return np.asarray(0.5 * (ends[..., 1] - ends[..., 0]))


def shift_of_medians(late: Array, early: Array) -> tuple[Array, Array]:
    """By how much the median of `early` (…, k) is before that of `late`, and its standard error (…).

    Times at the same place share their start. NaN stands for a time later than all others.
    """
    medians = [quantiles(times, [0.5]) for times in (late, early)]
    # Only a number is less than another.
    signs = [
        np.where(times < median, 0.5, -0.5) for times, median in zip((late, early), medians, strict=True)
    ]
    correlation = 4.0 * np.mean(signs[0] * signs[1], axis=-1)
    first, second = median_error(late), median_error(early)
    square = first**2 + second**2 - 2.0 * correlation * first * second
    return (medians[0] - medians[1])[..., 0], np.sqrt(np.maximum(square, 0.0))


def simulated_variables(
    runs: Sequence[Sequence[SimulatedEscapes]], times: Array, shifts: Array
) -> dict[str, Any]:
    """Variables of the result from runs [η][N], beside escape times (η, N, trajectory) of the ODE.

    `shifts` (η,) are those of the theory.
    """
    simulated = np.array([[one.times for one in row] for row in runs])
    shift, error = shift_of_medians(times, simulated)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.where(error > 0.0, (shift - shifts[:, None]) / error, np.nan)
    at_each: dict[str, tuple[Any, str]] = {
        "escaped": (np.sum(np.isfinite(simulated), axis=-1), "escaped runs of SGD"),
        "diverged": ([[one.diverged for one in row] for row in runs], "diverged runs of SGD"),
        "median_error": (median_error(simulated), "standard error of the median of SGD"),
        "measured_shift": (shift, "median of the ODE less that of SGD"),
        "measured_shift_error": (error, "its standard error"),
        "deviation": (deviation, "measured less predicted shift in standard errors"),
        "resolution": ([[one.resolution for one in row] for row in runs], "time between looks at the loss"),
    }
    return {
        "sgd_escape_alpha": (("eta", "n", "trajectory"), simulated, "escape time of SGD"),
        "sgd_alpha_quantile": (
            ("eta", "n", "quantile"),
            quantiles(simulated, QUANTILES),
            "escape time of SGD, measured",
        ),
        **{
            f"sgd_{name}": (("eta", "n"), np.asarray(values), words)
            for name, (values, words) in at_each.items()
        },
    }
