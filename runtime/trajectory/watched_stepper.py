"""The compiled stepper of trajectories that end where their loss comes down to a threshold.

Its steps are those of `stepper`, to the last bit; `event_search` says where in them the loss is taken.
"""

from __future__ import annotations

import numpy as np
from numba import types

from runtime.system.compilation import LOSS, inlined, kernel, part
from runtime.trajectory import event_search, stepper
from runtime.trajectory.controller import FINISHED, RUNNING

# What a search returns that found nothing; places in a step are from 0 to 1.
_NOWHERE = -1.0


@inlined
def _screen(loss, parameters, method, limits, memory, position):
    """Whether the loss may come down to the threshold in the accepted step."""
    inside = memory.work[method.slopes + 1]
    lowest, highest = event_search.extended(np.inf, -np.inf, position.loss)
    lowest, highest = event_search.extended(lowest, highest, position.new_loss)
    for k in range(method.screen.shape[0]):
        weights = method.screen[k]
        stepper.move(memory.y, position.tried, weights, method.stages + 1, memory.work, inside)
        lowest, highest = event_search.extended(lowest, highest, loss(inside, parameters[0]))
    return event_search.near(lowest, highest, limits.stop_loss)


@part
def _height(loss, parameters, method, limits, memory, position, place):
    """The loss above the threshold at a place in the accepted step."""
    if place >= 1.0:
        return position.new_loss - limits.stop_loss
    inside = memory.work[method.slopes + 1]
    stepper.interpolate(method, memory, position, place, inside)
    return loss(inside, parameters[0]) - limits.stop_loss


@inlined
def _crossing(rhs, loss, parameters, method, limits, memory, position):
    """The place of the first crossing in the accepted step, or _NOWHERE."""
    stepper.complete(rhs, parameters, method, limits, memory, position)
    search = position.search
    event_search.begin(search, position.loss - limits.stop_loss)
    for place in event_search.LOOKS:
        height = _height(loss, parameters, method, limits, memory, position, place)
        event_search.look(search, place, height)
        if search.found != 0:
            break
    for turn in range(event_search.MOST_TURNS):
        if not event_search.searching(search):
            break
        place = event_search.probe(search, turn)
        height = _height(loss, parameters, method, limits, memory, position, place)
        event_search.narrow(search, place, height)
    return search.high if search.found != 0 else _NOWHERE


@kernel(types.int64(stepper.FUNCTION, types.FunctionType(LOSS), *stepper.STEPPING), makes_arrays=False)
def advance(rhs, loss, parameters, method, limits, memory, position):
    """As `stepper.advance`, but a trajectory also ends where its loss comes down to `limits.stop_loss`.

    `position.loss` must be the loss of the state. Then `position.crossed` is 1, and `position.time` is the
    time of the event.
    """
    if position.begun == 0:
        stepper.begin(rhs, parameters, method, limits, memory, position)
    if position.crossed != 0:
        return FINISHED
    for _ in range(limits.steps):
        status = stepper.status_at(limits, memory, position)
        if status != RUNNING:
            return status
        if not stepper.try_step(rhs, parameters, method, limits, memory, position):
            continue
        position.new_loss = loss(memory.work[method.slopes], parameters[0])
        limit = position.new_time
        if _screen(loss, parameters, method, limits, memory, position):
            place = _crossing(rhs, loss, parameters, method, limits, memory, position)
            if place >= 0.0:
                position.crossed = 1
                limit = min(limit, position.time + place * position.tried)
        stepper.write_outputs(rhs, parameters, method, limits, memory, position, limit)
        if position.crossed != 0:
            position.time = limit
            return FINISHED
        status = stepper.commit(method, limits, memory, position)
        if status != RUNNING:
            return status
        position.loss = position.new_loss
    return FINISHED if position.time >= limits.end else RUNNING
