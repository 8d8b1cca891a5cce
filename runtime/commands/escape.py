"""What `cli escape` does with its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import runtime
from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.analysis.escape.escape_figure import plot_escape
from runtime.analysis.escape.escape_measurement import LARGEST_COUNT, escape_times
from runtime.commands.run_options import (
    LARGEST_RESULT,
    check_files,
    model_of,
    naming_options,
    teacher_of,
    write_files,
)
from runtime.concurrency.thread_pool import thread_count
from runtime.output.result_table import cell
from runtime.start import checked_arrays
from runtime.start.initial_overlaps import LARGEST_START_N
from runtime.start.seeds import LARGEST_SEED

if TYPE_CHECKING:
    import xarray

    from runtime.system.compiled_system import System

Progress = Callable[[int, int], None]

_SETTINGS = ("n", "eta", "trajectories", "fraction", "label_noise", "q0", "seed", "rtol", "atol", "threads")


def escape(
    arguments: Mapping[str, Any],
    say: Callable[[str], None],
    progress: Progress | None,
    load: Callable[..., System] = runtime.load,
) -> xarray.Dataset:
    """Measure escape times, compare with theory, write files.

    `arguments` are the options of the command by name; `load` is called when all is checked.
    """
    model = model_of(arguments)
    check_files(arguments)
    T = teacher_of(model, arguments)
    _check(model, arguments)
    # Why only now: bad options must not leave a derived system behind.
    system = load(model, arguments["generated"])
    settings = {name: arguments[name] for name in _SETTINGS}
    with naming_options():
        result = escape_times(system, T=T, progress=progress, **settings)
    write_files(result, arguments, say, plot_escape)
    diverged = int(result["diverged"].sum())
    missing = result["escape_alpha"].size - int(result["escaped"].sum()) - diverged
    at_once = int((result["escape_alpha"] == 0.0).sum())
    if at_once:
        say(f"{at_once} trajectories start below the threshold: raise --n, or lower --fraction")
    if diverged:
        say(f"{diverged} trajectories diverged")
    if missing:
        # p < p* learns a part only, and at large η no solution is stable: see largest_stable_eta.
        say(f"{missing} trajectories stay at a loss above the threshold: raise --fraction, or lower --eta")
    return result


def _check(model: Model, arguments: Mapping[str, Any]) -> None:
    """Refuse single values that are not allowed, before anything is derived."""
    for size in arguments["n"]:
        whole_number("n", size, model.pstar, LARGEST_START_N)
    for rate in np.atleast_1d(arguments["eta"]):
        checked_arrays.real_number("eta", rate, least=0.0, strict=True)
    count = whole_number("trajectories", arguments["trajectories"], 1, LARGEST_COUNT)
    whole_number("seed", arguments["seed"], 0, LARGEST_SEED)
    checked_arrays.real_number("label_noise", arguments["label_noise"], least=0.0)
    checked_arrays.real_number("q0", arguments["q0"], least=0.0, strict=True)
    checked_arrays.tolerances(arguments["rtol"], arguments["atol"])
    thread_count(arguments["threads"])
    if not 0.0 < arguments["fraction"] < 1.0:
        raise InputError("fraction", f"{arguments['fraction']:g} is not between 0 and 1")
    needed = 8 * count * len(arguments["n"]) * np.size(arguments["eta"])
    if needed > LARGEST_RESULT:
        raise InputError(
            "trajectories",
            f"{count} need {needed / 2**30:.0f} GiB, more than {LARGEST_RESULT / 2**30:.0f}",
        )


def escape_table(result: xarray.Dataset) -> str:
    """Quantiles of the escape time at each η and N beside the theory, then rate and slope, for people."""
    probabilities = result["quantile"].values
    middle = probabilities.size // 2
    names = " ".join(f"{f'{100 * q:g} %':>9}" for q in probabilities)
    lines = [f"{'eta':>8} {'N':>12} {'escaped':>13} {names} {'error':>8} {'theory 50 %':>12}"]
    total = result.sizes["trajectory"]
    theory = result["theory_quantile"].values[:, :, middle]
    early = theory <= 0.0
    theory = np.where(early, np.nan, theory)
    for i, eta in enumerate(result["eta"].values):
        for j, n in enumerate(result["n"].values):
            values = " ".join(cell(x, "9.3f") for x in result["alpha_quantile"].values[i, j])
            escaped = f"{result['escaped'].values[i, j]}/{total}"
            lines.append(
                f"{eta:8g} {n:12d} {escaped:>13} {values}"
                f" {cell(result['median_error'].values[i, j], '8.3f')} {cell(theory[i, j], '12.3f')}"
            )
    if early.any():
        lines.append(
            "theory -: the law for large N has this escape before the start; a larger N or lower --fraction"
            " is needed"
        )
    for i, eta in enumerate(result["eta"].values):
        lines.extend(_summary(result.isel(eta=i), eta))
    return "\n".join(lines)


def _summary(one: xarray.Dataset, eta: float) -> list[str]:
    """What is known of one η."""
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
    if not np.isfinite(value["slope"]):
        return [plateau, growth]
    apart = (value["slope"] - value["slope_theory"]) / value["slope_error"]
    slope = (
        f"  median escape time per ln N: {value['slope']:.5g} +- {value['slope_error']:.2g},"
        f" theory 1/(2 rate) = {value['slope_theory']:.5g} ({apart:+.1f} standard errors)"
    )
    return [plateau, growth, slope]


def _fitted(value: float, error: float, digits: int) -> str:
    """A fitted number and its error, or why there is none."""
    if not np.isfinite(value):
        return "unknown (too few points)"
    uncertain = f"+- {error:.1g}" if np.isfinite(error) else "(error unknown: too few points)"
    return f"{value:.{digits}g} {uncertain}"
