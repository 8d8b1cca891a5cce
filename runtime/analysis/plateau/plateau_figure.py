"""Draws the plateau against the learning rate: norms, loss and escape rate, and where it ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.output.figures import COLOURS, LOSS_LABEL, save_figure, title_lines

if TYPE_CHECKING:
    import xarray

# The largest learning rates, each with its words and the style of its line.
_ENDS = {
    "plateau": ("the plateau ends, or no longer attracts at $R=0$", "--"),
    "escape": ("SGD no longer leaves it", ":"),
}
# At most so many students have a curve of their own in the legend.
_LABELLED = len(COLOURS)
# Points are drawn up to this many values, since more of them would hide the curve.
_POINTS = 12


def plot_plateau(curve: xarray.Dataset, path: str | Path) -> Path:
    """Draw norms, loss and escape rate of the dataset of `plateau` against η.

    Raises InputError if the name does not end in .png, .pdf or .svg, or cannot be written.
    """

    def draw(figure: Any) -> None:
        norms, loss, rate = figure.subplots(3, 1, sharex=True)
        eta = curve["eta"].values
        marker = "o" if eta.size <= _POINTS else ""
        _draw_norms(norms, curve, marker)
        loss.plot(eta, curve["loss"].values, color=COLOURS[0], lw=1.4, marker=marker, ms=3)
        loss.set_ylabel(LOSS_LABEL)
        rate.axhline(0.0, color="black", lw=0.6)
        rate.plot(eta, curve["rate"].values, color=COLOURS[0], lw=1.4, marker=marker, ms=3)
        rate.set_ylabel("escape rate per unit of $\\alpha$")
        rate.set_xlabel(r"learning rate $\eta$")
        for axes in (norms, loss, rate):
            _draw_ends(axes, curve)
        handles, labels = norms.get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
        figure.suptitle(title_lines(curve), fontsize=9)

    return save_figure(draw, (5.6, 6.4), path)


def _draw_norms(axes: Any, curve: xarray.Dataset, marker: str) -> None:
    """One curve for all students, or one for each where their norms differ."""
    eta, each = curve["eta"].values, curve["norm"].values
    equal = np.all((each == each[:, :1]) | np.isnan(each))
    style = {"lw": 1.4, "marker": marker, "ms": 3}
    if equal:
        axes.plot(eta, each[:, 0], color=COLOURS[0], **style)
        axes.set_ylabel("norm of a student $q$")
    else:
        for i in range(each.shape[1]):
            label = f"student {i + 1}" if i < _LABELLED else None
            axes.plot(eta, each[:, i], color=COLOURS[i % len(COLOURS)], label=label, **style)
        axes.set_ylabel("norms of students $Q_{ii}$")
    axes.set_ylim(bottom=0.0)


def _draw_ends(axes: Any, curve: xarray.Dataset) -> None:
    """Lines at the largest learning rates; one where they coincide."""
    drawn = 0.0
    for where, (words, style) in _ENDS.items():
        largest = curve.attrs[f"largest_eta_{where}"]
        if np.isfinite(largest) and largest > 0.0 and not np.isclose(largest, drawn, rtol=1e-9):
            axes.axvline(largest, color="black", lw=0.9, ls=style, label=words)
            drawn = largest
