"""An ensemble of random starts and what is kept of it, as commands and sweeps ask for it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from derive.arguments import one_of
from runtime.concurrency.thread_pool import thread_count
from runtime.ensemble.ensemble_run import integrate_many
from runtime.ensemble.ensemble_statistics import statistics_of
from runtime.output.memory_limit import check_memory
from runtime.output.progress import Progress
from runtime.problem import Problem
from runtime.run_options import OUTPUTS, STATISTICS
from runtime.system.compiled_system import System
from runtime.trajectory.tableaux import TABLEAUX

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class ChosenEnsemble:
    """Many trajectories, and what is kept of each; checked when it is made.

    output
        ``"statistics"`` of the losses, or one of the outputs of `integrate_ensemble`.
    threads
        Number of threads; None is one per processor.
    workers
        The number of threads that this means.

    Raises InputError if a choice is not allowed, or the results do not fit into memory.
    """

    problem: Problem
    output: str = STATISTICS
    threads: dataclasses.InitVar[int | None] = None
    workers: int = dataclasses.field(init=False)

    def __post_init__(self, threads: int | None) -> None:
        one_of("method", self.problem.method, TABLEAUX)
        one_of("output", self.output, (STATISTICS, *OUTPUTS))
        object.__setattr__(self, "workers", thread_count(threads))
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
        if self.output == STATISTICS:
            return statistics_of(system, self.problem, self.workers, progress)
        return integrate_many(system, self.problem, self.output, self.workers, progress)
