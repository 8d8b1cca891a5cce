"""Draws what noise at finite N, and unequal norms at the start, leave of the implicit bias."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.analysis.bias.bias_study import mean_of
from runtime.output.figures import COLOURS, save_figure, title_lines

if TYPE_CHECKING:
    import xarray

_SERIES = (("ode", "ODE, the same starts", COLOURS[0], "s"), ("sgd", "SGD at finite N", COLOURS[1], "o"))
# A misalignment below this is rounding.
_ROUNDING = 1e-14


def plot_bias(study: xarray.Dataset, path: str | Path) -> Path:
    """Draw excess distance and misalignment against N, and against the condition number of Q₀.

    Raises InputError if the name does not end in .png, .pdf or .svg, or cannot be written.
    """

    def draw(figure: Any) -> None:
        distance, sizes, norms = figure.subplots(1, 3)
        sizes.sharey(norms)
        n = study["n"].values
        for prefix, label, colour, marker in _SERIES:
            if f"{prefix}_alignment" in study:
                _points(distance, study, prefix, "excess", (n, label, colour, marker))
                _points(sizes, study, prefix, "misalignment", (n, label, colour, marker))
        if study.attrs.get("noise_to_signal", 0.0) > 0.0:
            line: Any = {"color": COLOURS[1], "lw": 1.2, "label": r"theory of SGD, $N \to \infty$"}
            distance.plot(n, study.attrs["expected_excess"] / np.sqrt(n), **line)
            sizes.axhline(1.0 - study.attrs["expected_alignment"], **line)
        _points(norms, study, "norms", "misalignment", (study["condition"].values, "ODE", COLOURS[0], "s"))
        theory = _drawn(np.mean(1.0 - study["norms_theory"].values, axis=1))
        label = r"theory of the ODE, $R_0 \to 0$"
        norms.plot(study["condition"].values, theory, color=COLOURS[0], lw=1.2, label=label)
        distance.set_ylabel(r"excess of $|W - W_0|^2/N$ over the closest solution")
        sizes.set_ylabel(r"misalignment $1 - \mathrm{tr}(O^T R_0)/\Vert R_0 \Vert_1$")
        for axes in (distance, sizes):
            axes.set_xlabel("input dimension $N$, random weights")
        norms.set_xlabel(r"condition number of $Q_0$")
        for axes in (distance, sizes, norms):
            axes.set_xscale("log")
            axes.set_yscale("log")
        figure.legend(*sizes.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=8)
        norms.legend(fontsize=8, loc="lower right")
        figure.suptitle(title_lines(study), fontsize=9)

    return save_figure(draw, (9.6, 3.8), path)


def _points(axes: Any, study: xarray.Dataset, prefix: str, what: str, style: tuple[Any, ...]) -> None:
    """Means over solved runs with their standard errors; `style` is abscissae, label, colour, marker."""
    where, label, colour, marker = style
    if what == "excess":
        values = study[f"{prefix}_excess"].values
    else:
        values = 1.0 - study[f"{prefix}_alignment"].values
    means = [mean_of(row, good) for row, good in zip(values, study[f"{prefix}_solved"].values, strict=True)]
    heights = _drawn(np.array([mean.value for mean in means]))
    errors = np.array([mean.error for mean in means])
    shown = {"fmt": marker, "color": colour, "ms": 4, "lw": 1.0, "capsize": 2, "label": label}
    axes.errorbar(where, heights, errors, **shown)


def _drawn(values: Any) -> Any:
    """NaN where a value is rounding, which a logarithmic axis would show as if it were not."""
    return np.where(values > _ROUNDING, values, np.nan)
