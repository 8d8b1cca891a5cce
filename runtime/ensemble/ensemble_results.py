"""The results of an ensemble of trajectories, as arrays and as a dataset."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.ensemble.engine_plan import EnginePlan
from runtime.ensemble.kernels.trajectory_chunk import OUTCOME
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import result_attributes
from runtime.problem import Problem
from runtime.start.checked_arrays import Array
from runtime.system.compiled_system import System
from runtime.trajectory.controller import FINISHED
from runtime.trajectory.solver import STATUS
from runtime.trajectory.trajectory_dataset import coordinates_of, layer_variables

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class EnsembleResults:
    """What an engine writes about the trajectories of an ensemble.

    times
        Output times (output,).
    states
        Packed states (k, output, n); with final states alone (k, 1, n), with losses alone (k, 0, n).
    losses
        Losses (k, output), or (k, 0).
    outcomes
        How each trajectory ended (k,), see `trajectory_chunk.OUTCOME`.
    """

    times: Array
    states: Array
    losses: Array
    outcomes: np.ndarray

    @classmethod
    def room(cls, plan: EnginePlan, count: int, size: int) -> EnsembleResults:
        """Room for what a plan asks for of `count` trajectories with states of `size` numbers."""
        outcomes = np.zeros(count, dtype=OUTCOME)
        outcomes["end"] = np.nan
        return cls(
            times=plan.times,
            states=np.empty((count, plan.rows, size)),
            losses=np.empty((count, plan.times.size if plan.losses else 0)),
            outcomes=outcomes,
        )

    @property
    def status(self) -> np.ndarray:
        """How each trajectory ended, as text (k,): one of the values of STATUS."""
        names = np.array([STATUS[code] for code in sorted(STATUS)])
        codes = np.array(sorted(STATUS))
        return names[np.searchsorted(codes, self.outcomes["status"])]

    def clear_missing(self, first: int, last: int, keep_events: bool) -> None:
        """Write NaN at the outputs that trajectories first … last − 1 did not reach.

        This is done afterwards, since outputs that were filled before would go through memory twice.

        keep_events
            Whether the first row of states is that of the event where there was one.
        """
        outcomes = self.outcomes[first:last]
        crossed = outcomes["crossed"] != 0
        early = first + np.flatnonzero((outcomes["status"] != FINISHED) | crossed)
        written = np.searchsorted(self.times, self.outcomes["end"][early], side="right")
        which, output = np.nonzero(np.arange(self.times.size) >= written[:, None])
        if self.losses.shape[1]:
            self.losses[early[which], output] = np.nan
        if keep_events:
            stays = crossed[early[which] - first]
            which, output = which[~stays], output[~stays]
        if self.states.shape[1]:
            self.states[early[which], output] = np.nan


def ensemble_dataset(
    system: System, problem: Problem, output: str, results: EnsembleResults
) -> xarray.Dataset:
    """The dataset of an ensemble, ``trajectory`` in front; see `integrate_ensemble`."""
    model, count = system.model, len(results.outcomes)
    variables: dict[str, Any] = {}
    # Final states have no time axis: trajectories may have stopped at different times.
    final = output == "final"
    front: tuple[str, ...] = ("trajectory",) if final else ("trajectory", "alpha")
    losses = results.losses[:, 0] if final else results.losses
    if results.states.shape[1]:
        Q, R, *trained = system.unpack(results.states[:, 0] if final else results.states)
        variables["Q"] = ((*front, "i", "j"), Q)
        variables["R"] = ((*front, "i", "r"), R)
        for v in trained:
            variables["v"] = ((*front, "i"), v)

    variables |= {
        **layer_variables(problem.parameters),
        "loss": (front, losses),
        **{
            name: ("trajectory", np.broadcast_to(values, count).copy())
            for name, values in problem.parameters.numbers.items()
        },
        "status": ("trajectory", results.status),
        "alpha_end": ("trajectory", results.outcomes["end"].copy()),
        "steps": ("trajectory", results.outcomes["accepted"].copy()),
        "rejected": ("trajectory", results.outcomes["rejected"].copy()),
    }
    if problem.stop_loss is not None:
        escaped = np.where(results.outcomes["crossed"] == 1, results.outcomes["end"], np.nan)
        variables["escape_alpha"] = ("trajectory", escaped)
    settings = {
        **problem.schedule.attributes,
        **problem.solver_attributes,
        "output": output,
        **problem.level_attributes,
    }
    title = f"overlap ensemble of {model.name}"
    attributes = result_attributes(title, model, settings, "integrate_ensemble")
    if problem.start.alpha:
        attributes["start_alpha"] = problem.start.alpha
    attributes.update(problem.start.origin)
    coordinates = {"trajectory": np.arange(count), **coordinates_of(model, results.times)}
    if final:
        del coordinates["alpha"]
    return PlainResult(variables, coordinates, attributes).dataset()
