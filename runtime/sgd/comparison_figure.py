"""Draws SGD at several N beside the ODE from the same start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.output.figure_axes import (
    COLOURS,
    MOST_CURVES,
    colours,
    label_colours,
    loss_axis,
    plain_axis,
    positive,
    shade,
    time_axis,
)
from runtime.output.figure_titles import OF_BOTH, counted, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.output.result_table import evenly

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_MARKERS = 20


def comparison_drawing(result: xarray.Dataset, *, log_x: bool = False) -> Drawing:
    """The drawing of a result of `compare`: loss, overlaps, the bias times N and the spread times √N."""
    draw = {"loss": _draw_loss, "R": _draw_overlaps, "bias": _draw_bias, "spread": _draw_spread}

    def panel(name: str) -> Panel:
        def fill(axes: Axes) -> None:
            draw[name](axes, result)
            time_axis(axes, result["alpha"].values, log_x)

        return Panel(name, fill)

    return Drawing(
        tuple(map(panel, draw)),
        figure_title(result, "compare", OF_BOTH, drawn=("n",)),
        columns=2,
        size=(3.9, 2.6),
        legend_below=True,
    )


def _shown(result: xarray.Dataset) -> list[int]:
    """The times at which points are drawn."""
    return evenly(result.sizes["alpha"], _MARKERS)


def _sizes(result: xarray.Dataset) -> list[tuple[int, int, Any]]:
    """The places of the input dimensions, these, and their colours."""
    sizes = result["n"].values
    return list(zip(range(sizes.size), map(int, sizes), colours(sizes.size), strict=True))


def _draw_loss(axes: Axes, result: xarray.Dataset) -> None:
    alpha, shown = result["alpha"].values, _shown(result)
    for k, n, colour in _sizes(result):
        mean, width = result["loss_mean"].values[k], result["loss_spread"].values[k]
        shade(axes, alpha, positive(mean - width), positive(mean + width), color=colour, alpha=0.2, lw=0)
        label = f"SGD, $N={counted(n)}$"
        axes.plot(alpha[shown], positive(mean)[shown], ".", color=colour, ms=4, label=label)
    theory = result["loss"].values
    axes.plot(alpha, positive(theory), color="black", lw=1.2, label="ODE")
    if "loss_std" in result:
        n = int(result["n"].values[0])
        width = result["loss_std"].values / np.sqrt(n)
        edges = np.stack([positive(theory + width), positive(theory - width)], axis=1)
        labels = [f"predicted; spread at $N={counted(n)}$", None]
        axes.plot(alpha, edges, color="black", lw=0.8, ls="--", label=labels)
    loss_axis(axes)


def _draw_bias(axes: Axes, result: xarray.Dataset) -> None:
    alpha, shown, sizes = result["alpha"].values, _shown(result), _sizes(result)
    for k, n, colour in sizes:
        difference = n * (result["loss_mean"].values[k] - result["loss"].values)
        error = n * result["loss_error"].values[k]
        # The points of all N would lie on each other, so they are drawn a little apart.
        apart = 0.012 * (k - 0.5 * (len(sizes) - 1)) * alpha[-1]
        style: Any = {"fmt": ".", "color": colour, "ms": 4, "lw": 0.8}
        axes.errorbar(alpha[shown] + apart, difference[shown], error[shown], **style)
    if "loss_bias" in result:
        axes.plot(alpha, result["loss_bias"].values, color="black", lw=1.2, ls="--")
    axes.axhline(0.0, color="black", lw=0.8)
    axes.set_ylabel(r"$N$ (mean $\varepsilon$ $-$ ODE)")
    plain_axis(axes.yaxis)


def _draw_spread(axes: Axes, result: xarray.Dataset) -> None:
    for k, n, colour in _sizes(result):
        width = np.sqrt(n) * result["loss_spread"].values[k]
        axes.plot(result["alpha"].values, width, color=colour, lw=1.2)
    if "loss_std" in result:
        axes.plot(result["alpha"].values, result["loss_std"].values, color="black", lw=1.2, ls="--")
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel(r"$\sqrt{N}$ (standard deviation of $\varepsilon$)")
    plain_axis(axes.yaxis)


def _draw_overlaps(axes: Axes, result: xarray.Dataset) -> None:
    """Student-teacher overlaps of the ODE as lines, of the largest N as points with errors.

    Of very many only the one of each teacher is drawn that is largest at the end.
    """
    alpha, shown, n = result["alpha"].values, _shown(result), int(result["n"].values[-1])
    theory, mean, error = result["R"].values, result["R_mean"].values[-1], result["R_error"].values[-1]
    p, teachers = theory.shape[1:]
    whole = p * teachers <= MOST_CURVES
    known = theory[np.isfinite(theory).all(axis=(1, 2))]
    largest = np.argmax(np.abs(known[-1]), axis=0) if len(known) else np.zeros(teachers, dtype=int)
    for r, colour in enumerate(colours(teachers)):
        for i in range(p) if whole else [largest[r]]:
            axes.plot(alpha, theory[:, i, r], color=colour, lw=1.0)
            style: Any = {"fmt": ".", "color": colour, "ms": 3, "lw": 0.8}
            axes.errorbar(alpha[shown], mean[shown, i, r], error[shown, i, r], **style)
    which = "i" if whole else r"\max "
    names = [f"$R_{{{which}{r + 1}}}$, ODE and $N={counted(n)}$" for r in range(teachers)]
    label_colours(
        axes, names if teachers <= len(COLOURS) else [str(r + 1) for r in range(teachers)], "teacher $r$"
    )
    axes.set_ylabel("$R_{ir}$: line ODE, points SGD" if whole else "largest $R_{ir}$ of each teacher")
    plain_axis(axes.yaxis)
