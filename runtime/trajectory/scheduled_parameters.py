"""The parameters of a run as the compiled stepper holds them, and how a schedule changes them.

They are the rows of a matrix: the parameters that the right-hand side takes at the moment, and, if the
schedule is smooth, their parts that stay and those that the factor g(α) multiplies. A constant schedule has
the first row alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from runtime.start.schedule_kinds import CONSTANT
from runtime.system.compilation import part
from runtime.trajectory.schedule_rule import schedule_factor

if TYPE_CHECKING:
    from runtime.start.checked_arrays import Array


def scheduled_parameters(packed: Array, places: Sequence[int], kind: int, factor: float) -> Array:
    """The rows (1 or 3, k) of packed parameters (k,); those at the places are multiplied by a factor."""
    now = np.array(packed, dtype=np.float64)
    if factor != 1.0:
        now[list(places)] *= factor
    if kind == CONSTANT:
        return now[None]
    multiplied = np.zeros_like(now)
    multiplied[list(places)] = now[list(places)]
    return np.stack([now, now - multiplied, multiplied])


@part
def set_rates(parameters, kind, ratio):
    """Give the learning rates their values where α is `ratio` times the τ of a smooth schedule."""
    factor = schedule_factor(kind, ratio)
    for k in range(parameters.shape[1]):
        parameters[0, k] = parameters[1, k] + factor * parameters[2, k]
