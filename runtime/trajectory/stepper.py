"""The compiled stepper: adaptive steps of any explicit Runge-Kutta method for any right-hand side.

The whole state of a trajectory is in arrays that the caller owns, so the loop can stop after a number of
steps (to look at signals) and be resumed. `watched_stepper` has the loop that looks for events too.

Arrays are copied entry by entry: an assignment of slices would take Numba seconds to compile, for the
words of an error that cannot occur.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
from numba import types

from runtime.start.schedule_kinds import CONSTANT
from runtime.system.compilation import RIGHT_HAND_SIDE, inlined, kernel, part
from runtime.trajectory.controller import (
    BLOW_UP,
    DIVERGED,
    FINISHED,
    LOW_SHARE,
    RUNNING,
    SMALLEST_ERROR,
    attempted_step,
    smallest_step,
    step_factor,
    why_stuck,
)
from runtime.trajectory.event_search import SEARCH
from runtime.trajectory.scheduled_parameters import set_rates
from runtime.trajectory.tableaux.tableau import COEFFICIENTS, MOST_SLOPES

if TYPE_CHECKING:
    from runtime.start.checked_arrays import Array


# Where a trajectory is, and what it has cost.
POSITION = np.dtype(
    [
        # Whether the run, or its stretch without jumps, has begun.
        ("begun", np.int64),
        # The time that is reached, and the size of the next step.
        ("time", np.float64),
        ("step", np.float64),
        # The step that was tried last, and the time at its end.
        ("tried", np.float64),
        ("new_time", np.float64),
        # The error of the last accepted step, in units of the tolerance; 1 before the first.
        ("last_error", np.float64),
        # In runs that look for events, the losses of the state and at the end of the tried step, whether
        # the loss has come down to the limit, and the search for the place where it does.
        ("loss", np.float64),
        ("new_loss", np.float64),
        ("crossed", np.int64),
        ("search", SEARCH),
        ("next_output", np.int64),
        ("accepted", np.int64),
        ("rejected", np.int64),
        ("evaluations", np.int64),
        # Whether the step before was rejected, and whether that was because its error was not finite.
        ("failed_before", np.int64),
        ("not_finite", np.int64),
        # Whether the slopes that only dense output needs belong to the tried step.
        ("dense", np.int64),
        # The weights of the slopes at a place inside the tried step. They are a matrix of one row, since
        # Numba would give a vector another type than a row of a tableau, and compile `move` once more.
        ("weights", np.float64, (1, MOST_SLOPES)),
    ]
)


class Limits(NamedTuple):
    """When a step is accepted, when a trajectory ends, and how its parameters change.

    rtol, atol
        Tolerances.
    bound
        The trajectory has diverged when an entry grows beyond this.
    stop_loss
        It ends where its loss comes down to this, if events are looked for.
    steps
        The largest number of steps of one call.
    end
        The time at which the integration ends.
    kind, scale
        The schedule of the parameters, as `schedule_rule` knows it.
    blow_up
        The part of the bound from which on a solution whose steps vanish has diverged.
    """

    rtol: float
    atol: float
    bound: float
    stop_loss: float
    steps: int
    end: float
    kind: int
    scale: float
    blow_up: float = BLOW_UP


class Memory(NamedTuple):
    """The arrays of a trajectory.

    y
        The state (n,).
    work
        Slopes and states (slopes + 3, n): work[j] is the slope k_j, where k_0 is that of `y`; then come
        the new state, a state inside the step, and zeros.
    times, outputs
        Ascending output times (m,), and the states there (m, n).
    """

    y: Array
    work: Array
    times: Array
    outputs: Array


_vector = types.float64[::1]
_matrix = types.float64[:, ::1]
_coefficients = numba.from_dtype(COEFFICIENTS)
_named_tuple: Any = types.NamedTuple
_limits = _named_tuple(
    (types.float64,) * 4 + (types.int64, types.float64, types.int64) + (types.float64,) * 2, Limits
)
_memory = _named_tuple((_vector, _matrix, _vector, _matrix), Memory)
_position = numba.from_dtype(POSITION)
# What the loops are compiled for, from the parameters on.
STEPPING = (_matrix, _coefficients, _limits, _memory, _position)
FUNCTION = types.FunctionType(RIGHT_HAND_SIDE)


@part
def _scaled_norm(x, y, y_new, rtol, atol):
    """Root mean square of x in units of the tolerance at y and y_new."""
    total = 0.0
    for i in range(x.size):
        scale = atol + rtol * max(abs(y[i]), abs(y_new[i]))
        total += (x[i] / scale) ** 2
    return np.sqrt(total / x.size)


@part
def copy(source, target):
    for i in range(target.size):
        target[i] = source[i]


@part
def move(start, h, weights, count, slopes, target):
    """target = start + h Σ weights_j slopes_j, over the first `count` slopes."""
    for i in range(target.size):
        target[i] = start[i]
    for j in range(count):
        if weights[j] != 0.0:
            x = h * weights[j]
            for i in range(target.size):
                target[i] += x * slopes[j, i]


@inlined
def _slope(rhs, parameters, time, limits, y, dy):
    """The slope of the state y at a time, which rounding must not take beyond the end."""
    if limits.kind != CONSTANT:
        set_rates(parameters, limits.kind, min(time, limits.end) / limits.scale)
    rhs(y, parameters[0], dy)


@inlined
def _first_step(rhs, parameters, method, limits, memory, time):
    """A first step size (E. Hairer, S. P. Nørsett, G. Wanner, Solving ODEs I, sec. II.4).

    The slope at the state must be in work[0]; work[1] and work[2] are overwritten. It takes one
    evaluation. The result is NaN if the slope is not finite in units of the tolerance, since no step is
    possible then.
    """
    y, span, rtol, atol = memory.y, limits.end - time, limits.rtol, limits.atol
    slope, trial, change = memory.work[0], memory.work[1], memory.work[2]
    # Norms of the state, of the slope, and of the change of the slope in a trial step.
    size = _scaled_norm(y, y, y, rtol, atol)
    speed = _scaled_norm(slope, y, y, rtol, atol)
    if not np.isfinite(speed):
        return np.nan
    h = 1e-6 if size < 1e-5 or speed < 1e-5 else 0.01 * size / speed
    h = min(h, span)
    for i in range(y.size):
        trial[i] = y[i] + h * slope[i]
    _slope(rhs, parameters, time + h, limits, trial, change)
    for i in range(y.size):
        change[i] -= slope[i]
    curvature = _scaled_norm(change, y, y, rtol, atol) / h
    steepest = max(speed, curvature)
    if not np.isfinite(steepest):
        return h
    second = max(1e-6, 1e-3 * h) if steepest <= 1e-15 else (0.01 / steepest) ** (1.0 / (method.order + 1))
    return min(100.0 * h, second, span)


@inlined
def begin(rhs, parameters, method, limits, memory, position):
    """Before the first step: the slope of the state, the size of the step, and outputs at the start."""
    _slope(rhs, parameters, position.time, limits, memory.y, memory.work[0])
    position.evaluations += 1
    position.begun = 1
    position.last_error = 1.0
    # A single output at the start needs no step.
    if limits.end > position.time:
        position.step = _first_step(rhs, parameters, method, limits, memory, position.time)
        position.evaluations += 1
    while position.next_output < memory.times.size and memory.times[position.next_output] <= position.time:
        copy(memory.y, memory.outputs[position.next_output])
        position.next_output += 1


@part
def _within(y, bound):
    """Whether no entry of y is larger than the bound, or not a number."""
    within = True
    for i in range(y.size):
        within = within and abs(y[i]) <= bound
    return within


@inlined
def status_at(limits, memory, position):
    """RUNNING, or how the trajectory has ended where it is."""
    end = limits.end
    if position.time >= end:
        return FINISHED
    # The comparison is negated so that a step that is NaN ends here too.
    if not position.step > smallest_step(position.time, end):
        grown = not _within(memory.y, limits.blow_up * limits.bound)
        return why_stuck(grown, position.not_finite != 0 or np.isnan(position.step))
    return RUNNING


@inlined
def _make_step(rhs, parameters, method, limits, memory, position):
    """The slopes and the new state of the tried step; returns its error."""
    h, y, work = position.tried, memory.y, memory.work
    y_new, trial, zeros = work[method.slopes], work[method.slopes + 1], work[method.slopes + 2]
    # The state after all stages is that of one more.
    for s in range(1, method.stages + 1):
        move(y, h, method.a[s], s, work, y_new)
        if s < method.stages or method.ends != 0:
            _slope(rhs, parameters, position.time + h * method.c[s], limits, y_new, work[s])
            position.evaluations += 1
    error = 0.0
    for k in range(method.estimates):
        move(zeros, h, method.e[k], method.stages + 1, work, trial)
        estimate = _scaled_norm(trial, y, y_new, limits.rtol, limits.atol)
        if k == 0:
            error = estimate
        elif error > 0.0:
            error /= np.sqrt(1.0 + LOW_SHARE * (estimate / error) ** 2)
    return error


@inlined
def try_step(rhs, parameters, method, limits, memory, position):
    """Try a step and choose the next one; returns whether it is accepted.

    Then `position.new_time` is the time at its end, and the state and the slope there are in the memory.
    """
    end = limits.end
    h, final = attempted_step(position.time, position.step, end)
    position.tried, position.dense = h, 0
    error = _make_step(rhs, parameters, method, limits, memory, position)
    # NaN is rejected too.
    accepted, finite = error <= 1.0, np.isfinite(error)
    error = max(error, SMALLEST_ERROR)
    factor = step_factor(
        error, position.last_error, accepted, position.failed_before != 0, finite, method.exponent
    )
    position.failed_before = 0 if accepted else 1
    position.not_finite = 0 if finite else 1
    position.step = h * factor
    if not accepted:
        position.rejected += 1
        return False
    position.accepted += 1
    position.last_error = error
    position.new_time = end if final else position.time + h
    stages = method.stages
    if method.ends == 0:
        _slope(rhs, parameters, position.new_time, limits, memory.work[method.slopes], memory.work[stages])
        position.evaluations += 1
    return True


@inlined
def complete(rhs, parameters, method, limits, memory, position):
    """The slopes of the accepted step that only dense output needs."""
    if position.dense == 0:
        position.dense = 1
        work, trial = memory.work, memory.work[method.slopes + 1]
        for k in range(method.stages + 1, method.slopes):
            row = method.extra[k - method.stages - 1]
            move(work[method.slopes + 2], position.tried, row, k, work, trial)
            for i in range(trial.size):
                trial[i] += memory.y[i]
            time = position.time + position.tried * method.c[k]
            _slope(rhs, parameters, time, limits, trial, work[k])
            position.evaluations += 1


@part
def _polynomial(row, degree, theta):
    """Σ row_m θ^(m+1), by Horner's rule.

    LLVM fuses multiply-adds within a turn of a loop, and usually not across turns. Another number of
    powers per turn, or another LLVM, may therefore change the last bit, but nothing else.
    """
    value, m = 0.0, degree
    while m % 4 != 0:
        m -= 1
        value = (value + row[m]) * theta
    while m > 0:
        m -= 4
        value = (value + row[m + 3]) * theta
        value = (value + row[m + 2]) * theta
        value = (value + row[m + 1]) * theta
        value = (value + row[m]) * theta
    return value


@part
def interpolate(method, memory, position, theta, target):
    """The state at a place in the accepted step, from 0 to 1."""
    weights = position.weights[0]
    for j in range(method.slopes):
        weights[j] = _polynomial(method.p[j], method.degree, theta)
    move(memory.y, position.tried, weights, method.slopes, memory.work, target)


@inlined
def write_outputs(rhs, parameters, method, limits, memory, position, limit):
    """The outputs in the accepted step up to a time."""
    times = memory.times
    while position.next_output < times.size and times[position.next_output] <= limit:
        k = position.next_output
        if times[k] == position.new_time:
            copy(memory.work[method.slopes], memory.outputs[k])
        else:
            complete(rhs, parameters, method, limits, memory, position)
            theta = (times[k] - position.time) / position.tried
            interpolate(method, memory, position, theta, memory.outputs[k])
        position.next_output += 1


@inlined
def commit(method, limits, memory, position):
    """Make the end of the accepted step the state; returns RUNNING or DIVERGED."""
    copy(memory.work[method.slopes], memory.y)
    copy(memory.work[method.stages], memory.work[0])
    position.time = position.new_time
    return RUNNING if _within(memory.y, limits.bound) else DIVERGED


@kernel(types.int64(FUNCTION, *STEPPING), makes_arrays=False)
def advance(rhs, parameters, method, limits, memory, position):
    """Take up to `limits.steps` steps; returns RUNNING or how the trajectory ended.

    The position of a new trajectory is all zeros, but for its time. For each time that is passed its output
    is written, and the end is hit exactly. From there a stretch with other parameters and another end
    starts afresh if `position.begun` is set to zero.
    """
    if position.begun == 0:
        begin(rhs, parameters, method, limits, memory, position)
    for _ in range(limits.steps):
        status = status_at(limits, memory, position)
        if status != RUNNING:
            return status
        if try_step(rhs, parameters, method, limits, memory, position):
            write_outputs(rhs, parameters, method, limits, memory, position, position.new_time)
            status = commit(method, limits, memory, position)
            if status != RUNNING:
                return status
    return FINISHED if position.time >= limits.end else RUNNING
