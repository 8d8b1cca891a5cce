"""The compiled driver: lanes, refills, events. One driver serves all systems.

It owns no arithmetic of the trajectories: kernels do all steps and outputs. Here lanes that
need attention get their events located, and finished ones the next trajectory. No lane ever
reads another one, so a trajectory's numbers do not depend on its neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from runtime.ensemble.kernels import lane_memory as at
from runtime.system.compile_cache import kernel
from runtime.trajectory.stepper import BLOW_UP, DIVERGED, FINISHED, RUNNING, STEP_TOO_SMALL

# Entries of `shape`.
(
    LANES,
    SIZE,
    PARAMETERS,
    PARAMETER_AT,
    STATE_AT,
    FIRST,
    LAST,
    ROWS,
    WRITER,
    WATCH,
    KEEP_EVENT,
) = range(11)
# Columns of `counts`.
ACCEPTED, REJECTED, STATUS, CROSSED = 0, 1, 2, 3
# Order of the kernels' addresses: that of kernels.KERNELS.
START, ADVANCE, WATCHFUL, COMMIT, DENSE, EVALUATE, LOSS, SCATTER, WRITE = range(9)
# An event is located to this part of a step: rounding. Secants need some ten turns, bisection 50.
_RESOLUTION = 2.0**-50
_SECANTS, _BISECTIONS = 20, 50
_NEVER = 1e300
# Within these error scales fit into single precision, with room for divergence.
_SMALLEST_SCALE, _LARGEST_STATE = 1e-30, 1e20
_BYTES = 8

_vector = types.float64[::1]
_matrix = types.float64[:, ::1]
_integers = types.int64[::1]


def _emit_call(_typing: Any, _function: Any, _address: Any) -> Any:
    """Call the vector kernel at an address with the lanes' memory at another."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        pointer = builder.inttoptr(arguments[0], ir.FunctionType(word, [word]).as_pointer())
        return builder.call(pointer, [arguments[1]])

    return types.int64(types.int64, types.intp), emit


_call: Any = intrinsic(_emit_call)


@kernel(types.void(_integers, _vector, types.intp, types.int64, _vector))
def _locate(kernels, work, address, lanes, fraction):
    """The θ where the loss crosses the threshold, all lanes at once whose LIMIT is not negative.

    Secants of the Illinois method, kept half a resolution away from the ends of the bracket so
    that both close in; then bisection, should the loss be so crooked.
    """
    low = np.zeros(lanes)
    above, below = np.empty(lanes), np.empty(lanes)
    moved = np.zeros(lanes, dtype=np.int64)
    for lane in range(lanes):
        fraction[lane] = 1.0
        work[at.THETA * lanes + lane] = 0.0
    _call(kernels[EVALUATE], address)
    _call(kernels[LOSS], address)
    for lane in range(lanes):
        threshold = work[at.THRESHOLD * lanes + lane]
        above[lane] = work[at.LOSS * lanes + lane] - threshold
        below[lane] = work[at.NEW_LOSS * lanes + lane] - threshold
    for turn in range(_SECANTS + _BISECTIONS):
        searching = False
        for lane in range(lanes):
            start, end = low[lane], fraction[lane]
            if work[at.LIMIT * lanes + lane] < 0.0 or end - start <= _RESOLUTION:
                continue
            searching = True
            middle = 0.5 * (start + end)
            if turn < _SECANTS:
                secant = end - (end - start) * below[lane] / (below[lane] - above[lane])
                # Not so where a loss is not finite.
                if start <= secant <= end:
                    middle = max(start + 0.5 * _RESOLUTION, min(secant, end - 0.5 * _RESOLUTION))
            work[at.THETA * lanes + lane] = middle
        if not searching:
            return
        _call(kernels[EVALUATE], address)
        _call(kernels[LOSS], address)
        for lane in range(lanes):
            if work[at.LIMIT * lanes + lane] < 0.0 or fraction[lane] - low[lane] <= _RESOLUTION:
                continue
            middle = work[at.THETA * lanes + lane]
            height = work[at.LOSS * lanes + lane] - work[at.THRESHOLD * lanes + lane]
            # An end that stays twice counts half: else it might stay for ever.
            if height <= 0.0:
                fraction[lane], below[lane] = middle, height
                if moved[lane] == 1:
                    above[lane] *= 0.5
                moved[lane] = 1
            else:
                low[lane], above[lane] = middle, height
                if moved[lane] == -1:
                    below[lane] *= 0.5
                moved[lane] = -1


@kernel(types.void(_integers, _vector, types.intp, _integers, _matrix, _matrix, _vector))
def evaluate_losses(kernels, work, address, shape, states, parameters, losses):
    """losses[k] = the loss at states[k]; shape is lanes, components, parameters and their places."""
    lanes, size, width, parameter, output = shape[0], shape[1], shape[2], shape[3], shape[4]
    count = losses.size
    for first in range(0, count, lanes):
        for lane in range(lanes):
            k = min(first + lane, count - 1)
            row = k if parameters.shape[0] > 1 else 0
            for c in range(size):
                work[(output + c) * lanes + lane] = states[k, c]
            for c in range(width):
                work[(parameter + c) * lanes + lane] = parameters[row, c]
        _call(kernels[LOSS], address)
        for lane in range(min(lanes, count - first)):
            losses[first + lane] = work[at.LOSS * lanes + lane]


@kernel(
    types.int64(
        _integers,
        _vector,
        _integers,
        types.intp,
        _integers,
        _matrix,
        _matrix,
        _vector,
        _vector,
        _integers,
        _vector,
        types.int64[:, ::1],
        _integers,
    )
)
def run_chunk(
    kernels,
    work,
    work_bits,
    address,
    shape,
    initial,
    parameters,
    times,
    settings,
    addresses,
    ends,
    counts,
    cancel,
):
    """Integrate the trajectories shape[FIRST] … shape[LAST] − 1.

    kernels
        Addresses of kernels in the order above.
    work, work_bits, address
        The lanes' memory, the same as integers, and where it starts.
    initial, parameters
        Packed states (trajectory, n); packed parameters, one row or one a trajectory.
    times
        Output times, followed by one that is never reached.
    settings
        rtol, atol, growth that counts as divergence, threshold of the loss.
    addresses
        Of the states (trajectory, shape[ROWS], n), the losses (trajectory, output), `times`,
        and n doubles that nobody reads.
    ends, counts
        Per trajectory: the time reached (that of the event, if the loss is watched and came
        down to the threshold), and the columns above.

    With shape[KEEP_EVENT] the state at an event is written to the trajectory's first row.
    Returns 1 if cancel[0] was set, else 0.
    """
    lanes, n = shape[LANES], shape[SIZE]
    outputs = times.size - 1
    t_end = times[outputs - 1]
    watched, keep_event = shape[WATCH] != 0, shape[KEEP_EVENT] != 0
    at_start = times[0] <= 0.0
    threshold = settings[3]
    following, active = shape[FIRST], 0
    trajectory = np.full(lanes, -1, dtype=np.int64)
    free = np.ones(lanes, dtype=np.bool_)
    fraction = np.zeros(lanes)
    state = shape[STATE_AT] * lanes

    for lane in range(lanes):
        work[at.RTOL * lanes + lane] = settings[0]
        work[at.ATOL * lanes + lane] = settings[1]
        work[at.THRESHOLD * lanes + lane] = threshold
        work[at.TIME_END * lanes + lane] = t_end
        work[at.STEP * lanes + lane] = t_end
        work_bits[at.WRITER * lanes + lane] = shape[WRITER]
        work_bits[at.DUMMY * lanes + lane] = addresses[3]

    refill = True
    while True:
        if refill:
            refill = False
            for lane in range(lanes):
                work[at.LIMIT * lanes + lane] = -1.0
                if not free[lane]:
                    continue
                free[lane] = False
                k = following if following < shape[LAST] else -1
                trajectory[lane] = k
                # Why an idle lane gets a state too: its arithmetic goes on, at a step of zero.
                source = k if k >= 0 else shape[FIRST]
                row = source if parameters.shape[0] > 1 else 0
                largest = 1.0
                for c in range(n):
                    work[state + c * lanes + lane] = initial[source, c]
                    largest = max(largest, abs(initial[source, c]))
                for c in range(shape[PARAMETERS]):
                    work[(shape[PARAMETER_AT] + c) * lanes + lane] = parameters[row, c]
                work[at.TIME * lanes + lane] = 0.0
                work[at.NEW_TIME * lanes + lane] = -1.0
                work[at.BOUND * lanes + lane] = settings[2] * largest
                rough = settings[1] >= _SMALLEST_SCALE and largest <= _LARGEST_STATE
                work[at.EXACT * lanes + lane] = 0.0 if rough else 1.0
                work[at.FRESH * lanes + lane] = 1.0
                work[at.LIVE * lanes + lane] = 0.0
                work[at.NEXT_OUTPUT * lanes + lane] = _NEVER
                if k >= 0:
                    following += 1
                    active += 1
                    work[at.LIVE * lanes + lane] = 1.0
                    work[at.NEXT_OUTPUT * lanes + lane] = times[0]
                    work[at.LIMIT * lanes + lane] = 0.0
                    work_bits[at.ROW * lanes + lane] = addresses[0] + k * shape[ROWS] * n * _BYTES
                    work_bits[at.LOSS_ROW * lanes + lane] = addresses[1] + k * outputs * _BYTES
                    work_bits[at.POSITION * lanes + lane] = addresses[2]
            if active == 0:
                return 0
            if watched:
                # A trajectory whose loss is low enough at its start ends there.
                for lane in range(lanes):
                    work[at.THETA * lanes + lane] = 0.0
                    work_bits[at.PLACE * lanes + lane] = addresses[3]
                _call(kernels[EVALUATE], address)
                _call(kernels[LOSS], address)
                for lane in range(lanes):
                    k = trajectory[lane]
                    if k < 0 or work[at.FRESH * lanes + lane] < 0.5:
                        continue
                    if work[at.LOSS * lanes + lane] <= threshold:
                        counts[k, CROSSED] = 1
                        counts[k, STATUS] = FINISHED
                        ends[k] = 0.0
                        free[lane] = True
                        refill = True
                        active -= 1
                        if keep_event:
                            work_bits[at.PLACE * lanes + lane] = work_bits[at.ROW * lanes + lane]
                if keep_event:
                    _call(kernels[SCATTER], address)
            if at_start:
                _call(kernels[WRITE], address)
            if t_end <= 0.0:
                # The start is all there is.
                for lane in range(lanes):
                    k = trajectory[lane]
                    if k >= 0 and not free[lane]:
                        ends[k] = 0.0
                        counts[k, STATUS] = FINISHED
                        free[lane] = True
                        refill = True
                        active -= 1
            if refill:
                continue
            _call(kernels[START], address)

        if cancel[0]:
            return 1
        bits = _call(kernels[WATCHFUL] if watched else kernels[ADVANCE], address)

        if bits == 0:
            continue

        # Until when the step counts of lanes with an event; the others have written what is due.
        crossed = False
        if watched:
            for lane in range(lanes):
                work[at.LIMIT * lanes + lane] = -1.0
                if (bits >> lane) & 1 and work[at.CROSSED * lanes + lane] > 0.5:
                    work[at.LIMIT * lanes + lane] = work[at.NEW_TIME * lanes + lane]
                    crossed = True
        if crossed:
            _call(kernels[DENSE], address)
            _locate(kernels, work, address, lanes, fraction)
            for lane in range(lanes):
                limit = work[at.LIMIT * lanes + lane]
                if limit >= 0.0:
                    t, h = work[at.TIME * lanes + lane], work[at.ATTEMPTED * lanes + lane]
                    work[at.LIMIT * lanes + lane] = min(limit, t + fraction[lane] * h)
            if keep_event:
                for lane in range(lanes):
                    work[at.THETA * lanes + lane] = fraction[lane]
                    work_bits[at.PLACE * lanes + lane] = addresses[3]
                    if work[at.LIMIT * lanes + lane] >= 0.0:
                        work_bits[at.PLACE * lanes + lane] = work_bits[at.ROW * lanes + lane]
                _call(kernels[EVALUATE], address)
                _call(kernels[SCATTER], address)
            _call(kernels[WRITE], address)

        _call(kernels[COMMIT], address)
        for lane in range(lanes):
            if not (bits >> lane) & 1:
                continue
            status = RUNNING
            reached = work[at.TIME * lanes + lane]
            event = False
            if work[at.ACCEPTED * lanes + lane] > 0.5:
                if watched and work[at.CROSSED * lanes + lane] > 0.5:
                    status, event, reached = FINISHED, True, work[at.LIMIT * lanes + lane]
                elif not work[at.LARGEST * lanes + lane] <= work[at.BOUND * lanes + lane]:
                    status = DIVERGED
                elif reached >= t_end:
                    status = FINISHED
            if status == RUNNING and work[at.STUCK * lanes + lane] > 0.5:
                grown = not work[at.LARGEST * lanes + lane] <= BLOW_UP * work[at.BOUND * lanes + lane]
                blown = grown or work[at.NOT_FINITE * lanes + lane] > 0.5
                status = DIVERGED if blown else STEP_TOO_SMALL
            if status != RUNNING:
                k = trajectory[lane]
                ends[k] = reached
                failed = int(work[at.REJECTIONS * lanes + lane])
                counts[k, ACCEPTED] = int(work[at.ATTEMPTS * lanes + lane]) - failed
                counts[k, REJECTED] = failed
                counts[k, STATUS] = status
                counts[k, CROSSED] = 1 if event else 0
                free[lane] = True
                refill = True
                active -= 1
