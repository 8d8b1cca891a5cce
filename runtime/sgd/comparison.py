"""Compares SGD with the ODEs: do the overlaps approach the theory as N grows?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import whole_number
from derive.errors import InputError, shown
from derive.model import Model
from derive.parameters import VECTORS, ParameterValues
from runtime.output.plain_result import WORDS, PlainResult
from runtime.output.progress import AskedProgress, Progress, asked_progress, part_of
from runtime.output.result_attributes import made_attributes
from runtime.problem import Problem
from runtime.run_options import DEFAULT_METHOD, SEED, default
from runtime.sgd.extrapolation import ROUNDING, allowed_deviation, extrapolate, judged, uncertain
from runtime.sgd.simulation import (
    CHAIN,
    LARGEST_SIMULATED_N,
    NEEDED_ANYWAY,
    WEIGHTS,
    Simulation,
    recorded_steps,
)
from runtime.sgd.spread_comparison import judged_bias, judged_spread, measured_spread, predicted
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.chosen_start import ChosenStart, naming_choices
from runtime.start.initial_overlaps import LARGEST_COUNT
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.start.seeds import LARGEST_SEED, derived_seed
from runtime.start.starts import GivenStart
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.single_run import integrate_problem

if TYPE_CHECKING:
    import xarray

# The end of the times that `compare` takes by default.
_ALPHA = default("alpha", "compare")
FEWEST_RUNS = 16
# Unless weights are asked for, they may cost this many products of weights and inputs: about a minute.
AFFORDABLE_WEIGHTS = 4e11
# Tolerances of the ODE, whose errors must be smaller than those of means.
_RTOL, _ATOL = 1e-10, 1e-12
# Attributes of the ODE's run that do not concern SGD.
_OF_THE_SOLVER = ("rtol", "atol", "method")


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """The ODE and simulations of SGD from one start, which is checked with the rest when this is made.

    model, start
        What is compared, and where all runs and the ODE start.
    given
        Run-time parameters by name, T among them.
    n
        Input dimensions, ascending.
    alpha
        Times, as for `compare`.
    trajectories
        Number of runs at each N.
    weights
        Whether weights are run too; None does so if that is cheap.
    seed, threads, schedule
        As for `compare`.
    problem
        What the ODE is asked for: the times of the records, and the start of the runs in front of them.
    simulations
        The chain at each N, then the weights at the smallest if they are run.

    Raises InputError if a value is not allowed.
    """

    model: Model
    start: GivenStart
    given: dataclasses.InitVar[Mapping[str, Any]]
    n: Sequence[int]
    alpha: dataclasses.InitVar[ArrayLike]
    trajectories: int
    weights: bool | None = None
    seed: int = SEED
    threads: dataclasses.InitVar[int | None] = None
    schedule: dataclasses.InitVar[Any] = None
    problem: Problem = dataclasses.field(init=False)
    simulations: tuple[Simulation, ...] = dataclasses.field(init=False)

    def __post_init__(
        self, given: Mapping[str, Any], alpha: ArrayLike, threads: int | None, schedule: Any
    ) -> None:
        model, weights = self.model, self.weights
        if not isinstance(weights, (bool, np.bool_)) and weights is not None:
            raise InputError("weights", f"{shown(weights)} is neither True nor False, nor None")
        parameters = RunParameters.of(model, given)
        runs = whole_number("trajectories", self.trajectories, FEWEST_RUNS, LARGEST_COUNT)
        seed = whole_number("seed", self.seed, 0, LARGEST_SEED)
        start = self.start.checked(model, parameters.T)
        sizes, steps = _sizes_and_steps(self.n, alpha, start.alpha)
        times = start.alpha + steps / sizes[0]
        batch = parameters["batch"]
        cost = float(steps[-1]) * sizes[0] * (model.p + 4) * runs * batch
        with_weights = cost <= AFFORDABLE_WEIGHTS if weights is None else bool(weights)
        plan = [(size, CHAIN) for size in sizes] + [(sizes[0], WEIGHTS)] * with_weights
        simulations = tuple(
            Simulation(
                model=model,
                start=start,
                given=parameters,
                n=n,
                alpha=times,
                method=method,
                seed=derived_seed(seed, number),
                trajectories=runs,
                threads=threads,
                schedule=schedule,
            )
            for number, (n, method) in enumerate(plan)
        )
        used = times if times[0] == start.alpha else np.concatenate([[start.alpha], times])
        problem = Problem(
            model,
            start,
            parameters,
            alpha=used,
            rtol=_RTOL,
            atol=_ATOL,
            method=DEFAULT_METHOD,
            schedule=schedule,
        )
        checked = {
            "start": problem.start,
            "n": sizes,
            "trajectories": runs,
            "weights": with_weights,
            "seed": seed,
            "problem": problem,
            "simulations": simulations,
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def run(self, system: System, progress: Progress | None = None) -> xarray.Dataset:
        """As `compare` returns it, with the attributes of the start; `system` is of this model."""
        records = self.simulations[0].steps.size
        theory = integrate_problem(system, self.problem).isel(alpha=slice(-records, None))
        works = [int(simulation.steps[-1]) * simulation.count for simulation in self.simulations]
        done = [
            simulation.run(part_of(progress, sum(works[:number]), work, sum(works)))
            for number, (simulation, work) in enumerate(zip(self.simulations, works, strict=True))
        ]
        runs = self.trajectories
        title = f"SGD against the ODE of {self.model.name}"
        settings = {"title": title, "trajectories": runs, "seed": self.seed, **self.start.origin}
        chains = done[: len(self.n)]
        names, expected = observables(theory)
        values = [observables(simulated)[1] for simulated in chains]
        means, errors = map(np.array, zip(*map(mean_and_error, values), strict=True))
        deviations = means - expected
        found = _fitted(deviations, errors, self.n) | predicted(system, self.problem, records)
        result = _dataset(theory, chains, self.n, settings, found)
        judgement = _judge(result, names, runs)
        if not result["diverged"].any():
            judgement |= judged_spread(result, names[1:], [x[..., 1:] for x in values], runs)
            judgement |= judged_bias(result, names, deviations, errors, runs)
        if self.weights:
            judgement |= _judge_weights(done[0], done[-1], runs)
        result.attrs |= {"verdict": _verdict(judgement), **judgement}
        return result


def _sizes_and_steps(n: Sequence[int], alpha: ArrayLike, start: float) -> tuple[list[int], np.ndarray]:
    """Sizes, and the steps of the records at the smallest; raises InputError as `compare`."""
    sizes = [whole_number("n", size, 1, LARGEST_SIMULATED_N) for size in checked_arrays.listed("n", n)]
    if len(sizes) < 2 or np.any(np.diff(sizes) <= 0):
        raise InputError("n", "needs two or more ascending dimensions, such as 1000,2000,4000")
    steps = recorded_steps(alpha, sizes[0], start)
    times = steps / sizes[0]
    for size in sizes:
        if not np.array_equal(recorded_steps(times, size) / size, times):
            raise InputError("n", f"{size} is not a multiple of {sizes[0]}: their steps are at other times")
    return sizes, steps


@takes_parameters(usual=True)
def compare(
    system: System,
    Q0: ArrayLike,
    R0: ArrayLike,
    *,
    n: Sequence[int] = default("n", "compare"),
    alpha: ArrayLike = _ALPHA,
    trajectories: int = default("trajectories", "compare"),
    weights: bool | None = None,
    seed: int = SEED,
    threads: int | None = None,
    progress: AskedProgress = None,
    schedule: Any = None,
    start_alpha: float = 0.0,
    **parameters: Unpack[ParameterValues],
) -> xarray.Dataset:
    """Compare the ODE with SGD from the same start at several N, and judge.

    The mean of an order parameter over runs is taken as its value at N → ∞ plus a bias b/N,
    fitted to all N with the errors of the means as weights. The deviation of that limit from
    the ODE, in units of its standard error, is compared with Student's t at a level of 10⁻³
    for all order parameters, the loss and all times together (Bonferroni).

    Parameters
    ----------
    Q0, R0
        Overlaps (p, p) and (p, p*) that all runs and the ODE start from.
    {parameters}
    n
        Two or more input dimensions, ascending.
    alpha
        End of 201 even times, or the times; rounded to steps at the smallest N, whose multiples
        the others should be. Even times on the same step are recorded once; given times on the same step
        are rejected.
    trajectories
        Runs at each N, at least 16.
    weights
        Also run N-dimensional weights at the smallest N and compare them with the chain; None
        does so if that takes no longer than a minute or so.
    progress
        True: a bar on a terminal or in a notebook. A function: it is called with (steps done, all steps).
    schedule
        Factor g(α) of the learning rates, as for `integrate`.
    start_alpha
        The time α of the start, where an earlier run is continued.

    Returns
    -------
    xarray.Dataset
        With the ODE's Q, R, loss, and v if it is trained; ``Q_mean``, ``Q_error`` … with dim ``n`` in
        front; ``loss_spread``, ``Q_spread`` …, standard deviations over runs; ``loss_std``, ``Q_std`` …,
        √N times those that the covariance at order 1/N predicts, ``loss_bias``, ``Q_bias`` …, N times the
        predicted biases, and ``linear_n``, the N that its linear
        theory has needed so far (`runtime.fluctuations`); ``limit`` and ``limit_error`` (observable,
        alpha), the deviation extrapolated to N → ∞; ``bias`` and ``bias_error``, the coefficient of 1/N.
        Attributes: ``verdict`` (agree, disagree, or undecided if runs diverged), ``deviation`` (the
        largest, in standard errors) and ``where`` it occurs, ``allowed`` (the largest that counts as
        agreement), ``comparisons`` (how many were made); with weights also ``weights_deviation``,
        ``weights_allowed``, and the verdict is "disagree" too if chain and weights differ by more.

        ``spread_deviation``, ``spread_allowed``, ``spread_comparisons``, ``spread_where`` and
        ``spread_until`` say the same of the spreads, extrapolated to N → ∞ as the means are, while the
        smallest N is four times ``linear_n``; if none is compared, ``spread_reason`` says why.
        ``bias_deviation`` and so on say it of the biases, where they are predicted.

    Raises
    ------
    InputError
        A value is not allowed.
    """
    model, start = as_system(system).model, GivenStart(Q0, R0, alpha=start_alpha)
    comparison = Comparison(
        model, start, parameters, n, alpha, trajectories, weights, seed, threads, schedule
    )
    with asked_progress("steps", progress) as report:
        return comparison.run(system, report)


def chosen_comparison(
    model: Model, start: ChosenStart, *, weights: bool | None, **options: Any
) -> Comparison:
    """The comparison from a chosen start, whose seed is also that of the inputs.

    The options are run-time parameters and those of `Comparison`. InputError names one of the choices.
    """
    start = dataclasses.replace(start, given=start.given - NEEDED_ANYWAY)
    own = {name: options.pop(name) for name in ("n", "trajectories", "threads")}
    own["schedule"] = options.pop("schedule", None)
    alpha = options.pop("alpha")
    with naming_choices():
        given, beginning = start.overlaps_of(model)
        own |= {"alpha": start.times(alpha, beginning), "weights": weights, "seed": start.seed}
        return Comparison(model, beginning, options | given, **own)


def observables(runs: xarray.Dataset) -> tuple[list[str], Array]:
    """Names and values (…, alpha, observable) of the loss and all independent order parameters."""
    p, pstar = runs.sizes["i"], runs.sizes["r"]
    rows, columns = np.triu_indices(p)
    Q, R, loss = runs["Q"].values, runs["R"].values, runs["loss"].values
    values = [loss[..., None], Q[..., rows, columns], R.reshape(*R.shape[:-2], p * pstar)]
    names = ["loss"]
    names += [f"Q_{i + 1}_{j + 1}" for i, j in zip(rows, columns, strict=True)]
    names += [f"R_{i + 1}_{r + 1}" for i in range(p) for r in range(pstar)]
    if "v" in runs:
        values.append(runs["v"].values)
        names += [f"v_{i + 1}" for i in range(p)]
    return names, np.concatenate(values, axis=-1)


def mean_and_error(values: Array) -> tuple[Array, Array]:
    """Mean over runs (in front) and its standard error; NaN where a run is NaN."""
    count = len(values)
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(count)


def _dataset(
    theory: xarray.Dataset,
    simulated: Sequence[xarray.Dataset],
    sizes: Sequence[int],
    settings: Mapping[str, Any],
    found: Mapping[str, Any],
) -> xarray.Dataset:
    """What was measured at these N beside the ODE, with what was `found`; the settings are attributes."""
    names, _ = observables(theory)
    weights = [vector.name for vector in VECTORS]
    kept = [name for name in ("Q", "R", "v", "T", *weights, "loss") if name in theory]
    variables: dict[str, Any] = {name: (theory[name].dims, theory[name].values) for name in kept}
    for name in [name for name in kept if "alpha" in theory[name].dims]:
        both = [mean_and_error(runs[name].values) for runs in simulated]
        for suffix, words in (("mean", "mean"), ("error", "standard error of the mean")):
            values = np.array([pair[suffix == "error"] for pair in both])
            words = f"{words} {WORDS[name]} over runs"
            variables[f"{name}_{suffix}"] = (("n", *theory[name].dims), values, words)
    diverged = [int((runs["status"] == "diverged").sum()) for runs in simulated]
    variables |= measured_spread(simulated)
    variables |= {**found, "diverged": (("n",), np.array(diverged), "diverged runs")}
    coordinates: dict[str, Any] = {str(name): theory[name].values for name in theory.coords}
    coordinates |= {
        "n": np.array(sizes),
        "observable": ("observable", np.array(names), "order parameter or loss that is compared"),
    }
    attributes = {key: value for key, value in theory.attrs.items() if key not in _OF_THE_SOLVER}
    attributes = {**attributes, **settings, **made_attributes("compare")}
    return PlainResult(variables, coordinates, attributes).dataset()


def _fitted(deviations: Array, errors: Array, sizes: Sequence[int]) -> dict[str, Any]:
    """The limit N → ∞ of deviations (N, alpha, observable) and their bias, as variables."""
    limit, limit_error, bias, bias_error = extrapolate(deviations, errors, np.array(sizes, float))
    over = ("observable", "alpha")
    return {
        "limit": (over, limit.T, "deviation from the ODE, extrapolated to infinite N"),
        "limit_error": (over, limit_error.T, "standard error of limit"),
        "bias": (over, bias.T, "coefficient of 1/N in the deviation from the ODE"),
        "bias_error": (over, bias_error.T, "standard error of bias"),
    }


def _verdict(found: Mapping[str, Any]) -> str:
    """What all deviations together say; nothing if runs diverged, or if weights are not finite."""
    if "deviation" not in found or not np.isfinite(found.get("weights_deviation", 0.0)):
        return "undecided"
    kinds = ("", "spread_", "bias_", "weights_")
    compared = [kind for kind in kinds if f"{kind}deviation" in found]
    agree = all(found[f"{kind}deviation"] <= found[f"{kind}allowed"] for kind in compared)
    return "agree" if agree else "disagree"


def _judge(result: xarray.Dataset, names: Sequence[str], runs: int) -> dict[str, Any]:
    """How the means deviate from the ODE, as attributes; how far is not said if runs diverged."""
    limit, error = result["limit"].values.T, result["limit_error"].values.T
    tested = uncertain(error, result)
    if result["diverged"].any():
        comparisons = int(tested.sum())
        return {"comparisons": comparisons, "allowed": allowed_deviation(comparisons, runs)}
    return judged("", result, names, tested, np.abs(limit[tested]) / error[tested], runs)


def _judge_weights(chain: Any, weights: Any, runs: int) -> dict[str, Any]:
    """The largest difference of the two simulations' means, in standard errors."""
    (mean, error), (other, other_error) = (
        mean_and_error(observables(simulation)[1]) for simulation in (chain, weights)
    )
    total = np.hypot(error, other_error)
    # The comparison is negated so that the means of runs that diverged, which are NaN, are tested too and
    # make the deviation NaN.
    tested = ~(total <= ROUNDING * float(np.max(np.abs(mean), initial=1.0, where=np.isfinite(mean))))
    z = np.abs(mean - other)[tested] / total[tested]
    return {
        "weights_deviation": float(np.max(z, initial=0.0)),
        "weights_allowed": allowed_deviation(int(tested.sum()), runs),
    }
