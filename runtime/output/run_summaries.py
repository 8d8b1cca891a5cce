"""Sums up trajectories, ensembles and SGD runs: tables for people, plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.output.quantiles import quantiles
from runtime.output.result_attributes import departures
from runtime.output.result_table import Cell, Column, Table, evenly

if TYPE_CHECKING:
    import xarray

    from runtime.output.plain_result import PlainResult

    # A dataset, or what it will be made of.
    Result: TypeAlias = xarray.Dataset | PlainResult

_INDICES = ("i", "j", "r", "s", "k", "component_", "trajectory")
_ALPHA, _NORM = Column("alpha", "12.6g"), Column("mean Q_ii", "12.6f")
_MEAN_LOSS = Column("mean loss", "14.6e")
# Second-layer weights of up to this many students are written out.
_WRITTEN_OUT = 8


def as_json(run: Result) -> dict[str, Any]:
    """A result as plain values; NaN, which JSON lacks, becomes null."""

    def plain(values: Any) -> Any:
        if isinstance(values, list):
            return [plain(value) for value in values]
        if isinstance(values, float) and not math.isfinite(values):
            return None
        return values

    variables = {str(name): plain(variable.values.tolist()) for name, variable in run.data_vars.items()}
    attributes = {
        str(name): plain(value.tolist() if hasattr(value, "tolist") else value)
        for name, value in run.attrs.items()
        # This is said of netCDF files.
        if name != "Conventions"
    }
    # Indices are left out, since they only repeat the places in the lists.
    coordinates = {
        str(name): plain(coordinate.values.tolist())
        for name, coordinate in run.coords.items()
        if name not in _INDICES
    }
    return {"attributes": attributes, **coordinates, **variables}


def _method(run: Result, where: str = "") -> str:
    """The method of a run, and what of the problem is not as by default."""
    words = departures(run.attrs, lambda number, value: f"{number.symbol} = {value:g}")
    return ", ".join([f"{run.attrs['method']}{where}", *words])


def status_line(run: Result) -> str:
    """How a single trajectory ended, and how much work it took."""
    return (
        f"status {run['status'].values.item()}, {run['steps'].values.item()} steps, "
        f"{run['evaluations'].values.item()} evaluations, {_method(run)}"
    )


# What may help, by the status of a trajectory that ended early.
_REMEDIES = {"diverged": "a smaller --eta may help", "step_too_small": "a larger --rtol may help"}
_PAST = {"diverged": "diverged", "step_too_small": "needed too small steps"}


def stopped_line(run: Result) -> str | None:
    """Where and why a trajectory ended early, and what to try; None if it did not."""
    status = run["status"].values.item()
    if status not in _REMEDIES:
        return None
    return f"stopped at alpha = {run['alpha_end'].values.item():.6g}: {status}; {_REMEDIES[status]}"


def endings(runs: xarray.Dataset) -> dict[str, int]:
    """The number of trajectories with each status that occurs, of an ensemble or of runs of SGD."""
    if "status_count" in runs:
        counted = zip(runs["status"].values, runs["status_count"].values, strict=True)
    else:
        counted = zip(*np.unique(runs["status"].values, return_counts=True), strict=True)
    return {str(status): int(count) for status, count in counted if count}


def _counted(runs: xarray.Dataset) -> str:
    """The number of trajectories with each status, in words."""
    return ", ".join(f"{count} {status}" for status, count in endings(runs).items())


def unfinished_line(counts: Mapping[str, int], what: str) -> str | None:
    """How many trajectories, or `what` they are called, ended early, and what to try; None if none did.

    `counts` are numbers of these by status, as of `endings`.
    """
    early = {status: counts[status] for status in _REMEDIES if counts.get(status)}
    if not early:
        return None
    number = f"{{}} of {sum(counts.values())} {what}"
    words = [f"{number.format(count)} {_PAST[status]}" for status, count in early.items()]
    return f"{' and '.join(words)}; {_REMEDIES[next(iter(early))]}"


def trajectory_rows(run: Result, rows: int) -> list[tuple[Cell, ...]]:
    """α, loss, mean norm and largest overlap with a teacher at up to `rows` outputs of a trajectory."""
    alpha, loss, Q, R = (run[name].values for name in ("alpha", "loss", "Q", "R"))
    if "stop_loss" in run.attrs:
        # What comes after the event says nothing.
        alpha = alpha[: max(1, int(np.isfinite(loss).sum()))]
    return [
        (alpha[k], loss[k], np.trace(Q[k]) / Q.shape[1], np.max(np.abs(R[k])))
        for k in evenly(alpha.size, rows)
    ]


def trajectory_table(run: Result, rows: int) -> str:
    """A short table of α, loss, norms and alignment, for people; the last line is the status."""
    columns = (_ALPHA, Column("loss", "14.6e"), _NORM, Column("max |R_ir|", "12.6f"))
    lines = [Table(columns, trajectory_rows(run, rows)).as_text()]
    if "stop_loss" in run.attrs:
        escape = run["escape_alpha"].values.item()
        how = "did not come down" if math.isnan(escape) else "came down"
        where = "" if math.isnan(escape) else f" at alpha = {escape:.6g}"
        lines.append(f"loss {how} to {run.attrs['stop_loss']:g}{where}")
    if "v" in run.data_vars:
        lines += _weights_lines(run)
    return "\n".join([*lines, status_line(run)])


def _weights_lines(run: Result) -> list[str]:
    """The last known weights of a trained second layer, or their range if there are many; one line."""
    known = run["v"].values[np.isfinite(run["loss"].values)]
    if not len(known):
        return []
    v = known[-1]
    if v.size <= _WRITTEN_OUT:
        return [f"last v: {', '.join(f'{weight:.6g}' for weight in v)}"]
    return [f"last v: from {v.min():.6g} to {v.max():.6g}, mean {v.mean():.6g}"]


def ensemble_table(runs: xarray.Dataset, rows: int) -> str:
    """A short table of an ensemble for people: quantiles of the loss, or of the final loss."""
    lines: list[str] = []
    if "loss_quantile" in runs:
        alpha, running = runs["alpha"].values, runs["count"].values
        columns = [_ALPHA, _MEAN_LOSS]
        columns += [Column(f"{100 * q:g} %", "12.4e") for q in runs["quantile"].values]
        values = np.vstack([alpha, runs["loss_mean"].values, runs["loss_quantile"].values]).T
        found: list[tuple[Cell, ...]] = [tuple(values[k]) for k in evenly(alpha.size, rows)]
        # Trajectories that have stopped no longer count in the mean, which then is that of the slow ones.
        if "escape_alpha" in runs or np.min(running) < np.max(running):
            columns.append(Column("running", "9d"))
            found = [(*row, running[k]) for row, k in zip(found, evenly(alpha.size, rows), strict=True)]
        lines.append(Table(columns, found).as_text())
        if np.isnan(runs["loss_quantile"].values[:, running > 0]).any():
            lines.append("-: this quantile lies among trajectories that have stopped or failed")
    else:
        last = _last_losses(runs)
        text = _quantiles_text(last, ".4e") if np.isfinite(last).any() else "none"
        lines.append(f"last loss, quantiles 5 %, 50 %, 95 %: {text}")
    if "escape_alpha" in runs:
        escape = runs["escape_alpha"].values
        reached = int(np.isfinite(escape).sum())
        line = f"loss came down to {runs.attrs['stop_loss']:g} in {reached} of {escape.size}"
        if reached:
            line += f"; alpha at 5 %, 50 %, 95 %: {_quantiles_text(escape, '.6g')}"
        lines.append(line)
    return "\n".join([*lines, f"status: {_counted(runs)}, {_method(runs)}"])


def _quantiles_text(values: NDArray[np.float64], form: str) -> str:
    """The quantiles 5 %, 50 % and 95 % of all values, with a dash for those that are unknown."""
    return ", ".join("-" if math.isnan(x) else f"{x:{form}}" for x in quantiles(values, (0.05, 0.5, 0.95)))


def _last_losses(runs: xarray.Dataset) -> NDArray[np.float64]:
    """The last loss of each trajectory, at its end or at its stop_loss; NaN where it failed."""
    loss = runs["loss"].values.reshape(runs.sizes["trajectory"], -1)
    there = np.isfinite(loss)
    last = loss.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    ended = there.any(axis=1) & (runs["status"].values == "ok")
    return np.where(ended, loss[np.arange(len(loss)), last], np.nan)


def runs_table(runs: xarray.Dataset, rows: int) -> str:
    """A short table of runs of SGD for people: mean loss, its error, spread, mean norm."""
    alpha = runs["alpha"].values
    mean, error, count = (runs[name].values for name in ("loss_mean", "loss_error", "runs"))
    norms = np.trace(runs["Q_mean"].values, axis1=1, axis2=2) / runs.sizes["i"]
    columns = (_ALPHA, _MEAN_LOSS, Column("error", "10.2e"), Column("deviation", "12.4e"), _NORM)
    table = Table(
        (*columns, Column("runs", "8d")),
        [
            (alpha[k], mean[k], error[k], error[k] * np.sqrt(count[k]), norms[k], count[k])
            for k in evenly(alpha.size, rows)
        ],
    )
    method = _method(runs, f" at n = {runs.attrs['n']}")
    return f"{table.as_text()}\nstatus: {_counted(runs)}, {method}"


def comparison_table(result: xarray.Dataset, rows: int) -> str:
    """A short table of ODE and SGD at each N for people, then how bias and fluctuations scale with N."""
    sizes = result["n"].values
    alpha, theory = result["alpha"].values, result["loss"].values
    mean, error = result["loss_mean"].values, result["loss_error"].values
    columns = [_ALPHA, Column("loss (ODE)", "14.6e")]
    for n in sizes:
        columns += [Column(f"N = {n}", "14.6e"), Column("error", "9.1e")]
    # At each time the mean loss and its error at the first N, then those at the next.
    pairs = np.stack([mean, error], axis=1).reshape(2 * sizes.size, -1)
    found = [(alpha[k], theory[k], *pairs[:, k]) for k in evenly(alpha.size, rows)]
    lines = [Table(columns, found).as_text()]
    spread = result["loss_spread"].values
    for j, n in enumerate(sizes):
        bias = n * _root_mean_square(mean[j] - theory)
        uncertain = n * _root_mean_square(error[j])
        width = np.sqrt(n) * _root_mean_square(spread[j])
        if not np.isfinite([bias, uncertain, width]).all():
            lines.append(f"N = {n}: no time has two runs left to compare")
            continue
        lines.append(
            f"N = {n}: N |mean loss - ODE| = {bias:.4g} (error {uncertain:.2g}),"
            f" sqrt(N) deviation = {width:.4g}, root mean square over alpha"
        )
    return "\n".join(lines)


def _root_mean_square(values: Any) -> float:
    """The root mean square of the finite values; NaN if there are none."""
    there = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(there**2))) if there.size else np.nan
