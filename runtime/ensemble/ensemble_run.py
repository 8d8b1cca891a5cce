"""Integrates an ensemble: many trajectories at once, in vector code and on several threads."""

from __future__ import annotations

import dataclasses
import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import one_of
from runtime.concurrency.thread_pool import run_tasks, thread_count
from runtime.ensemble.ensemble_results import EnsembleResults, ensemble_dataset
from runtime.ensemble.kernels import lane_loop, lane_memory
from runtime.ensemble.kernels.compiled_kernels import CompiledKernels, compile_kernels
from runtime.output.progress import Progress
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.system.compilation import compile_now
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.solver import DIVERGENCE_GROWTH
from runtime.trajectory.tableaux import DEFAULT_METHOD, TABLEAUX
from runtime.vector import jit
from runtime.vector.aligned_arrays import aligned

if TYPE_CHECKING:
    import xarray

OUTPUTS = ("all", "final", "loss")
# A thread takes this many trajectories together, so that lanes which are idle at the end cost little.
CHUNK_SIZE = 512


class EnsembleEngine:
    """The kernels of one system, ready to integrate packed states."""

    def __init__(self, system: System, method: str, simd: str | None = None) -> None:
        self.system = system
        self.kernels: CompiledKernels = compile_kernels(system.model, method, jit.target(simd))

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
        chunk: int = CHUNK_SIZE,
        progress: Progress | None = None,
    ) -> EnsembleResults:
        """Integrate packed states (k, n) with packed parameters (1 or k, m).

        `output` is "all", "final" (then `times` is the end alone) or "loss"; losses are at
        `times`.

        KeyboardInterrupt stops all threads within a step and is raised again.
        """
        count, layout = len(initial), self.kernels.layout
        rows = {"all": times.size, "final": 1, "loss": 0}[output]
        results = EnsembleResults(
            times=times,
            states=np.empty((count, rows, layout.size)),
            losses=np.empty((count, times.size if losses else 0)),
            outcomes=np.zeros(count, dtype=lane_loop.OUTCOME),
        )
        results.outcomes["end"] = np.nan
        forever = np.append(times, np.inf)
        cancel = np.zeros(1, dtype=np.int64)
        chunk = max(1, min(chunk, -(-count // max(threads, 1))))
        keep_events = stop_loss is not None and output == "final"
        template = np.zeros((), dtype=lane_loop.CHUNK)
        template["parameters_at"], template["state_at"] = layout.parameters_at, layout.state_at
        template["rtol"], template["atol"], template["growth"] = rtol, atol, DIVERGENCE_GROWTH
        template["watched"], template["keep_events"] = stop_loss is not None, keep_events
        template["threshold"] = -np.inf if stop_loss is None else stop_loss
        template["writer"] = lane_memory.STATES * (rows > 0) | lane_memory.LOSSES * losses
        template["rows"] = rows
        for name, array in (("states", results.states), ("losses", results.losses), ("times", forever)):
            template[f"{name}_address"] = array.ctypes.data
        done = 0

        def task(first: int) -> None:
            nonlocal done
            last = min(first + chunk, count)
            asked, spare = template.copy(), np.empty(layout.size)
            asked["first"], asked["last"], asked["spare_address"] = first, last, spare.ctypes.data
            lane_loop.run_chunk(
                self.kernels.addresses,
                self._memory(),
                asked[()],
                initial,
                parameters,
                forever,
                results.outcomes,
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

        compile_now(lane_loop.run_chunk)
        counting = threading.Lock()
        tasks = (partial(task, first) for first in range(0, count, chunk))
        run_tasks(tasks, threads, stop, report)
        return results

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
        A number, or one per trajectory (k,).
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
    general = checked_arrays.given_T(system.model, teacher)
    parameters = pack_parameters(system, rates, noises, general)
    checked_arrays.warn_if_unresolved(R, absolute, stacklevel=2)
    engine = EnsembleEngine(system, method)
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
        # Trajectories may have stopped between the output times, where the engine writes no losses.
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
