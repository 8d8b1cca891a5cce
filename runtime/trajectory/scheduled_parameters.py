"""The packed parameters of a run as the compiled stepper holds them, and how a schedule changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from numba import types

from runtime.start.schedule_kinds import CONSTANT
from runtime.system.compilation import inlined, part
from runtime.trajectory.schedule_rule import schedule_factor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from runtime.start.checked_arrays import Array


class ScheduledParameters(NamedTuple):
    """The packed parameters (k,) of a run, or of a stretch of it without jumps.

    now
        What the right-hand side and the loss take.
    initial
        Their values at g = 1, where g is the factor of the learning rates.
    places
        Which of them g multiplies.
    kind, scale
        The schedule, as `schedule_rule` knows it. With kind CONSTANT, `now` stays as it is.
    """

    now: Array
    initial: Array
    places: NDArray[np.int64]
    kind: int
    scale: float


_vector = types.float64[::1]
_named_tuple: Any = types.NamedTuple
SCHEDULED_PARAMETERS = _named_tuple(
    (_vector, _vector, types.int64[::1], types.int64, types.float64), ScheduledParameters
)


@part
def _set_rates(parameters, time):
    factor = schedule_factor(parameters.kind, time / parameters.scale)
    for k in range(parameters.places.size):
        place = parameters.places[k]
        parameters.now[place] = factor * parameters.initial[place]


@inlined
def parameters_at(parameters, time, end):
    """The parameters that the right-hand side takes at a time, which counts as the end if it is later."""
    if parameters.kind != CONSTANT:
        _set_rates(parameters, min(time, end))
    return parameters.now
