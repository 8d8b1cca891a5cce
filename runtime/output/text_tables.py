"""Results as text for people, and as plain values for JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.output.quantiles import quantiles

if TYPE_CHECKING:
    import xarray

_INDICES = ("i", "j", "r", "s", "k", "trajectory")


def as_json(run: xarray.Dataset) -> dict[str, Any]:
    """The trajectory as plain values; NaN, which JSON lacks, becomes null."""

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
    }
    # Of indices the place in a list says as much.
    coordinates = {
        str(name): plain(run[name].values.tolist()) for name in run.coords if name not in _INDICES
    }
    return {"attributes": attributes, **coordinates, **variables}


def cell(value: Any, form: str) -> str:
    """The number in a format such as ``12.6f``: a dash for NaN, and an exponent where it is too wide."""
    width = int(form.split(".")[0])
    if math.isnan(value):
        return f"{'-':>{width}}"
    text = f"{value:{form}}"
    return text if len(text) <= width else f"{value:{width}.{max(width - 8, 0)}e}"


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of `count` indices, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def status_line(run: xarray.Dataset) -> str:
    """How a single trajectory ended, and its work."""
    return (
        f"status {run['status'].item()}, {run['steps'].item()} steps, "
        f"{run['evaluations'].item()} evaluations, {run.attrs['method']}"
    )


# What helps against each way to stop early.
_REMEDIES = {"diverged": "a smaller --eta may help", "step_too_small": "a larger --rtol may help"}


def stopped_line(run: xarray.Dataset) -> str:
    """Where and why a trajectory ended early, and what to try."""
    status = run["status"].item()
    return f"stopped at alpha = {run['alpha_end'].item():.6g}: {status}; {_REMEDIES[status]}"


def _counted(runs: xarray.Dataset) -> str:
    """How many trajectories have which status."""
    found, counts = np.unique(runs["status"].values, return_counts=True)
    return ", ".join(f"{count} {name}" for name, count in zip(found, counts, strict=True))


def as_table(run: xarray.Dataset, rows: int) -> str:
    """A short table of α, loss, norms and alignment, for people; the last line is the status."""
    count = run.sizes["alpha"]
    chosen = evenly(count, rows)
    lines = [f"{'alpha':>12} {'loss':>14} {'mean Q_ii':>12} {'max |R_ir|':>12}"]
    Q, R, loss = run["Q"].values, run["R"].values, run["loss"].values
    for k in chosen:
        norm, largest = np.trace(Q[k]) / Q.shape[1], np.max(np.abs(R[k]))
        lines.append(
            f"{run['alpha'].values[k]:12.6g} {cell(loss[k], '14.6e')} {cell(norm, '12.6f')}"
            f" {cell(largest, '12.6f')}"
        )
    return "\n".join([*lines, status_line(run)])


def ensemble_table(runs: xarray.Dataset, rows: int) -> str:
    """A short table of an ensemble for people: quantiles of the loss, or of the final loss."""
    lines: list[str] = []
    if "loss_quantile" in runs:
        names = [f"{100 * q:g} %" for q in runs["quantile"].values]
        header = f"{'alpha':>12} {'mean loss':>14} " + " ".join(f"{name:>12}" for name in names)
        alpha, running = runs["alpha"].values, runs["count"].values
        # Why: what has stopped no longer counts in the mean, which then is that of slow trajectories.
        some_stop = "escape_alpha" in runs or np.min(running) < np.max(running)
        lines.append(header + (f" {'running':>9}" if some_stop else ""))
        for k in evenly(alpha.size, rows):
            values = " ".join(cell(x, "12.4e") for x in runs["loss_quantile"].values[:, k])
            line = f"{alpha[k]:12.6g} {cell(runs['loss_mean'].values[k], '14.6e')} {values}"
            lines.append(line + (f" {running[k]:9d}" if some_stop else ""))
        if np.isnan(runs["loss_quantile"].values[:, running > 0]).any():
            lines.append("-: this quantile of all is among those that have stopped or failed")
        names_of = zip(runs["status"].values, runs["status_count"].values, strict=True)
        counted = ", ".join(f"{count} {name}" for name, count in names_of if count)
    else:
        last = _last_losses(runs)
        text = _quantiles_text(last, ".4e") if np.isfinite(last).any() else "none"
        lines.append(f"last loss, quantiles 5 %, 50 %, 95 %: {text}")
        counted = _counted(runs)
    if "escape_alpha" in runs:
        escape = runs["escape_alpha"].values
        reached = int(np.isfinite(escape).sum())
        line = f"loss came down to {runs.attrs['stop_loss']:g} in {reached} of {escape.size}"
        if reached:
            line += f"; alpha at 5 %, 50 %, 95 %: {_quantiles_text(escape, '.6g')}"
        lines.append(line)
    return "\n".join([*lines, f"status: {counted}, {runs.attrs['method']}"])


def _quantiles_text(values: NDArray[np.float64], form: str) -> str:
    """Quantiles 5 %, 50 % and 95 % of all values, a dash for one that is not reached."""
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
    lines = [
        f"{'alpha':>12} {'mean loss':>14} {'error':>10} {'deviation':>12} {'mean Q_ii':>12} {'runs':>8}"
    ]
    alpha = runs["alpha"].values
    mean, error, count = (runs[name].values for name in ("loss_mean", "loss_error", "runs"))
    norms = np.trace(runs["Q_mean"].values, axis1=1, axis2=2) / runs.sizes["i"]
    for k in evenly(alpha.size, rows):
        spread = error[k] * np.sqrt(count[k])
        values = (
            f"{cell(mean[k], '14.6e')} {cell(error[k], '10.2e')} {cell(spread, '12.4e')}"
            f" {cell(norms[k], '12.6f')} {count[k]:8d}"
        )
        lines.append(f"{alpha[k]:12.6g} {values}")
    counted = _counted(runs)
    return "\n".join([*lines, f"status: {counted}, {runs.attrs['method']} at n = {runs.attrs['n']}"])


def comparison_table(result: xarray.Dataset, rows: int) -> str:
    """ODE and SGD at each N for people, then how bias and fluctuations of the loss scale with N."""
    sizes = result["n"].values
    header = " ".join(f"{f'N = {n}':>14} {'error':>9}" for n in sizes)
    lines = [f"{'alpha':>12} {'loss (ODE)':>14} {header}"]
    alpha, theory = result["alpha"].values, result["loss"].values
    mean, error = result["loss_mean"].values, result["loss_error"].values
    for k in evenly(alpha.size, rows):
        values = " ".join(
            f"{cell(mean[j, k], '14.6e')} {cell(error[j, k], '9.1e')}" for j in range(sizes.size)
        )
        lines.append(f"{alpha[k]:12.6g} {cell(theory[k], '14.6e')} {values}")
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
    """Over what is not NaN; NaN if nothing is left."""
    there = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(there**2))) if there.size else np.nan
