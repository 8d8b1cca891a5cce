"""Draws the figures of a report, and describes in words what is seen in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from runtime.output.figure_axes import (
    COLOURS,
    draw_quantiles,
    label_bands,
    loss_axis,
    plain_axis,
    positive,
    time_axis,
)
from runtime.output.figure_titles import OF_ODE, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.report.findings import ReportFindings, Unavailable
from runtime.report.printed_numbers import counted, number, plain
from runtime.report.svg import Figure

# With more entries of R, or more students, singular values and eigenvalues are drawn instead.
MOST_ENTRIES = 16
MOST_STUDENTS = 6
# Losses below this part of the largest are not shown, since they are rounding or errors of the solver.
_DEEPEST = 1e-14
# The width of a figure in inches, in which its letters are read on a phone without scrolling.
_WIDTH = 4.6
# Line styles, so that lines differ by more than colour.
_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


def loss_figure(content: ReportFindings) -> Figure:
    """The loss of the trajectory and of the plateau over α, and quantiles over random starts."""
    run, point, ensemble = content.run, content.plateau, content.ensemble
    alpha, loss = run["alpha"].values, run["loss"].values
    quantiles = None if isinstance(ensemble, Unavailable) else ensemble["loss_quantile"].values

    def draw(axes: Any) -> None:
        axes.plot(alpha, positive(loss), color=COLOURS[6], lw=1.6, label="trajectory", zorder=3)
        if quantiles is not None:
            draw_quantiles(
                axes, alpha, positive(quantiles), COLOURS[0], "median of random starts", _STYLES[1]
            )
            label_bands(axes)
        if not isinstance(point, Unavailable):
            axes.axhline(point.loss, color=COLOURS[1], lw=1.2, ls=_STYLES[2], label="plateau")
        loss_axis(axes)
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, _DEEPEST * top), top)
        time_axis(axes, alpha, log_x=False)

    caption = "Generalisation error of the trajectory"
    if not isinstance(point, Unavailable):
        caption += f", with the plateau's (dotted, {number(point.loss)})"
    if quantiles is not None:
        count = content.start.trajectories
        caption += f"; shaded: {counted(count, 'random start')} like it"
    return Figure(
        "loss",
        "Generalisation error against time",
        _loss_words(content, quantiles),
        f"{caption}.",
        _drawing(run, [Panel("loss", draw)], 2.8),
    )


def _drawing(run: Any, panels: list[Panel], height: float) -> Drawing:
    """The panels of this height in inches, below each other, with the words above that any figure has."""
    title = figure_title(run, "integrate", OF_ODE)
    return Drawing(tuple(panels), title, size=(_WIDTH, height), legend_below=True)


def _loss_words(content: ReportFindings, quantiles: Any) -> str:
    alpha, loss = content.run["alpha"].values, content.run["loss"].values
    end, last = content.last
    begin = (
        f"Line plot, logarithmic in the loss. The loss of the trajectory is {plain(loss[0])} at the first"
        f" output, alpha = {plain(alpha[0])}, and {plain(last)} at alpha = {plain(end)}."
    )
    parts = [begin]
    if not isinstance(content.plateau, Unavailable):
        parts.append(f"A dotted line marks the plateau at {plain(content.plateau.loss)}.")
        if content.escape is not None:
            parts.append(f"The loss falls below half of that at alpha = {plain(content.escape)}.")
    if quantiles is not None:
        low, _, median, _, high = quantiles[:, -1]
        if np.isfinite(median):
            starts = content.start.trajectories
            text = f"Over {starts} random starts the last loss has the median {plain(median)}"
            if np.isfinite([low, high]).all():
                text += f", between {plain(low)} and {plain(high)} in the middle 90 %"
            parts.append(f"{text}.")
    return " ".join(parts)


def overlap_figure(content: ReportFindings) -> Figure:
    """Student-teacher overlaps above, student-student overlaps below; in wide networks their spectra."""
    model, run = content.model, content.run
    there = np.isfinite(run["loss"].values)
    alpha, Q, R = (run[name].values[there] for name in ("alpha", "Q", "R"))
    v = run["v"].values[there] if model.trained else None
    drawn: list[tuple[str, Callable[[Any, Any, Any], None], Any]] = [("R", _draw_r, R), ("Q", _draw_q, Q)]
    if v is not None:
        drawn.append(("v", _draw_v, v))

    def panel(name: str, draw: Callable[[Any, Any, Any], None], values: Any) -> Panel:
        def fill(axes: Any) -> None:
            draw(axes, alpha, values)
            plain_axis(axes.yaxis)
            time_axis(axes, alpha, log_x=False)

        return Panel(name, fill)

    of_r = "Overlaps $R_{ir}$ of students with teachers" if _few_entries(R) else "Singular values of $R$"
    of_q = "overlaps $Q_{ij}$ of students" if model.p <= MOST_STUDENTS else "eigenvalues of $Q$"
    caption = f"{of_r} (above) and {of_q} (below)."
    if v is not None:
        caption = f"{of_r} (above), {of_q} (middle), and second-layer weights $v_i$ (below)."
    return Figure(
        "overlaps",
        "Overlaps against time",
        _overlap_words(alpha, Q, R, v),
        caption,
        _drawing(run, [panel(*parts) for parts in drawn], 1.8 if v is None else 1.5),
    )


def _few_entries(R: Any) -> bool:
    return bool(R.shape[1] * R.shape[2] <= MOST_ENTRIES)


def _named(label: str, count: int) -> list[str | None]:
    """The labels of so many curves, of which the legend names the first."""
    return [label, *[None] * (count - 1)][:count]


def _draw_r(axes: Any, alpha: Any, R: Any) -> None:
    """Draw R (alpha, i, r), or its singular values if it has many entries."""
    if not _few_entries(R):
        axes.plot(alpha, _singular_values(R), color=COLOURS[0], lw=1.1)
        axes.set_ylabel(r"singular values of $R$")
        return
    for r in range(R.shape[2]):
        style = {"color": COLOURS[r % 6], "ls": _STYLES[r % len(_STYLES)]}
        axes.plot(alpha, R[:, :, r], lw=1.2, label=_named(rf"$R_{{i{r + 1}}}$", R.shape[1]), **style)
    axes.set_ylabel("student–teacher\n" + r"overlaps $R_{ir}$")


def _draw_q(axes: Any, alpha: Any, Q: Any) -> None:
    """Draw Q (alpha, i, j), or its eigenvalues if there are many students."""
    p = Q.shape[1]
    if p > MOST_STUDENTS:
        axes.plot(alpha, np.linalg.eigvalsh(Q), color=COLOURS[0], lw=1.1)
        axes.set_ylabel(r"eigenvalues of $Q$")
        return
    norms, (i, j) = np.diagonal(Q, axis1=1, axis2=2), np.triu_indices(p, 1)
    axes.plot(alpha, norms, color=COLOURS[0], lw=1.2, label=_named("norms $Q_{ii}$", p))
    if p > 1:
        style = {"color": COLOURS[1], "ls": _STYLES[1], "label": _named("$Q_{ij}$, $i$ ≠ $j$", i.size)}
        axes.plot(alpha, Q[:, i, j], lw=1.0, **style)
    axes.set_ylabel("student–student\n" + r"overlaps $Q_{ij}$")


def _draw_v(axes: Any, alpha: Any, v: Any) -> None:
    """Draw trained second-layer weights (alpha, i)."""
    for i in range(v.shape[1]):
        style = {"color": COLOURS[i % 6], "ls": _STYLES[i % len(_STYLES)]}
        label = f"$v_{{{i + 1}}}$" if v.shape[1] <= MOST_STUDENTS else None
        axes.plot(alpha, v[:, i], lw=1.2, label=label, **style)
    axes.set_ylabel("second-layer\nweights $v_i$")


def _singular_values(R: Any) -> Any:
    return np.linalg.svd(R, compute_uv=False) if len(R) else np.empty((0, 1))


def _overlap_words(alpha: Any, Q: Any, R: Any, v: Any) -> str:
    panels, where = ("Two", "Below") if v is None else ("Three", "In the middle")
    if not alpha.size:
        return f"{panels} empty panels: the trajectory ended before its first output."
    norms = np.diagonal(Q, axis1=1, axis2=2)
    off = Q[-1][~np.eye(Q.shape[1], dtype=bool)]
    text = (
        f"{panels} line plots over the same time. Above: the largest overlap of a student with a teacher"
        f" is, in size, {plain(np.max(np.abs(R[0])))} at the start and {plain(np.max(np.abs(R[-1])))} at"
        f" alpha = {plain(alpha[-1])}. {where}: norms of students are between"
        f" {plain(np.min(norms[0]))} and {plain(np.max(norms[0]))} at the start, and between"
        f" {plain(np.min(norms[-1]))} and {plain(np.max(norms[-1]))} at the end"
    )
    if off.size:
        text += f"; overlaps of two students end between {plain(off.min())} and {plain(off.max())}"
    if v is not None:
        text += (
            f". Below: second-layer weights are between {plain(v[0].min())} and {plain(v[0].max())} at the"
            f" start, and between {plain(v[-1].min())} and {plain(v[-1].max())} at the end"
        )
    return text + "."


def figures(content: ReportFindings) -> list[Figure]:
    return [loss_figure(content), overlap_figure(content)]
