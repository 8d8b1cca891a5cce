"""Integrates trajectories from jump to jump of a piecewise constant schedule, as if it were one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from runtime.ensemble.kernels.trajectory_chunk import Trajectories
from runtime.trajectory.controller import FINISHED


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A part of a run without jumps.

    start, factor
        The time at which it begins, and the factor of the learning rates.
    first_output
        The number of outputs of the run that come before it.
    """

    start: float
    factor: float
    first_output: int = 0


class Integrate(Protocol):
    """What integrates trajectories number `first` … `last` − 1 in their order, along one stretch."""

    def __call__(self, trajectories: Trajectories, stretch: Stretch, first: int, last: int) -> None: ...


def run_stretches(
    segments: Sequence[tuple[float, float, float]],
    trajectories: Trajectories,
    first: int,
    last: int,
    integrate: Integrate,
) -> None:
    """Integrate trajectories first … last − 1 of an ensemble along all segments of a schedule.

    Each takes the next stretch from where it ended the last one, unless it ended before.
    """
    running, outputs = trajectories.order[first:last], trajectories.times[:-1]
    for number, (start, end, factor) in enumerate(segments):
        # An output at a jump belongs to the stretch before it.
        before = int(np.searchsorted(outputs, start, side="right" if number else "left"))
        reached = int(np.searchsorted(outputs, end, side="right"))
        # The end of a stretch counts as an output. Where it is none of the run, what is written there goes
        # to the place of the next output, which replaces it.
        times = np.append(np.union1d(outputs[before:reached], end), np.inf)
        own = trajectories._replace(order=running, times=times)
        if number:
            own = own._replace(initial=trajectories.ends)
        integrate(own, Stretch(start, factor, before), 0, len(running))
        ended = trajectories.outcomes[running]
        running = running[(ended["status"] == FINISHED) & (ended["crossed"] == 0)]
        if not running.size or trajectories.cancel[0]:
            return
