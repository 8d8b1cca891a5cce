"""Draws what noise at finite N, and unequal norms at the start, leave of the implicit bias."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.analysis.bias.bias_study import mean_of
from runtime.output.figure_axes import COLOURS, log_axis, plain_axis
from runtime.output.figure_titles import OF_BOTH, OF_ODE, OF_SGD, figure_title
from runtime.output.figures import Drawing, Panel
from runtime.run_options import SIMULATION_METHODS, default

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_SERIES = (("ode", "ODE, the same starts", COLOURS[0], "s"), ("sgd", "SGD at finite N", COLOURS[1], "o"))
_MISALIGNMENT = "misalignment\n" + r"$1 - \mathrm{tr}(O^T R_0)/\Vert R_0 \Vert_1$"
_THEORY_OF_SGD: Any = {"color": COLOURS[1], "lw": 1.2, "label": r"theory of SGD, $N \to \infty$"}
# A misalignment below this is rounding.
_ROUNDING = 1e-14


def bias_drawing(study: xarray.Dataset) -> Drawing:
    """The drawing of a study of the implicit bias, or of the distances of runs (`bias_of_run`).

    A study has the excess distance and the misalignment against N, and against the condition number of Q0.
    """
    if "closest" in study:
        return Drawing(
            (Panel("distances", lambda axes: _draw_distances(axes, study)),), _title(study), size=(5.0, 3.6)
        )
    draw = {"excess": _draw_excess, "N": _draw_sizes, "condition": _draw_conditions}
    return Drawing(
        tuple(Panel(name, functools.partial(fill, study=study)) for name, fill in draw.items()),
        _title(study),
        columns=3,
        size=(3.4, 3.2),
        same_x=False,
        legend_below=True,
    )


def _title(study: xarray.Dataset) -> tuple[tuple[str, ...], ...]:
    of_runs = OF_SGD if study.attrs.get("method") in SIMULATION_METHODS else OF_ODE
    drawn = of_runs if "closest" in study else {**OF_ODE, **OF_BOTH}
    what = {flow: f"implicit bias, {words}" for flow, words in drawn.items()}
    end = study.attrs.get("alpha_end")
    more = [] if end is None or end == default("alpha", "bias") else [rf"to $\alpha={end:g}$"]
    return figure_title(study, "bias", what, drawn=("n",), more=more)


def _draw_series(axes: Axes, study: xarray.Dataset, quantity: str) -> np.ndarray:
    """Draws a quantity of every series of the study against the input dimensions, which it returns."""
    n: np.ndarray = study["n"].values
    for prefix, label, colour, marker in _SERIES:
        if f"{prefix}_alignment" in study:
            _points(axes, study, prefix, quantity, (n, label, colour, marker))
    return n


def _draw_excess(axes: Axes, study: xarray.Dataset) -> None:
    n = _draw_series(axes, study, "excess")
    if study.attrs.get("noise_to_signal", 0.0) > 0.0:
        axes.plot(n, study.attrs["expected_excess"] / np.sqrt(n), **_THEORY_OF_SGD)
    axes.set_ylabel("excess of $|W - W_0|^2/N$\nover the closest solution")
    _finish(axes, "input dimension $N$, random weights")


def _draw_sizes(axes: Axes, study: xarray.Dataset) -> None:
    _draw_series(axes, study, "misalignment")
    if study.attrs.get("noise_to_signal", 0.0) > 0.0:
        axes.axhline(1.0 - study.attrs["expected_alignment"], **_THEORY_OF_SGD)
    axes.set_ylabel(_MISALIGNMENT)
    _finish(axes, "input dimension $N$, random weights")


def _draw_conditions(axes: Axes, study: xarray.Dataset) -> None:
    """Misalignment against the condition number; where it is only rounding, as at 1, that is said."""
    conditions = study["condition"].values
    _points(axes, study, "norms", "misalignment", (conditions, _SERIES[0][1], COLOURS[0], "s"))
    theory = np.mean(1.0 - study["norms_theory"].values, axis=1)
    axes.plot(
        conditions,
        _drawn(theory),
        color=COLOURS[0],
        lw=1.2,
        label=r"theory of the ODE, $R_0 \to 0$, unequal norms",
    )
    exact = conditions[theory <= _ROUNDING]
    # A logarithmic axis has no place for zero, so it is marked at its lower end.
    place = axes.get_xaxis_transform()
    axes.plot(
        exact, np.full(exact.size, 0.03), "v", color=COLOURS[2], ms=6, transform=place, label="0 in theory"
    )
    axes.set_ylabel(_MISALIGNMENT)
    _finish(axes, "condition number of $Q_0$")


def _finish(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    log_axis(axes, "x")
    log_axis(axes, "y")


def _draw_distances(axes: Axes, study: xarray.Dataset) -> None:
    """The distance of each run to the solution that it found, against that to the closest solution."""
    closest, reached = (np.atleast_1d(study[name].values) for name in ("closest", "reached"))
    axes.plot(closest, reached, "o", color=COLOURS[0], ms=4, mfc="none", label="a run")
    axes.axline(
        (float(np.nanmin(closest)),) * 2, slope=1.0, color="black", lw=0.8, label="the closest solution"
    )
    axes.set_xlabel("$|W - W_0|^2/N$ of the closest solution")
    axes.set_ylabel("$|W - W_0|^2/N$ of the solution found")
    plain_axis(axes.xaxis)
    plain_axis(axes.yaxis)


def _points(axes: Axes, study: xarray.Dataset, prefix: str, what: str, style: tuple[Any, ...]) -> None:
    """Means over solved runs with their standard errors; `style` is abscissae, label, colour, marker."""
    where, label, colour, marker = style
    if what == "excess":
        values = study[f"{prefix}_excess"].values
    else:
        values = 1.0 - study[f"{prefix}_alignment"].values
    means = [mean_of(row, good) for row, good in zip(values, study[f"{prefix}_solved"].values, strict=True)]
    heights = _drawn(np.array([mean.value for mean in means]))
    errors = np.array([mean.error for mean in means])
    shown: Any = {"fmt": marker, "color": colour, "ms": 4, "lw": 1.0, "capsize": 2, "label": label}
    axes.errorbar(where, heights, errors, **shown)


def _drawn(values: Any) -> Any:
    """NaN where a value is rounding, which a logarithmic axis would show as if it were not."""
    return np.where(values > _ROUNDING, values, np.nan)
