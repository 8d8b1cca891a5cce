"""Integrates an ensemble: many trajectories at once, in vector code and on several threads."""

from __future__ import annotations

import dataclasses
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import one_of
from derive.parameters import ParameterValues, scheduled_places
from runtime.concurrency.thread_pool import run_tasks, thread_count
from runtime.ensemble.engine_plan import EnginePlan
from runtime.ensemble.ensemble_results import EnsembleResults, ensemble_dataset
from runtime.ensemble.kernels import lane_loop, lane_memory
from runtime.ensemble.kernels.compiled_kernels import CompiledKernels, compile_kernels
from runtime.ensemble.kernels.trajectory_chunk import CHUNK, Trajectories
from runtime.ensemble.stretches import Stretch, run_stretches, stretches_of
from runtime.output.progress import AskedProgress, Progress, asked_progress
from runtime.problem import Problem
from runtime.run_options import ALPHA, ATOL, DEFAULT_METHOD, OUTPUTS, RTOL
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.schedules import Schedule
from runtime.start.starts import GivenStart
from runtime.system.compilation import compile_now
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.solver import DIVERGENCE_GROWTH, blow_up_of
from runtime.trajectory.tableaux import TABLEAUX
from runtime.vector import jit
from runtime.vector.aligned_arrays import aligned

if TYPE_CHECKING:
    import xarray


class EnsembleEngine:
    """The kernels of one system, ready to integrate packed states with a schedule of the learning rates."""

    def __init__(
        self, system: System, method: str, simd: str | None = None, schedule: Schedule | None = None
    ) -> None:
        self.system, self.schedule = system, Schedule() if schedule is None else schedule
        self.kernels: CompiledKernels = compile_kernels(
            system.model, method, jit.target(simd), self.schedule.kind
        )

    def run(
        self, initial: Array, parameters: Array, plan: EnginePlan, progress: Progress | None = None
    ) -> EnsembleResults:
        """Integrate packed states (k, n) with packed parameters (1 or k, m).

        The learning rates among these are those at g = 1. KeyboardInterrupt stops all threads within a
        step and is raised again.
        """
        count, size = initial.shape
        results = EnsembleResults.room(plan, count, size)
        stretches = list(stretches_of(self.schedule, plan.start, plan.times))
        runs = [partial(self._integrate, self._asked(plan, results, part), part) for part in stretches]
        cancel = np.zeros(1, dtype=np.int64)
        trajectories = Trajectories(
            order=np.arange(count),
            initial=initial,
            parameters=parameters,
            rates=np.array(scheduled_places(self.system.model)),
            sizes=np.maximum(1.0, np.maximum(initial.max(axis=1), -initial.min(axis=1))),
            times=stretches[0].outputs,
            outcomes=results.outcomes,
            # Only later stretches need the states at the ends.
            ends=np.empty((count if len(runs) > 1 else 0, size)),
            cancel=cancel,
        )
        chunk = max(1, min(plan.chunk, -(-count // max(plan.threads, 1))))
        done, counting = 0, threading.Lock()

        def task(first: int) -> None:
            nonlocal done
            last = min(first + chunk, count)
            run_stretches(runs, trajectories._replace(order=trajectories.order[first:last]))
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

    def _integrate(self, asked: np.ndarray, stretch: Stretch, trajectories: Trajectories) -> None:
        """Integrate the trajectories in the order along one stretch."""
        chunk, spare = asked.copy(), np.empty(self.kernels.layout.size)
        chunk["last"], chunk["spare_address"] = len(trajectories.order), spare.ctypes.data
        own = trajectories._replace(times=stretch.outputs)
        lane_loop.run_chunk(self.kernels.addresses, self._memory(), chunk[()], own)

    def _asked(self, plan: EnginePlan, results: EnsembleResults, stretch: Stretch) -> np.ndarray:
        """What all chunks of trajectories are asked to do along one stretch, without their numbers."""
        layout, watched = self.kernels.layout, plan.stop_loss is not None
        asked = np.zeros((), dtype=CHUNK)
        asked["start"], asked["factor"] = stretch.start, stretch.factor
        asked["parameters_at"], asked["state_at"] = layout.parameters_at, layout.state_at
        asked["scale_at"] = layout.scale_at if layout.scheduled else -1
        asked["scale"] = self.schedule.scale
        asked["rtol"], asked["atol"], asked["growth"] = plan.rtol, plan.atol, DIVERGENCE_GROWTH
        asked["blow_up"] = blow_up_of(self.system.model)
        asked["watched"], asked["keep_events"] = watched, plan.keep_events
        asked["threshold"] = plan.stop_loss if watched else -np.inf
        asked["writer"] = lane_memory.STATES * (plan.rows > 0) | lane_memory.LOSSES * plan.losses
        asked["rows"], asked["loss_rows"] = plan.rows, results.losses.shape[1]
        for name, array in (("states", results.states), ("losses", results.losses)):
            asked[f"{name}_address"] = array.ctypes.data + stretch.before * array.strides[1]
        asked["times_address"] = stretch.outputs.ctypes.data
        return asked

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
    progress: AskedProgress = None,
    schedule: Any = None,
    start_alpha: float = 0.0,
    **parameters: Unpack[ParameterValues],
) -> xarray.Dataset:
    """Integrate an ensemble of trajectories, each with its own start and, if wanted, its own parameters.

    Every trajectory has its own step size; its numbers do not depend on the others, their
    order, or the number of threads, to the last bit.

    Each parameter of the equations that is a number may also be an array with one value per trajectory
    (k,), and each that is a vector an array with a row per trajectory. The other parameters, the errors
    raised and the variables are those of `integrate`, with ``trajectory`` in front.

    Parameters
    ----------
    Q0, R0
        Overlaps (k, p, p) and (k, p, p*).
    {parameters}
    output
        ``"all"``: Q, R, a trained v and the loss at every output time; ``"loss"``: the loss at every
        time; ``"final"``: all of these at the last time, or where the trajectory stopped.
    stop_loss
        A trajectory ends when its loss comes down to this; ``escape_alpha`` is that time,
        located on the interpolant of the step (NaN where it was not reached).
    threads
        Number of threads; None is one per processor.
    progress
        True: a bar on a terminal or in a notebook. A function: it is called with (finished, all)
        trajectories, now and then, in this thread.
    schedule
        How the learning rates change, as for `integrate`.
    start_alpha
        The time α of Q0 and R0.
    """
    model, start = as_system(system).model, GivenStart(Q0, R0, many=True, alpha=start_alpha)
    problem = Problem(
        model,
        start,
        parameters,
        alpha=alpha,
        rtol=rtol,
        atol=atol,
        method=method,
        stop_loss=stop_loss,
        schedule=schedule,
    )
    with asked_progress("trajectories", progress) as report:
        return integrate_many(system, problem, plan_of(problem, output, threads), report)


def integrate_many(
    system: System, problem: Problem, plan: EnginePlan, progress: Progress | None = None
) -> xarray.Dataset:
    """As `integrate_ensemble`, for the trajectories of a problem of the system's model."""
    Q0, R0 = problem.start.all()
    checked_arrays.warn_if_unresolved(R0, problem.atol, stacklevel=4)
    packed = problem.parameters.packed
    engine = EnsembleEngine(system, problem.method, schedule=problem.schedule)
    results = engine.run(initial_states(system, problem, Q0, R0), packed, plan, progress)
    if plan.output == "final":
        # Trajectories may have stopped between the output times, where the engine writes no losses.
        losses = engine.losses(results.states[:, 0], packed)
        results = dataclasses.replace(results, losses=losses[:, None])
    return ensemble_dataset(system, problem, plan.output, results)


def initial_states(system: System, problem: Problem, Q: Array, R: Array, first: int = 0) -> Array:
    """Packed states (k, n) from the overlaps of trajectories from number `first` on."""
    if not system.model.trained:
        return system.pack(Q, R)
    v = rows_of(problem.parameters.vectors["student_weights"], first, len(Q))
    return system.pack(Q, R, np.broadcast_to(v, (len(Q), v.shape[1])))


def rows_of(values: Array, first: int, count: int) -> Array:
    """The rows of some trajectories, or the one that all of them share."""
    return values if len(values) == 1 else values[first : first + count]


def plan_of(problem: Problem, output: str, threads: int | None) -> EnginePlan:
    """The engine's plan for a problem; InputError if method, output or threads are not allowed."""
    one_of("method", problem.method, TABLEAUX)
    one_of("output", output, OUTPUTS)
    final = output == "final"
    return EnginePlan(
        times=problem.alpha[-1:] if final else problem.alpha,
        rtol=problem.rtol,
        atol=problem.atol,
        output=output,
        losses=not final,
        stop_loss=problem.stop_loss,
        threads=thread_count(threads),
        start=problem.start.alpha,
    )
