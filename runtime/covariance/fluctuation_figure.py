"""Draws the ODE with bands of the fluctuations at one N, and the standard deviations against α."""

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

if TYPE_CHECKING:
    import xarray

# The N of the bands of a result that names none.
_USUAL_N = 10_000


def plot_fluctuations(run: xarray.Dataset, path: str | Path) -> Path:
    """Draw loss and overlaps with bands of one standard deviation, and √N times the deviations.

    The bands are those at the `n` of the run, or at N = 10⁴.

    Raises
    ------
    InputError
        The name does not end in .png, .pdf or .svg, or cannot be written.
    """
    alpha, n = run["alpha"].values, int(run.attrs.get("n", _USUAL_N))
    ends = float(run["linear_until"]) if "linear_until" in run else np.nan

    def draw(figure: Any) -> None:
        top, middle, bottom = figure.subplots(3, 1, sharex=True)
        loss, spread = run["loss"].values, run["loss_std"].values / np.sqrt(n)
        shade(top, alpha, positive(loss - spread), loss + spread, color=COLOURS[0], alpha=0.3, lw=0)
        top.semilogy(alpha, positive(loss), color=COLOURS[0], lw=1.4)
        top.set_ylabel(LOSS_LABEL)
        top.set_title(title_lines(run, f"bands: one standard deviation at $N={n}$"), fontsize=9)
        R, R_spread = run["R"].values, run["R_std"].values / np.sqrt(n)
        for r in range(R.shape[2]):
            colour = COLOURS[r % len(COLOURS)]
            for i in range(R.shape[1]):
                low, high = R[:, i, r] - R_spread[:, i, r], R[:, i, r] + R_spread[:, i, r]
                shade(middle, alpha, low, high, color=colour, alpha=0.2, lw=0)
            labels = [rf"$R_{{i{r + 1}}}$" if r < len(COLOURS) else None, *[None] * (R.shape[1] - 1)]
            middle.plot(alpha, R[:, :, r], color=colour, lw=1.0, label=labels)
        middle.set_ylabel(r"overlaps $R_{ir}$")
        middle.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        # The plot ends where nothing that the bands show is known to hold, and so do the limits of R.
        shown = alpha <= ends if np.isfinite(ends) else np.isfinite(alpha)
        reach = np.nanmax(np.abs(R[shown]) + R_spread[shown], initial=0.0)
        largest = 1.05 * max(reach, np.nanmax(np.abs(R), initial=0.0)) or 1.0
        middle.set_ylim(-largest, largest)
        for name, label, style in (
            ("Q_std", r"$Q_{ij}$", "--"),
            ("R_std", r"$R_{ir}$", "-"),
            ("v_std", "$v_i$", ":"),
            ("loss_std", r"$\varepsilon$", "-."),
        ):
            if name in run:
                values = run[name].values.reshape(len(alpha), -1)
                size = np.sqrt(np.mean(values**2, axis=1))
                bottom.semilogy(alpha, positive(size), style, color="#000000", lw=1.2, label=label)
        bottom.set_ylabel(r"$\sqrt{N}$ deviation, root mean square")
        bottom.set_xlabel(TIME_LABEL)
        bottom.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        if np.isfinite(ends):
            for axes in (top, middle, bottom):
                axes.axvline(ends, color="#000000", lw=0.8, ls=(0, (1, 2)))

    return save_figure(draw, (5.6, 6.9), path)
