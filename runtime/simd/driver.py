"""The compiled driver: lanes, refills, outputs. One driver serves all systems.

It owns no arithmetic of the trajectories: kernels do all steps. Here lanes that need attention
get their outputs written and their events located, and finished ones the next trajectory. No
lane ever reads another one, so a trajectory's numbers do not depend on its neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from runtime.compile_cache import kernel
from runtime.simd import layout as at
from runtime.stepper import DIVERGED, FINISHED, RUNNING, STEP_TOO_SMALL

# Entries of `shape`.
(
    LANES,
    SIZE,
    PARAMETERS,
    PARAMETER_AT,
    STATE_AT,
    FIRST,
    LAST,
    KEEP_STATES,
    KEEP_LOSSES,
    WATCH,
) = range(10)
SHAPE = 10
# Values of shape[KEEP_STATES].
NO_STATES, ALL_STATES, FINAL_STATES = 0, 1, 2
# Columns of `counts`.
ACCEPTED, REJECTED, STATUS, CROSSED = 0, 1, 2, 3
# An event is located to this part of a step: 2⁻⁵⁰, rounding.
_BISECTIONS = 50
_NEVER = 1e300
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


@kernel(types.boolean(types.int64, _vector, types.int64, types.int64))
def _stepped(bits, work, lanes, lane):
    """Whether a lane needs attention for a step that was accepted."""
    return (bits >> lane) & 1 and work[at.ACCEPTED * lanes + lane] > 0.5


@kernel(types.void(types.int64, types.int64, _vector, types.intp, types.int64, _vector))
def _locate(evaluate, loss, work, address, lanes, fraction):
    """Bisect for the θ where the loss crosses the threshold, all lanes at once."""
    low = np.zeros(lanes)
    for lane in range(lanes):
        fraction[lane] = 1.0
    for _ in range(_BISECTIONS):
        for lane in range(lanes):
            work[at.THETA * lanes + lane] = 0.5 * (low[lane] + fraction[lane])
        _call(evaluate, address)
        _call(loss, address)
        for lane in range(lanes):
            middle = work[at.THETA * lanes + lane]
            if work[at.LOSS * lanes + lane] <= work[at.THRESHOLD * lanes + lane]:
                fraction[lane] = middle
            else:
                low[lane] = middle


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
        types.intp,
        types.intp,
        _matrix,
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
    states_address,
    dummy_address,
    losses,
    ends,
    counts,
    cancel,
):
    """Integrate the trajectories shape[FIRST] … shape[LAST] − 1.

    kernels
        Addresses of those of `kernels.KERNELS`, in that order.
    work, work_bits, address
        The lanes' memory, the same as integers, and where it starts.
    initial, parameters
        Packed states (trajectory, n); packed parameters, one row or one a trajectory.
    times, settings
        Output times; rtol, atol, growth that counts as divergence, threshold of the loss.
    states_address, dummy_address
        Of the kept states (trajectory, output, n), and of n doubles that nobody reads.
    losses, ends, counts
        Per trajectory: the loss at the output times, the time reached (that of the event, if
        the loss is watched and crossed), and the columns above.

    Returns 1 if cancel[0] was set, else 0.
    """
    start, advance, watch, commit = kernels[0], kernels[1], kernels[2], kernels[3]
    dense, evaluate, loss, scatter = kernels[4], kernels[5], kernels[6], kernels[7]
    lanes, n = shape[LANES], shape[SIZE]
    outputs = times.size
    t_end = times[outputs - 1]
    keep_states, keep_losses, watched = shape[KEEP_STATES], shape[KEEP_LOSSES] != 0, shape[WATCH] != 0
    threshold = settings[3]
    rows = outputs if keep_states == ALL_STATES else 1
    following, active = shape[FIRST], 0
    trajectory = np.full(lanes, -1, dtype=np.int64)
    position = np.zeros(lanes, dtype=np.int64)
    free = np.ones(lanes, dtype=np.bool_)
    limits = np.zeros(lanes)
    fraction = np.zeros(lanes)
    state = shape[STATE_AT] * lanes

    for lane in range(lanes):
        work[at.RTOL * lanes + lane] = settings[0]
        work[at.ATOL * lanes + lane] = settings[1]
        work[at.THRESHOLD * lanes + lane] = threshold
        work[at.TIME_END * lanes + lane] = t_end
        work[at.STEP * lanes + lane] = t_end
        work_bits[at.PLACE * lanes + lane] = dummy_address

    refill = True
    while True:
        if refill:
            refill = False
            for lane in range(lanes):
                if not free[lane]:
                    continue
                free[lane] = False
                k = following if following < shape[LAST] else -1
                trajectory[lane] = k
                position[lane] = 0
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
                work[at.BOUND * lanes + lane] = settings[2] * largest
                work[at.FRESH * lanes + lane] = 1.0
                work[at.LIVE * lanes + lane] = 0.0
                work[at.NEXT_OUTPUT * lanes + lane] = _NEVER
                if k >= 0:
                    following += 1
                    active += 1
                    work[at.LIVE * lanes + lane] = 1.0
                    work[at.NEXT_OUTPUT * lanes + lane] = times[0]
            if active == 0:
                return 0
            # Fresh lanes: slopes, first steps, and the loss and output at the start itself.
            needs_loss = watched or (keep_losses and times[0] <= 0.0)
            for lane in range(lanes):
                work[at.THETA * lanes + lane] = 0.0
            if needs_loss or times[0] <= 0.0:
                _call(evaluate, address)
            if needs_loss:
                _call(loss, address)
            written = False
            for lane in range(lanes):
                k = trajectory[lane]
                if k < 0 or work[at.FRESH * lanes + lane] < 0.5:
                    continue
                if watched and work[at.LOSS * lanes + lane] <= threshold:
                    counts[k, CROSSED] = 1
                    counts[k, STATUS] = FINISHED
                    ends[k] = 0.0
                    free[lane] = True
                    refill = True
                    active -= 1
                if times[0] <= 0.0 or (free[lane] and keep_states == FINAL_STATES):
                    if keep_losses and times[0] <= 0.0:
                        losses[k, 0] = work[at.LOSS * lanes + lane]
                    if keep_states == ALL_STATES or (keep_states == FINAL_STATES and free[lane]):
                        work_bits[at.PLACE * lanes + lane] = states_address + k * rows * n * _BYTES
                        written = True
                    position[lane] = 1
                    work[at.NEXT_OUTPUT * lanes + lane] = times[1] if outputs > 1 else _NEVER
            if written:
                _call(scatter, address)
                for lane in range(lanes):
                    work_bits[at.PLACE * lanes + lane] = dummy_address
            if refill:
                continue
            _call(start, address)

        if cancel[0]:
            return 1
        bits = _call(watch if watched else advance, address)

        # Until when each lane's step counts: its end, or its event.
        crossed = False
        for lane in range(lanes):
            limits[lane] = -1.0
            if _stepped(bits, work, lanes, lane):
                limits[lane] = work[at.NEW_TIME * lanes + lane]
                crossed = crossed or (watched and work[at.CROSSED * lanes + lane] > 0.5)
        interpolated = crossed
        if crossed:
            _call(dense, address)
            _locate(evaluate, loss, work, address, lanes, fraction)
            for lane in range(lanes):
                if limits[lane] >= 0.0 and work[at.CROSSED * lanes + lane] > 0.5:
                    t, h = work[at.TIME * lanes + lane], work[at.ATTEMPTED * lanes + lane]
                    limits[lane] = min(limits[lane], t + fraction[lane] * h)

        # Outputs that the steps have passed: the next one of every lane at once, until none is left.
        while True:
            pending = False
            for lane in range(lanes):
                work[at.THETA * lanes + lane] = 0.0
                work_bits[at.PLACE * lanes + lane] = dummy_address
                wanted = work[at.NEXT_OUTPUT * lanes + lane]
                if wanted > limits[lane]:
                    continue
                pending = True
                passed = wanted - work[at.TIME * lanes + lane]
                at_end = wanted == work[at.NEW_TIME * lanes + lane]
                work[at.THETA * lanes + lane] = (
                    1.0 if at_end else passed / work[at.ATTEMPTED * lanes + lane]
                )
                k, m = trajectory[lane], position[lane]
                if keep_states == ALL_STATES:
                    work_bits[at.PLACE * lanes + lane] = states_address + (k * rows + m) * n * _BYTES
                elif keep_states == FINAL_STATES and m == outputs - 1:
                    work_bits[at.PLACE * lanes + lane] = states_address + k * n * _BYTES
            if not pending:
                break
            if not interpolated:
                _call(dense, address)
                interpolated = True
            _call(evaluate, address)
            if keep_states != NO_STATES:
                _call(scatter, address)
            if keep_losses:
                _call(loss, address)
            for lane in range(lanes):
                if work[at.NEXT_OUTPUT * lanes + lane] > limits[lane]:
                    continue
                m = position[lane]
                if keep_losses:
                    losses[trajectory[lane], m] = work[at.LOSS * lanes + lane]
                position[lane] = m + 1
                work[at.NEXT_OUTPUT * lanes + lane] = times[m + 1] if m + 1 < outputs else _NEVER

        if crossed and keep_states == FINAL_STATES:
            # The final state of a trajectory that stops is that of its event.
            for lane in range(lanes):
                work[at.THETA * lanes + lane] = fraction[lane]
                work_bits[at.PLACE * lanes + lane] = dummy_address
                if limits[lane] >= 0.0 and work[at.CROSSED * lanes + lane] > 0.5:
                    work_bits[at.PLACE * lanes + lane] = states_address + trajectory[lane] * n * _BYTES
            _call(evaluate, address)
            _call(scatter, address)

        _call(commit, address)
        for lane in range(lanes):
            if not (bits >> lane) & 1:
                continue
            status = RUNNING
            reached = work[at.TIME * lanes + lane]
            event = False
            if work[at.ACCEPTED * lanes + lane] > 0.5:
                if watched and work[at.CROSSED * lanes + lane] > 0.5:
                    status, event, reached = FINISHED, True, limits[lane]
                elif not work[at.LARGEST * lanes + lane] <= work[at.BOUND * lanes + lane]:
                    status = DIVERGED
                elif reached >= t_end:
                    status = FINISHED
            elif work[at.STUCK * lanes + lane] > 0.5:
                status = DIVERGED if work[at.NOT_FINITE * lanes + lane] > 0.5 else STEP_TOO_SMALL
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
