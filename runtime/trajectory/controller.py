"""The rules of adaptive steps, stated once for the scalar stepper and the vector kernels.

A rule acts on values through the operations `do`. Numba compiles it with those of one number, in
`number_operations`. The emitter of vector code traces it, by `over`, with those of vectors of lanes. Each
of them rounds in its own way: the vector code keeps errors as logarithms.

The step is controlled by a proportional-integral controller (K. Gustafsson, ACM TOMS 17, 533 (1991)). The
error of a step is the root mean square of its estimate in units of atol + rtol · max(|y|, |y_new|). A
method with a second estimate of lower order has the error E² / √(E² + LOW_SHARE · L²) (E. Hairer,
S. P. Nørsett, G. Wanner, Solving ODEs I, sec. II.10). A step is accepted if its error is at most 1.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from runtime.system.compilation import part
from runtime.trajectory import number_operations as do

# Whether and how a trajectory has ended.
RUNNING, FINISHED, DIVERGED, STEP_TOO_SMALL = 0, 1, 2, 3

EPSILON = np.finfo(np.float64).eps
# Steps below this many units of rounding of the time no longer resolve anything.
SMALLEST_STEP = 16.0
# An end beyond this time counts as this time, so that it does not make the smallest first steps longer.
FAR_END = 1e10
# A step that ends just before the end is stretched up to this much, so that no sliver of a step remains.
STRETCH = 1.0000001
# Where a state has grown to this part of what counts as divergence and steps vanish, the solution blows up.
# Steep drifts have a smaller one of their own, see `solver.blow_up_of`.
BLOW_UP = 1e-3
SAFETY = 0.9
SHRINK, GROW = 0.2, 6.0
SHRINK_NOT_FINITE = 0.1
PROPORTIONAL, INTEGRAL = 0.7, 0.4
# Errors below this count as this.
SMALLEST_ERROR = 1e-10
# The weight of the squared lower estimate in the denominator of an error.
LOW_SHARE = 0.01


@part
def attempted_step(time, step, end):
    """The size of the step to try, and whether it is the final one, which ends at `end` exactly."""
    final = do.reaches(time, STRETCH, step, end)
    return do.select(final, do.subtract(end, time), step), final


@part
def step_factor(error, last_error, accepted, failed_before, finite, exponent):
    """How many times the tried step the next one is.

    error, last_error
        Of the tried step, and of the last accepted one; at least SMALLEST_ERROR.
    accepted, failed_before, finite
        Whether the step is accepted, whether the one before was rejected, and whether its error is finite.
    exponent
        1 / (error_order + 1), since an error scales as the step to the power error_order + 1.
    """
    power = do.select(accepted, -PROPORTIONAL * exponent, -exponent)
    last_power = do.select(accepted, INTEGRAL * exponent, 0.0)
    factor = do.maximum(do.powers(SAFETY, error, power, last_error, last_power), SHRINK)
    factor = do.minimum(factor, do.select(failed_before, 1.0, GROW))
    return do.select(finite, factor, SHRINK_NOT_FINITE)


@part
def smallest_step(time, end):
    """A step of this size or less has vanished: the trajectory ends there, for the reason `why_stuck`."""
    shortest = do.multiply(EPSILON, do.minimum(end, FAR_END))
    return do.multiply(SMALLEST_STEP * EPSILON, do.maximum(time, shortest))


@part
def why_stuck(grown, not_finite):
    """How a trajectory ended whose steps vanish.

    `grown` says whether an order parameter is not within the part `blow_up` of what counts as divergence,
    and `not_finite` whether the last step led to a value that is not finite.
    """
    return DIVERGED if grown or not_finite else STEP_TOO_SMALL


def over(operations: Any, rule: Any) -> Callable[..., Any]:
    """A rule of this module or of `event_search` over other values, whose `operations` replace `do`."""
    function = rule.py_func
    return FunctionType(function.__code__, {**function.__globals__, "do": operations})
