"""What the panels of figures share: labels, colours, logarithmic and time axes, bands and heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS_LABEL = r"generalisation error $\varepsilon$"
TIME_LABEL = r"time $\alpha$ = steps / $N$"
# The palette of Okabe and Ito, whose colours are distinct with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# More curves than this hide each other.
MOST_CURVES = 40
# The colours of more things than there are in the palette, in an order that has a meaning.
_MAP = "viridis"
# Names beside a bar of colours.
_MOST_NAMES = 12
# The lightest colours of the map are not read on white.
_DARKEST, _LIGHTEST = 0.0, 0.92
# More rows than this are not told apart in a heat map.
_MOST_ROWS = 1200


def positive(loss: Any) -> Any:
    """The losses, with NaN for those that rounding has made negative or zero: these have no logarithm."""
    return np.where(loss > 0.0, loss, np.nan)


def marker_of(values: Any) -> str:
    """The marker of curves (x, …): a point if at most one x is known, where a line shows nothing."""
    known = np.isfinite(values).reshape(len(values), -1).any(axis=1)
    return "." if known.sum() <= 1 else ""


# --- axes --------------------------------------------------------------------------------------


def time_axis(axes: Axes, alpha: Any, log_x: bool, label: str = TIME_LABEL) -> None:
    """The axis below of what is drawn over the times `alpha`, or with another label over other numbers.

    Raises InputError if a logarithmic axis is asked for and no number is positive.
    """
    axes.set_xlabel(label)
    alpha = np.asarray(alpha, dtype=np.float64)
    alpha = alpha[np.isfinite(alpha)]
    if not log_x:
        plain_axis(axes.xaxis)
        return
    shown = alpha[alpha > 0.0]
    if not shown.size:
        raise InputError("log_x", "needs a positive number to begin with")
    log_axis(axes, "x")
    if shown.min() < shown.max():
        # The start at α = 0 lies beyond the left end.
        axes.set_xlim(shown.min(), shown.max())


def log_axis(axes: Axes, which: str) -> None:
    """Make an axis, ``"x"`` or ``"y"``, logarithmic, with ticks that are read well also below a decade."""
    from matplotlib.ticker import NullFormatter

    from runtime.output.axis_ticks import LogText, LogTicks

    axis, least = (axes.xaxis, axes.dataLim.minposx) if which == "x" else (axes.yaxis, axes.dataLim.minposy)
    if not np.isfinite(least):
        # Matplotlib does not find the ends of an axis without a positive number.
        (axes.set_xlim if which == "x" else axes.set_ylim)(0.1, 1.0)
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_locator(LogTicks())
    axis.set_major_formatter(LogText())
    axis.set_minor_formatter(NullFormatter())


def plain_axis(axis: Any) -> None:
    """Write each number of a linear axis in full, as 2×10⁷, without a factor at the end of the axis."""
    from runtime.output.axis_ticks import PlainText

    axis.set_major_formatter(PlainText())


def loss_axis(axes: Axes, label: str = LOSS_LABEL) -> None:
    """The axis of a loss."""
    log_axis(axes, "y")
    axes.set_ylabel(label)


# --- colours -----------------------------------------------------------------------------------


def colours(count: int) -> list[Any]:
    """Colours of so many things in order: of the palette as far as it reaches, or else of a map."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    from matplotlib import colormaps

    return [colormaps[_MAP](x) for x in np.linspace(_DARKEST, _LIGHTEST, count)]


def label_colours(axes: Axes, names: Sequence[str], words: str, style: str = "-") -> None:
    """Say what the colours of so many things mean, by entries of the legend or by a bar with `words`."""
    found = colours(len(names))
    if len(names) <= len(COLOURS):
        for colour, name in zip(found, names, strict=True):
            axes.plot([], [], style, color=colour, lw=1.4, label=name)
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    edges = np.arange(len(names) + 1) - 0.5
    scale = ScalarMappable(BoundaryNorm(edges, len(names)), ListedColormap(found))
    shown = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MOST_NAMES)).astype(int))
    bar = axes.figure.colorbar(scale, cax=_place_of_bar(axes), ticks=shown)
    bar.ax.set_yticklabels([names[k] for k in shown], fontsize=7)
    bar.ax.minorticks_off()
    bar.set_label(words)


def _place_of_bar(axes: Axes) -> Axes:
    """Axes of a colour bar right beside these, where other panels have their legends."""
    place = axes.inset_axes((1.02, 0.0, 0.025, 1.0))
    place.grid(visible=False)
    return place


# --- many curves -------------------------------------------------------------------------------


def shade(axes: Axes, x: Any, low: Any, high: Any, **style: Any) -> None:
    """Fill the area between two curves where both are known."""
    # From a band that is known nowhere, matplotlib would compute infinite limits.
    if (np.isfinite(low) & np.isfinite(high)).any():
        axes.fill_between(x, low, high, **style)


def draw_quantiles(axes: Axes, x: Any, rows: Any, colour: Any, label: str, style: Any = "-") -> None:
    """Curves (5 %, 25 %, 50 %, 75 %, 95 %) over x as a line in two bands; all are named in one entry."""
    low, lower, middle, upper, high = rows
    shade(axes, x, low, high, color=colour, alpha=0.18, lw=0)
    shade(axes, x, lower, upper, color=colour, alpha=0.35, lw=0)
    axes.plot(x, middle, ls=style, color=colour, lw=1.6, label=label)


def label_bands(axes: Axes, colour: Any = COLOURS[0]) -> None:
    """Say in the legend what the bands of `draw_quantiles` are."""
    for label, depth in (("quartiles", 0.45), ("5–95 %", 0.18)):
        axes.fill_between([], [], [], color=colour, alpha=depth, lw=0, label=label)


def heat_map(axes: Axes, x: Any, values: Any, log_x: bool, words: str) -> None:
    """Non-negative values (row, x) as colours, with a bar that has these words; the first row is on top."""
    if len(values) > _MOST_ROWS:
        raise ValueError(f"{len(values)} rows cannot be told apart")
    edges = _edges(np.asarray(x, dtype=np.float64), log_x)
    masked = np.ma.masked_invalid(values)
    image = axes.pcolormesh(
        edges, np.arange(len(values) + 1) + 0.5, masked, cmap="magma_r", vmin=0.0, rasterized=True
    )
    axes.set_ylim(len(values) + 0.5, 0.5)
    axes.grid(visible=False)
    axes.figure.colorbar(image, cax=_place_of_bar(axes)).set_label(words)


def heat_map_holds(rows: int) -> bool:
    """Whether so many rows are told apart in a heat map."""
    return rows <= _MOST_ROWS


def _edges(x: Any, log_x: bool) -> Any:
    """Borders between values of x, which lie in the middle of them."""
    if x.size == 1:
        return np.array([x[0], x[0] + 1.0])
    middle = 0.5 * (x[1:] + x[:-1])
    edges = np.concatenate([[x[0]], middle, [x[-1]]])
    if log_x and edges[0] <= 0.0:
        # What is at α = 0 lies beyond the left end of the axis.
        edges[0] = min(0.5 * edges[1], x[x > 0.0].min())
    return edges
