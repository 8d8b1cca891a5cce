"""Integrates trajectories from jump to jump of a piecewise constant schedule, as if it were one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from derive.model import Model
from derive.parameters import scheduled_places
from runtime.ensemble.engine_plan import EnginePlan
from runtime.ensemble.ensemble_results import EnsembleResults
from runtime.ensemble.kernels.lane_loop import Trajectories
from runtime.start.checked_arrays import Array
from runtime.trajectory.controller import FINISHED

# The times between which the learning rates are constant, and the factor that multiplies them there.
Stretch = tuple[float, float, float]
# integrate(plan, results, trajectories, first, last) integrates some of the trajectories without jumps.
Integrate = Callable[[EnginePlan, EnsembleResults, Trajectories, int, int], None]


def with_factor(model: Model, parameters: Array, factor: float) -> Array:
    """Packed parameters (…, m) with their learning rates multiplied by a factor; themselves if it is 1."""
    if factor == 1.0:
        return parameters
    changed = parameters.copy()
    changed[..., scheduled_places(model)] *= factor
    return changed


@dataclasses.dataclass(frozen=True, eq=False)
class StretchedRun:
    """A run in several stretches, of which each trajectory takes the next one where the last one ended.

    model, plan, stretches
        What is integrated, and what is computed of it, from the start of the first stretch to the end of
        the last one.
    integrate
        Integrates one stretch.
    results
        Receives the results of all trajectories of the ensemble.
    """

    model: Model
    plan: EnginePlan
    stretches: Sequence[Stretch]
    integrate: Integrate
    results: EnsembleResults

    def run(self, trajectories: Trajectories, first: int, last: int) -> None:
        """Integrate trajectories first … last − 1 of an ensemble."""
        running, states = np.arange(first, last), trajectories.initial[first:last]
        for number, (start, end, factor) in enumerate(self.stretches):
            parameters = trajectories.parameters
            if len(parameters) > 1:
                parameters = parameters[running]
            # An output at a jump belongs to the stretch before it.
            from_ = np.searchsorted(self.plan.times, start, side="right" if number else "left")
            to = np.searchsorted(self.plan.times, end, side="right")
            times = self.plan.times[from_:to]
            plan = dataclasses.replace(self.plan, start=start, times=np.union1d(times, [end]))
            part = EnsembleResults.room(plan, len(running), states.shape[1])
            own = trajectories._replace(
                initial=np.ascontiguousarray(states),
                parameters=with_factor(self.model, parameters, factor),
                sizes=trajectories.sizes[running],
                times=np.append(plan.times, np.inf),
                outcomes=part.outcomes,
                ends=np.empty_like(states),
            )
            self.integrate(plan, part, own, 0, len(running))
            self._merge(part, running, slice(from_, to))
            goes_on = (part.outcomes["status"] == FINISHED) & (part.outcomes["crossed"] == 0)
            running, states = running[goes_on], own.ends[goes_on]
            if not running.size or trajectories.cancel[0]:
                return

    def _merge(self, part: EnsembleResults, running: np.ndarray, outputs: slice) -> None:
        """Add the results of a stretch, in which these trajectories were running."""
        total, count = self.results, outputs.stop - outputs.start
        if self.plan.output == "all":
            total.states[running, outputs] = part.states[:, :count]
        elif self.plan.output == "final":
            # Later stretches replace it, unless the trajectory ended in an event.
            total.states[running] = part.states
        if self.plan.losses:
            total.losses[running, outputs] = part.losses[:, :count]
        for name in ("end", "status", "crossed"):
            total.outcomes[name][running] = part.outcomes[name]
        for name in ("accepted", "rejected"):
            total.outcomes[name][running] += part.outcomes[name]
