"""What `cli bias` does with its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import runtime
from derive.errors import InputError
from runtime.analysis.bias.bias_figure import plot_bias
from runtime.analysis.bias.bias_study import (
    bias_at_finite_n,
    bias_of_norms,
    check_norms,
    check_sizes,
    check_study,
    mean_of,
)
from runtime.analysis.bias.closest_solutions import bias_of_run
from runtime.analysis.recorded_runs import read_run
from runtime.commands.run_options import check_files, model_of, teacher_of, write_files
from runtime.concurrency.thread_pool import thread_count
from runtime.output.result_table import cell

if TYPE_CHECKING:
    import xarray

Progress = Callable[[int, int], None]

# Options that go with a run from a file.
_OF_A_RUN = ("run", "out", "as_json", "quiet")


def bias(
    arguments: Mapping[str, Any],
    given: frozenset[str],
    say: Callable[[str], None],
    progress: Progress | None,
) -> xarray.Dataset:
    """Study the implicit bias, or judge the run of a file; write files.

    `arguments` are the options of the command by name, `given` those on the command line.
    """
    check_files(arguments)
    if arguments["run"] is not None:
        return _of_run(arguments, given, say)
    model = model_of(arguments)
    T = teacher_of(model, arguments)
    settings = {name: arguments[name] for name in ("eta", "alpha", "trajectories", "label_noise", "q0")}
    # Why before the system: bad options must not leave a derived one behind.
    check_study(model, T=T, **settings)
    check_sizes(model, arguments["n"], arguments["alpha"])
    thread_count(arguments["threads"])
    conditions = np.atleast_1d(arguments["conditions"]).tolist()
    starts = {name: arguments[name] for name in ("scale", "trajectories", "q0", "seed")}
    check_norms(model, conditions, T=T, **starts)
    settings |= {"T": T, "seed": arguments["seed"], "threads": arguments["threads"]}
    system = runtime.load(model, arguments["generated"])
    sizes = bias_at_finite_n(system, arguments["n"], progress=progress, **settings)
    norms = bias_of_norms(system, conditions, scale=arguments["scale"], **settings)
    result = sizes.assign_coords(norms.coords).assign(norms.data_vars)
    result.attrs["scale"] = norms.attrs["scale"]
    write_files(result, arguments, say, plot_bias)
    return result


def _of_run(
    arguments: Mapping[str, Any], given: frozenset[str], say: Callable[[str], None]
) -> xarray.Dataset:
    superfluous = sorted(given - set(_OF_A_RUN))
    if superfluous:
        raise InputError(superfluous[0], "does not go with --run: the file says what it is a run of")
    run = read_run(arguments["run"], "run")
    try:
        result = bias_of_run(run)
    except InputError as error:
        problem = error.problem if error.option == "run" else f"{error.option} {error.problem}"
        raise InputError("run", f"{arguments['run']}: {problem}") from None
    write_files(result, arguments, say, plot_bias)
    return result


def study_table(study: xarray.Dataset) -> str:
    """Excess distance and alignment at each N and each condition number, for people."""
    columns = f"{'closest':>10} {'excess':>11} {'error':>9} {'alignment':>11} {'error':>9} {'solved':>9}"
    lines = [f"{'N':>12} {'':>5} {columns}"]
    for k, n in enumerate(study["n"].values):
        for prefix in ("ode", "sgd"):
            if f"{prefix}_alignment" in study:
                lines.append(f"{n:12d} {prefix.upper():>5} {_row(study, prefix, k)}")
    if study.attrs.get("noise_to_signal", 0.0) > 0.0:
        lines.append(
            f"theory of SGD for large N: alignment {study.attrs['expected_alignment']:.4f}"
            f", excess {study.attrs['expected_excess']:.4f}/sqrt(N)"
            f" (noise over signal {study.attrs['noise_to_signal']:.4f})"
        )
    lines.append(f"{'cond. of Q0':>12} {'':>5} {columns}     theory")
    for k, condition in enumerate(study["condition"].values):
        theory = np.mean(study["norms_theory"].values[k])
        lines.append(f"{condition:12g} {'ODE':>5} {_row(study, 'norms', k)} {cell(theory, '10.6f')}")
    if not all(study[name].values.any() for name in study.data_vars if str(name).endswith("solved")):
        lines.append("where nothing is solved, runs are too short: --alpha; or they diverge: --eta")
    return "\n".join(lines)


def _row(study: xarray.Dataset, prefix: str, k: int) -> str:
    solved = study[f"{prefix}_solved"].values[k]
    excess, alignment = (
        mean_of(study[f"{prefix}_{name}"].values[k], solved) for name in ("excess", "alignment")
    )
    closest = mean_of(study[f"{prefix}_closest"].values[k], solved).value
    return (
        f"{cell(closest, '10.5f')} {cell(excess.value, '11.4e')} {cell(excess.error, '9.1e')}"
        f" {cell(alignment.value, '11.6f')} {cell(alignment.error, '9.1e')}"
        f" {f'{excess.count}/{solved.size}':>9}"
    )


def run_table(result: xarray.Dataset, rows: int) -> str:
    """Distances and alignment of runs from a file, for people."""
    names = ("closest", "reached", "excess", "alignment", "remaining", "missed", "loss")
    lines = [f"{'run':>8} " + " ".join(f"{name:>12}" for name in names)]
    table = np.array([np.atleast_1d(result[name].values) for name in names])
    for k in range(min(rows, table.shape[1])):
        lines.append(f"{k:8d} " + " ".join(cell(value, "12.6g") for value in table[:, k]))
    if table.shape[1] > 1:
        there = np.isfinite(table).all(axis=0)
        means = table[:, there].mean(axis=1) if there.any() else np.full(len(names), np.nan)
        lines.append(f"{'mean':>8} " + " ".join(cell(value, "12.6g") for value in means))
        lines.append(f"{there.sum()} of {there.size} runs reached the end")
    return "\n".join(lines)
