"""The compiled stepper: adaptive steps of any explicit Runge-Kutta method for any right-hand side.

The whole state of a trajectory is in arrays that the caller owns, so the loop can stop after a number of
steps (to look at signals) and be resumed.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from runtime.system.compilation import RIGHT_HAND_SIDE, kernel

# Whether and how a trajectory has ended: what `advance` returns.
RUNNING, FINISHED, DIVERGED, STEP_TOO_SMALL = 0, 1, 2, 3

# Where a trajectory is, and what it has cost.
POSITION = np.dtype(
    [
        # The time that is reached, and the size of the next step.
        ("time", np.float64),
        ("step", np.float64),
        # The error of the last accepted step, in units of the tolerance; 1 before the first.
        ("last_error", np.float64),
        ("next_output", np.int64),
        ("accepted", np.int64),
        ("rejected", np.int64),
        ("evaluations", np.int64),
        # Whether the step before was rejected, and whether that was because its error was not finite.
        ("failed_before", np.int64),
        ("not_finite", np.int64),
    ]
)

EPSILON = np.finfo(np.float64).eps
# Steps below this many units of rounding of the time no longer resolve anything.
SMALLEST_STEP = 16.0
# An end beyond this time counts as this time, so that it does not make the smallest first steps longer.
FAR_END = 1e10
# Where a state has grown to this part of what counts as divergence and steps vanish, the solution blows up.
BLOW_UP = 1e-3
SAFETY = 0.9
SHRINK, GROW = 0.2, 6.0
SHRINK_NOT_FINITE = 0.1
# A proportional-integral controller (K. Gustafsson, ACM TOMS 17, 533 (1991)).
PROPORTIONAL, INTEGRAL = 0.7, 0.4
SMALLEST_ERROR = 1e-10
# The weight of the squared lower estimate in the denominator of an error (see `tableau`).
LOW_SHARE = 0.01

_vector = types.float64[::1]
_matrix = types.float64[:, ::1]
_function = types.FunctionType(RIGHT_HAND_SIDE)
# Tableaux are read-only arrays, which Numba types as such.
_weights = types.Array(types.float64, 1, "C", readonly=True)
_position = numba.from_dtype(POSITION)
_coefficients = types.Array(types.float64, 2, "C", readonly=True)


@kernel(types.float64(_vector, _vector, _vector, types.float64, types.float64))
def _scaled_norm(x, y, y_new, rtol, atol):
    """Root mean square of x in units of the tolerance at y and y_new."""
    total = 0.0
    for i in range(x.size):
        scale = atol + rtol * max(abs(y[i]), abs(y_new[i]))
        total += (x[i] / scale) ** 2
    return np.sqrt(total / x.size)


@kernel(types.void(types.float64, _weights, _matrix, _vector))
def _combine(h, weights, slopes, result):
    """result = h Σ weights_j slopes_j."""
    result[:] = 0.0
    for j in range(weights.size):
        if weights[j] != 0.0:
            x = h * weights[j]
            for i in range(result.size):
                result[i] += x * slopes[j, i]


@kernel(
    types.float64(
        _function, _vector, _vector, _matrix, types.int64, types.float64, types.float64, types.float64
    )
)
def first_step(rhs, parameters, y, work, order, rtol, atol, span):
    """A first step size (E. Hairer, S. P. Nørsett, G. Wanner, Solving ODEs I, sec. II.4).

    The slope at y must be in work[0]; work[1] and work[2] are overwritten. It takes one evaluation. The
    result is NaN if the slope is not finite in units of the tolerance, since no step is possible then.
    """
    slope, trial, change = work[0], work[1], work[2]
    size = _scaled_norm(y, y, y, rtol, atol)
    speed = _scaled_norm(slope, y, y, rtol, atol)
    if not np.isfinite(speed):
        return np.nan
    h = 1e-6 if size < 1e-5 or speed < 1e-5 else 0.01 * size / speed
    h = min(h, span)
    for i in range(y.size):
        trial[i] = y[i] + h * slope[i]
    rhs(trial, parameters, change)
    for i in range(y.size):
        change[i] -= slope[i]
    curvature = _scaled_norm(change, y, y, rtol, atol) / h
    steepest = max(speed, curvature)
    if not np.isfinite(steepest):
        return h
    second = max(1e-6, 1e-3 * h) if steepest <= 1e-15 else (0.01 / steepest) ** (1.0 / (order + 1))
    return min(100.0 * h, second, span)


@kernel(
    types.int64(
        _function,
        _vector,
        _coefficients,
        _weights,
        _weights,
        _weights,
        _coefficients,
        _coefficients,
        types.int64,
        types.float64,
        types.float64,
        types.float64,
        _vector,
        _vector,
        _position,
        _matrix,
        _matrix,
        types.int64,
    )
)
def advance(
    rhs,
    parameters,
    a,
    b,
    e,
    e_low,
    extra,
    p,
    error_order,
    rtol,
    atol,
    bound,
    y,
    times,
    position,
    outputs,
    work,
    max_steps,
):
    """Take up to `max_steps` steps; returns RUNNING or how the trajectory ended.

    `y`, `position` and `work` carry the state: work[j] is the slope k_j, and work[0] must hold
    the slope at y; after all slopes come two trial states. For each times[k] that is passed, outputs[k] is
    written; times ascend, and the last one is hit exactly.

    Arrays are copied entry by entry: an assignment of slices would take Numba seconds to compile, for the
    words of an error that cannot occur.
    """
    stages = b.size
    n = y.size
    last = times.size - 1
    t_end = times[last]
    slopes = p.shape[0]
    y_new, trial = work[slopes], work[slopes + 1]
    exponent = 1.0 / (error_order + 1)
    needs_end_slope = e[stages] != 0.0

    while position.next_output <= last and times[position.next_output] <= position.time:
        for i in range(n):
            outputs[position.next_output, i] = y[i]
        position.next_output += 1

    for _ in range(max_steps):
        t = position.time
        if t >= t_end:
            return FINISHED
        h = position.step
        # The comparison is negated so that a step that is NaN ends here too.
        if not h > SMALLEST_STEP * EPSILON * max(t, EPSILON * min(t_end, FAR_END)):
            grown = False
            for i in range(n):
                # The comparison is negated so that NaN has grown too.
                grown = grown or not abs(y[i]) <= BLOW_UP * bound
            return DIVERGED if position.not_finite or np.isnan(h) or grown else STEP_TOO_SMALL
        # A step that ends just before the end is stretched, so that no sliver of a step remains.
        final = t + 1.0000001 * h >= t_end
        if final:
            h = t_end - t

        for s in range(1, stages):
            for i in range(n):
                y_new[i] = y[i]
            for j in range(s):
                if a[s, j] != 0.0:
                    x = h * a[s, j]
                    for i in range(n):
                        y_new[i] += x * work[j, i]
            rhs(y_new, parameters, work[s])
        for i in range(n):
            y_new[i] = y[i]
        for j in range(stages):
            if b[j] != 0.0:
                x = h * b[j]
                for i in range(n):
                    y_new[i] += x * work[j, i]
        position.evaluations += stages - 1
        if needs_end_slope:
            rhs(y_new, parameters, work[stages])
            position.evaluations += 1

        _combine(h, e, work, trial)
        error = _scaled_norm(trial, y, y_new, rtol, atol)
        if e_low.size > 0 and error > 0.0:
            _combine(h, e_low, work, trial)
            low = _scaled_norm(trial, y, y_new, rtol, atol)
            error /= np.sqrt(1.0 + LOW_SHARE * (low / error) ** 2)

        # The comparison is negated so that NaN is rejected too.
        if not error <= 1.0:
            position.rejected += 1
            position.failed_before = 1
            if np.isfinite(error):
                position.not_finite = 0
                position.step = h * max(SHRINK, SAFETY * error**-exponent)
            else:
                position.not_finite = 1
                position.step = h * SHRINK_NOT_FINITE
            continue

        if not needs_end_slope:
            rhs(y_new, parameters, work[stages])
            position.evaluations += 1
        t_new = t_end if final else t + h
        if position.next_output <= last and times[position.next_output] < t_new:
            for m in range(extra.shape[0]):
                _combine(h, extra[m], work, trial)
                for i in range(n):
                    trial[i] += y[i]
                rhs(trial, parameters, work[stages + 1 + m])
                position.evaluations += 1
        while position.next_output <= last and times[position.next_output] <= t_new:
            k = position.next_output
            if times[k] == t_new:
                for i in range(n):
                    outputs[k, i] = y_new[i]
            else:
                theta = (times[k] - t) / h
                for i in range(n):
                    outputs[k, i] = y[i]
                for j in range(slopes):
                    weight = 0.0
                    for m in range(p.shape[1] - 1, -1, -1):
                        weight = (weight + p[j, m]) * theta
                    if weight != 0.0:
                        x = h * weight
                        for i in range(n):
                            outputs[k, i] += x * work[j, i]
            position.next_output += 1

        largest = 0.0
        for i in range(n):
            y[i] = y_new[i]
            work[0, i] = work[stages, i]
            largest = max(largest, abs(y[i]))
        position.time = t_new
        position.accepted += 1
        position.not_finite = 0
        if not largest <= bound:
            return DIVERGED

        error = max(error, SMALLEST_ERROR)
        factor = SAFETY * error ** (-PROPORTIONAL * exponent) * position.last_error ** (INTEGRAL * exponent)
        factor = min(GROW, max(SHRINK, factor))
        if position.failed_before:
            factor = min(factor, 1.0)
            position.failed_before = 0
        if not final or factor < 1.0:
            position.step = h * factor
        position.last_error = error
    return FINISHED if position.time >= t_end else RUNNING
