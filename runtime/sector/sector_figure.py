"""Draws a trajectory in the invariant sector: the loss, and norms and overlaps of the directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.output.figure_axes import colours, label_colours, log_axis, positive, time_axis
from runtime.output.figure_titles import OF_ODE, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.trajectory.trajectory_figure import loss_panel

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


def sector_drawing(run: xarray.Dataset, *, log_x: bool = False) -> Drawing:
    """The drawing of a result of `integrate_sector`: loss, overlaps m_k, norms q_k and q_perp against α."""

    def draw(axes: Axes) -> None:
        alpha, count = run["alpha"].values, run.sizes["k"]
        for k, colour in enumerate(colours(count)):
            for name, style, width in (("m", "-", 1.6), ("q", "--", 1.0)):
                values = positive(abs(run[name].values[:, k]))
                axes.plot(alpha, values, style, color=colour, lw=width)
        if "q_perp" in run:
            perp = positive(run["q_perp"].values)
            axes.plot(alpha, perp, ":", color="black", lw=1.2, label=r"$q_\perp$, norm beyond the teachers")
        axes.plot([], [], "-", color="0.4", lw=1.6, label="overlaps $|m_k|$")
        axes.plot([], [], "--", color="0.4", lw=1.0, label="norms $q_k$")
        label_colours(axes, [f"$k={k + 1}$" for k in range(count)], "direction $k$")
        axes.set_ylabel("overlaps and norms")
        log_axis(axes, "y")
        time_axis(axes, alpha, log_x)

    panels = (loss_panel(run, log_x=log_x), Panel("overlaps", draw))
    return Drawing(panels, figure_title(run, "sector", OF_ODE), legend_below=True)
