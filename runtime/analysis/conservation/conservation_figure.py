"""Draws what a run should conserve against time: largest changes since the first output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.output.figure_axes import colours, log_axis, positive, time_axis
from runtime.output.figure_titles import OF_ODE, figure_title
from runtime.output.figures import Drawing, Panel

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

# Monitors that are no changes.
_OTHER = ("K_rate", "rank")


def conservation_drawing(drift: xarray.Dataset, *, log_x: bool = False) -> Drawing:
    """The drawing of a result of `drift_monitors`; of several runs the largest change is drawn.

    What theory expects to be conserved has a full line, everything else a dotted one.
    """
    monitors = [
        str(name) for name in drift.data_vars if name not in _OTHER and "conserved" in drift[name].attrs
    ]

    def draw(axes: Axes) -> None:
        alpha = drift["alpha"].values
        for name, colour in zip(monitors, colours(len(monitors)), strict=True):
            values = np.abs(drift[name].values).reshape(-1, alpha.size)
            largest = np.where(np.isnan(values).all(axis=0), np.nan, np.fmax.reduce(values, axis=0))
            kept = bool(drift[name].attrs["conserved"])
            label = f"{name.replace('_', ' ')}{'' if kept else ', not conserved'}"
            style = "-" if kept else ":"
            axes.plot(alpha, positive(largest), style, color=colour, lw=1.4, label=label)
        log_axis(axes, "y")
        axes.set_ylabel("largest change since the first output")
        time_axis(axes, alpha, log_x)

    what = {flow: f"conserved quantities, {words}" for flow, words in OF_ODE.items()}
    return Drawing((Panel("drift", draw),), figure_title(drift, "integrate", what), size=(6.4, 3.4))
