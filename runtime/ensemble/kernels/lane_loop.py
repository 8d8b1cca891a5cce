"""The compiled loop over the lanes of vector code: it starts and ends trajectories, and finds events.

All steps and outputs of trajectories are the kernels' work; this loop has no arithmetic of its own. It
looks at the lanes that need attention, finds the time at which a loss crossed the threshold, and gives
a lane that has finished the next trajectory. No lane ever reads another one, so a trajectory's numbers
do not depend on its neighbours. One loop serves all systems.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from runtime.ensemble.kernels import lane_memory as at
from runtime.ensemble.kernels.kernel_addresses import KERNEL_ADDRESSES
from runtime.system.compilation import kernel
from runtime.trajectory.controller import BLOW_UP, DIVERGED, FINISHED, RUNNING, STEP_TOO_SMALL

# What `run_chunk` is asked to do.
CHUNK = np.dtype(
    [
        # Trajectories `first` … `last` − 1 are integrated.
        ("first", np.int64),
        ("last", np.int64),
        # Components of the lanes' memory where parameters and state start.
        ("parameters_at", np.int64),
        ("state_at", np.int64),
        ("rtol", np.float64),
        ("atol", np.float64),
        # Growth of the largest order parameter that counts as divergence.
        ("growth", np.float64),
        # With `watched`, a trajectory ends where its loss comes down to the threshold, and with
        # `keep_events` its state there is written to its first row.
        ("watched", np.int64),
        ("keep_events", np.int64),
        ("threshold", np.float64),
        # Which outputs are written: one of the values of WRITER in `lane_memory`.
        ("writer", np.int64),
        # Rows of states per trajectory.
        ("rows", np.int64),
        # Addresses of the states (trajectory, rows, n), the losses (trajectory, output), the output
        # times, and n doubles that nobody reads.
        ("states_address", np.int64),
        ("losses_address", np.int64),
        ("times_address", np.int64),
        ("spare_address", np.int64),
    ]
)
# How a trajectory ended.
OUTCOME = np.dtype(
    [
        # The time it reached: that of the event, if it ended in one.
        ("end", np.float64),
        ("accepted", np.int64),
        ("rejected", np.int64),
        ("status", np.int64),
        # 1 if its loss came down to the threshold.
        ("crossed", np.int64),
    ]
)
# An event is located to this part of a step, which is rounding. Secants take about ten turns and
# bisection takes fifty.
_RESOLUTION = 2.0**-50
_SECANTS, _BISECTIONS = 20, 50
_NEVER = 1e300
# Error scales fit into single precision, with room for divergence, within these limits.
_SMALLEST_SCALE, _LARGEST_STATE = 1e-30, 1e20
_BYTES = 8

_vector = types.float64[::1]
_matrix = types.float64[:, ::1]
_addresses = numba.from_dtype(KERNEL_ADDRESSES)
_chunk = numba.from_dtype(CHUNK)
_outcomes = types.Array(numba.from_dtype(OUTCOME), 1, "C")
_integers = types.int64[::1]


def _emit_call(_typing: Any, _function: Any, _address: Any) -> Any:
    """Call the vector kernel at an address with the lanes' memory at another."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        pointer = builder.inttoptr(arguments[0], ir.FunctionType(word, [word]).as_pointer())
        return builder.call(pointer, [arguments[1]])

    return types.int64(types.int64, types.intp), emit


_call: Any = intrinsic(_emit_call)


@kernel(types.void(_addresses, _matrix, _vector))
def _locate(kernels, work, fraction):
    """Find θ where the loss crosses the threshold, in all lanes at once whose LIMIT is not negative.

    Secants of the Illinois method (M. Dowell and P. Jarratt, BIT 11, 168 (1971)) come first, kept half a
    resolution away from the ends of the bracket so that both ends close in. Bisection follows where
    the loss is too crooked for them.
    """
    lanes, address = work.shape[1], work.ctypes.data
    low = np.zeros(lanes)
    above, below = np.empty(lanes), np.empty(lanes)
    moved = np.zeros(lanes, dtype=np.int64)
    for lane in range(lanes):
        fraction[lane] = 1.0
        work[at.THETA, lane] = 0.0
    _call(kernels.evaluate, address)
    _call(kernels.loss, address)
    for lane in range(lanes):
        threshold = work[at.THRESHOLD, lane]
        above[lane] = work[at.LOSS, lane] - threshold
        below[lane] = work[at.NEW_LOSS, lane] - threshold
    for turn in range(_SECANTS + _BISECTIONS):
        searching = False
        for lane in range(lanes):
            start, end = low[lane], fraction[lane]
            if work[at.LIMIT, lane] < 0.0 or end - start <= _RESOLUTION:
                continue
            searching = True
            middle = 0.5 * (start + end)
            if turn < _SECANTS:
                secant = end - (end - start) * below[lane] / (below[lane] - above[lane])
                # The secant is no number where a loss is not finite.
                if start <= secant <= end:
                    middle = max(start + 0.5 * _RESOLUTION, min(secant, end - 0.5 * _RESOLUTION))
            work[at.THETA, lane] = middle
        if not searching:
            return
        _call(kernels.evaluate, address)
        _call(kernels.loss, address)
        for lane in range(lanes):
            if work[at.LIMIT, lane] < 0.0 or fraction[lane] - low[lane] <= _RESOLUTION:
                continue
            middle = work[at.THETA, lane]
            height = work[at.LOSS, lane] - work[at.THRESHOLD, lane]
            # The height of an end that stays twice is halved, or it might stay for ever.
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


@kernel(types.void(_addresses, _matrix, types.int64, types.int64, _matrix, _matrix, _vector))
def evaluate_losses(kernels, work, parameters_at, state_at, states, parameters, losses):
    """losses[k] = the loss at states[k]; the kernel reads the state at the component `state_at`."""
    lanes, count = work.shape[1], losses.size
    for first in range(0, count, lanes):
        for lane in range(lanes):
            k = min(first + lane, count - 1)
            row = k if parameters.shape[0] > 1 else 0
            for c in range(states.shape[1]):
                work[state_at + c, lane] = states[k, c]
            for c in range(parameters.shape[1]):
                work[parameters_at + c, lane] = parameters[row, c]
        _call(kernels.loss, work.ctypes.data)
        for lane in range(min(lanes, count - first)):
            losses[first + lane] = work[at.LOSS, lane]


@kernel(types.int64(_addresses, _matrix, _chunk, _matrix, _matrix, _vector, _outcomes, _integers))
def run_chunk(kernels, work, chunk, initial, parameters, times, outcomes, cancel):
    """Integrate the trajectories of a chunk; returns 1 if cancel[0] was set, else 0.

    kernels
        Addresses of the kernels.
    work
        The lanes' memory (component, lane), aligned.
    chunk
        What is to be done, see CHUNK.
    initial, parameters
        Packed states (trajectory, n); packed parameters, one row for all or one per trajectory.
    times
        Output times, followed by one that is never reached.
    outcomes
        Receives how each trajectory ended, see OUTCOME.
    """
    lanes, n = work.shape[1], initial.shape[1]
    address = work.ctypes.data
    # The same memory as integers, for addresses.
    words = work.view(np.int64)
    outputs = times.size - 1
    t_end = times[outputs - 1]
    watched, keep_events = chunk.watched != 0, chunk.keep_events != 0
    at_start = times[0] <= 0.0
    following, active = chunk.first, 0
    trajectory = np.full(lanes, -1, dtype=np.int64)
    free = np.ones(lanes, dtype=np.bool_)
    fraction = np.zeros(lanes)

    for lane in range(lanes):
        work[at.RTOL, lane] = chunk.rtol
        work[at.ATOL, lane] = chunk.atol
        work[at.THRESHOLD, lane] = chunk.threshold
        work[at.TIME_END, lane] = t_end
        work[at.STEP, lane] = t_end
        words[at.WRITER, lane] = chunk.writer
        words[at.SPARE, lane] = chunk.spare_address

    refill = True
    while True:
        if refill:
            refill = False
            for lane in range(lanes):
                work[at.LIMIT, lane] = -1.0
                if not free[lane]:
                    continue
                free[lane] = False
                k = following if following < chunk.last else -1
                trajectory[lane] = k
                # An idle lane gets a state too, since its arithmetic goes on with steps of zero.
                source = k if k >= 0 else chunk.first
                row = source if parameters.shape[0] > 1 else 0
                largest = 1.0
                for c in range(n):
                    work[chunk.state_at + c, lane] = initial[source, c]
                    largest = max(largest, abs(initial[source, c]))
                for c in range(parameters.shape[1]):
                    work[chunk.parameters_at + c, lane] = parameters[row, c]
                work[at.TIME, lane] = 0.0
                work[at.NEW_TIME, lane] = -1.0
                work[at.BOUND, lane] = chunk.growth * largest
                rough = chunk.atol >= _SMALLEST_SCALE and largest <= _LARGEST_STATE
                work[at.EXACT, lane] = 0.0 if rough else 1.0
                work[at.FRESH, lane] = 1.0
                work[at.LIVE, lane] = 0.0
                work[at.NEXT_OUTPUT, lane] = _NEVER
                if k >= 0:
                    following += 1
                    active += 1
                    work[at.LIVE, lane] = 1.0
                    work[at.NEXT_OUTPUT, lane] = times[0]
                    work[at.LIMIT, lane] = 0.0
                    words[at.ROW, lane] = chunk.states_address + k * chunk.rows * n * _BYTES
                    words[at.LOSS_ROW, lane] = chunk.losses_address + k * outputs * _BYTES
                    words[at.POSITION, lane] = chunk.times_address
            if active == 0:
                return 0
            if watched:
                # A trajectory whose loss is low enough at its start ends there.
                for lane in range(lanes):
                    work[at.THETA, lane] = 0.0
                    words[at.PLACE, lane] = chunk.spare_address
                _call(kernels.evaluate, address)
                _call(kernels.loss, address)
                for lane in range(lanes):
                    k = trajectory[lane]
                    if k < 0 or work[at.FRESH, lane] < 0.5:
                        continue
                    if work[at.LOSS, lane] <= chunk.threshold:
                        outcomes[k].crossed = 1
                        outcomes[k].status = FINISHED
                        outcomes[k].end = 0.0
                        free[lane] = True
                        refill = True
                        active -= 1
                        if keep_events:
                            words[at.PLACE, lane] = words[at.ROW, lane]
                if keep_events:
                    _call(kernels.scatter, address)
            if at_start:
                _call(kernels.write, address)
            if t_end <= 0.0:
                # Nothing but the start is asked for.
                for lane in range(lanes):
                    k = trajectory[lane]
                    if k >= 0 and not free[lane]:
                        outcomes[k].end = 0.0
                        outcomes[k].status = FINISHED
                        free[lane] = True
                        refill = True
                        active -= 1
            if refill:
                continue
            _call(kernels.start, address)

        if cancel[0]:
            return 1
        bits = _call(kernels.watch if watched else kernels.advance, address)

        if bits == 0:
            continue

        # Outputs up to an event are not written yet, since its time is found only here; the lanes
        # without an event have written theirs.
        crossed = False
        if watched:
            for lane in range(lanes):
                work[at.LIMIT, lane] = -1.0
                if (bits >> lane) & 1 and work[at.CROSSED, lane] > 0.5:
                    work[at.LIMIT, lane] = work[at.NEW_TIME, lane]
                    crossed = True
        if crossed:
            _call(kernels.dense, address)
            _locate(kernels, work, fraction)
            for lane in range(lanes):
                limit = work[at.LIMIT, lane]
                if limit >= 0.0:
                    t, h = work[at.TIME, lane], work[at.ATTEMPTED, lane]
                    work[at.LIMIT, lane] = min(limit, t + fraction[lane] * h)
            if keep_events:
                for lane in range(lanes):
                    work[at.THETA, lane] = fraction[lane]
                    words[at.PLACE, lane] = chunk.spare_address
                    if work[at.LIMIT, lane] >= 0.0:
                        words[at.PLACE, lane] = words[at.ROW, lane]
                _call(kernels.evaluate, address)
                _call(kernels.scatter, address)
            _call(kernels.write, address)

        _call(kernels.commit, address)
        for lane in range(lanes):
            if not (bits >> lane) & 1:
                continue
            status = RUNNING
            reached = work[at.TIME, lane]
            event = False
            if work[at.ACCEPTED, lane] > 0.5:
                if watched and work[at.CROSSED, lane] > 0.5:
                    status, event, reached = FINISHED, True, work[at.LIMIT, lane]
                elif not work[at.LARGEST, lane] <= work[at.BOUND, lane]:
                    status = DIVERGED
                elif reached >= t_end:
                    status = FINISHED
            if status == RUNNING and work[at.STUCK, lane] > 0.5:
                grown = not work[at.LARGEST, lane] <= BLOW_UP * work[at.BOUND, lane]
                blown = grown or work[at.NOT_FINITE, lane] > 0.5
                status = DIVERGED if blown else STEP_TOO_SMALL
            if status != RUNNING:
                k = trajectory[lane]
                outcomes[k].end = reached
                failed = int(work[at.REJECTIONS, lane])
                outcomes[k].accepted = int(work[at.ATTEMPTS, lane]) - failed
                outcomes[k].rejected = failed
                outcomes[k].status = status
                outcomes[k].crossed = 1 if event else 0
                free[lane] = True
                refill = True
                active -= 1
