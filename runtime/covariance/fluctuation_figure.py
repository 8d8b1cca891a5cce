"""Draws the ODE with bands of the fluctuations at one N, and the standard deviations against α."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.output.figure_axes import (
    COLOURS,
    MOST_CURVES,
    colours,
    log_axis,
    loss_axis,
    positive,
    shade,
    time_axis,
)
from runtime.output.figure_titles import OF_ODE, counted, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.trajectory.trajectory_figure import draw_overlaps

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

# The N of the bands of a result that names none.
_USUAL_N = 10_000


def fluctuation_drawing(run: xarray.Dataset, *, log_x: bool = False) -> Drawing:
    """The drawing of a result of `fluctuations`: loss and R with bands, and √N times the deviations.

    The bands are one standard deviation wide, at the `n` of the run or at N = 10⁴. Of very many entries of
    R only the sizes are drawn, without bands.
    """
    n = int(run.attrs.get("n", _USUAL_N))
    ends = float(run["linear_until"]) if "linear_until" in run else np.nan
    draw = {"loss": _draw_loss, "R": _draw_overlaps, "deviations": _draw_deviations}

    def panel(name: str) -> Panel:
        def fill(axes: Axes) -> None:
            draw[name](axes, run, n, ends)
            if np.isfinite(ends):
                label = "end of the linear theory" if name == "loss" else None
                axes.axvline(ends, color="black", lw=0.8, ls=(0, (1, 2)), label=label)
            time_axis(axes, run["alpha"].values, log_x)

        return Panel(name, fill)

    more = [f"bands: one standard deviation at $N={counted(n)}$"]
    if "loss_bias" in run:
        more.append("with the bias of the means")
    title = figure_title(run, "fluctuations", OF_ODE, drawn=("n",), more=more)
    return Drawing(tuple(map(panel, draw)), title)


def _draw_loss(axes: Axes, run: xarray.Dataset, n: int, _ends: float) -> None:
    alpha, loss, spread = run["alpha"].values, run["loss"].values, run["loss_std"].values / np.sqrt(n)
    shade(axes, alpha, positive(loss - spread), loss + spread, color=COLOURS[0], alpha=0.3, lw=0)
    axes.plot(alpha, positive(loss), color=COLOURS[0], lw=1.4)
    if "loss_bias" in run:
        mean = loss + run["loss_bias"].values / n
        axes.plot(alpha, positive(mean), "--", color=COLOURS[1], lw=1.2, label=f"mean at $N={counted(n)}$")
    loss_axis(axes)


def _draw_overlaps(axes: Axes, run: xarray.Dataset, n: int, ends: float) -> None:
    alpha, R, spread = run["alpha"].values, run["R"].values, run["R_std"].values / np.sqrt(n)
    draw_overlaps(axes, run, False)
    if R[0].size > MOST_CURVES:
        return
    for r, colour in enumerate(colours(R.shape[2])):
        for i in range(R.shape[1]):
            low, high = R[:, i, r] - spread[:, i, r], R[:, i, r] + spread[:, i, r]
            shade(axes, alpha, low, high, color=colour, alpha=0.2, lw=0)
    # The plot ends where nothing that the bands show is known to hold, and so do the limits of R.
    shown = alpha <= ends if np.isfinite(ends) else np.isfinite(alpha)
    reach = np.nanmax(np.abs(R[shown]) + spread[shown], initial=0.0)
    largest = 1.05 * max(reach, np.nanmax(np.abs(R), initial=0.0)) or 1.0
    axes.set_ylim(-largest, largest)


def _draw_deviations(axes: Axes, run: xarray.Dataset, _n: int, _ends: float) -> None:
    alpha = run["alpha"].values
    kinds: tuple[tuple[str, str, Any], ...] = (
        ("Q_std", r"$Q_{ij}$", "--"),
        ("R_std", r"$R_{ir}$", "-"),
        ("v_std", "$v_i$", ":"),
        ("loss_std", r"$\varepsilon$", "-."),
    )
    for name, label, style in kinds:
        if name in run:
            values = run[name].values.reshape(len(alpha), -1)
            size = np.sqrt(np.mean(values**2, axis=1))
            axes.plot(alpha, positive(size), style, color="black", lw=1.2, label=label)
    axes.set_ylabel(r"$\sqrt{N}$ deviation," + "\nroot mean square")
    log_axis(axes, "y")
