"""Draws the time of the mediocre start against N, beside the laws of the information exponents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.model import Model
from runtime.analysis.exponent.mediocre_start import law_of, predicted_time
from runtime.output.figures import COLOURS, save_figure

if TYPE_CHECKING:
    import xarray

_MARKERS = "os^Dv<>"
_LAWS = {"ln N": r"\ln N", "N^(1/2)": r"\sqrt{N}", "N^(3/2)": r"N^{3/2}"}
# Points of a line.
_POINTS = 60


def plot_exponents(result: xarray.Dataset, path: str | Path) -> Path:
    """Draw ηα at the overlap against N, with logarithmic axes: points are measured, lines are theory.

    Raises InputError if the name does not end in .png, .pdf or .svg, or cannot be written.
    """
    n, overlap = result["n"].values, result.attrs["overlap"]
    options = {name: result.attrs[name] for name in ("constraint", "flow")}

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        line = np.unique(np.rint(np.geomspace(n[0], n[-1], _POINTS))).astype(np.int64)
        for k, activation in enumerate(result["activation"].values):
            model = Model(1, 1, activation=str(activation), **options)
            law = law_of(int(result["exponent"].values[k]))
            colour = COLOURS[k % len(COLOURS)]
            axes.plot(line, [predicted_time(model, int(x), overlap) for x in line], color=colour, lw=1.2)
            axes.plot(
                n,
                result["scaled_time"].values[k],
                _MARKERS[k % len(_MARKERS)],
                color=colour,
                ms=5,
                label=rf"{activation}: of order ${_LAWS.get(law, law)}$",
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("input dimension $N$")
        axes.set_ylabel(rf"$\eta\alpha$ from $R = 1/\sqrt{{N}}$ to $R$ = {overlap:g}")
        axes.legend(loc="upper left", fontsize=8)
        axes.set_title("gradient flow on the sphere, $p = p^* = 1$; lines are theory", fontsize=9)

    return save_figure(draw, (5.2, 3.8), path)
