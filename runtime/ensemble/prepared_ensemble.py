"""An ensemble of random starts, checked before its system is derived and loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from derive.arguments import one_of, whole_number
from derive.model import Model
from runtime.concurrency.thread_pool import thread_count
from runtime.ensemble.ensemble_run import OUTPUTS, integrate_ensemble
from runtime.ensemble.ensemble_statistics import ensemble_statistics
from runtime.output.memory_limit import check_memory
from runtime.output.progress import Progress
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.chosen_start import ChosenStart, naming_choices
from runtime.system.compiled_system import System
from runtime.trajectory.single_run import OdeProblem
from runtime.trajectory.tableaux import TABLEAUX

if TYPE_CHECKING:
    import xarray

LARGEST_ENSEMBLE = 10**12
STATISTICS = "statistics"


@dataclasses.dataclass(frozen=True)
class PreparedEnsemble:
    """Random starts of a model and what is kept of each trajectory.

    output
        ``"statistics"`` of the losses, or one of the outputs of `integrate_ensemble`.
    parameters
        Further keywords of `integrate_ensemble`, with T and `stop_loss`.
    """

    model: Model
    start: ChosenStart
    trajectories: int
    output: str
    parameters: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        model: Model,
        start: ChosenStart,
        *,
        trajectories: int,
        output: str,
        stop_loss: float | None,
        threads: int | None,
        **parameters: Any,
    ) -> PreparedEnsemble:
        """The ensemble; raises InputError that names one of the choices. Few starts are drawn."""
        trajectories = whole_number("trajectories", trajectories, 1, LARGEST_ENSEMBLE)
        one_of("method", parameters["method"], TABLEAUX)
        one_of("output", output, (STATISTICS, *OUTPUTS))
        thread_count(threads)
        T = start.teacher(model)
        with naming_choices():
            Q, R = start.sampler(model, T)[0].draw(1)
            # The checks of a single trajectory are those of each of the ensemble.
            problem = OdeProblem.checked(model, Q[0], R[0], T=T, **parameters)
            start.check_draws(model, T, trajectories)
        if stop_loss is not None:
            parameters["stop_loss"] = checked_arrays.real_number("stop_loss", stop_loss)
        _check_memory(model, trajectories, output, problem.times.size)
        return cls(model, start, trajectories, output, {**parameters, "T": T, "threads": threads})

    def run(self, system: System, progress: Progress | None = None) -> xarray.Dataset:
        """As `ensemble_statistics` or `integrate_ensemble` return it, with attributes of the start.

        Raises InputError if one of the later starts cannot be drawn.
        """
        T: Array | None = self.parameters["T"]
        with naming_choices():
            sampler, origin = self.start.sampler(self.model, T)
            if self.output == STATISTICS:
                runs = ensemble_statistics(
                    system, sampler, self.trajectories, progress=progress, **self.parameters
                )
            else:
                Q0, R0 = sampler.draw(self.trajectories)
                runs = integrate_ensemble(
                    system, Q0, R0, output=self.output, progress=progress, **self.parameters
                )
        runs.attrs.update(origin)
        return runs


def _check_memory(model: Model, trajectories: int, output: str, times: int) -> None:
    """Raise InputError if the results cannot be kept; statistics always can."""
    state = model.p * (model.p + model.pstar) + 2 * model.state_size
    numbers = {"all": times * (state + 1), "loss": times + state, "final": 2 * state, STATISTICS: 1}
    check_memory(
        trajectories, numbers[output], f" with --output {output}", "; --output statistics needs no memory"
    )
