"""Runs of SGD from chosen starts, checked before any of them is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from derive.arguments import whole_number
from derive.model import Model
from runtime.output.memory_limit import check_memory
from runtime.output.progress import Progress
from runtime.sgd import simulation
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.chosen_start import ChosenStart, naming_choices

if TYPE_CHECKING:
    import xarray

# Choices of random starts that SGD needs from a given start too.
NEEDED_ANYWAY = frozenset({"seed", "trajectories"})

# Q0 and R0, of each run or for all, T, and the attributes of results that name the start.
Starts = tuple[Array, Array, Array | None, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class PreparedSimulation:
    """SGD of a model in `parameters["n"]` dimensions.

    start
        What each run starts from; its `n` is that of the simulation unless it is ideal or a file, and its
        seed is that of the simulation too.
    parameters
        Keywords of `runtime.simulate`, without start and T.
    stored
        The start of a file; None if starts are drawn when the simulation is run.
    """

    model: Model
    start: ChosenStart
    parameters: Mapping[str, Any]
    stored: Starts | None

    @classmethod
    def of(cls, model: Model, start: ChosenStart, **parameters: Any) -> PreparedSimulation:
        """The simulation; raises InputError that names one of the choices. One random start is drawn."""
        runs = whole_number("trajectories", parameters["trajectories"], 1, simulation.LARGEST_RUNS)
        check_results(model, runs, parameters["alpha"])
        random = start.ideal is None and start.overlaps is None
        start = dataclasses.replace(
            start, n=parameters["n"] if random else None, given=start.given - NEEDED_ANYWAY
        )
        parameters["seed"] = start.seed
        with naming_choices():
            stored = None if start.overlaps is None else start.overlaps_of(model, runs)
            # The other random starts differ in their random numbers alone.
            Q0, R0, T, _ = stored or _drawn(model, start, 1)
            simulation.check_simulation(model, T=T, **parameters)
            simulation.check_room(model, parameters["n"], Q0, R0, T)
        return cls(model, start, parameters, stored)

    def run(self, progress: Progress | None = None) -> xarray.Dataset:
        """As `runtime.simulate` returns it, with the attributes of the start."""
        with naming_choices():
            runs = self.parameters["trajectories"]
            Q0, R0, T, origin = self.stored or _drawn(self.model, self.start, runs)
            result = simulation.simulate(
                self.model, Q0=Q0, R0=R0, T=T, progress=progress, **self.parameters
            )
        result.attrs.update(origin)
        return result


def _drawn(model: Model, start: ChosenStart, runs: int) -> Starts:
    """A random start of each run."""
    T = start.teacher(model)
    sampler, origin = start.sampler(model, T)
    return *sampler.draw(runs), T, origin


def check_results(model: Model, runs: int, alpha: Any) -> None:
    """Raise InputError if the states of all runs at all times do not fit into memory."""
    times = checked_arrays.output_times(alpha).size
    check_memory(
        runs,
        (times + 2) * (model.p * (model.p + model.pstar) + 1),
        f" at {times} times",
        "; fewer times take less: --alpha 0,50,100",
    )
