"""Draws spectra of the Hessian: along a trajectory under its loss, or at a single state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from derive import readout
from runtime.analysis.recorded_runs import model_of_run
from runtime.output.figure_axes import COLOURS, log_axis, loss_axis, plain_axis, positive, time_axis
from runtime.output.figure_titles import OF_ODE, counted, figure_title
from runtime.output.figures import Drawing, Panel

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_EIGENVALUES = r"eigenvalues of the Hessian in $v = w/\sqrt{N}$"
# The kinds of directions of a spectrum, each with its words and marker.
_BLOCKS = {
    "teachers": ("along the teachers", "o"),
    "students": ("in the span of the students beyond them", "s"),
    "mixed": ("along both", "D"),
    "complement": ("orthogonal complement", "^"),
}
# Eigenvalues below this part of the largest are drawn as zero.
_ROUNDING = 1e-12


def hessian_drawing(spectra: xarray.Dataset, *, log_x: bool = False) -> Drawing:
    """The drawing of a result of `spectra_along`, or of the dataset of `hessian_spectrum` at one state."""
    lead = "Hessian," if "eigenvalue" in spectra else "Hessian along the"
    what = {flow: f"{lead} {words}" for flow, words in OF_ODE.items()}
    more = [f"Hessian in $N={counted(int(spectra.attrs['n']))}$ dimensions"]
    title = figure_title(spectra, "hessian", what, drawn=("n",), more=more)
    if "eigenvalue" in spectra:
        title = (title[0], (*title[1], *_verdict(spectra)))
        return Drawing(
            (Panel("spectrum", lambda axes: _draw_spectrum(axes, spectra)),), title, size=(5.6, 3.2)
        )

    def draw_loss(axes: Axes) -> None:
        alpha = spectra["alpha"].values
        axes.plot(alpha, positive(spectra["loss"].values), color=COLOURS[6], lw=1.4)
        loss_axis(axes)
        time_axis(axes, alpha, log_x)

    def draw_spectra(axes: Axes) -> None:
        _draw_spectra(axes, spectra)
        time_axis(axes, spectra["alpha"].values, log_x)

    panels = (Panel("loss", draw_loss), Panel("spectrum", draw_spectra))
    return Drawing(panels, title, size=(5.9, 2.5), heights=(1, 2), legend_below=True)


def _verdict(spectrum: xarray.Dataset) -> list[str]:
    """Where the state is, and of which kind it is in second order."""
    attributes = spectrum.attrs
    counts = [f"${counted(int(attributes[name]))}$ {name}" for name in ("negative", "flat", "positive")]
    kind = attributes["classification"] if attributes["stationary"] else "not stationary"
    return [
        *([f"at the {attributes['at']}"] if "at" in attributes else []),
        f"{kind}: {' + '.join(counts)}",
    ]


def _draw_spectrum(axes: Axes, spectrum: xarray.Dataset) -> None:
    """Each eigenvalue with its multiplicity, a marker for each kind of direction."""
    values, counts = spectrum["eigenvalue"].values, spectrum["multiplicity"].values
    blocks = spectrum["block"].values.astype(str)
    values = np.where(np.abs(values) <= _ROUNDING * np.max(np.abs(values), initial=0.0), 0.0, values)
    axes.vlines(values, 0.5, counts, color="0.75", lw=1.0, zorder=1)
    for colour, (block, (words, marker)) in zip(COLOURS, _BLOCKS.items(), strict=False):
        here = blocks == block
        if here.any():
            axes.plot(
                values[here], counts[here], marker, color=colour, ms=6, mfc="none", mew=1.4, label=words
            )
    axes.axvline(0.0, color="black", lw=0.7)
    log_axis(axes, "y")
    axes.set_ylim(bottom=0.5)
    axes.set_ylabel("multiplicity")
    axes.set_xlabel(_EIGENVALUES)
    plain_axis(axes.xaxis)


def _draw_spectra(axes: Axes, spectra: xarray.Dataset) -> None:
    alpha, inside, outside = (spectra[name].values for name in ("alpha", "inside", "outside"))
    for words, value in _levels(spectra):
        axes.axhline(value, color=COLOURS[6], lw=0.7, ls=":")
        axes.annotate(words, (1.005, value), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.plot(alpha, inside[:, 0], color=COLOURS[0], lw=1.0, label="in the span of the weights")
    axes.plot(alpha, inside[:, 1:], color=COLOURS[0], lw=1.0)
    multiplicity = spectra["outside_multiplicity"].item()
    if multiplicity:
        label = rf"orthogonal complement, each $\times {counted(int(multiplicity))}$"
        axes.plot(alpha, outside[:, 0], color=COLOURS[1], lw=1.2, ls="--", label=label)
        axes.plot(alpha, outside[:, 1:], color=COLOURS[1], lw=1.2, ls="--")
    axes.set_ylabel(_EIGENVALUES)
    plain_axis(axes.yaxis)


def _levels(spectra: xarray.Dataset) -> list[tuple[str, float]]:
    """Curvatures, in theory, of the plateau of gradient flow and of solutions, for T = 1 and free norms."""
    model = model_of_run(spectra)
    if (
        model.teacher != "orthonormal"
        or model.constraint != "free"
        or model.weighted
        or model.p < model.pstar
    ):
        return []
    a, b = readout.weights(model)
    levels = [("$-4ab$", -4.0), ("$4ab$", 4.0), ("$8ab$", 8.0), ("$4ab(p^{*}+2)$", 4.0 * (model.pstar + 2))]
    scaled = [(name, factor * a * b) for name, factor in levels]
    # With p* = 1 there is no traceless direction, and so no 8ab.
    return scaled if model.pstar > 1 else [level for level in scaled if level[0] != "$8ab$"]


def lowest(spectra: xarray.Dataset) -> np.ndarray:
    """The smallest eigenvalue at each time."""
    smallest = np.min(spectra["inside"].values, axis=1, initial=np.inf)
    if spectra["outside_multiplicity"].item():
        smallest = np.minimum(smallest, np.min(spectra["outside"].values, axis=1))
    return np.asarray(smallest)
