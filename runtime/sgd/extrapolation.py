"""Extrapolates deviations from the theory to N → ∞, and says how large they may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.start.checked_arrays import Array

if TYPE_CHECKING:
    import xarray

# Probability of the verdict "disagree" although theory and simulation agree.
SIGNIFICANCE = 1e-3
# Errors of the mean below this part of the largest overlap are rounding, as for norms on the sphere.
ROUNDING = 1e-12


def extrapolate(deviation: Array, error: Array, n: Array) -> tuple[Array, Array, Array, Array]:
    """Fit deviation = limit + bias/N with the given errors, along the first axis.

    Returns limit, its standard error, bias and its standard error; NaN where errors are too unequal.
    """
    # Where all runs are equal, every weight in the fit is the same, and nothing is uncertain.
    exact = np.any(error == 0.0, axis=0)
    weight = np.where(exact, 1.0, 1.0 / np.where(exact, 1.0, error) ** 2)
    x = np.expand_dims(1.0 / n, tuple(range(1, deviation.ndim)))
    s0, s1, s2 = (np.sum(weight * x**k, axis=0) for k in range(3))
    y0, y1 = np.sum(weight * deviation, axis=0), np.sum(weight * x * deviation, axis=0)
    determinant = s0 * s2 - s1**2
    # It is lost in rounding where runs are about to diverge and errors differ by many orders of magnitude.
    with np.errstate(divide="ignore", invalid="ignore"):
        limit, bias = (s2 * y0 - s1 * y1) / determinant, (s0 * y1 - s1 * y0) / determinant
        limit_error, bias_error = (np.where(exact, 0.0, np.sqrt(s / determinant)) for s in (s2, s0))
    return limit, limit_error, bias, bias_error


def allowed_deviation(comparisons: int, runs: int) -> float:
    """How many standard errors the largest of so many deviations may have."""
    from scipy import stats

    return float(stats.t.isf(0.5 * SIGNIFICANCE / max(comparisons, 1), runs - 1))


def uncertain(error: Array, result: xarray.Dataset) -> NDArray[np.bool_]:
    """Where runs differ: nothing is tested where all are equal, as at the start."""
    scale = max(1.0, float(np.max(np.abs(result["Q"].values))))
    return np.asarray(~(error <= ROUNDING * scale))


def judged(
    prefix: str,
    result: xarray.Dataset,
    names: Sequence[str],
    tested: NDArray[np.bool_],
    z: Array,
    runs: int,
) -> dict[str, Any]:
    """The largest of the deviations z at the tested places (alpha, observable), as attributes."""
    everywhere = np.zeros(tested.shape)
    everywhere[tested] = z
    time, observable = map(int, np.unravel_index(int(np.argmax(everywhere)), tested.shape))
    return {
        f"{prefix}deviation": float(everywhere[time, observable]),
        f"{prefix}allowed": allowed_deviation(z.size, runs),
        f"{prefix}comparisons": int(z.size),
        f"{prefix}where": f"{names[observable]} at alpha = {float(result['alpha'].values[time]):g}",
    }
