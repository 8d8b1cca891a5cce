"""Draws merged sweeps: a line for each value of the axes, or medians and quartiles of very many."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.errors import InputError
from derive.parameters import NUMBERS
from runtime.output.figure_axes import (
    LOSS_LABEL,
    MOST_CURVES,
    TIME_LABEL,
    colours,
    label_colours,
    loss_axis,
    plain_axis,
    positive,
    shade,
    time_axis,
)
from runtime.output.figure_titles import OF_ODE, OF_SGD, counted, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.output.quantiles import quantiles

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

OVERLAP_LABEL = r"overlap $\sqrt{\langle R_{ir}^2 \rangle}$"
_SYMBOLS = {"p": "p", "pstar": "p^{*}", "n": "N"} | {number.name: number.latex for number in NUMBERS}
_STYLES: tuple[Any, ...] = ("-", "--", ":", "-.")
_MEDIAN = (0.5,)
_BARS = (0.25, 0.5, 0.75)
# Values of an axis of which all are named in the title.
_NAMED = 4


@dataclasses.dataclass(frozen=True)
class _Axis:
    """An axis of a sweep: its dimension, and the words and, if it has one name, the value of each place."""

    name: str
    labels: tuple[str, ...]
    values: Any

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers, so that it can be an axis of a figure."""
        return self.values is not None and self.values.dtype.kind in "fiu"


def swept_drawing(merged: xarray.Dataset, kind: str, command: str, *, log_x: bool = False) -> Drawing:
    """The drawing of a merged sweep of results of this kind, made by the tasks of this command."""
    main = (
        "alpha_quantile" if kind == "escape" else "loss_quantile" if "loss_quantile" in merged else "loss"
    )
    inner = {"quantile", "trajectory", "alpha", "alpha_index"}
    axes = [_axis(merged, str(dim)) for dim in merged[main].dims if dim not in inner]
    what = OF_SGD if kind == "simulation" else OF_ODE
    if kind == "escape":
        what = {flow: f"escape times, {words}" for flow, words in OF_ODE.items()}
    over_time = "alpha" in merged.variables
    said = axes[2 if _styled(axes) else 1 :] if over_time else []
    title = figure_title(merged, command, what, more=[*_axes_words(said), *_failed(merged)])
    if not over_time:
        return Drawing(_against_axis(merged, kind, axes, log_x), title, size=(5.6, 3.4))
    panels = [
        Panel("loss", functools.partial(_draw_curves, merged=merged, axes=axes, name="loss", log_x=log_x))
    ]
    if "R" in merged:
        panels.append(
            Panel("R", functools.partial(_draw_curves, merged=merged, axes=axes, name="R", log_x=log_x))
        )
    return Drawing(tuple(panels), title, size=(5.8, 2.6))


# --- axes --------------------------------------------------------------------------------------


def _axis(merged: xarray.Dataset, dim: str) -> _Axis:
    """An axis with its coordinates, of which there are several where parameters vary together."""
    beside = [str(name) for name in merged.coords if merged[name].dims == (dim,)]
    if not beside:
        return _Axis(dim, tuple(f"{dim} {k + 1}" for k in range(merged.sizes[dim])), None)
    labels = [
        ", ".join(_label(name, merged[name].values[k]) for name in beside) for k in range(merged.sizes[dim])
    ]
    return _Axis(dim, tuple(labels), merged[beside[0]].values if len(beside) == 1 else None)


def _label(name: str, value: Any) -> str:
    if name == "n":
        return f"$N={counted(int(value))}$"
    text = (
        f"{value:g}"
        if np.asarray(value).dtype.kind in "fiu"
        else str(value).replace("_", " ").replace("$", r"\$")
    )
    return f"${_SYMBOLS[name]}={text}$" if name in _SYMBOLS else f"{name.replace('_', ' ')} {text}"


def _styled(axes: list[_Axis]) -> bool:
    """Whether the style of a line says where it is on the second axis."""
    if len(axes) < 2 or axes[1].name == "seed" or len(axes[1].labels) > len(_STYLES):
        return False
    return math.prod(len(axis.labels) for axis in axes) <= MOST_CURVES


def _axes_words(axes: list[_Axis]) -> list[str]:
    """What each axis runs over that neither the legend nor the axis below says."""
    words = []
    for axis in axes:
        if len(axis.labels) > _NAMED:
            words.append(f"each for {axis.labels[0]} … {axis.labels[-1]} ({len(axis.labels)} values)")
        else:
            *others, last = axis.labels
            words.append(f"each for {', '.join(others)} and {last}" if others else f"each for {last}")
    return words


def _failed(merged: xarray.Dataset) -> list[str]:
    """How many of all runs diverged or failed otherwise."""
    if "status_count" in merged:
        bad = merged["status"].values != "ok"
        count = int(merged["status_count"].values[..., bad].sum())
    elif "status" in merged.data_vars:
        known = merged["status"].values.astype(str)
        count = int(((known != "ok") & (known != "")).sum())
    else:
        count = int(merged["diverged"].values.sum()) if "diverged" in merged else 0
    return [f"{count} runs failed"] if count else []


# --- over time ---------------------------------------------------------------------------------


def _curves(merged: xarray.Dataset, name: str) -> Any:
    """Values (axes…, alpha) of the loss, or of √⟨R²⟩; of several runs the median."""
    if name == "loss" and "loss_quantile" in merged:
        place = int(np.argmin(np.abs(merged["quantile"].values - 0.5)))
        return merged["loss_quantile"].isel(quantile=place).values
    values = merged[name].values
    if name == "R":
        # The R of narrower models is filled with NaN.
        there = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            total = np.sum(np.where(there, values, 0.0) ** 2, axis=(-1, -2))
            values = np.sqrt(total / np.sum(there, axis=(-1, -2)))
    if "trajectory" in merged[name].dims:
        place = merged[name].dims.index("trajectory")
        values = quantiles(np.moveaxis(values, place, -1), _MEDIAN)[..., 0]
    return values


def _draw_curves(axes_: Axes, merged: xarray.Dataset, axes: list[_Axis], name: str, log_x: bool) -> None:
    values = _curves(merged, name)
    times = np.broadcast_to(merged["alpha"].values, values.shape)
    values, times = (np.atleast_2d(array) for array in (values, times))
    first = axes[0] if axes else _Axis("", ("",), None)
    groups = values.reshape(len(first.labels), -1, values.shape[-1])
    clocks = times.reshape(groups.shape)
    whole = groups.shape[0] * groups.shape[1] <= MOST_CURVES or groups.shape[1] == 1
    styled = _styled(axes)
    # Lines of one style follow each other.
    together = groups.shape[1] // len(axes[1].labels) if styled else 1
    for colour, curves, clock in zip(colours(len(groups)), groups, clocks, strict=True):
        curves = positive(curves) if name == "loss" else curves
        if whole:
            for k, curve in enumerate(curves):
                style = _STYLES[k // together] if styled else "-"
                axes_.plot(clock[k], curve, color=colour, lw=1.2, ls=style)
        else:
            low, middle, high = quantiles(curves.T, _BARS).T
            shade(axes_, clock[0], low, high, color=colour, alpha=0.25, lw=0)
            axes_.plot(clock[0], middle, color=colour, lw=1.5)
    _name_curves(axes_, axes, styled=styled)
    if name == "loss":
        median = "median of the " if "trajectory" in merged.dims or "quantile" in merged.dims else ""
        loss_axis(axes_, f"{median}\n{LOSS_LABEL}" if median else LOSS_LABEL)
    else:
        axes_.set_ylabel(OVERLAP_LABEL)
        plain_axis(axes_.yaxis)
    time_axis(axes_, times, log_x)


def _name_curves(axes_: Axes, axes: list[_Axis], *, styled: bool) -> None:
    if axes:
        label_colours(axes_, axes[0].labels, "")
    if styled:
        for label, style in zip(axes[1].labels, _STYLES, strict=False):
            axes_.plot([], [], ls=style, color="0.4", lw=1.2, label=label)


# --- against an axis ---------------------------------------------------------------------------


def _against_axis(merged: xarray.Dataset, kind: str, axes: list[_Axis], log_x: bool) -> tuple[Panel, ...]:
    """The panel of escape times, or of last losses, against an axis of numbers."""
    numeric = [k for k, axis in enumerate(axes) if axis.numeric and axis.name != "seed"]
    if not numeric:
        raise InputError("dataset", "has no time, and no axis of numbers that it could be drawn against")
    place = next((k for k in numeric if axes[k].name == "n"), numeric[-1])
    if kind == "escape":
        measured = merged["alpha_quantile"].values
        middle = measured.shape[-1] // 2
        rows = np.stack(
            [measured[..., middle - 1], measured[..., middle], measured[..., middle + 1]], axis=-1
        )
        theory = np.moveaxis(merged["theory_quantile"].values[..., middle], place, -1)
    else:
        rows, theory = quantiles(merged["loss"].values, _BARS), None
    rows = np.moveaxis(rows, place, -2)
    others = [axis for k, axis in enumerate(axes) if k != place]
    x = axes[place]
    labels = _combined(others)

    def draw(axes_: Axes) -> None:
        lines = rows.reshape(len(labels), len(x.labels), 3)
        lines_of_theory = None if theory is None else theory.reshape(len(labels), len(x.labels))
        for k, colour in enumerate(colours(len(labels))):
            low, median, high = lines[k].T
            style: Any = {"fmt": "o", "color": colour, "ms": 4, "lw": 0.9, "capsize": 2}
            axes_.errorbar(x.values, median, [median - low, high - median], **style)
            if lines_of_theory is not None:
                axes_.plot(x.values, lines_of_theory[k], color=colour, lw=1.2)
            else:
                axes_.plot(x.values, median, color=colour, lw=0.8, ls=":")
        if others:
            label_colours(axes_, labels, "", "o")
        axes_.errorbar([], [], [], fmt="o", color="0.4", ms=4, lw=0.9, capsize=2, label="median, quartiles")
        if theory is not None:
            axes_.plot([], [], color="0.4", lw=1.2, label="theory, median")
            axes_.set_ylabel(TIME_LABEL.replace("time", "escape time"))
            plain_axis(axes_.yaxis)
        else:
            loss_axis(axes_, f"last {LOSS_LABEL}")
        symbol = f"${_SYMBOLS[x.name]}$" if x.name in _SYMBOLS else x.name.replace("_", " ")
        time_axis(axes_, x.values, log_x or x.name == "n", symbol)
        if x.name == "n":
            axes_.margins(x=0.05)
            axes_.autoscale(axis="x")

    return (Panel("escape" if kind == "escape" else "loss", draw),)


def _combined(axes: list[_Axis]) -> list[str]:
    """The words of each combination of the values of some axes."""
    labels = [""]
    for axis in axes:
        labels = [", ".join(filter(None, (before, label))) for before in labels for label in axis.labels]
    return labels
