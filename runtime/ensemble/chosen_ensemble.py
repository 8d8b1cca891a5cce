"""An ensemble of random starts and what is kept of it, as commands and sweeps ask for it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from derive.arguments import one_of
from runtime.ensemble.engine_plan import EnginePlan
from runtime.ensemble.ensemble_run import integrate_many, plan_of
from runtime.ensemble.ensemble_statistics import statistics_of
from runtime.output.memory_limit import check_memory
from runtime.output.progress import Progress
from runtime.problem import Problem
from runtime.run_options import OUTPUTS, STATISTICS
from runtime.system.compiled_system import System

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class ChosenEnsemble:
    """Many trajectories, and what is kept of each; checked when it is made.

    output
        ``"statistics"`` of the losses, or one of the outputs of `integrate_ensemble`.
    threads
        Number of threads; None is one per processor.
    plan
        What the engine computes.

    Raises InputError if a choice is not allowed, or the results do not fit into memory.
    """

    problem: Problem
    output: str = STATISTICS
    threads: dataclasses.InitVar[int | None] = None
    plan: EnginePlan = dataclasses.field(init=False)

    def __post_init__(self, threads: int | None) -> None:
        one_of("output", self.output, (STATISTICS, *OUTPUTS))
        kept = "loss" if self.output == STATISTICS else self.output
        object.__setattr__(self, "plan", plan_of(self.problem, kept, threads))
        model, times = self.problem.model, self.problem.alpha.size
        state = model.p * (model.p + model.pstar) + 2 * model.state_size
        numbers = {"all": times * (state + 1), "loss": times + state, "final": 2 * state, STATISTICS: 1}
        check_memory(
            self.problem.start.count or 1,
            numbers[self.output],
            f" with --output {self.output}",
            "; --output statistics needs no memory",
        )

    def run(self, system: System, progress: Progress | None = None) -> xarray.Dataset:
        """As `ensemble_statistics` or `integrate_ensemble` return it; `system` is of the problem's model.

        Raises InputError if one of the later starts cannot be drawn.
        """
        run = statistics_of if self.output == STATISTICS else integrate_many
        return run(system, self.problem, self.plan, progress)
