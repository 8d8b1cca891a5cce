"""Simulates one-pass SGD at finite N: many runs, recorded at the requested times."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import one_of, whole_number
from derive.errors import InputError
from derive.model import Model
from derive.parameters import NUMBERS, ParameterValues
from runtime.concurrency.thread_pool import run_tasks, thread_count
from runtime.output.memory_limit import check_memory
from runtime.output.progress import AskedProgress, Progress, asked_progress
from runtime.run_options import SEED, SIMULATION_METHODS, default
from runtime.sgd.recorder import RunRecorder, RunWatcher, sgd_dataset
from runtime.sgd.sgd_process import SgdProcess
from runtime.sgd.sgd_runs import SgdRuns
from runtime.sgd.weight_coordinates import coordinates
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.chosen_start import ChosenStart, naming_choices
from runtime.start.initial_overlaps import LARGEST_COUNT, OverlapSampler
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.start.schedules import Schedule
from runtime.start.seeds import LARGEST_SEED, derived_seed
from runtime.start.starts import GivenStart, RandomStart, Start
from runtime.start.teacher_directions import Teacher

if TYPE_CHECKING:
    import xarray

CHAIN, WEIGHTS = SIMULATION_METHODS
# The end of the times that `simulate` takes by default.
_ALPHA = default("alpha", "simulate")
LARGEST_SIMULATED_N = 10**9
# Bytes that the weights of all threads may take together: 16 GiB.
LARGEST_WEIGHTS = 2**34
# The most samples of a step, which Ctrl-C does not interrupt: about two minutes of work at (4, 2).
LARGEST_BATCH = 10**9
# Choices of random starts that SGD needs from a given start too.
NEEDED_ANYWAY = frozenset({"seed", "trajectories"})


@dataclasses.dataclass(frozen=True, eq=False)
class Simulation:
    """Runs of one-pass SGD. Everything that a user gave is checked when it is made.

    model
        What is trained; its flow must be ``"sgd"``.
    start
        Where each run starts, or a single start of all.
    given
        Run-time parameters by name, T among them, or checked ones.
    n
        Input dimension N.
    alpha
        Times of the records, as for `simulate`.
    method
        What was asked for, and then what is done: ``"chain"`` or ``"weights"``.
    seed
        Seed of the inputs.
    trajectories
        Number of runs; None is the number of starts, or 64 runs from a single one.
    threads
        Number of threads; None is one per processor.
    schedule
        How the learning rates change with α.
    parameters, teacher
        Checked run-time parameters, and the teacher in directions of its own.
    steps
        Whole steps of the records, ascending.
    count, workers
        Numbers of runs and of threads.

    Raises
    ------
    InputError
        A value is not allowed, a given start or the first random one does not fit into N dimensions, or
        the results do not fit into memory.
    """

    model: Model
    start: Start
    given: dataclasses.InitVar[Mapping[str, Any] | RunParameters]
    n: int
    alpha: dataclasses.InitVar[ArrayLike]
    method: str = CHAIN
    seed: int = SEED
    trajectories: dataclasses.InitVar[int | None] = None
    threads: dataclasses.InitVar[int | None] = None
    schedule: Any = None
    parameters: RunParameters = dataclasses.field(init=False)
    teacher: Teacher = dataclasses.field(init=False)
    steps: np.ndarray = dataclasses.field(init=False)
    count: int = dataclasses.field(init=False)
    workers: int = dataclasses.field(init=False)

    def __post_init__(
        self,
        given: Mapping[str, Any] | RunParameters,
        alpha: ArrayLike,
        trajectories: int | None,
        threads: int | None,
    ) -> None:
        model = self.model
        if model.flow != "sgd":
            raise InputError("flow", f"{model.flow!r} has no finite N: SGD is simulated, flow='sgd'")
        one_of("method", self.method, SIMULATION_METHODS)
        if isinstance(given, RunParameters):
            T = given.T
        else:
            T = checked_arrays.teacher_overlaps(model, given.get("T"))
        teacher = Teacher.from_overlaps(T)
        n = whole_number("n", self.n, max(teacher.rank, 1), LARGEST_SIMULATED_N)
        start = self.start.checked(model, T)
        count = _run_count(start, trajectories)
        if not isinstance(given, RunParameters):
            given = RunParameters.with_teacher(model, T, given, count)
        _check_known_at_finite_n(given)
        _check_decay(given, n)
        _check_batch(given)
        steps = recorded_steps(alpha, n, start.alpha)
        check_memory(
            count,
            (steps.size + 2) * (model.p * (model.p + model.pstar + model.trained) + 1),
            f" at {steps.size} times",
            "; fewer times take less: --alpha 0,50,100",
        )
        method = CHAIN if self.method == CHAIN and n >= model.p + teacher.rank else WEIGHTS
        workers = thread_count(threads)
        # Inputs of a batch wait for all samples; a single sample waits for the next one.
        batch = float(np.max(given.numbers["batch"]))
        bytes_of_a_row = 8 * n * min(workers, count)
        if method == WEIGHTS and (model.p + max(2.0, batch)) * bytes_of_a_row > LARGEST_WEIGHTS:
            inputs = batch > max(2, model.p)
            raise InputError(
                "batch" if inputs else "n",
                f"{batch if inputs else n:.15g} is too large for weights and inputs in memory;"
                " method='chain' has no such limit",
            )
        checked = {
            "start": start,
            "n": n,
            "method": method,
            "seed": whole_number("seed", self.seed, 0, LARGEST_SEED),
            "parameters": given,
            "teacher": teacher,
            "steps": steps,
            "count": count,
            "workers": workers,
            "schedule": Schedule.of(self.schedule),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        # The other random starts differ in their random numbers alone.
        self._coordinates(start.all() if isinstance(start, GivenStart) else next(start.batches(1)))

    def _coordinates(self, overlaps: tuple[Array, Array]) -> tuple[Array, Array]:
        """A (…, p, rank T) and S (…, p, p) of Q and R; raises InputError if they do not fit into N."""
        Q, R = overlaps
        # Errors name no trajectory where all runs have the same start.
        if self.start.count is None:
            Q, R = Q[0], R[0]
        return coordinates(Q, R, self.teacher, self.n - self.teacher.rank)

    def values(self, name: str) -> Array:
        """A run-time parameter of all runs, a number (count,) or a vector (count, width)."""
        numbers, vectors = self.parameters.numbers, self.parameters.vectors
        found = numbers[name] if name in numbers else vectors[name]
        return np.broadcast_to(found, (self.count, *found.shape[1:]))

    @property
    def times(self) -> Array:
        """α of the records."""
        return np.asarray(self.start.alpha + self.steps / self.n)

    @property
    def _seed_of_inputs(self) -> int:
        """The seed at α = 0; runs that go on later with this seed see other inputs than those before."""
        seed = self.seed
        # The time is told by the two words of its nearest step.
        for word in divmod(round(self.start.alpha * self.n), 2**32) if self.start.alpha else ():
            seed = derived_seed(seed, word)
        return seed

    def run(self, progress: Progress | None = None) -> xarray.Dataset:
        """As `simulate` returns it, with the attributes of the start."""
        v = self.values("student_weights") if self.model.trained else None
        recorder = RunRecorder(self.steps, *self.starts, self.teacher, v)
        self.follow(recorder, progress)
        result = sgd_dataset(self, recorder)
        result.attrs.update(self.start.origin)
        return result

    @property
    def starts(self) -> tuple[Array, Array]:
        """Coordinates of all runs at the start."""
        A, S = self._coordinates(self.start.all())
        return (
            np.broadcast_to(A, (self.count, *A.shape[-2:])),
            np.broadcast_to(S, (self.count, *S.shape[-2:])),
        )

    def follow(self, recorder: RunWatcher, progress: Progress | None) -> None:
        """Take all runs through the records of `recorder`."""
        parameters = {
            name: self.values(name) for name in (*self.parameters.numbers, *self.parameters.vectors)
        }
        process = SgdProcess.of(
            self.model, self.teacher, self.n, parameters, self.schedule, self.start.alpha
        )
        runs = SgdRuns(process, self._seed_of_inputs, parameters, recorder)
        run_tasks(
            runs.chains() if self.method == CHAIN else runs.weights(),
            self.workers,
            runs.cancel,
            None if progress is None else lambda: progress(runs.done, runs.total),
        )


def _run_count(start: Start, trajectories: int | None) -> int:
    """The number of runs."""
    asked = None if trajectories is None else whole_number("trajectories", trajectories, 1, LARGEST_COUNT)
    if start.count is None:
        found: int = default("trajectories", "simulate") if asked is None else asked
        return found
    if asked not in (None, start.count):
        raise InputError("trajectories", f"{asked} is not the number of starts, {start.count}")
    return start.count


def _check_known_at_finite_n(parameters: RunParameters) -> None:
    """Raise InputError for a parameter that SGD does not know, unless it has its default."""
    for number in NUMBERS:
        values = parameters.numbers.get(number.name)
        if values is not None and not number.at_finite_n and np.any(values != number.default):
            raise InputError(
                number.name,
                f"is not known at finite N: SGD is simulated with {number.name} = {number.default:g}",
            )


def _check_decay(parameters: RunParameters, n: int) -> None:
    """Raise InputError if a step would shrink weights to nothing, or turn them round."""
    strengths = parameters.numbers["eta"] * parameters.numbers["weight_decay"]
    if not np.all(strengths < n):
        largest = float(np.max(strengths))
        raise InputError("weight_decay", f"times eta is {largest:g}, which is not less than n = {n}")


def _check_batch(parameters: RunParameters) -> None:
    """Raise InputError if a step has so many samples that it would not end soon."""
    largest = float(np.max(parameters.numbers["batch"]))
    if largest > LARGEST_BATCH:
        raise InputError("batch", f"{largest:g} is more than 10^9, the most samples of a step at finite N")


def recorded_steps(alpha: ArrayLike, n: int, start: float = 0.0) -> np.ndarray:
    """Whole steps from a start on, nearest to the times of `checked_arrays.output_times`, ascending.

    Even times up to a single end that fall on the same step are recorded once. Raises InputError if given
    times do so, if they are beyond what an integer holds, or if all are at the start.
    """
    times = checked_arrays.output_times(alpha, start)
    if float(times[-1] - start) * n > 2.0**62:
        raise InputError("alpha", f"{times[-1]:g} is too long: at n = {n} more than 2⁶² steps")
    nearest = np.rint((times - start) * n).astype(np.int64)
    if nearest[-1] == 0:
        what = "" if not start else f" after {start:g}, the time of the start"
        raise InputError(
            "alpha", f"{times[-1]:g} is less than half a step{what}: a step is 1/n = {1 / n:g}"
        )
    steps = np.unique(nearest)
    if steps.size < times.size and checked_arrays.axis_count("alpha", alpha) > 0:
        k = int(np.flatnonzero(np.diff(nearest) == 0)[0])
        raise InputError(
            "alpha",
            f"{times[k]:.12g} and {times[k + 1]:.12g} are the same whole step at n = {n}: a step is"
            f" 1/n = {1 / n:g}",
        )
    return steps


@takes_parameters(usual=True)
def simulate(
    model: Model,
    *,
    n: int = default("n", "simulate"),
    alpha: ArrayLike = _ALPHA,
    method: str = CHAIN,
    trajectories: int | None = None,
    seed: int = SEED,
    Q0: ArrayLike | None = None,
    R0: ArrayLike | None = None,
    threads: int | None = None,
    progress: AskedProgress = None,
    schedule: Any = None,
    start_alpha: float = 0.0,
    **parameters: Unpack[ParameterValues],
) -> xarray.Dataset:
    """Run one-pass SGD in N dimensions, independently from several starts.

    wᵢ ← wᵢ − aη vᵢ e σ'(λᵢ) x/√N with a fresh x ~ N(0, 1) at each step, or the mean of this over a batch of
    B of them; then weight decay, or on the sphere |wᵢ| is reset. Time is α = steps/N. The numbers of a run
    depend on the seed, the time of the start, its place among the runs and whether any run has label noise,
    not on threads or the number of runs. docs/finite-n.md has the algorithm.

    Parameters
    ----------
    model
        Widths, constraint, teacher and readout; or a System of it. Its flow must be ``"sgd"``.
    n
        Input dimension N, from rank T to 10⁹ (weights: as memory allows).
    {parameters}
    alpha
        End of 201 even times from 0, or the times; each is rounded to a whole step. Even times on the
        same step are recorded once; given times on the same step are rejected.
    method
        ``"chain"``: the Markov chain of the overlaps, equal in law at any N and independent of N
        in cost. ``"weights"``: N-dimensional weights. A chain with N < p + rank T is run as
        weights, which are then fewer; the attribute ``method`` says what was done.
    trajectories
        Number of runs; 64 unless the start says otherwise. Each may have its own parameters (runs,).
    Q0, R0
        Overlaps of the start, (p, p) and (p, p*), or with the runs in front; without them each run
        starts from random weights of its own (`random_overlaps`).
    T
        Teacher overlaps (p*, p*) of a general teacher.
    threads
        Number of threads; None is one per processor.
    progress
        True: a bar on a terminal or in a notebook. A function: it is called with (steps done, all steps)
        of all runs, now and then, in this thread.
    schedule
        Factor g(α) of the learning rates, as for `integrate`; a step at time α has η g(α).
    start_alpha
        The time α of the start, where an earlier run is continued; ``alpha`` counts from 0 all the same.

    Returns
    -------
    xarray.Dataset
        With dims trajectory, alpha, i, j, r: Q, R, loss (the population loss), and for each run ``status``
        (ok, diverged) and ``alpha_end``, the last recorded time before it diverged; after that NaN.
        ``Q_mean``, ``Q_error`` … are means over the ``runs`` that go on at a time, and their standard
        errors. ``alpha`` are the exact times of the states, steps/N. A trained second layer is ``v``
        (trajectory, alpha, i), others are ``student_weights`` and ``teacher_weights``.

    Raises
    ------
    InputError
        A value is not allowed, or the overlaps do not fit into N dimensions.
    """
    model = checked_arrays.as_model(model)
    if (Q0 is None) != (R0 is None):
        raise InputError("R0" if R0 is None else "Q0", "is missing: give both overlaps or none")
    start: Start
    if Q0 is None or R0 is None:
        T = parameters.get("T")
        runs = default("trajectories", "simulate") if trajectories is None else trajectories
        options: dict[str, Any] = {"constraint": model.constraint, "T": T}
        start = RandomStart(lambda: OverlapSampler(model.p, model.pstar, n, seed, **options), runs)
    else:
        start = GivenStart(Q0, R0, many=checked_arrays.axis_count("Q0", Q0) != 2)
    beginning = checked_arrays.real_number("start_alpha", start_alpha, least=0.0)
    start = dataclasses.replace(start, alpha=beginning)
    simulation = Simulation(
        model, start, parameters, n, alpha, method, seed, trajectories, threads, schedule
    )
    with asked_progress("steps", progress) as report:
        return simulation.run(report)


def chosen_simulation(
    model: Model, start: ChosenStart, *, n: int, trajectories: int, **options: Any
) -> Simulation:
    """The simulation of a chosen start, whose seed is also that of the inputs.

    Random starts have the dimension of the simulation. The options are run-time parameters and those of
    `Simulation`. InputError names one of the choices.
    """
    random = start.ideal is None and start.overlaps is None
    start = dataclasses.replace(start, n=n if random else None, given=start.given - NEEDED_ANYWAY)
    own = {name: options.pop(name) for name in ("method", "threads")}
    own["schedule"] = options.pop("schedule", None)
    alpha = options.pop("alpha")
    with naming_choices():
        of_start = start.starts_of if start.overlaps is None else start.overlaps_of
        given, starts = of_start(model, trajectories)
        own |= {"seed": start.seed, "trajectories": trajectories}
        return Simulation(model, starts, options | given, n, start.times(alpha, starts), **own)
