"""Mean and quantiles of the loss over an ensemble of any size, which is integrated in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from derive.parameters import ParameterValues
from runtime.ensemble.engine_plan import EnginePlan
from runtime.ensemble.ensemble_run import EnsembleEngine, initial_states, plan_of, rows_of
from runtime.ensemble.loss_statistics import QUANTILE_ERROR, LossStatistics
from runtime.output.plain_result import PlainResult
from runtime.output.progress import AskedProgress, Progress, asked_progress, part_of
from runtime.output.quantiles import QUANTILES, exact_quantiles
from runtime.output.result_attributes import result_attributes
from runtime.problem import Problem
from runtime.run_options import ALPHA, ATOL, DEFAULT_METHOD, RTOL
from runtime.start.checked_arrays import Array, warn_if_unresolved
from runtime.start.initial_overlaps import OverlapSampler
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.start.starts import RandomStart
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.solver import STATUS
from runtime.trajectory.trajectory_dataset import layer_variables

if TYPE_CHECKING:
    import xarray

# Number of trajectories in a batch: their losses at 200 times take 52 MB.
BATCH = 2**15


@takes_parameters
def ensemble_statistics(
    system: System,
    sampler: OverlapSampler,
    trajectories: int,
    *,
    alpha: ArrayLike = ALPHA,
    rtol: float = RTOL,
    atol: float = ATOL,
    method: str = DEFAULT_METHOD,
    stop_loss: float | None = None,
    threads: int | None = None,
    progress: AskedProgress = None,
    schedule: Any = None,
    start_alpha: float = 0.0,
    **parameters: Unpack[ParameterValues],
) -> xarray.Dataset:
    """Mean and quantiles of the loss over `trajectories` starts drawn from `sampler`.

    The sampler is made for the widths, the constraint and the T of the system.

    Returns a dataset with ``loss_mean``, ``loss_error`` (standard error) and ``count`` over
    (alpha), ``loss_quantile`` over (quantile, alpha), above 32768 trajectories from a
    histogram with bins of 0.46 %; ``status_count`` over (status); with `stop_loss` also
    ``escape_alpha`` over (trajectory). Mean, error and count are those of the trajectories that
    reached each time without having stopped. Quantiles are over all: after its end a trajectory that
    came down to `stop_loss` counts as smaller, one that failed as larger than the others, and a
    quantile among these is NaN. The other parameters and the errors raised are those of
    `integrate_ensemble`.
    """
    model = as_system(system).model
    # The trajectories are drawn in batches, so each parameter has one value for all of them.
    values = RunParameters.of(model, parameters)
    start = RandomStart(lambda: sampler, trajectories, alpha=start_alpha)
    problem = Problem(
        model,
        start,
        values,
        alpha=alpha,
        rtol=rtol,
        atol=atol,
        method=method,
        stop_loss=stop_loss,
        schedule=schedule,
    )
    with asked_progress("trajectories", progress) as report:
        return statistics_of(system, problem, plan_of(problem, "loss", threads), report)


def statistics_of(
    system: System, problem: Problem, plan: EnginePlan, progress: Progress | None = None
) -> xarray.Dataset:
    """As `ensemble_statistics`, for the trajectories of a problem of the system's model.

    The plan is that of losses.
    """
    trajectories = problem.start.count or 1
    packed = problem.parameters.packed
    engine = EnsembleEngine(system, problem.method, schedule=problem.schedule)
    statistics = LossStatistics(problem.alpha.size)
    status_counts = dict.fromkeys(STATUS, 0)
    escapes: list[Array] = []
    done, warned = 0, False
    for Q, R in problem.start.batches(BATCH):
        warned = warned or warn_if_unresolved(R, problem.atol, stacklevel=4)
        report = part_of(progress, done, len(Q), trajectories)
        initial = initial_states(system, problem, Q, R, done)
        results = engine.run(initial, rows_of(packed, done, len(Q)), plan, report)
        crossed = results.outcomes["crossed"] == 1
        statistics.add(results.losses, crossed)
        for code in status_counts:
            status_counts[code] += int(np.count_nonzero(results.outcomes["status"] == code))
        if problem.stop_loss is not None:
            escapes.append(np.where(crossed, results.outcomes["end"], np.nan))
        done += len(Q)
    # The losses of a single batch are all in memory, so its quantiles are exact.
    exact = exact_quantiles(results.losses, crossed) if trajectories <= BATCH else None
    return _dataset(problem, statistics, exact, status_counts, escapes)


def _dataset(
    problem: Problem,
    statistics: LossStatistics,
    exact: Array | None,
    status_counts: Mapping[int, int],
    escapes: Sequence[Array],
) -> xarray.Dataset:
    """The dataset of the statistics; `exact` are the quantiles (quantile, alpha) if they are known."""
    variables: dict[str, Any] = {
        "loss_mean": ("alpha", statistics.mean(), "mean generalisation error"),
        "loss_error": ("alpha", statistics.standard_error(), "standard error of the mean"),
        "loss_quantile": (
            ("quantile", "alpha"),
            statistics.quantiles() if exact is None else exact,
            {
                "long_name": "quantile of the generalisation error",
                "relative_error": QUANTILE_ERROR if exact is None else 0.0,
            },
        ),
        "count": ("alpha", statistics.counts, "trajectories at this time"),
        "status_count": ("status", list(status_counts.values()), "trajectories with this status"),
        **layer_variables(problem.parameters),
    }
    if escapes:
        variables["escape_alpha"] = ("trajectory", np.concatenate(escapes))
    settings = {
        **problem.parameters.attributes,
        **problem.schedule.attributes,
        **problem.solver_attributes,
        "output": "statistics",
        "trajectories": problem.start.count,
        **problem.level_attributes,
    }
    coordinates = {
        "alpha": problem.alpha,
        "quantile": list(QUANTILES),
        "status": [STATUS[code] for code in status_counts],
    }
    title = f"overlap ensemble of {problem.model.name}"
    if problem.start.alpha:
        settings["start_alpha"] = problem.start.alpha
    attributes = result_attributes(title, problem.model, settings, "ensemble_statistics")
    attributes |= problem.start.origin
    return PlainResult(variables, coordinates, attributes).dataset()
