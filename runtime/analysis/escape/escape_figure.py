"""Draws escape times: medians against N beside the theory, and their distribution or the rates."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.output.figure_axes import COLOURS, log_axis, plain_axis, shade
from runtime.output.figure_titles import OF_BOTH, OF_ODE, counted, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.output.quantiles import QUANTILES
from runtime.output.result_table import evenly

if TYPE_CHECKING:
    import xarray

TIME = r"escape time $\alpha$ = steps / $N$"
# Number of points of a distribution that are drawn; more would look like a line.
_POINTS = 40
# Places of the quantiles that are shown: the lowest, the median and the highest.
_PLACES = [0, QUANTILES.index(0.5), len(QUANTILES) - 1]
# The distance of the points of SGD from those of the ODE, in widths of the axis.
_ASIDE = 0.015
# How the names of measured and predicted variables begin and end, and how lines are drawn.
_DYNAMICS = (("", "", "ODE", "-"), ("sgd_", "_sgd", "SGD", "--"))


def escape_drawing(result: xarray.Dataset) -> Drawing:
    """The drawing of a result of `escape_times`: points are measured, lines are theory.

    Escape times against N, and the law of the time (one η) or the rate against η (several). Lines of the
    ODE are full, those of SGD dashed, and its points are open.
    """
    draw = {"N": _draw_times, **({"rate": _draw_rates} if "rate_curve" in result else {"law": _draw_law})}
    what = OF_BOTH if "sgd_escape_alpha" in result else OF_ODE
    words = {flow: f"escape times, {kind}" for flow, kind in {**OF_ODE, **what}.items()}
    return Drawing(
        tuple(Panel(name, functools.partial(fill, result=result)) for name, fill in draw.items()),
        figure_title(result, "escape", words, drawn=("n",)),
        columns=2,
        size=(4.1, 3.6),
        same_x=False,
        # Inside the axes some line would always run through the legend.
        legend_below=True,
    )


def _draw_times(axes: Any, result: xarray.Dataset) -> None:
    n, eta = result["n"].values, result["eta"].values
    # A single N gets a line too.
    line = np.geomspace(n[0] / 1.5, n[-1] * 1.5, 50)
    labels = {"band": "theory, 5-95 %", "bar": "measured, 5-95 %"}
    for k, rate in enumerate(eta):
        quantiles = result["alpha_quantile"].values[k]
        if not np.isfinite(quantiles).any():
            continue
        colour = COLOURS[k % len(COLOURS)]
        # The distribution moves with ln N without changing its shape.
        shift = np.log(line / n[0]) * result["slope_theory"].values[k]
        low, _, high = (result["theory_quantile"].values[k, 0, place] + shift for place in _PLACES)
        shade(axes, line, low, high, color=colour, alpha=0.15, lw=0, label=labels.pop("band", None))
        for prefix, ending, what, style in _DYNAMICS:
            if prefix and not result["sgd_noise"].values[k] > 0.0:
                continue
            middle = result[f"theory_quantile{ending}"].values[k, 0, _PLACES[1]] + shift
            label = labels.setdefault(what, f"theory, median of {what}")
            axes.plot(line, middle, style, color=colour, lw=1.2, label=label)
            # Later η have lines of the same kinds, which need no label.
            labels[what] = ""
            if f"{prefix}alpha_quantile" not in result:
                continue
            low, middle, high = result[f"{prefix}alpha_quantile"].values[k][:, _PLACES].T
            filling = "white" if prefix else colour
            # The points of SGD are a little to the right, where they do not hide those of the ODE.
            places = n * (line[-1] / line[0]) ** (_ASIDE if prefix else 0.0)
            axes.errorbar(
                places,
                middle,
                np.array([middle - low, high - middle]),
                fmt="none",
                ecolor=colour,
                elinewidth=0.8,
                capsize=2,
                label=labels.pop("bar", None),
            )
            axes.errorbar(
                places,
                middle,
                result[f"{prefix}median_error"].values[k],
                fmt="o",
                color=colour,
                mfc=filling,
                ms=4,
                elinewidth=2.5,
                label=f"{what}, median" if eta.size == 1 else rf"{what}, $\eta={rate:g}$",
            )
    log_axis(axes, "x")
    axes.set_xlim(line[0], line[-1])
    plain_axis(axes.yaxis)
    if not np.isfinite(result["alpha_quantile"].values).any():
        axes.set_ylim(bottom=0.0)
        axes.text(
            0.5, 0.5, "half of the starts or more never escape", transform=axes.transAxes, ha="center"
        )
    axes.set_xlabel("input dimension $N$")
    axes.set_ylabel(f"{TIME}\n(loss at {result.attrs['fraction']:g} of the plateau's)")


def _draw_law(axes: Any, result: xarray.Dataset) -> None:
    slope, sizes = result["slope_theory"].values[0], result["n"].values
    shift = result["sgd_shift"].values[0]
    for prefix, _, what, style in _DYNAMICS:
        if prefix and not shift > 0.0:
            continue
        law = result["law"].values[0] - (shift if prefix else 0.0)
        label = rf"theory of {what}, $N \to \infty$"
        axes.plot(law, result["probability"].values, style, color="black", lw=1.2, label=label)
        if f"{prefix}escape_alpha" not in result:
            continue
        for k, n in enumerate(sizes):
            times = np.sort(result[f"{prefix}escape_alpha"].values[0, k])
            times = times[np.isfinite(times)]
            if not times.size:
                continue
            shown = np.array(evenly(times.size, _POINTS))
            part = (shown + 0.5) / result.sizes["trajectory"]
            axes.plot(
                times[shown] - slope * np.log(n),
                part,
                "o",
                color=COLOURS[k % len(COLOURS)],
                mfc="none" if prefix else COLOURS[k % len(COLOURS)],
                ms=2.5,
                mew=0.8,
                label=f"{what}, $N={counted(int(n))}$",
            )
    axes.set_xlabel(r"$\alpha - \ln N / (2r)$,  escape rate $r$ = " + f"{result['rate'].values[0]:.4g}")
    axes.set_ylabel("fraction escaped")
    axes.set_ylim(-0.02, 1.02)
    plain_axis(axes.xaxis)


def _draw_rates(axes: Any, result: xarray.Dataset) -> None:
    eta = result["eta"].values
    axes.axhline(0.0, color="black", lw=0.6)
    axes.plot(
        result["curve"].values,
        result["rate_curve"].values,
        color="black",
        lw=1.2,
        label="theory: Jacobian at the plateau",
    )
    slope, error = result["slope"].values, result["slope_error"].values
    axes.errorbar(
        eta,
        0.5 / slope,
        0.5 * error / slope**2,
        fmt="s",
        color=COLOURS[1],
        ms=5,
        mfc="none",
        label=r"1 / (2 slope of the median per $\ln N$)",
    )
    axes.errorbar(
        eta,
        result["fitted_rate"].values,
        result["fitted_rate_error"].values,
        fmt=".",
        color=COLOURS[0],
        ms=5,
        label="growth of $R$ on the plateau",
    )
    axes.set_xlabel(r"learning rate $\eta$")
    axes.set_ylabel(r"escape rate $r$ per unit of $\alpha$")
