"""Draws a trajectory in the invariant sector: the loss, and norms and overlaps of the directions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.output.figures import COLOURS, positive, save_below_loss

if TYPE_CHECKING:
    import xarray


def plot_sector(run: xarray.Dataset, path: str | Path) -> Path:
    """Draw generalisation error, overlaps m_k and norms q_k, q_perp against α.

    Raises
    ------
    InputError
        The name does not end in .png, .pdf or .svg, or cannot be written.
    """

    def draw(axes: Any) -> None:
        alpha = run["alpha"].values
        for k in range(run.sizes["k"]):
            for name, style, width in (("m", "-", 1.4), ("q", "--", 1.0)):
                label = f"${name}_{k + 1}$" if k < len(COLOURS) else None
                values = positive(abs(run[name].values[:, k]))
                axes.semilogy(alpha, values, style, color=COLOURS[k % len(COLOURS)], lw=width, label=label)
        if "q_perp" in run:
            perp = positive(run["q_perp"].values)
            axes.semilogy(alpha, perp, ":", color="#000000", lw=1.2, label=r"$q_\perp$")
        axes.set_ylabel("overlaps and norms")

    return save_below_loss(run, path, draw)
