"""Fits the growth of the alignment on the plateau to trajectories: its rate and prefactor.

ρ(α), the norm of the part of R that grows fastest, as along the teacher's largest eigenvalue, grows on the
plateau as

    ln ρ = ln(A ρ₀) + rα + c₁ (q(α)/q − 1) + c₂ ρ²,

with the two leading corrections: norms that have not quite relaxed, where q(α) is the mean norm of the
students that lead, and saturation.
(A deviation of Q changes the rate in proportion, and decays exponentially, so its integral is
proportional to what is left of it; that of ρ² likewise.) The four numbers are fitted by least squares
to the window in which both corrections are small: from the first time at which |q(α)/q − 1| ≤ δ to
the last one before the loss has come down to (1 − δ) of the plateau's, with δ = 0.05. The error that the
window leaves is the change of the result with δ/2.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from runtime.analysis.plateau.fixed_point import Plateau
from runtime.start.checked_arrays import Array
from runtime.start.matrix_factors import exponential, least_squares, logarithm

if TYPE_CHECKING:
    import xarray

WINDOW = 0.05
_FEWEST_TIMES = 8
# A window over which ρ grows by less than e shows no exponential.
_LEAST_GROWTH = 1.0


@dataclasses.dataclass(frozen=True)
class Growth:
    """Rate and prefactor A = ρ e^(−rα) / ρ₀ on the plateau, means over trajectories.

    rate_error, prefactor_error
        Standard errors, the error of the window included.
    trajectories
        How many trajectories had a window; errors are NaN for less than two, and everything for none.
    """

    rate: float
    rate_error: float
    prefactor: float
    prefactor_error: float
    trajectories: int


# The result for runs without a window.
NO_GROWTH = Growth(np.nan, np.nan, np.nan, np.nan, 0)


def fit_growth(runs: xarray.Dataset, plateau: Plateau, window: float = WINDOW) -> Growth:
    """Fit the growth to an ensemble with ``Q``, ``R`` and ``loss`` (trajectory, alpha, …) from α = 0."""
    alpha, loss = runs["alpha"].values, runs["loss"].values
    size = plateau.dynamics.leading.size(runs["R"].values)
    # The mean over the students that lead: others of different second-layer weights may relax more slowly,
    # and matter less. A leader may have no norm on the plateau.
    leads = np.any(plateau.dynamics.leading.mask, axis=1) & (plateau.norms > 0.0)
    leads = leads if np.any(leads) else np.ones_like(leads)
    norm = np.mean(np.diagonal(runs["Q"].values, axis1=2, axis2=3)[..., leads], axis=-1)
    relative = norm / np.mean(plateau.norms[leads]) - 1.0
    fits = np.array(
        [
            [
                _fit(alpha, relative[k], size[k], loss[k], plateau.loss, width)
                for k in range(runs.sizes["trajectory"])
            ]
            for width in (window, 0.5 * window)
        ]
    )
    wide, narrow = fits
    there = np.isfinite(wide[:, 0])
    count = int(there.sum())
    if not count:
        return NO_GROWTH
    values = np.stack([wide[there, 0], exponential(wide[there, 1]) / size[there, 0]])
    both = np.isfinite(narrow[:, 0]) & there
    others = np.stack([narrow[both, 0], exponential(narrow[both, 1]) / size[both, 0]])
    mean = np.mean(values, axis=1)
    error = np.full(2, np.nan)
    if count > 1 and both.any():
        change = mean - np.mean(others, axis=1)
        error = np.hypot(np.std(values, axis=1, ddof=1) / np.sqrt(count), change)
    return Growth(float(mean[0]), float(error[0]), float(mean[1]), float(error[1]), count)


def _fit(
    alpha: Array, deviation: Array, size: Array, loss: Array, plateau_loss: float, width: float
) -> tuple[float, float]:
    """Rate r and ln(A ρ₀) of one trajectory; NaN if it has no window."""
    relaxed = np.flatnonzero(np.abs(deviation) <= width)
    escaped = np.flatnonzero(~(loss > (1.0 - width) * plateau_loss))
    first = int(relaxed[0]) if relaxed.size else alpha.size
    # Only times after `first` count, since at the start the loss may be anywhere.
    later = escaped[escaped > first]
    last = int(later[0]) if later.size else alpha.size
    used = slice(first, last)
    if last - first < _FEWEST_TIMES or not size[last - 1] >= math.exp(_LEAST_GROWTH) * size[first] > 0.0:
        return np.nan, np.nan
    columns = [np.ones(last - first), alpha[used], deviation[used], size[used] ** 2]
    # Columns are scaled, since the deviation vanishes on the sphere and elsewhere may be tiny beside α.
    scales = np.array([max(float(np.max(np.abs(column))), 1e-300) for column in columns])
    design = np.stack(columns, axis=1) / scales
    solution = least_squares(design, logarithm(size[used])) / scales
    return float(solution[1]), float(solution[0])
