"""Integrates an ensemble: many trajectories at once, in vector code and on several threads."""

from __future__ import annotations

import dataclasses
import threading
from functools import partial
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import one_of
from derive.parameters import ParameterValues
from runtime.concurrency.thread_pool import run_tasks, thread_count
from runtime.ensemble.ensemble_results import EnsembleResults, ensemble_dataset
from runtime.ensemble.kernels import lane_loop, lane_memory
from runtime.ensemble.kernels.compiled_kernels import CompiledKernels, compile_kernels
from runtime.output.progress import Progress
from runtime.problem import Problem
from runtime.run_options import ALPHA, ATOL, DEFAULT_METHOD, OUTPUTS, RTOL
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.starts import GivenStart
from runtime.system.compilation import compile_now
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.solver import DIVERGENCE_GROWTH
from runtime.trajectory.tableaux import TABLEAUX
from runtime.vector import jit
from runtime.vector.aligned_arrays import aligned

if TYPE_CHECKING:
    import xarray

# A thread takes this many trajectories together, so that lanes which are idle at the end cost little.
CHUNK_SIZE = 512


@dataclasses.dataclass(frozen=True, eq=False)
class EnginePlan:
    """What an engine is to compute of each trajectory.

    times
        Output times; the end alone if `output` is "final".
    output
        ``"all"``: states at every time; ``"final"``: the last one; ``"loss"``: no states.
    losses
        Whether losses at the times are written too.
    stop_loss
        A trajectory ends where its loss comes down to this.
    threads, chunk
        Number of threads, and of trajectories that one of them takes together.
    """

    times: Array
    rtol: float
    atol: float
    output: str = "all"
    losses: bool = True
    stop_loss: float | None = None
    threads: int = 1
    chunk: int = CHUNK_SIZE

    @property
    def rows(self) -> int:
        """Rows of states per trajectory."""
        return {"all": self.times.size, "final": 1, "loss": 0}[self.output]

    @property
    def keep_events(self) -> bool:
        """Whether the row of a final state is that of the event where there was one."""
        return self.stop_loss is not None and self.output == "final"


class EnsembleEngine:
    """The kernels of one system, ready to integrate packed states."""

    def __init__(self, system: System, method: str, simd: str | None = None) -> None:
        self.system = system
        self.kernels: CompiledKernels = compile_kernels(system.model, method, jit.target(simd))

    def run(
        self, initial: Array, parameters: Array, plan: EnginePlan, progress: Progress | None = None
    ) -> EnsembleResults:
        """Integrate packed states (k, n) with packed parameters (1 or k, m).

        KeyboardInterrupt stops all threads within a step and is raised again.
        """
        count, size = len(initial), self.kernels.layout.size
        results = EnsembleResults(
            times=plan.times,
            states=np.empty((count, plan.rows, size)),
            losses=np.empty((count, plan.times.size if plan.losses else 0)),
            outcomes=np.zeros(count, dtype=lane_loop.OUTCOME),
        )
        results.outcomes["end"] = np.nan
        forever = np.append(plan.times, np.inf)
        cancel = np.zeros(1, dtype=np.int64)
        trajectories = lane_loop.Trajectories(initial, parameters, forever, results.outcomes, cancel)
        chunk = max(1, min(plan.chunk, -(-count // max(plan.threads, 1))))
        template = self._template(plan, results, forever)
        done, counting = 0, threading.Lock()

        def task(first: int) -> None:
            nonlocal done
            last = min(first + chunk, count)
            asked, spare = template.copy(), np.empty(size)
            asked["first"], asked["last"], asked["spare_address"] = first, last, spare.ctypes.data
            lane_loop.run_chunk(self.kernels.addresses, self._memory(), asked[()], trajectories)
            results.clear_missing(first, last, plan.keep_events)
            with counting:
                done += last - first

        def stop() -> None:
            cancel[0] = 1

        def report() -> None:
            if progress is not None:
                progress(done, count)

        compile_now(lane_loop.run_chunk)
        tasks = (partial(task, first) for first in range(0, count, chunk))
        run_tasks(tasks, plan.threads, stop, report)
        return results

    def _template(self, plan: EnginePlan, results: EnsembleResults, times: Array) -> np.ndarray:
        """What all chunks are asked to do, without their trajectories."""
        layout, watched = self.kernels.layout, plan.stop_loss is not None
        template = np.zeros((), dtype=lane_loop.CHUNK)
        template["parameters_at"], template["state_at"] = layout.parameters_at, layout.state_at
        template["rtol"], template["atol"], template["growth"] = plan.rtol, plan.atol, DIVERGENCE_GROWTH
        template["watched"], template["keep_events"] = watched, plan.keep_events
        template["threshold"] = plan.stop_loss if watched else -np.inf
        template["writer"] = lane_memory.STATES * (plan.rows > 0) | lane_memory.LOSSES * plan.losses
        template["rows"] = plan.rows
        for name, array in (("states", results.states), ("losses", results.losses), ("times", times)):
            template[f"{name}_address"] = array.ctypes.data
        return template

    def losses(self, states: Array, parameters: Array) -> Array:
        """The loss (k,) at packed states (k, n), with packed parameters (1 or k, m).

        It does not need the scalar code of the system, which a new system would have to compile first.
        """
        layout = self.kernels.layout
        result = np.empty(len(states))
        lane_loop.evaluate_losses(
            self.kernels.addresses,
            self._memory(),
            layout.parameters_at,
            layout.output_at,
            np.ascontiguousarray(states),
            parameters,
            result,
        )
        return result

    def _memory(self) -> Array:
        """New memory of the lanes (component, lane)."""
        components, lanes = self.kernels.layout.component_count, self.kernels.lanes
        return aligned(components * lanes).reshape(components, lanes)


@takes_parameters
def integrate_ensemble(
    system: System,
    Q0: ArrayLike,
    R0: ArrayLike,
    *,
    alpha: ArrayLike = ALPHA,
    rtol: float = RTOL,
    atol: float = ATOL,
    method: str = DEFAULT_METHOD,
    output: str = "all",
    stop_loss: float | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    **parameters: Unpack[ParameterValues],
) -> xarray.Dataset:
    """Integrate an ensemble of trajectories, each with its own start and, if wanted, its own parameters.

    Every trajectory has its own step size; its numbers do not depend on the others, their
    order, or the number of threads, to the last bit.

    Parameters
    ----------
    Q0, R0
        Overlaps (k, p, p) and (k, p, p*).
    {parameters}
    output
        ``"all"``: Q, R and loss at every output time; ``"loss"``: the loss at every time;
        ``"final"``: Q, R and loss at the last time, or where the trajectory stopped.
    stop_loss
        A trajectory ends when its loss comes down to this; ``escape_alpha`` is that time,
        located on the interpolant of the step (NaN where it was not reached).
    threads
        Number of threads; None is one per processor.
    progress
        Called with (finished, all) trajectories, now and then, in this thread.

    Each parameter of the equations that is a number may also be an array with one value per trajectory
    (k,). The other parameters, the errors raised and the variables are those of `integrate`, with
    ``trajectory`` in front.
    """
    model, start = as_system(system).model, GivenStart(Q0, R0, many=True)
    one_of("method", method, TABLEAUX)
    one_of("output", output, OUTPUTS)
    workers = thread_count(threads)
    problem = Problem(
        model, start, parameters, alpha=alpha, rtol=rtol, atol=atol, method=method, stop_loss=stop_loss
    )
    return integrate_many(system, problem, output, workers, progress)


def integrate_many(
    system: System, problem: Problem, output: str, threads: int, progress: Progress | None = None
) -> xarray.Dataset:
    """As `integrate_ensemble`, for the trajectories of a problem of the system's model."""
    Q0, R0 = problem.start.all()
    checked_arrays.warn_if_unresolved(R0, problem.atol, stacklevel=4)
    packed = problem.parameters.packed
    engine = EnsembleEngine(system, problem.method)
    plan = plan_of(problem, output, threads)
    results = engine.run(system.pack(Q0, R0), packed, plan, progress)
    if output == "final":
        # Trajectories may have stopped between the output times, where the engine writes no losses.
        losses = engine.losses(results.states[:, 0], packed)
        results = dataclasses.replace(results, losses=losses[:, None])
    return ensemble_dataset(system, problem, output, results)


def plan_of(problem: Problem, output: str, threads: int) -> EnginePlan:
    """The engine's plan for a problem."""
    final = output == "final"
    return EnginePlan(
        times=problem.alpha[-1:] if final else problem.alpha,
        rtol=problem.rtol,
        atol=problem.atol,
        output=output,
        losses=not final,
        stop_loss=problem.stop_loss,
        threads=threads,
    )
