"""Draws the time of the mediocre start against N, beside the laws of the information exponents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from derive.model import Model
from runtime.analysis.exponent.mediocre_start import law_of, predicted_time
from runtime.output.figure_axes import colours, log_axis
from runtime.output.figure_titles import OF_ODE, activation_words, figure_title
from runtime.output.figures import Drawing, Panel

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_MARKERS = "os^Dv<>"
_LAWS = {"ln N": r"\ln N", "N^(1/2)": r"\sqrt{N}", "N^(3/2)": r"N^{3/2}"}
# Points of a line.
_POINTS = 60


def exponent_drawing(result: xarray.Dataset) -> Drawing:
    """The drawing of a result of `information_exponent`: ηα at the overlap against N, both logarithmic."""
    n, overlap = result["n"].values, result.attrs["overlap"]
    options = {name: result.attrs[name] for name in ("constraint", "flow")}

    def draw(axes: Axes) -> None:
        line = np.unique(np.rint(np.geomspace(n[0], n[-1], _POINTS))).astype(np.int64)
        activations = result["activation"].values
        for k, colour in enumerate(colours(activations.size)):
            model = Model(1, 1, activation=str(activations[k]), **options)
            law = law_of(int(result["exponent"].values[k]))
            axes.plot(line, [predicted_time(model, int(x), overlap) for x in line], color=colour, lw=1.2)
            axes.plot(
                n,
                result["scaled_time"].values[k],
                _MARKERS[k % len(_MARKERS)],
                color=colour,
                ms=5,
                label=rf"{activation_words(activations[k])}: of order ${_LAWS.get(law, law)}$",
            )
        axes.plot([], [], "-", color="0.4", lw=1.2, label="theory: quadrature")
        log_axis(axes, "x")
        log_axis(axes, "y")
        axes.set_xlabel("input dimension $N$")
        axes.set_ylabel(rf"$\eta\alpha$ from $R = 1/\sqrt{{N}}$ to $R$ = {overlap:g}")

    title = figure_title(result, "exponent", OF_ODE, drawn=("n",))
    return Drawing((Panel("time", draw),), title, size=(5.6, 3.6))
