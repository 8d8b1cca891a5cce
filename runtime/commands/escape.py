"""`cli escape`: measure escape times from the plateau, beside the theory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import collected, command
from runtime.output.memory_limit import check_memory
from runtime.output.result_table import Column, Table

if TYPE_CHECKING:
    import xarray

    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart


@command()
@shared.model_options()
@shared.start_options("escape")
@collected(
    "measurement",
    dict,
    shared.number_options("escape", "eta"),
    *(
        shared.run_option("escape", name)
        for name in ("n", "trajectories", "fraction", "simulate", "rtol", "atol", "threads")
    ),
)
@shared.timeless_output_options
@shared.generated_option
def escape(
    model: Model,
    start: ChosenStart,
    measurement: dict[str, Any],
    printer: shared.Printer,
    generated: Path,
) -> int:
    """Measure escape times from the plateau over random starts, against N, beside the theory.

    \b
    Examples:
      cli escape --plot escape_times.png
      cli escape --p 8 --pstar 4 --eta 0.2,0.4,0.8 --plot rates.png
      cli escape --n 1000000 --trajectories 10000 --fraction 0.9 --json
      cli escape --n 1000,10000 --trajectories 400 --simulate
    """
    from runtime.analysis.escape.escape_measurement import measure_escapes
    from runtime.analysis.escape.escape_study import chosen_study
    from runtime.system.loading import load

    study = chosen_study(model, start, **measurement)
    check_memory(study.trajectories, len(study.sizes) * len(study.rates) * (2 if study.simulate else 1))
    with printer.progress("steps" if study.simulate else "trajectories") as progress:
        result = measure_escapes(load(model, generated), study, progress)
        printer.write(result)
    for prefix, what in (("", "trajectories"), ("sgd_", "runs of SGD")):
        if f"{prefix}escape_alpha" in result:
            _say_what_failed(result, prefix, what, printer)
    printer.show(result, lambda: escape_table(result))
    return _outcome(result, printer)


def _outcome(result: xarray.Dataset, printer: shared.Printer) -> int:
    """Say how many trajectories, and how many runs of SGD, diverged; the exit code."""
    from runtime.output.run_summaries import unfinished_line

    codes = []
    for prefix, what in (("", "trajectories"), ("sgd_", "runs of SGD")):
        if f"{prefix}escape_alpha" in result:
            diverged = int(result[f"{prefix}diverged"].sum())
            counts = {"ok": result[f"{prefix}escape_alpha"].size - diverged, "diverged": diverged}
            codes.append(printer.outcome(unfinished_line(counts, what), finished=counts["ok"] > 0))
    return max(codes)


def _say_what_failed(result: xarray.Dataset, prefix: str, what: str, printer: shared.Printer) -> None:
    """Say how many escape times of the ODE or of SGD there are not, and what to do."""
    times = result[f"{prefix}escape_alpha"]
    diverged = int(result[f"{prefix}diverged"].sum())
    missing = times.size - int(result[f"{prefix}escaped"].sum()) - diverged
    at_once = int((times == 0.0).sum())
    if at_once:
        printer.say(f"{at_once} {what} start below the threshold: raise --n, or lower --fraction")
    if missing:
        # p < p* learns a part only, and at large η no solution is stable: see largest_stable_eta.
        printer.say(
            f"{missing} {what} stay at a loss above the threshold: raise --fraction, or lower --eta"
        )


def escape_table(result: xarray.Dataset) -> str:
    """Quantiles of the escape time at each η and N beside the theory, then rate and slope, for people."""
    lines = [_quantiles(result, "")]
    if (result["theory_quantile"].values[:, :, result.sizes["quantile"] // 2] <= 0.0).any():
        lines.append(
            "theory -: the law for large N puts this escape before the start; raise --n or lower --fraction"
        )
    if "sgd_escape_alpha" in result:
        lines += ["SGD, from the same starts:", _quantiles(result, "sgd_")]
    for i, eta in enumerate(result["eta"].values):
        lines.extend(_summary(result.isel(eta=i), eta))
    return "\n".join(lines)


def _quantiles(result: xarray.Dataset, prefix: str) -> str:
    """The table of the ODE, or of SGD with the prefix of its variables."""
    import numpy as np

    theory = result["theory_quantile_sgd" if prefix else "theory_quantile"].values[
        :, :, result.sizes["quantile"] // 2
    ]
    theory = np.where(theory <= 0.0, np.nan, theory)
    columns = (
        Column("eta", "12.6g"),
        Column("N", "12d"),
        Column("escaped", "13d"),
        *(Column(f"{100 * q:g} %", "9.3f") for q in result["quantile"].values),
        Column("error", "8.3f"),
        Column("theory 50 %", "12.3f"),
    )
    quantiles, errors, escaped = (
        result[f"{prefix}{name}"].values for name in ("alpha_quantile", "median_error", "escaped")
    )
    total = result.sizes["trajectory"]
    rows = [
        (eta, n, f"{escaped[i, j]}/{total}", *quantiles[i, j], errors[i, j], theory[i, j])
        for i, eta in enumerate(result["eta"].values)
        for j, n in enumerate(result["n"].values)
    ]
    return Table(columns, rows).as_text()


def _summary(one: xarray.Dataset, eta: float) -> list[str]:
    """Plateau, rate and slope at one η, for people."""
    value = {str(name): float(one[name]) for name in one.data_vars if one[name].ndim == 0}
    plateau = (
        f"eta = {eta:g}: plateau q = {value['plateau_q']:.6g}, loss {value['plateau_loss']:.6g};"
        f" escaped below a loss of {value['threshold']:.6g}"
    )
    rate, gain = (
        _fitted(value[f"fitted_{name}"], value[f"fitted_{name}_error"], digits)
        for name, digits in (("rate", 6), ("gain", 5))
    )
    growth = (
        f"  escape rate {value['rate']:.6g} ({int(value['multiplicity'])} directions),"
        f" fitted growth {rate}; prefactor {value['gain']:.5g}, fitted {gain}"
    )
    lines = [plateau, growth]
    if math.isfinite(value["slope"]):
        apart = (value["slope"] - value["slope_theory"]) / value["slope_error"]
        lines.append(
            f"  median escape time per ln N: {value['slope']:.5g} +- {value['slope_error']:.2g},"
            f" theory 1/(2 rate) = {value['slope_theory']:.5g} ({apart:+.1f} standard errors)"
        )
    if value["sgd_noise"] > 0.0 and bool(one["theory_quantile_sgd"].notnull().any()):
        lines.append(
            f"  SGD escapes earlier by {value['sgd_shift']:.4g} for large N (noise over signal"
            f" {value['sgd_noise']:.4g})"
        )
    return lines + [_measured_shift(one.isel(n=j)) for j in range(one.sizes["n"]) if "sgd_deviation" in one]


def _measured_shift(one: xarray.Dataset) -> str:
    """How much earlier simulated SGD escapes at one η and N, for people."""
    shift, error, apart, resolution = (
        float(one[f"sgd_{name}"])
        for name in ("measured_shift", "measured_shift_error", "deviation", "resolution")
    )
    deviation = f" ({apart:+.1f} standard errors)" if math.isfinite(apart) else ""
    return (
        f"    simulated at N = {int(one['n'])}: {_fitted(shift, error, 3)}{deviation};"
        f" the loss is looked at every {resolution:.2g}"
    )


def _fitted(value: float, error: float, digits: int) -> str:
    """A fitted number and its error, or the reason why there is none."""
    if not math.isfinite(value):
        return "unknown (too few points)"
    uncertain = f"+- {error:.1g}" if math.isfinite(error) else "(error unknown: too few points)"
    return f"{value:.{digits}g} {uncertain}"
