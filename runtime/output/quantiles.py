"""Quantiles over all trajectories, including those that ended early and have no value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def quantiles(values: Array, probabilities: Sequence[float]) -> Array:
    """Quantiles over the last axis of `values`, where NaN counts as larger than all other values.

    A quantile that would lie among NaN or infinite values is unknown, and NaN.
    """
    ordered = np.sort(values, axis=-1)
    ordered[np.isnan(ordered)] = np.inf
    places = np.asarray(probabilities) * (values.shape[-1] - 1)
    below = np.floor(places).astype(int)
    lower, upper = ordered[..., below], ordered[..., np.ceil(places).astype(int)]
    # The formula of np.quantile would multiply an infinite neighbour by zero.
    with np.errstate(invalid="ignore"):
        found = np.where(places == below, lower, lower + (upper - lower) * (places - below))
    return np.where(np.isfinite(found), found, np.nan)


def exact_quantiles(
    values: Array, stopped: NDArray[np.bool_] | None = None, probabilities: Sequence[float] = QUANTILES
) -> Array:
    """Quantiles (probability, output) of `values` (trajectory, output) over all trajectories.

    NaN of a trajectory that is `stopped`, since its loss came down to a threshold, counts as smaller than
    all other values; NaN of any other trajectory, which failed, counts as larger. A quantile that would
    lie among these is NaN.
    """
    whole = np.isfinite(values).all(axis=0)
    found = np.empty((len(probabilities), values.shape[1]))
    found[:, whole] = np.quantile(values[:, whole], probabilities, axis=0)
    if not whole.all():
        some = values[:, ~whole]
        if stopped is not None:
            some[stopped] = np.where(np.isnan(some[stopped]), -np.inf, some[stopped])
        found[:, ~whole] = quantiles(some.T, probabilities).T
    return found
