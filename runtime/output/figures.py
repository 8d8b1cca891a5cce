"""Draws trajectories and ensembles, and defines what all figures share: style, colours, titles, saving."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.atomic_files import replacing
from derive.errors import InputError
from derive.parameters import NUMBERS
from runtime.output.output_files import check_output
from runtime.output.quantiles import exact_quantiles
from runtime.output.result_attributes import departures

if TYPE_CHECKING:
    import xarray

SUFFIXES = (".png", ".pdf", ".svg")
LOSS_LABEL = r"generalisation error $\varepsilon$"
TIME_LABEL = r"time $\alpha$ = steps / $N$"
# The palette of Okabe and Ito, whose colours are distinct with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "mathtext.fontset": "cm",
    "legend.frameon": False,
    # The same run gives the same bytes.
    "svg.hashsalt": "overlap-ode",
    "svg.fonttype": "path",
}
# The number of letters in a line of a title.
_LONGEST_LINE = 72
_NO_DATES = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}


def plot_trajectory(run: xarray.Dataset, path: str | Path) -> Path:
    """Draw generalisation error, student-teacher overlaps and a trained second layer against α.

    Raises
    ------
    InputError
        The name does not end in .png, .pdf or .svg, or cannot be written.
    """

    def draw_overlaps(axes: Any) -> None:
        R = run["R"].values
        for r in range(R.shape[2]):
            draw_lines(axes, R[:, :, r], r, rf"$R_{{i{r + 1}}}$")
        axes.set_ylabel(r"student-teacher overlaps $R_{ir}$")

    def draw_weights(axes: Any) -> None:
        v = run["v"].values
        for i in range(v.shape[1]):
            draw_lines(axes, v[:, i : i + 1], i, f"$v_{{{i + 1}}}$")
        axes.set_ylabel("second-layer weights $v_i$")

    def draw_lines(axes: Any, values: Any, number: int, label: str) -> None:
        """Lines of one colour, of which one is named in the legend while no colour is used again."""
        labels = [label if number < len(COLOURS) else None, *[None] * (values.shape[1] - 1)]
        axes.plot(run["alpha"].values, values, color=COLOURS[number % len(COLOURS)], lw=1.0, label=labels)

    return save_below_loss(run, path, draw_overlaps, *([draw_weights] if "v" in run else []))


def save_below_loss(run: xarray.Dataset, path: str | Path, *drawings: Callable[[Any], None]) -> Path:
    """Save a figure of the loss of a trajectory, above axes that each drawing fills over the same times."""

    def draw_all(figure: Any) -> None:
        top, *others = figure.subplots(1 + len(drawings), 1, sharex=True)
        top.semilogy(run["alpha"].values, positive(run["loss"].values), color=COLOURS[0], lw=1.6)
        top.set_ylabel(LOSS_LABEL)
        top.set_title(title_lines(run), fontsize=9)
        for axes, draw in zip(others, drawings, strict=True):
            draw(axes)
            # Inside the axes the legend would hide some trajectory.
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        others[-1].set_xlabel(TIME_LABEL)

    return save_figure(draw_all, (5.6, 2.3 * (1 + len(drawings))), path)


def plot_ensemble(runs: xarray.Dataset, path: str | Path) -> Path:
    """Draw median, quartiles and 5-95 % of the generalisation error over all trajectories.

    The curves end where they are no longer known; see `exact_quantiles`.

    Raises
    ------
    InputError
        As `plot_trajectory`; or the ensemble has final states only.
    """
    if "alpha" not in runs["loss" if "loss" in runs else "loss_mean"].dims:
        raise InputError("plot", "needs losses over time: --output statistics, loss or all")

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        alpha = runs["alpha"].values
        if "loss_quantile" in runs:
            quantiles = runs["loss_quantile"].values
        else:
            stopped = np.isfinite(runs["escape_alpha"].values) if "escape_alpha" in runs else None
            quantiles = exact_quantiles(runs["loss"].values, stopped)
        low, lower, median, upper, high = (positive(row) for row in quantiles)
        shade(axes, alpha, low, high, color=COLOURS[0], alpha=0.18, lw=0, label="5-95 %")
        shade(axes, alpha, lower, upper, color=COLOURS[0], alpha=0.35, lw=0, label="quartiles")
        axes.plot(alpha, median, color=COLOURS[0], lw=1.6, label="median")
        axes.set_yscale("log")
        axes.set_ylabel(LOSS_LABEL)
        axes.set_xlabel(TIME_LABEL)
        axes.set_title(title_lines(runs), fontsize=9)
        axes.legend(loc="upper right", fontsize=8)

    return save_figure(draw, (5.6, 3.6), path)


def shade(axes: Any, x: Any, low: Any, high: Any, **style: Any) -> None:
    """Fill the area between two curves where both are known."""
    # From a band that is known nowhere, matplotlib would compute infinite limits.
    if (np.isfinite(low) & np.isfinite(high)).any():
        axes.fill_between(x, low, high, **style)


def positive(loss: Any) -> Any:
    """The losses, with NaN for those that rounding has made negative or zero: these have no logarithm."""
    return np.where(loss > 0.0, loss, np.nan)


def save_figure(draw: Callable[[Any], None], size: tuple[float, float], path: str | Path) -> Path:
    """Let `draw` fill a figure of this size in inches, and write it whole or not at all."""
    target = check_output(path, SUFFIXES, option="plot")
    with replacing(target) as temporary:
        write_figure(draw, size, temporary, target.suffix.lower())
    return target


def write_figure(
    draw: Callable[[Any], None],
    size: tuple[float, float],
    file: Any,
    suffix: str,
    **style: Any,
) -> None:
    """Write a figure of `size` in inches to a path or a binary file; `suffix` is one of SUFFIXES.

    `style` holds matplotlib parameters beyond those of all figures.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE | style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(file, format=suffix[1:], dpi=160, metadata=_NO_DATES[suffix])


def title_lines(run: xarray.Dataset, *more: str) -> str:
    """The title of a figure, and more parts of it, as lines that fit into the narrowest figure."""
    lines = [""]
    for part in [*title(run).split(", "), *more]:
        both = f"{lines[-1]}, {part}" if lines[-1] else part
        # A command of LaTeX is one letter, and braces and dollars are none.
        if len(re.sub(r"[${}^_]", "", re.sub(r"\\[A-Za-z]+", "x", both))) <= _LONGEST_LINE:
            lines[-1] = both
        else:
            lines[-1] += ","
            lines.append(part)
    return "\n".join(lines)


def title(run: xarray.Dataset) -> str:
    """The title of a figure: widths, run-time parameters and conventions of a run in one line."""
    attributes = run.attrs
    # In an ensemble a parameter may differ from trajectory to trajectory.
    numbers = [(number, attributes[number.name]) for number in NUMBERS if number.name in attributes]
    parts = [rf"$p={attributes['p']}$, $p^*={attributes['pstar']}$"]
    parts += [rf"${number.latex}={value:g}$" for number, value in numbers if number.default is None]
    parts += [
        "free norms" if attributes["constraint"] == "free" else "sphere",
        "one-pass SGD" if attributes["flow"] == "sgd" else "gradient flow",
        *departures(attributes, lambda number, value: rf"${number.latex}={value:g}$"),
    ]
    if run.get("status") is not None and run["status"].ndim == 0 and run["status"].item() != "ok":
        parts.append(f"stopped: {run['status'].item()}".replace("_", " "))
    if "trajectories" in attributes:
        count = attributes["trajectories"]
        number = f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
        parts.append(f"{number} {'trajectory' if count == 1 else 'trajectories'}")
    return ", ".join(parts)
