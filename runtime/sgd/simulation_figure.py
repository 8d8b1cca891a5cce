"""Draws SGD at finite N: loss and alignment of runs, their median with quartiles, and the ODE beside."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.output.figure_axes import COLOURS, loss_axis, marker_of, plain_axis, positive, shade, time_axis
from runtime.output.figure_titles import OF_SGD, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.output.quantiles import exact_quantiles

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

OVERLAP_LABEL = r"overlap $\sqrt{\langle R_{ir}^2 \rangle}$"
# At most this many runs are drawn one by one; more would hide each other.
_SHOWN_RUNS = 20


def simulation_drawing(
    runs: xarray.Dataset, ode: xarray.Dataset | None = None, *, log_x: bool = False
) -> Drawing:
    """The drawing of a result of `simulate`, and perhaps of the ODE from the same starts.

    `ode` is a result of `integrate`, or of `integrate_ensemble` with all states; of several trajectories
    the median is drawn.
    """
    values = {"loss": runs["loss"].values, "R": _size(runs)}
    theory = {} if ode is None else {"loss": ode["loss"].values, "R": _size(ode)}

    def draw(axes: Axes, name: str) -> None:
        alpha = runs["alpha"].values
        _draw_runs(axes, alpha, values[name])
        if ode is not None:
            curve, several = theory[name], theory[name].ndim > 1
            curve = exact_quantiles(curve, None, (0.5,))[0] if several else curve
            label = "ODE from the same starts, median" if several else "ODE from the same start"
            axes.plot(ode["alpha"].values, positive(curve), color="black", lw=1.3, ls="--", label=label)
        if name == "loss":
            loss_axis(axes)
        else:
            axes.set_ylabel(OVERLAP_LABEL)
            plain_axis(axes.yaxis)
        time_axis(axes, alpha, log_x)

    panels = tuple(Panel(name, functools.partial(draw, name=name)) for name in values)
    return Drawing(panels, figure_title(runs, "simulate", OF_SGD), legend_below=True)


def _size(runs: xarray.Dataset) -> Any:
    """√⟨R²⟩ over all entries of R, of one trajectory (alpha,) or several (trajectory, alpha)."""
    return np.sqrt(np.mean(runs["R"].values ** 2, axis=(-1, -2)))


def _draw_runs(axes: Axes, alpha: Any, values: Any) -> None:
    """Some runs of values (trajectory, alpha) one by one, and the median and quartiles of all."""
    count = min(len(values), _SHOWN_RUNS)
    for number, run in enumerate(values[:count]):
        words = "single runs" if count == len(values) else f"{count} of the runs"
        label = words if number == 0 else None
        axes.plot(alpha, positive(run), color=COLOURS[0], lw=0.5, alpha=0.35, label=label)
    # A run that diverged counts as larger than all others.
    low, middle, high = map(positive, exact_quantiles(values, None, (0.25, 0.5, 0.75)))
    shade(axes, alpha, low, high, color=COLOURS[1], alpha=0.25, lw=0, label="quartiles of SGD")
    axes.plot(alpha, middle, color=COLOURS[1], lw=1.6, marker=marker_of(middle), label="median of SGD")
