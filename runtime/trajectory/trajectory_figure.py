"""Draws a trajectory of the ODE: the loss, the overlaps R and Q, and a trained second layer over time."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.output.figure_axes import (
    COLOURS,
    MOST_CURVES,
    colours,
    draw_quantiles,
    heat_map,
    heat_map_holds,
    label_bands,
    label_colours,
    loss_axis,
    marker_of,
    plain_axis,
    positive,
    time_axis,
)
from runtime.output.figure_titles import OF_ODE, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.output.quantiles import QUANTILES, quantiles

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


def trajectory_drawing(run: xarray.Dataset, *, log_x: bool = False) -> Drawing:
    """The drawing of a result of `integrate`, or of `gradient_flow`."""
    panels = {"loss": _draw_loss, "R": draw_overlaps, "Q": _draw_norms, "v": _draw_weights}
    return Drawing(
        tuple(
            Panel(name, functools.partial(draw, run=run, log_x=log_x))
            for name, draw in panels.items()
            if name in run
        ),
        figure_title(run, "integrate", OF_ODE),
    )


def loss_panel(run: xarray.Dataset, *, log_x: bool) -> Panel:
    """The panel of the loss of one trajectory."""
    return Panel("loss", functools.partial(_draw_loss, run=run, log_x=log_x))


def _draw_loss(axes: Axes, run: xarray.Dataset, log_x: bool) -> None:
    loss = positive(run["loss"].values)
    axes.plot(run["alpha"].values, loss, color=COLOURS[0], lw=1.6, marker=marker_of(loss))
    if "status" in run and run["status"].item() != "ok":
        words = str(run["status"].item()).replace("_", " ")
        axes.axvline(run["alpha_end"].item(), color="black", lw=0.9, ls=":", label=words)
    loss_axis(axes)
    time_axis(axes, run["alpha"].values, log_x)


def draw_overlaps(axes: Axes, run: xarray.Dataset, log_x: bool) -> None:
    """Draw R (alpha, i, r): curves with a colour for each teacher, or |R| as a heat map of many."""
    alpha, R = run["alpha"].values, run["R"].values
    students, teachers = R.shape[1:]
    if students * teachers <= MOST_CURVES:
        for r, colour in enumerate(colours(teachers)):
            axes.plot(alpha, R[:, :, r], color=colour, lw=1.0, marker=marker_of(R))
        label_colours(axes, [f"$R_{{i{r + 1}}}$" for r in range(teachers)], "teacher $r$")
        axes.set_ylabel("student–teacher\n" + r"overlaps $R_{ir}$")
        plain_axis(axes.yaxis)
    else:
        _draw_sizes(axes, alpha, np.abs(R), log_x)
    time_axis(axes, alpha, log_x)


def _draw_sizes(axes: Axes, alpha: Any, sizes: Any, log_x: bool) -> None:
    """A heat map of |R| (alpha, i, r): a row for each pair, by teacher, or the largest of each teacher."""
    students, teachers = sizes.shape[1:]
    if heat_map_holds(students * teachers):
        heat_map(axes, alpha, sizes.transpose(2, 1, 0).reshape(-1, alpha.size), log_x, r"$|R_{ir}|$")
        axes.set_ylabel(f"teacher $r$, {students} students each")
        rows = students
    else:
        heat_map(axes, alpha, sizes.max(axis=1).T, log_x, r"$\max_i |R_{ir}|$")
        axes.set_ylabel("teacher $r$")
        rows = 1
    shown = np.unique(np.linspace(0, teachers - 1, min(teachers, 8)).astype(int))
    axes.set_yticks(rows * shown + 0.5 * (rows + 1), [str(r + 1) for r in shown])
    if rows > 1 and teachers <= 32:
        for r in range(1, teachers):
            axes.axhline(rows * r + 0.5, color="white", lw=0.8)


def _draw_norms(axes: Axes, run: xarray.Dataset, log_x: bool) -> None:
    """Draw Q (alpha, i, j): norms and overlaps of students as curves, or quantiles of very many."""
    alpha, Q = run["alpha"].values, run["Q"].values
    p = Q.shape[1]
    above = np.triu_indices(p, 1)
    kinds = [("norms $Q_{ii}$", np.diagonal(Q, axis1=1, axis2=2), COLOURS[0], "-")]
    if p > 1:
        kinds.append(("$Q_{ij}$, $i$ ≠ $j$", Q[:, above[0], above[1]], COLOURS[1], "--"))
    for label, values, colour, style in kinds:
        _draw_many(axes, alpha, values, colour, label, style, whole=p * (p + 1) // 2 <= MOST_CURVES)
    if p * (p + 1) // 2 > MOST_CURVES:
        label_bands(axes, "0.4")
    axes.set_ylabel("student–student\n" + r"overlaps $Q_{ij}$")
    plain_axis(axes.yaxis)
    time_axis(axes, alpha, log_x)


def _draw_many(
    axes: Axes, alpha: Any, values: Any, colour: Any, label: str, style: str, *, whole: bool
) -> None:
    """Curves (alpha, number) of one colour, all of them or only their quantiles."""
    if whole:
        labels = [label, *[None] * (values.shape[1] - 1)]
        axes.plot(alpha, values, ls=style, color=colour, lw=1.0, label=labels, marker=marker_of(values))
    else:
        draw_quantiles(axes, alpha, quantiles(values, QUANTILES).T, colour, f"{label}: median", style)


def _draw_weights(axes: Axes, run: xarray.Dataset, log_x: bool) -> None:
    """Draw a trained v (alpha, i), or quantiles of very many weights."""
    alpha, v = run["alpha"].values, run["v"].values
    if v.shape[1] <= MOST_CURVES:
        for i, colour in enumerate(colours(v.shape[1])):
            axes.plot(alpha, v[:, i], color=colour, lw=1.0, marker=marker_of(v))
        label_colours(axes, [f"$v_{{{i + 1}}}$" for i in range(v.shape[1])], "student $i$")
    else:
        _draw_many(axes, alpha, v, COLOURS[0], "$v_i$", "-", whole=False)
        label_bands(axes)
    axes.set_ylabel("second-layer\nweights $v_i$")
    plain_axis(axes.yaxis)
    time_axis(axes, alpha, log_x)
