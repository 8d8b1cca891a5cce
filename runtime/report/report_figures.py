"""Draws the figures of a report, and describes in words what is seen in each."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.output.figure_axes import COLOURS, TIME_LABEL, loss_axis, positive, shade
from runtime.report.findings import ReportFindings, Unavailable
from runtime.report.printed_numbers import counted, number, plain
from runtime.report.svg import Figure

# With more entries of R, or more students, singular values and eigenvalues are drawn instead.
MOST_ENTRIES = 16
MOST_STUDENTS = 6
# Losses below this part of the largest are not shown, since they are rounding or errors of the solver.
_DEEPEST = 1e-14
# Line styles, so that lines differ by more than colour.
_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


def loss_figure(content: ReportFindings) -> Figure:
    """The loss of the trajectory and of the plateau over α, and quantiles over random starts."""
    run, point, ensemble = content.run, content.plateau, content.ensemble
    alpha, loss = run["alpha"].values, run["loss"].values
    quantiles = None if isinstance(ensemble, Unavailable) else ensemble["loss_quantile"].values

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        if quantiles is not None:
            low, lower, median, upper, high = (positive(row) for row in quantiles)
            shade(axes, alpha, low, high, color=COLOURS[0], alpha=0.2, lw=0, label="5–95 %")
            shade(axes, alpha, lower, upper, color=COLOURS[0], alpha=0.4, lw=0, label="quartiles")
            axes.plot(alpha, median, color=COLOURS[0], lw=1.2, ls=_STYLES[1], label="median")
        axes.plot(alpha, positive(loss), color=COLOURS[6], lw=1.6, label="trajectory")
        if not isinstance(point, Unavailable):
            axes.axhline(point.loss, color=COLOURS[1], lw=1.2, ls=_STYLES[2], label="plateau")
        loss_axis(axes)
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, _DEEPEST * top), top)
        axes.set_xlabel(TIME_LABEL)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)

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
        (6.4, 3.4),
        draw,
    )


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
    alpha, Q, R = run["alpha"].values, run["Q"].values, run["R"].values
    there = np.isfinite(run["loss"].values)
    alpha, Q, R = alpha[there], Q[there], R[there]
    v: Any = run["v"].values[there] if model.trained else None
    entries_of_r = model.p * model.pstar <= MOST_ENTRIES
    entries_of_q = model.p <= MOST_STUDENTS

    def draw(figure: Any) -> None:
        top, bottom, *last = figure.subplots(2 if v is None else 3, 1, sharex=True)
        if entries_of_r:
            for r in range(model.pstar):
                for i in range(model.p):
                    style = {"color": COLOURS[r % 6], "ls": _STYLES[r % len(_STYLES)]}
                    top.plot(
                        alpha, R[:, i, r], lw=1.2, label=rf"$R_{{i{r + 1}}}$" if i == 0 else None, **style
                    )
            top.set_ylabel(r"overlaps $R_{ir}$")
        else:
            top.plot(alpha, _singular_values(R), color=COLOURS[0], lw=1.1)
            top.set_ylabel(r"singular values of $R$")
        if entries_of_q:
            for i in range(model.p):
                label = r"norms $Q_{ii}$" if i == 0 else None
                bottom.plot(alpha, Q[:, i, i], color=COLOURS[0], lw=1.2, label=label)
                for j in range(i + 1, model.p):
                    label = "$Q_{ij}$, $i$ ≠ $j$" if (i, j) == (0, 1) else None
                    bottom.plot(alpha, Q[:, i, j], color=COLOURS[1], lw=1.0, ls=_STYLES[1], label=label)
            bottom.set_ylabel(r"overlaps $Q_{ij}$")
        else:
            bottom.plot(alpha, np.linalg.eigvalsh(Q), color=COLOURS[0], lw=1.1)
            bottom.set_ylabel(r"eigenvalues of $Q$")
        for axes in last:
            for i in range(model.p):
                style = {"color": COLOURS[i % 6], "ls": _STYLES[i % len(_STYLES)]}
                label = f"$v_{{{i + 1}}}$" if entries_of_q else None
                axes.plot(alpha, v[:, i], lw=1.2, label=label, **style)
            axes.set_ylabel("weights $v_i$")
        (bottom, *last)[-1].set_xlabel(TIME_LABEL)
        for axes in (top, bottom, *last):
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)

    of_r = "Overlaps $R_{ir}$ of students with teachers" if entries_of_r else "Singular values of $R$"
    of_q = "overlaps $Q_{ij}$ of students" if entries_of_q else "eigenvalues of $Q$"
    caption = f"{of_r} (above) and {of_q} (below)."
    if v is not None:
        caption = f"{of_r} (above), {of_q} (middle), and second-layer weights $v_i$ (below)."
    return Figure(
        "overlaps",
        "Overlaps against time",
        _overlap_words(alpha, Q, R, v),
        caption,
        (6.4, 4.6 if v is None else 6.6),
        draw,
    )


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
