"""Draws escape times: medians against N beside the theory, and their distribution or the rates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.output.figures import COLOURS, save_figure, shade, title_lines
from runtime.output.result_table import evenly

if TYPE_CHECKING:
    import xarray

TIME = r"escape time $\alpha$ = steps / $N$"
# Number of points of a distribution that are drawn; more would look like a line.
_POINTS = 40


def plot_escape(result: xarray.Dataset, path: str | Path) -> Path:
    """Draw escape times against N, and the law of the time (one η) or the rate against η (several).

    Points are measured, lines are theory.

    Raises InputError if the name does not end in .png, .pdf or .svg, or cannot be written.
    """

    def draw(figure: Any) -> None:
        times, other = figure.subplots(1, 2)
        _draw_times(times, result)
        if "rate_curve" in result:
            _draw_rates(other, result)
        else:
            _draw_law(other, result)
        # The legends are below, since inside some line would always run through them.
        figure.legend(*times.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=8)
        figure.legend(*other.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=8)
        figure.suptitle(title_lines(result), fontsize=9)

    return save_figure(draw, (8.2, 4.2), path)


def _draw_times(axes: Any, result: xarray.Dataset) -> None:
    n, eta = result["n"].values, result["eta"].values
    low, middle, high = 0, result.sizes["quantile"] // 2, -1
    # A single N gets a line too.
    line = np.geomspace(n[0] / 1.5, n[-1] * 1.5, 50)
    labels = {"line": "theory, median", "band": "theory, 5-95 %", "bar": "measured, 5-95 %"}
    for k, rate in enumerate(eta):
        theory, measured = (result[name].values[k] for name in ("theory_quantile", "alpha_quantile"))
        if not np.isfinite(measured).any():
            continue
        colour = COLOURS[k % len(COLOURS)]
        # The distribution moves with ln N without changing its shape.
        shift = np.log(line / n[0]) * result["slope_theory"].values[k]
        band = [theory[0, place] + shift for place in (low, high)]
        shade(axes, line, *band, color=colour, alpha=0.15, lw=0, label=labels.pop("band", None))
        axes.plot(line, theory[0, middle] + shift, color=colour, lw=1.2, label=labels.pop("line", None))
        spread = np.abs(measured[:, [low, high]] - measured[:, [middle]]).T
        axes.errorbar(
            n,
            measured[:, middle],
            spread,
            fmt="none",
            ecolor=colour,
            elinewidth=0.8,
            capsize=2,
            label=labels.pop("bar", None),
        )
        axes.errorbar(
            n,
            measured[:, middle],
            result["median_error"].values[k],
            fmt="o",
            color=colour,
            ms=4,
            elinewidth=2.5,
            label="measured, median" if eta.size == 1 else rf"median, $\eta={rate:g}$",
        )
    axes.set_xscale("log")
    axes.set_xlim(line[0], line[-1])
    axes.set_ylim(bottom=0.0)
    if not np.isfinite(result["alpha_quantile"].values).any():
        axes.text(
            0.5, 0.5, "half of the starts or more never escape", transform=axes.transAxes, ha="center"
        )
    axes.set_xlabel("input dimension $N$")
    axes.set_ylabel(f"{TIME}\n(loss at {result.attrs['fraction']:g} of the plateau's)")


def _draw_law(axes: Any, result: xarray.Dataset) -> None:
    slope, sizes = result["slope_theory"].values[0], result["n"].values
    axes.plot(
        result["law"].values[0],
        result["probability"].values,
        color="black",
        lw=1.2,
        label=r"theory, $N \to \infty$",
    )
    for k, n in enumerate(sizes):
        times = np.sort(result["escape_alpha"].values[0, k])
        times = times[np.isfinite(times)]
        if not times.size:
            continue
        shown = np.array(evenly(times.size, _POINTS))
        part = (shown + 0.5) / result.sizes["trajectory"]
        axes.plot(
            times[shown] - slope * np.log(n),
            part,
            ".",
            color=COLOURS[k % len(COLOURS)],
            ms=4,
            label=f"measured, $N={_power(n)}$",
        )
    axes.set_xlabel(r"$\alpha - \ln N \,/\, 2r$,  escape rate $r$ = " + f"{result['rate'].values[0]:.4g}")
    axes.set_ylabel("part of the starts that have escaped")
    axes.set_ylim(-0.02, 1.02)


def _power(n: int) -> str:
    """10⁶ as a power, other numbers in digits."""
    exponent = len(str(n)) - 1
    return f"10^{{{exponent}}}" if n == 10**exponent else str(n)


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
