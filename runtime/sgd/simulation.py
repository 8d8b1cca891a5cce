"""Simulates one-pass SGD at finite N: many runs, recorded at the requested times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import one_of, whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.concurrency.thread_pool import run_tasks, thread_count
from runtime.output.progress import Progress
from runtime.sgd.recorder import RunRecorder, sgd_dataset
from runtime.sgd.sgd_process import SgdProcess
from runtime.sgd.sgd_runs import SgdRuns
from runtime.sgd.weight_coordinates import coordinates
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array, per_trajectory
from runtime.start.initial_overlaps import random_overlaps
from runtime.start.seeds import LARGEST_SEED
from runtime.start.teacher_directions import Teacher

if TYPE_CHECKING:
    import xarray

METHODS = ("chain", "weights")
LARGEST_SIMULATED_N = 10**9
LARGEST_RUNS = 2**40
DEFAULT_RUNS = 64
# Bytes that the weights of all threads may take together: 16 GiB.
LARGEST_WEIGHTS = 2**34


def simulate(
    model: Model,
    *,
    n: int = 10_000,
    eta: ArrayLike = 0.4,
    alpha: ArrayLike = 100.0,
    method: str = "chain",
    trajectories: int | None = None,
    seed: int = 0,
    label_noise: ArrayLike = 0.0,
    T: ArrayLike | None = None,
    Q0: ArrayLike | None = None,
    R0: ArrayLike | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Run one-pass SGD in N dimensions, independently from several starts.

    wᵢ ← wᵢ − 2aη e λᵢ x/√N with a fresh x ~ N(0, 1) at each step (on the sphere then |wᵢ| is reset),
    and time α = steps/N. The numbers of a run depend on the seed, its place among the runs and
    whether any run has label noise, not on threads or the number of runs.

    Parameters
    ----------
    model
        Widths, constraint, teacher and readout; or a System of it. Its flow must be ``"sgd"``.
    n
        Input dimension N, from rank T to 10⁹ (weights: as memory allows).
    eta, label_noise
        Learning rate η and variance Δ of the label noise: a number, or one per run.
    alpha
        End of 200 even times from 0, or the times; each is rounded to a whole step. Even times on the
        same step are recorded once; given times on the same step are rejected.
    method
        ``"chain"``: the Markov chain of the overlaps, equal in law at any N and independent of N
        in cost. ``"weights"``: N-dimensional weights. A chain with N < p + rank T is run as
        weights, which are then fewer; the attribute ``method`` says what was done.
    trajectories
        Number of runs; 64 unless the start says otherwise.
    Q0, R0
        Overlaps of the start, (p, p) and (p, p*), or with the runs in front; without them each run
        starts from random weights of its own (`random_overlaps`).
    T
        Teacher overlaps (p*, p*) of a general teacher.
    threads
        Number of threads; None is one per processor.
    progress
        Called with (steps done, all steps) of all runs, now and then, in this thread.

    Returns
    -------
    Dataset with dims trajectory, alpha, i, j, r: Q, R, loss (the population loss), and for each
    run ``status`` (ok, diverged) and ``alpha_end``, the last recorded time before it diverged;
    after that NaN. ``Q_mean``, ``Q_error`` … are means over the ``runs`` that go on at a time, and
    their standard errors. ``alpha`` are the exact times of the states, steps/N.

    Raises
    ------
    InputError
        A value is not allowed, or the overlaps do not fit into N dimensions.
    """
    model = checked_arrays.as_model(model)
    overlaps = checked_arrays.teacher_overlaps(model, T)
    teacher = Teacher.from_overlaps(overlaps)
    n = _checked_dimension(model, method, seed, n, teacher)
    count, Q, R = _start(model, n, seed, trajectories, overlaps, Q0, R0)
    rates = np.broadcast_to(per_trajectory("eta", eta, count, 0.0, strict=True), count)
    noises = np.broadcast_to(per_trajectory("label_noise", label_noise, count, 0.0, strict=False), count)
    steps = recorded_steps(alpha, n)
    workers = thread_count(threads)
    used = _used_method(model, method, n, teacher, min(workers, count))
    A, S = coordinates(Q, R, teacher, n - teacher.rank)
    A, S = (np.broadcast_to(part, (count, *part.shape[-2:])) for part in (A, S))
    recorder = RunRecorder(count, steps, A, S, teacher)
    process = SgdProcess.of(model, teacher, n, bool(np.any(noises > 0.0)))
    runs = SgdRuns(process, seed, {"eta": rates, "label_noise": noises}, recorder)
    tasks = runs.chains() if used == "chain" else runs.weights()
    run_tasks(
        tasks, workers, runs.cancel, None if progress is None else lambda: progress(runs.done, runs.total)
    )
    settings = {"n": n, "method": used, "seed": seed}
    return sgd_dataset(model, recorder, overlaps, rates, noises, n, settings)


def check_simulation(
    model: Model,
    *,
    n: int,
    eta: float,
    alpha: ArrayLike,
    method: str,
    trajectories: int,
    seed: int,
    label_noise: float,
    T: ArrayLike | None,
    threads: int | None,
) -> None:
    """Raise InputError for what `simulate` would reject, without a start; η and Δ are those of all runs."""
    teacher = Teacher.from_overlaps(checked_arrays.teacher_overlaps(model, T))
    n = _checked_dimension(model, method, seed, n, teacher)
    count = whole_number("trajectories", trajectories, 1, LARGEST_RUNS)
    checked_arrays.real_number("eta", eta, least=0.0, strict=True)
    checked_arrays.real_number("label_noise", label_noise, least=0.0)
    recorded_steps(alpha, n)
    _used_method(model, method, n, teacher, min(thread_count(threads), count))


def check_room(model: Model, n: int, Q0: Array, R0: Array, T: ArrayLike | None) -> None:
    """Raise InputError unless overlaps (…, p, p) and (…, p, p*) that were checked fit into N dimensions."""
    teacher = Teacher.from_overlaps(checked_arrays.teacher_overlaps(model, T))
    n = whole_number("n", n, max(teacher.rank, 1), LARGEST_SIMULATED_N)
    coordinates(Q0, R0, teacher, n - teacher.rank)


def _checked_dimension(model: Model, method: str, seed: int, n: int, teacher: Teacher) -> int:
    """N as an int; InputError unless SGD can be run there."""
    if model.flow != "sgd":
        raise InputError("flow", f"{model.flow!r} has no finite N: SGD is simulated, flow='sgd'")
    one_of("method", method, METHODS)
    whole_number("seed", seed, 0, LARGEST_SEED)
    return whole_number("n", n, max(teacher.rank, 1), LARGEST_SIMULATED_N)


def _used_method(model: Model, method: str, n: int, teacher: Teacher, together: int) -> str:
    """The method that is used where `method` is asked for; `together` runs are in memory at once."""
    used = "weights" if n < model.p + teacher.rank else method
    if used == "weights" and 8 * (model.p + 2) * n * together > LARGEST_WEIGHTS:
        raise InputError("n", f"{n} is too large for weights in memory; method='chain' has no such limit")
    return used


def recorded_steps(alpha: ArrayLike, n: int) -> np.ndarray:
    """Whole steps nearest to the times of `checked_arrays.output_times`, ascending.

    Even times up to a single end that fall on the same step are recorded once. Raises InputError if given
    times do so, if they are beyond what an integer holds, or if all are at the start.
    """
    times = checked_arrays.output_times(alpha)
    if times[-1] * n > 2.0**62:
        raise InputError("alpha", f"{times[-1]:g} is too long: at n = {n} more than 2⁶² steps")
    nearest = np.rint(times * n).astype(np.int64)
    if nearest[-1] == 0:
        raise InputError("alpha", f"{times[-1]:g} is less than half a step: a step is 1/n = {1 / n:g}")
    steps = np.unique(nearest)
    if steps.size < times.size and checked_arrays.axis_count("alpha", alpha) > 0:
        k = int(np.flatnonzero(np.diff(nearest) == 0)[0])
        raise InputError(
            "alpha",
            f"{times[k]:.12g} and {times[k + 1]:.12g} are the same whole step at n = {n}: a step is"
            f" 1/n = {1 / n:g}",
        )
    return steps


def _start(
    model: Model,
    n: int,
    seed: int,
    trajectories: int | None,
    T: Array,
    Q0: ArrayLike | None,
    R0: ArrayLike | None,
) -> tuple[int, Array, Array]:
    """The number of runs, and the overlaps (…, p, p) and (…, p, p*) that each run, or all, start from."""
    count = None if trajectories is None else whole_number("trajectories", trajectories, 1, LARGEST_RUNS)
    if (Q0 is None) != (R0 is None):
        raise InputError("R0" if R0 is None else "Q0", "is missing: give both overlaps or none")
    general = checked_arrays.given_T(model, T)
    if Q0 is None or R0 is None:
        count = DEFAULT_RUNS if count is None else count
        return count, *random_overlaps(
            model.p, model.pstar, n, seed, count, constraint=model.constraint, T=general
        )
    if checked_arrays.axis_count("Q0", Q0) == 2:
        q, r = checked_arrays.overlaps(model, Q0, R0, T)
        return DEFAULT_RUNS if count is None else count, 0.5 * (q + q.T), r
    q, r = checked_arrays.ensemble_overlaps(model, Q0, R0, T)
    if count not in (None, len(q)):
        raise InputError("trajectories", f"{count} is not the number of starts, {len(q)}")
    return len(q), 0.5 * (q + np.swapaxes(q, -1, -2)), r
