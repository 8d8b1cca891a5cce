"""Draws figures of SGD at finite N, alone and beside the ODE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.output.figures import (
    COLOURS,
    LOSS_LABEL,
    TIME_LABEL,
    positive,
    save_figure,
    shade,
    title_lines,
)
from runtime.output.quantiles import exact_quantiles
from runtime.output.result_table import evenly

if TYPE_CHECKING:
    import xarray

# At most this many runs are drawn one by one; more would hide each other.
_SHOWN_RUNS = 20
_MARKERS = 20


def plot_runs(runs: xarray.Dataset, path: str | Path) -> Path:
    """Draw the loss of some runs and their median with quartiles, and the alignment with the teacher.

    Raises InputError if the name does not end in .png, .pdf or .svg, or cannot be written.
    """

    def draw(figure: Any) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True)
        alpha = runs["alpha"].values
        overlap = np.sqrt(np.mean(runs["R"].values ** 2, axis=(2, 3)))
        for axes, values in ((top, runs["loss"].values), (bottom, overlap)):
            for number, run in enumerate(values[:_SHOWN_RUNS]):
                label = "single runs" if number == 0 else None
                axes.plot(alpha, positive(run), color=COLOURS[0], lw=0.5, alpha=0.35, label=label)
            # A run that diverged counts as larger than all others.
            low, middle, high = map(positive, exact_quantiles(values, None, (0.25, 0.5, 0.75)))
            shade(axes, alpha, low, high, color=COLOURS[1], alpha=0.25, lw=0, label="quartiles")
            axes.plot(alpha, middle, color=COLOURS[1], lw=1.6, label="median")
        top.set_yscale("log")
        top.set_ylabel(LOSS_LABEL)
        top.set_title(title_lines(runs, f"$N={runs.attrs['n']}$"), fontsize=9)
        bottom.set_ylabel(r"overlap $\sqrt{\langle R_{ir}^2 \rangle}$")
        bottom.set_xlabel(TIME_LABEL)
        top.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)

    return save_figure(draw, (5.9, 4.6), path)


COMPARISON_SIZE = (7.4, 5.4)


def plot_comparison(result: xarray.Dataset, path: str | Path) -> Path:
    """Draw ODE and SGD: loss, overlaps, the bias times N and the spread times √N.

    Raises InputError as `plot_runs`.
    """
    return save_figure(lambda figure: draw_comparison(figure, result), COMPARISON_SIZE, path)


def draw_comparison(figure: Any, result: xarray.Dataset) -> None:
    """Fill a figure with the four panels of `plot_comparison`."""
    (loss, overlaps), (bias, spread) = figure.subplots(2, 2, sharex=True)
    alpha, sizes = result["alpha"].values, result["n"].values
    shown = evenly(alpha.size, _MARKERS)
    theory = result["loss"].values
    for k, n in enumerate(sizes):
        colour = COLOURS[k % len(COLOURS)]
        mean, error = result["loss_mean"].values[k], result["loss_error"].values[k]
        width = result["loss_spread"].values[k]
        low, high = positive(mean - width), positive(mean + width)
        shade(loss, alpha, low, high, color=colour, alpha=0.2, lw=0)
        loss.plot(alpha[shown], positive(mean)[shown], ".", color=colour, ms=4, label=f"SGD, N = {n}")
        # The points of all N would lie on each other, so they are drawn a little apart.
        apart = 0.012 * (k - 0.5 * (sizes.size - 1)) * alpha[-1]
        bias.errorbar(
            alpha[shown] + apart,
            n * (mean - theory)[shown],
            n * error[shown],
            fmt=".",
            color=colour,
            ms=4,
            lw=0.8,
        )
        spread.plot(alpha, np.sqrt(n) * width, color=colour, lw=1.2)
    loss.plot(alpha, positive(theory), color="black", lw=1.2, label="ODE")
    if "loss_std" in result:
        predicted = result["loss_std"].values
        spread.plot(alpha, predicted, color="black", lw=1.2, ls="--")
        for sign in (-1.0, 1.0):
            edge = positive(theory + sign * predicted / np.sqrt(sizes[0]))
            label = f"predicted spread, N = {sizes[0]}" if sign > 0 else None
            loss.plot(alpha, edge, color="black", lw=0.8, ls="--", label=label)
    loss.set_yscale("log")
    loss.set_ylabel(LOSS_LABEL)
    bias.axhline(0.0, color="black", lw=0.8)
    if "loss_bias" in result:
        bias.plot(alpha, result["loss_bias"].values, color="black", lw=1.2, ls="--")
    bias.set_ylabel(r"$N$ (mean $\varepsilon$ $-$ ODE)")
    spread.set_ylabel(r"$\sqrt{N}$ (standard deviation of $\varepsilon$)")
    spread.set_ylim(bottom=0.0)
    _draw_overlaps(overlaps, result, shown)
    for axes in (bias, spread):
        axes.set_xlabel(TIME_LABEL)
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle(title_lines(result), fontsize=9)


def _draw_overlaps(axes: Any, result: xarray.Dataset, shown: Any) -> None:
    """Student-teacher overlaps of the ODE as lines, of the largest N as points with errors."""
    alpha = result["alpha"].values
    theory, mean, error = result["R"].values, result["R_mean"].values[-1], result["R_error"].values[-1]
    for r in range(theory.shape[2]):
        colour = COLOURS[(r + 3) % len(COLOURS)]
        for i in range(theory.shape[1]):
            axes.plot(alpha, theory[:, i, r], color=colour, lw=1.0)
            axes.errorbar(
                alpha[shown], mean[shown, i, r], error[shown, i, r], fmt=".", color=colour, ms=3, lw=0.8
            )
    axes.set_ylabel(rf"$R_{{ir}}$, points: $N = {result['n'].values[-1]}$")
