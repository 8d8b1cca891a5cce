"""Draws the spectrum of the Hessian along a trajectory, under its loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from derive import readout
from runtime.analysis.recorded_runs import model_of_run
from runtime.output.figures import COLOURS, LOSS_LABEL, TIME_LABEL, positive, save_figure, title

if TYPE_CHECKING:
    import xarray

# Width and height in inches.
SPECTRA_SIZE = (5.9, 5.2)


def plot_spectra(spectra: xarray.Dataset, path: str | Path) -> Path:
    """Draw loss and eigenvalues of `spectra_along` against α.

    Raises InputError if the name does not end in .png, .pdf or .svg, or cannot be written.
    """

    return save_figure(lambda figure: draw_spectra(figure, spectra), SPECTRA_SIZE, path)


def draw_spectra(figure: Any, spectra: xarray.Dataset) -> None:
    """Fill a figure with the two panels of `plot_spectra`."""
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    alpha = spectra["alpha"].values
    top.semilogy(alpha, positive(spectra["loss"].values), color=COLOURS[6], lw=1.4)
    top.set_ylabel(LOSS_LABEL)
    top.set_title(f"{title(spectra)}, $N={spectra.attrs['n']}$", fontsize=9)
    inside, outside = spectra["inside"].values, spectra["outside"].values
    for axis, value in _levels(spectra):
        bottom.axhline(value, color=COLOURS[6], lw=0.7, ls=":")
        bottom.annotate(axis, (1.005, value), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    bottom.plot(alpha, inside[:, 0], color=COLOURS[0], lw=1.0, label="in the span of the weights")
    bottom.plot(alpha, inside[:, 1:], color=COLOURS[0], lw=1.0)
    multiplicity = spectra["outside_multiplicity"].item()
    if multiplicity:
        label = f"orthogonal complement, each ×{multiplicity}"
        bottom.plot(alpha, outside[:, 0], color=COLOURS[1], lw=1.2, ls="--", label=label)
        bottom.plot(alpha, outside[:, 1:], color=COLOURS[1], lw=1.2, ls="--")
    bottom.set_ylabel(r"eigenvalues of the Hessian in $v = w/\sqrt{N}$")
    bottom.set_xlabel(TIME_LABEL)
    figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)


def _levels(spectra: xarray.Dataset) -> list[tuple[str, float]]:
    """Curvatures, in theory, of the plateau of gradient flow and of solutions, for T = 1 and free norms."""
    model = model_of_run(spectra)
    if model.teacher != "orthonormal" or model.constraint != "free" or model.p < model.pstar:
        return []
    a, b = readout.weights(model)
    levels = [("$-4ab$", -4.0), ("$4ab$", 4.0), ("$8ab$", 8.0), ("$4ab(p^*+2)$", 4.0 * (model.pstar + 2))]
    scaled = [(name, factor * a * b) for name, factor in levels]
    # With p* = 1 there is no traceless direction, and so no 8ab.
    return scaled if model.pstar > 1 else [level for level in scaled if level[0] != "$8ab$"]


def lowest(spectra: xarray.Dataset) -> np.ndarray:
    """The smallest eigenvalue at each time."""
    smallest = np.min(spectra["inside"].values, axis=1, initial=np.inf)
    if spectra["outside_multiplicity"].item():
        smallest = np.minimum(smallest, np.min(spectra["outside"].values, axis=1))
    return np.asarray(smallest)
