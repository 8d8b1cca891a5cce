"""Mean and quantiles of the loss over an ensemble of any size, which is integrated in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import one_of, whole_number
from derive.errors import InputError
from runtime.concurrency.thread_pool import thread_count
from runtime.ensemble.ensemble_run import EnsembleEngine, pack_parameters
from runtime.ensemble.loss_statistics import QUANTILE_ERROR, LossStatistics
from runtime.output.progress import Progress, part_of
from runtime.output.quantiles import QUANTILES, exact_quantiles
from runtime.output.result_attributes import result_attributes
from runtime.start import checked_arrays
from runtime.start.initial_overlaps import LARGEST_COUNT, OverlapSampler
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.solver import STATUS
from runtime.trajectory.tableaux import DEFAULT_METHOD, TABLEAUX

if TYPE_CHECKING:
    import xarray

# Number of trajectories in a batch: their losses at 200 times take 52 MB.
BATCH = 2**15


def ensemble_statistics(
    system: System,
    sampler: OverlapSampler,
    trajectories: int,
    *,
    eta: float,
    alpha: ArrayLike = 200.0,
    label_noise: float = 0.0,
    T: ArrayLike | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    method: str = DEFAULT_METHOD,
    stop_loss: float | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
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
    import xarray

    one_of("method", method, TABLEAUX)
    teacher = checked_arrays.teacher_overlaps(as_system(system).model, T)
    if not isinstance(sampler, OverlapSampler):
        raise InputError("sampler", f"is of the type {type(sampler).__name__}, not an OverlapSampler")
    sampler.check(system.model, teacher)
    trajectories = whole_number("trajectories", trajectories, 1, LARGEST_COUNT)
    rate = checked_arrays.real_number("eta", eta, least=0.0, strict=True)
    noise = checked_arrays.real_number("label_noise", label_noise, least=0.0)
    times = checked_arrays.output_times(alpha)
    relative, absolute = checked_arrays.tolerances(rtol, atol)
    threshold = None if stop_loss is None else checked_arrays.real_number("stop_loss", stop_loss)
    workers = thread_count(threads)
    general = checked_arrays.given_T(system.model, teacher)
    parameters = pack_parameters(system, np.array([rate]), np.array([noise]), general)
    engine = EnsembleEngine(system, method)
    statistics = LossStatistics(times.size)
    status_counts = dict.fromkeys(STATUS, 0)
    escapes: list[checked_arrays.Array] = []
    done, warned = 0, False

    while done < trajectories:
        size = min(BATCH, trajectories - done)
        Q, R = sampler.draw(size)
        warned = warned or checked_arrays.warn_if_unresolved(R, absolute, stacklevel=2)
        results = engine.run(
            system.pack(Q, R),
            parameters,
            times,
            rtol=relative,
            atol=absolute,
            output="loss",
            stop_loss=threshold,
            threads=workers,
            progress=part_of(progress, done, size, trajectories),
        )
        crossed = results.outcomes["crossed"] == 1
        statistics.add(results.losses, crossed)
        for code in status_counts:
            status_counts[code] += int(np.count_nonzero(results.outcomes["status"] == code))
        if threshold is not None:
            escapes.append(np.where(crossed, results.outcomes["end"], np.nan))
        done += size
    # The losses of a single batch are all in memory, so its quantiles are exact.
    exact = trajectories <= BATCH
    quantiles = exact_quantiles(results.losses, crossed) if exact else statistics.quantiles()
    variables: dict[str, Any] = {
        "loss_mean": ("alpha", statistics.mean(), {"long_name": "mean generalisation error"}),
        "loss_error": ("alpha", statistics.standard_error(), {"long_name": "standard error of the mean"}),
        "loss_quantile": (
            ("quantile", "alpha"),
            quantiles,
            {
                "long_name": "quantile of the generalisation error",
                "relative_error": 0.0 if exact else QUANTILE_ERROR,
            },
        ),
        "count": ("alpha", statistics.counts, {"long_name": "trajectories at this time"}),
        "status_count": ("status", list(status_counts.values()), {"long_name": "trajectories"}),
        "T": (("r", "s"), teacher, {"long_name": "teacher-teacher overlap"}),
    }
    if escapes:
        variables["escape_alpha"] = (
            "trajectory",
            np.concatenate(escapes),
            {"long_name": "time when the loss came down to stop_loss"},
        )
    settings: dict[str, Any] = {
        "eta": rate,
        "label_noise": noise,
        "rtol": relative,
        "atol": absolute,
        "method": method,
        "output": "statistics",
        "trajectories": trajectories,
    }
    if threshold is not None:
        settings["stop_loss"] = threshold
    return xarray.Dataset(
        variables,
        {
            "alpha": ("alpha", times, {"long_name": "time, samples / N"}),
            "quantile": list(QUANTILES),
            "status": [STATUS[code] for code in status_counts],
        },
        result_attributes(f"overlap ensemble of {system.model.name}", system.model, settings),
    )
