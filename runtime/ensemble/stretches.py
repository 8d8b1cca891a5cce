"""Integrates trajectories from jump to jump of a piecewise constant schedule, as if it were one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from runtime.ensemble.kernels.trajectory_chunk import Trajectories
from runtime.start.checked_arrays import Array
from runtime.start.schedules import Schedule
from runtime.trajectory.controller import FINISHED


class Stretch(NamedTuple):
    """A part of a run without jumps.

    start, factor
        The time at which it begins, and the factor of the learning rates.
    outputs
        Output times up to its end, which is one of them, followed by one that is never reached.
    before
        The number of outputs of the run that come before it.
    """

    start: float
    factor: float
    outputs: Array
    before: int


def stretches_of(schedule: Schedule, start: float, times: Array) -> Iterator[Stretch]:
    """The stretches between a time and the last of the output times.

    An output at a jump belongs to the stretch that ends there. The end of a stretch counts as an output.
    Where it is none of the run, its place is that of the next output, which replaces what is written there.
    """
    for number, (since, until, factor) in enumerate(schedule.segments(start, times[-1])):
        before = int(np.searchsorted(times, since, side="right" if number else "left"))
        reached = int(np.searchsorted(times, until, side="right"))
        outputs = np.union1d(times[before:reached], until)
        yield Stretch(since, factor, np.append(outputs, np.inf), before)


def run_stretches(runs: Sequence[Callable[[Trajectories], None]], trajectories: Trajectories) -> None:
    """Integrate trajectories along one stretch after the other, each by its function.

    Each trajectory takes the next stretch from where it ended the last one, unless it ended before.
    """
    for number, run in enumerate(runs):
        if number:
            ended = trajectories.outcomes[trajectories.order]
            goes_on = (ended["status"] == FINISHED) & (ended["crossed"] == 0)
            trajectories = trajectories._replace(
                order=trajectories.order[goes_on], initial=trajectories.ends
            )
        if trajectories.order.size and not trajectories.cancel[0]:
            run(trajectories)
