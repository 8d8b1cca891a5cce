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

from runtime.ensemble.kernels.kernel_addresses import KERNEL_ADDRESSES
from runtime.ensemble.kernels.lane_memory import double_at, word_at
from runtime.ensemble.kernels.trajectory_chunk import CHUNK_TYPE, TRAJECTORIES
from runtime.system.compilation import inlined, kernel, part
from runtime.trajectory import event_search
from runtime.trajectory.controller import DIVERGED, FINISHED, RUNNING, why_stuck

# A lane: its trajectory, −1 for none; whether it waits for the next one; and its search for an event.
LANE = np.dtype([("trajectory", np.int64), ("free", np.int64), *event_search.SEARCH.descr])
_NEVER = 1e300
# Error scales fit into single precision, with room for divergence, within these limits.
_SMALLEST_SCALE, _LARGEST_STATE = 1e-30, 1e20
_BYTES = 8

_vector = types.float64[::1]
_matrix = types.float64[:, ::1]
_addresses = numba.from_dtype(KERNEL_ADDRESSES)
_lane: Any = numba.from_dtype(LANE)
_lanes = types.Array(_lane, 1, "C")


def _emit_call(_typing: Any, _function: Any, _address: Any) -> Any:
    """Call the vector kernel at an address with the lanes' memory at another."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        pointer = builder.inttoptr(arguments[0], ir.FunctionType(word, [word]).as_pointer())
        return builder.call(pointer, [arguments[1]])

    return types.int64(types.int64, types.intp), emit


_call: Any = intrinsic(_emit_call)


@inlined
def _evaluate(kernels, work):
    """The loss in all lanes, each at its own place in its step."""
    _call(kernels.evaluate, work.ctypes.data)
    _call(kernels.loss, work.ctypes.data)


@kernel(types.void(_addresses, _matrix, _lanes))
def locate(kernels, work, lanes):
    """Search the attempted steps of all lanes at once whose `limit` is not negative for a first crossing.

    The interpolants must be complete. `found` says whether there is a crossing, and `high` where it is.
    """
    for k in range(lanes.size):
        event_search.begin(lanes[k], work[double_at.old_loss, k] - work[double_at.threshold, k])
    for place in event_search.LOOKS:
        looking = False
        for k in range(lanes.size):
            looking = looking or (work[double_at.limit, k] >= 0.0 and lanes[k].found == 0)
            work[double_at.theta, k] = place
        if not looking:
            break
        _evaluate(kernels, work)
        for k in range(lanes.size):
            if work[double_at.limit, k] >= 0.0 and lanes[k].found == 0:
                event_search.look(lanes[k], place, work[double_at.loss, k] - work[double_at.threshold, k])
    for turn in range(event_search.MOST_TURNS):
        searching = False
        for k in range(lanes.size):
            if event_search.searching(lanes[k]):
                searching = True
                work[double_at.theta, k] = event_search.probe(lanes[k], turn)
        if not searching:
            return
        _evaluate(kernels, work)
        for k in range(lanes.size):
            if event_search.searching(lanes[k]):
                height = work[double_at.loss, k] - work[double_at.threshold, k]
                event_search.narrow(lanes[k], work[double_at.theta, k], height)


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
            losses[first + lane] = work[double_at.loss, lane]


@inlined
def _prepare(work, words, lanes, chunk, times):
    """What does not change during a chunk, and lanes without trajectories."""
    chunk.following, chunk.active = chunk.first, 0
    for k in range(lanes.size):
        lanes[k].trajectory, lanes[k].free = -1, 1
        work[double_at.rtol, k] = chunk.rtol
        work[double_at.atol, k] = chunk.atol
        work[double_at.threshold, k] = chunk.threshold
        work[double_at.time_end, k] = times[times.size - 2]
        work[double_at.step, k] = times[times.size - 2]
        if chunk.scale_at >= 0:
            work[chunk.scale_at, k] = chunk.scale
        words[word_at.writer, k] = chunk.writer
        words[word_at.spare, k] = chunk.spare_address


@part
def _begin(work, words, chunk, trajectories, k, trajectory):
    """Put a trajectory at its start into lane k, or if it is −1 an idle one."""
    # An idle lane gets a state too, since its arithmetic goes on with steps of zero.
    source = trajectory if trajectory >= 0 else trajectories.order[chunk.first]
    row = source if trajectories.parameters.shape[0] > 1 else 0
    n = trajectories.initial.shape[1]
    for c in range(n):
        work[chunk.state_at + c, k] = trajectories.initial[source, c]
    for c in range(trajectories.parameters.shape[1]):
        work[chunk.parameters_at + c, k] = trajectories.parameters[row, c]
    for place in trajectories.rates:
        work[chunk.parameters_at + place, k] *= chunk.factor
    work[double_at.time, k] = chunk.start
    work[double_at.new_time, k] = -1.0
    work[double_at.bound, k] = chunk.growth * trajectories.sizes[source]
    rough = chunk.atol >= _SMALLEST_SCALE and trajectories.sizes[source] <= _LARGEST_STATE
    work[double_at.exact, k] = 0.0 if rough else 1.0
    work[double_at.fresh, k] = 1.0
    work[double_at.live, k] = 0.0
    work[double_at.next_output, k] = _NEVER
    if trajectory >= 0:
        work[double_at.live, k] = 1.0
        work[double_at.next_output, k] = trajectories.times[0]
        work[double_at.limit, k] = chunk.start
        words[word_at.row, k] = chunk.states_address + trajectory * chunk.rows * n * _BYTES
        words[word_at.loss_row, k] = chunk.losses_address + trajectory * chunk.loss_rows * _BYTES
        words[word_at.time_entry, k] = chunk.times_address


@part
def _end(work, lane, chunk, trajectories, k, status, reached):
    """Note how and where the trajectory of lane k ended, and free the lane."""
    outcome = trajectories.outcomes[lane.trajectory]
    outcome.end, outcome.status = reached, status
    if trajectories.ends.shape[0] > 0:
        for c in range(trajectories.ends.shape[1]):
            trajectories.ends[lane.trajectory, c] = work[chunk.state_at + c, k]
    if work[double_at.fresh, k] < 0.5:
        failed = int(work[double_at.rejections, k])
        outcome.accepted += int(work[double_at.attempts, k]) - failed
        outcome.rejected += failed
    lane.free = 1
    chunk.active -= 1


@inlined
def _end_at_start(kernels, work, words, lanes, chunk, trajectories):
    """End trajectories whose loss is low enough at their start."""
    for k in range(lanes.size):
        work[double_at.theta, k] = 0.0
        words[word_at.place, k] = chunk.spare_address
    _evaluate(kernels, work)
    for k in range(lanes.size):
        if lanes[k].trajectory < 0 or work[double_at.fresh, k] < 0.5:
            continue
        work[double_at.old_loss, k] = work[double_at.loss, k]
        if work[double_at.loss, k] <= chunk.threshold:
            trajectories.outcomes[lanes[k].trajectory].crossed = 1
            _end(work, lanes[k], chunk, trajectories, k, FINISHED, chunk.start)
            if chunk.keep_events != 0:
                words[word_at.place, k] = words[word_at.row, k]
    if chunk.keep_events != 0:
        _call(kernels.scatter, work.ctypes.data)


@inlined
def _refill(kernels, work, words, lanes, chunk, trajectories):
    """Give free lanes the next trajectories, until none of these ends at its start."""
    times = trajectories.times
    waiting = True
    while waiting:
        for k in range(lanes.size):
            work[double_at.limit, k] = -1.0
            if lanes[k].free != 0:
                following = chunk.following < chunk.last
                lanes[k].trajectory = trajectories.order[chunk.following] if following else -1
                lanes[k].free = 0
                chunk.following += following
                chunk.active += following
                _begin(work, words, chunk, trajectories, k, lanes[k].trajectory)
        if chunk.active == 0:
            return
        if chunk.watched != 0:
            _end_at_start(kernels, work, words, lanes, chunk, trajectories)
        if times[0] <= chunk.start:
            _call(kernels.write, work.ctypes.data)
        waiting = False
        for k in range(lanes.size):
            # Nothing but the start may be asked for.
            if times[times.size - 2] <= chunk.start and lanes[k].trajectory >= 0 and lanes[k].free == 0:
                _end(work, lanes[k], chunk, trajectories, k, FINISHED, chunk.start)
            waiting = waiting or lanes[k].free != 0
    _call(kernels.start, work.ctypes.data)


@inlined
def _events(kernels, work, words, lanes, chunk, bits):
    """Find the events of the lanes whose loss may have come down, and write outputs up to there.

    The kernels have not written these lanes' outputs, since the time is found only here; the other lanes
    have theirs.
    """
    address = work.ctypes.data
    suspected = False
    for k in range(lanes.size):
        work[double_at.limit, k] = -1.0
        if (bits >> k) & 1 and work[double_at.crossed, k] > 0.5:
            work[double_at.limit, k] = work[double_at.new_time, k]
            suspected = True
    if not suspected:
        return
    _call(kernels.dense, address)
    locate(kernels, work, lanes)
    for k in range(lanes.size):
        work[double_at.theta, k] = lanes[k].high
        words[word_at.place, k] = chunk.spare_address
        limit = work[double_at.limit, k]
        if limit >= 0.0 and lanes[k].found != 0:
            t, h = work[double_at.time, k], work[double_at.attempted, k]
            work[double_at.limit, k] = min(limit, t + lanes[k].high * h)
            words[word_at.place, k] = words[word_at.row, k]
        elif limit >= 0.0:
            work[double_at.crossed, k] = 0.0
    if chunk.keep_events != 0:
        _call(kernels.evaluate, address)
        _call(kernels.scatter, address)
    _call(kernels.write, address)


@inlined
def _retire(work, lanes, chunk, trajectories, bits):
    """End the trajectories that are done, after their last step was committed."""
    end = trajectories.times[trajectories.times.size - 2]
    for k in range(lanes.size):
        if not (bits >> k) & 1:
            continue
        status, reached = RUNNING, work[double_at.time, k]
        if work[double_at.accepted, k] > 0.5:
            if chunk.watched != 0 and work[double_at.crossed, k] > 0.5:
                status, reached = FINISHED, work[double_at.limit, k]
                trajectories.outcomes[lanes[k].trajectory].crossed = 1
            elif not work[double_at.largest, k] <= work[double_at.bound, k]:
                status = DIVERGED
            elif reached >= end:
                status = FINISHED
        if status == RUNNING and work[double_at.stuck, k] > 0.5:
            grown = not work[double_at.largest, k] <= chunk.blow_up * work[double_at.bound, k]
            status = why_stuck(grown, work[double_at.not_finite, k] > 0.5)
        if status != RUNNING:
            _end(work, lanes[k], chunk, trajectories, k, status, reached)


@kernel(types.int64(_addresses, _matrix, CHUNK_TYPE, TRAJECTORIES))
def run_chunk(kernels, work, chunk, trajectories):
    """Integrate the trajectories of a chunk; returns 1 if it was cancelled, else 0.

    kernels
        Addresses of the kernels.
    work
        The lanes' memory (component, lane), aligned.
    chunk
        What is to be done, see CHUNK.
    trajectories
        Where all trajectories of the ensemble start, and what is noted of each.
    """
    # The same memory as integers, for addresses.
    words = work.view(np.int64)
    lanes = np.empty(work.shape[1], dtype=_lane)
    _prepare(work, words, lanes, chunk, trajectories.times)
    advance = kernels.watch if chunk.watched != 0 else kernels.advance
    active = -1
    while True:
        # Fewer are active than after the last refill if trajectories have ended since.
        if chunk.active != active:
            _refill(kernels, work, words, lanes, chunk, trajectories)
            active = chunk.active
            if active == 0:
                return 0
        if trajectories.cancel[0] != 0:
            return 1
        bits = _call(advance, work.ctypes.data)
        if bits != 0:
            if chunk.watched != 0:
                _events(kernels, work, words, lanes, chunk, bits)
            _call(kernels.commit, work.ctypes.data)
            _retire(work, lanes, chunk, trajectories, bits)
