"""Draws the plateau against the learning rate: norms, loss and escape rate, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.output.figure_axes import COLOURS, LOSS_LABEL, colours, label_colours, plain_axis, time_axis
from runtime.output.figure_titles import OF_ODE, figure_title
from runtime.output.figures import Drawing, Panel

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

# The largest learning rates, each with its words and the style of its line.
_ENDS = {
    "plateau": ("the plateau ends, or no longer attracts at $R=0$", "--"),
    "escape": ("SGD no longer leaves it", ":"),
}
# Points are drawn up to this many values, since more of them would hide the curve.
_POINTS = 12


def plateau_drawing(curve: xarray.Dataset, *, log_x: bool = False) -> Drawing:
    """The drawing of the dataset of `plateau`: norms, loss and escape rate against η."""
    eta = curve["eta"].values
    style: Any = {"lw": 1.4, "marker": "o" if eta.size <= _POINTS else "", "ms": 3}

    def draw_loss(axes: Axes) -> None:
        axes.plot(eta, curve["loss"].values, color=COLOURS[0], **style)
        axes.set_ylabel(LOSS_LABEL)
        plain_axis(axes.yaxis)

    def draw_rate(axes: Axes) -> None:
        axes.axhline(0.0, color="black", lw=0.6)
        axes.plot(eta, curve["rate"].values, color=COLOURS[0], **style)
        axes.set_ylabel("escape rate\nper unit of $\\alpha$")
        plain_axis(axes.yaxis)

    draw = {"norms": lambda axes: _draw_norms(axes, curve, style), "loss": draw_loss, "rate": draw_rate}

    def panel(name: str) -> Panel:
        def fill(axes: Axes) -> None:
            draw[name](axes)
            time_axis(axes, eta, log_x, r"learning rate $\eta$")
            _draw_ends(axes, curve)

        return Panel(name, fill)

    what = {flow: f"plateau of the {words}" for flow, words in OF_ODE.items()}
    return Drawing(
        tuple(map(panel, draw)),
        figure_title(curve, "plateau", what, drawn=("eta",)),
        size=(5.6, 2.1),
        legend_below=True,
    )


def _draw_norms(axes: Axes, curve: xarray.Dataset, style: Mapping[str, Any]) -> None:
    """One curve for all students, or one for each where their norms differ."""
    eta, each = curve["eta"].values, curve["norm"].values
    equal = np.all((each == each[:, :1]) | np.isnan(each))
    if equal:
        axes.plot(eta, each[:, 0], color=COLOURS[0], **style)
        axes.set_ylabel("norm of a student $q$")
    else:
        names = [f"student {i + 1}" for i in range(each.shape[1])]
        for i, colour in enumerate(colours(len(names))):
            axes.plot(eta, each[:, i], color=colour, **style)
        label_colours(axes, names, "")
        axes.set_ylabel("norms of students $Q_{ii}$")
    largest = np.nanmax(each, initial=0.0)
    axes.set_ylim(0.0, 1.08 * largest if largest > 0.0 else 1.0)
    plain_axis(axes.yaxis)


def _draw_ends(axes: Axes, curve: xarray.Dataset) -> None:
    """Lines at the largest learning rates; one where they coincide."""
    drawn = 0.0
    for where, (words, style) in _ENDS.items():
        largest = curve.attrs[f"largest_eta_{where}"]
        if np.isfinite(largest) and largest > 0.0 and not np.isclose(largest, drawn, rtol=1e-9):
            axes.axvline(largest, color="black", lw=0.9, ls=style, label=words)
            drawn = largest
