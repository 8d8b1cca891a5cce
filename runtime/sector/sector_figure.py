"""Draws a trajectory in the invariant sector: the loss, and norms and overlaps of the directions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.output.figures import COLOURS, LOSS_LABEL, TIME_LABEL, positive, save_figure, title

if TYPE_CHECKING:
    import xarray


def plot_sector(run: xarray.Dataset, path: str | Path) -> Path:
    """Draw generalisation error, overlaps m_k and norms q_k, q_perp against α.

    Raises
    ------
    InputError
        The name does not end in .png, .pdf or .svg, or cannot be written.
    """

    def draw(figure: Any) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True)
        alpha = run["alpha"].values
        top.semilogy(alpha, positive(run["loss"].values), color=COLOURS[0], lw=1.6)
        top.set_ylabel(LOSS_LABEL)
        top.set_title(title(run), fontsize=9)
        for k in range(run.sizes["k"]):
            for name, style, width in (("m", "-", 1.4), ("q", "--", 1.0)):
                label = f"${name}_{k + 1}$" if k < len(COLOURS) else None
                values = positive(abs(run[name].values[:, k]))
                bottom.semilogy(
                    alpha, values, style, color=COLOURS[k % len(COLOURS)], lw=width, label=label
                )
        if "q_perp" in run:
            perp = positive(run["q_perp"].values)
            bottom.semilogy(alpha, perp, ":", color="#000000", lw=1.2, label=r"$q_\perp$")
        bottom.set_ylabel("overlaps and norms")
        bottom.set_xlabel(TIME_LABEL)
        bottom.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)

    return save_figure(draw, (5.6, 4.6), path)
