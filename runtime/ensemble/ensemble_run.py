"""Integrates many trajectories at once: lanes of vector code, threads over chunks."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import one_of
from runtime.concurrency.thread_pool import run_tasks, thread_count
from runtime.ensemble.ensemble_results import Results, ensemble_dataset
from runtime.ensemble.kernels import lane_loop, lane_memory
from runtime.ensemble.kernels.compiled_kernels import KERNELS, Kernels, compile_kernels
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.solver import DIVERGENCE_GROWTH
from runtime.trajectory.tableaux import DEFAULT_METHOD, TABLEAUX
from runtime.vector import jit
from runtime.vector.memory import aligned

if TYPE_CHECKING:
    import xarray

OUTPUTS = ("all", "final", "loss")
# Trajectories of a task: long enough that idle lanes at its end do not count.
CHUNK = 512

Progress = Callable[[int, int], None]


class Engine:
    """The kernels of one system, ready to integrate packed states."""

    def __init__(self, system: System, method: str, simd: str | None = None) -> None:
        self.system = system
        self.kernels: Kernels = compile_kernels(system.model, method, jit.target(simd))
        self._addresses = np.array([self.kernels.compiled.address(name) for name in KERNELS])

    def run(
        self,
        initial: Array,
        parameters: Array,
        times: Array,
        *,
        rtol: float,
        atol: float,
        output: str = "all",
        losses: bool = True,
        stop_loss: float | None = None,
        threads: int = 1,
        chunk: int = CHUNK,
        progress: Progress | None = None,
    ) -> Results:
        """Integrate packed states (k, n) with packed parameters (1 or k, m); see Results.

        `output` is "all", "final" (then `times` is the end alone) or "loss"; losses are at
        `times`.

        KeyboardInterrupt stops all threads within a step and is raised again.
        """
        count, n = len(initial), self.kernels.layout.size
        rows = {"all": times.size, "final": 1, "loss": 0}[output]
        results = Results(
            times=times,
            states=np.empty((count, rows, n)),
            losses=np.empty((count, times.size if losses else 0)),
            ends=np.full(count, np.nan),
            counts=np.zeros((count, 4), dtype=np.int64),
        )
        settings = np.array([rtol, atol, DIVERGENCE_GROWTH, -np.inf if stop_loss is None else stop_loss])
        cancel = np.zeros(1, dtype=np.int64)
        chunk = max(1, min(chunk, -(-count // max(threads, 1))))
        writer = (lane_memory.STATES if rows else lane_memory.NOTHING) | (
            lane_memory.LOSSES if losses else lane_memory.NOTHING
        )
        watched = stop_loss is not None
        keep_events = watched and output == "final"
        options = (rows, writer, int(watched), int(keep_events))
        forever = np.append(times, np.inf)

        done = 0

        def task(first: int) -> None:
            nonlocal done
            last = min(first + chunk, count)
            self._chunk(
                (first, last, *options),
                initial,
                parameters,
                forever,
                settings,
                results,
                cancel,
            )
            results.clear_missing(first, last, keep_events)
            with counting:
                done += last - first

        def stop() -> None:
            cancel[0] = 1

        def report() -> None:
            if progress is not None:
                progress(done, count)

        counting = threading.Lock()
        tasks = (partial(task, first) for first in range(0, count, chunk))
        run_tasks(tasks, threads, stop, report)
        return results

    def losses(self, states: Array, parameters: Array) -> Array:
        """The loss (k,) at packed states (k, n), with packed parameters (1 or k, m).

        Why not System.loss: a new system would have to compile its scalar code first.
        """
        places, lanes = self.kernels.layout, self.kernels.lanes
        work = aligned(places.components * lanes)
        shape = [lanes, places.size, places.parameters, places.parameter, places.output]
        result = np.empty(len(states))
        lane_loop.evaluate_losses(
            self._addresses,
            work,
            work.ctypes.data,
            np.array(shape, dtype=np.int64),
            np.ascontiguousarray(states),
            parameters,
            result,
        )
        return result

    def _chunk(
        self,
        options: tuple[int, ...],
        initial: Array,
        parameters: Array,
        times: Array,
        settings: Array,
        results: Results,
        cancel: np.ndarray,
    ) -> None:
        places, lanes = self.kernels.layout, self.kernels.lanes
        work = aligned(places.components * lanes)
        dummy = np.empty(places.size)
        shape = [lanes, places.size, places.parameters, places.parameter, places.state, *options]
        addresses = [array.ctypes.data for array in (results.states, results.losses, times, dummy)]
        lane_loop.run_chunk(
            self._addresses,
            work,
            work.view(np.int64),
            work.ctypes.data,
            np.array(shape, dtype=np.int64),
            initial,
            parameters,
            times,
            settings,
            np.array(addresses, dtype=np.int64),
            results.ends,
            results.counts,
            cancel,
        )


def integrate_ensemble(
    system: System,
    Q0: ArrayLike,
    R0: ArrayLike,
    *,
    eta: ArrayLike,
    alpha: ArrayLike = 200.0,
    label_noise: ArrayLike = 0.0,
    T: ArrayLike | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    method: str = DEFAULT_METHOD,
    output: str = "all",
    stop_loss: float | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Integrate an ensemble of trajectories, each with its own start and, if wanted, η and Δ.

    Every trajectory has its own step size; its numbers do not depend on the others, their
    order, or the number of threads, to the last bit.

    Parameters
    ----------
    Q0, R0
        Overlaps (k, p, p) and (k, p, p*).
    eta, label_noise
        A number, or one a trajectory (k,).
    output
        ``"all"``: Q, R and loss at every output time; ``"loss"``: the loss at every time;
        ``"final"``: Q, R and loss at the last time, or where the trajectory stopped.
    stop_loss
        A trajectory ends when its loss comes down to this; ``escape_alpha`` is that time,
        located on the interpolant of the step (NaN where it was not reached).
    threads
        Threads; None is one a processor.
    progress
        Called with (finished, all) trajectories, now and then, in this thread.

    The other parameters, the errors raised and the variables are those of `integrate`, with
    ``trajectory`` in front.
    """
    one_of("method", method, TABLEAUX)
    one_of("output", output, OUTPUTS)
    teacher = checked_arrays.teacher_overlaps(as_system(system).model, T)
    Q, R = checked_arrays.ensemble_overlaps(system.model, Q0, R0, teacher)
    count = len(Q)
    rates = checked_arrays.per_trajectory("eta", eta, count, 0.0, strict=True)
    noises = checked_arrays.per_trajectory("label_noise", label_noise, count, 0.0, strict=False)
    times = checked_arrays.output_times(alpha)
    relative, absolute = checked_arrays.tolerances(rtol, atol)
    threshold = None if stop_loss is None else checked_arrays.real_number("stop_loss", stop_loss)
    workers = thread_count(threads)
    general = teacher if system.model.teacher == "general" else None
    parameters = pack_parameters(system, rates, noises, general)
    checked_arrays.warn_if_unresolved(R, absolute, stacklevel=2)
    engine = Engine(system, method)
    results = engine.run(
        system.pack(0.5 * Q + 0.5 * np.swapaxes(Q, -1, -2), R),
        parameters,
        times[-1:] if output == "final" else times,
        rtol=relative,
        atol=absolute,
        output=output,
        losses=output != "final",
        stop_loss=threshold,
        threads=workers,
        progress=progress,
    )
    if output == "final":
        # Trajectories may have stopped at different times, which the engine has no losses for.
        losses = engine.losses(results.states[:, 0], parameters)
        results = dataclasses.replace(results, losses=losses[:, None])
    settings = {"rtol": relative, "atol": absolute, "method": method, "output": output}
    if threshold is not None:
        settings["stop_loss"] = threshold
    return ensemble_dataset(system, results, teacher, rates, noises, settings)


def pack_parameters(system: System, rates: Array, noises: Array, T: Array | None) -> Array:
    """Packed parameters, one row for all trajectories or one for each."""
    rows = max(rates.size, noises.size)
    parameters = np.tile(system.parameters(float(rates[0]), float(noises[0]), T), (rows, 1))
    parameters[:, 0] = rates
    parameters[:, 1] = noises
    return parameters
