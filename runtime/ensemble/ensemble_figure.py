"""Draws ensembles: quantiles of the loss over time, or how last losses and escape times are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from derive.errors import InputError
from runtime.output.figure_axes import (
    COLOURS,
    LOSS_LABEL,
    TIME_LABEL,
    draw_quantiles,
    label_bands,
    log_axis,
    loss_axis,
    plain_axis,
    positive,
    time_axis,
)
from runtime.output.figure_titles import OF_ODE, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.output.quantiles import exact_quantiles

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

OVERLAP_LABEL = r"overlap $\sqrt{\langle R_{ir}^2 \rangle}$"


def ensemble_drawing(runs: xarray.Dataset, *, log_x: bool = False) -> Drawing:
    """The drawing of a result of `integrate_ensemble` or `ensemble_statistics`."""
    panels = []
    loss = loss_quantiles(runs)
    if loss is not None:
        panels.append(Panel("loss", lambda axes: _draw_loss(axes, runs["alpha"].values, loss, log_x)))
    else:
        panels.append(Panel("loss", lambda axes: _draw_last(axes, runs["loss"].values)))
    if "R" in runs and "alpha" in runs["R"].dims:
        size = quantiles_over_runs(runs, np.sqrt(np.mean(runs["R"].values ** 2, axis=(2, 3))))
        panels.append(Panel("R", lambda axes: _draw_overlap(axes, runs["alpha"].values, size, log_x)))
    if "escape_alpha" in runs:
        times = np.sort(runs["escape_alpha"].values)
        panels.append(Panel("escape", lambda axes: _draw_times(axes, times, runs.attrs["stop_loss"])))
    over_time = loss is not None and panels[-1].name != "escape"
    return Drawing(tuple(panels), figure_title(runs, "ensemble", OF_ODE), size=(5.6, 2.8), same_x=over_time)


def loss_quantiles(runs: xarray.Dataset) -> Any:
    """Quantiles (5, alpha) of the loss over all trajectories; None where only last losses are known.

    The curves end where they are no longer known; see `exact_quantiles`.
    """
    if "loss_quantile" in runs:
        return runs["loss_quantile"].values
    if "alpha" not in runs["loss"].dims:
        return None
    return quantiles_over_runs(runs, runs["loss"].values)


def quantiles_over_runs(runs: xarray.Dataset, values: Any) -> Any:
    """Quantiles (5, alpha) of values (trajectory, alpha) over all runs, also those that ended early."""
    stopped = np.isfinite(runs["escape_alpha"].values) if "escape_alpha" in runs else None
    return exact_quantiles(values, stopped)


def _draw_loss(axes: Axes, alpha: Any, rows: Any, log_x: bool) -> None:
    draw_quantiles(axes, alpha, positive(rows), COLOURS[0], "median")
    label_bands(axes)
    loss_axis(axes)
    time_axis(axes, alpha, log_x)


def _draw_overlap(axes: Axes, alpha: Any, rows: Any, log_x: bool) -> None:
    draw_quantiles(axes, alpha, rows, COLOURS[0], "median")
    axes.set_ylabel(OVERLAP_LABEL)
    plain_axis(axes.yaxis)
    time_axis(axes, alpha, log_x)


def _draw_last(axes: Axes, losses: Any) -> None:
    """The part of all trajectories whose last loss is below a value; those that failed have none."""
    known = np.sort(losses[np.isfinite(losses) & (losses > 0.0)])
    if not known.size:
        raise InputError("plot", "has nothing to draw: no trajectory has a last loss above 0")
    axes.step(known, np.arange(1, known.size + 1) / losses.size, where="post", color=COLOURS[0], lw=1.4)
    log_axis(axes, "x")
    axes.set_xlabel(f"last {LOSS_LABEL}")
    _part_axis(axes, "part of the trajectories\nwith a smaller loss")


def _draw_times(axes: Axes, times: Any, level: float) -> None:
    """The part of all trajectories whose loss has come down to a level by a time."""
    known = times[np.isfinite(times)]
    axes.step(known, np.arange(1, known.size + 1) / times.size, where="post", color=COLOURS[0], lw=1.4)
    axes.set_xlabel(TIME_LABEL)
    plain_axis(axes.xaxis)
    _part_axis(axes, f"part of the trajectories\nwith loss down to {level:g}")


def _part_axis(axes: Axes, label: str) -> None:
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel(label)
