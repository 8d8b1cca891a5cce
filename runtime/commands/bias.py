"""`cli bias`: test whether the solution that is found is the one closest to the start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from derive.errors import InputError
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import TABLE_ROWS
from runtime.output.result_attributes import made_attributes
from runtime.output.result_table import Column, Table

if TYPE_CHECKING:
    import xarray

    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart


@command()
@shared.model_options()
@shared.training_options("bias")
@shared.run_option("bias", "n")
@shared.run_option("bias", "trajectories")
@shared.start_options("bias")
@shared.run_option("bias", "conditions")
@shared.run_option("bias", "scale")
@option("Analysis", "--run", type=shared.A_PATH, help="Judge the runs in this .nc file instead.")
@shared.run_option("bias", "threads")
@shared.timeless_output_options
@shared.generated_option
def bias(
    model: Model,
    training: dict[str, Any],
    n: list[int],
    trajectories: int,
    start: ChosenStart,
    conditions: float | list[float],
    scale: float,
    run: Path | None,
    threads: int | None,
    printer: shared.Printer,
    generated: Path,
) -> int:
    """Test the implicit bias: is the solution that is found the one closest to the start?

    \b
    Examples:
      cli bias --plot bias.png
      cli bias --p 6 --pstar 3 --eta 0.1 --alpha 2000 --n 1000
      cli bias --run runs.nc
    """
    from runtime.analysis.bias.bias_study import (
        BiasStudy,
        RandomWeights,
        UnequalNorms,
        bias_at_finite_n,
        bias_of_norms,
    )
    from runtime.output.run_summaries import unfinished_line
    from runtime.system.loading import load

    if run is not None:
        result = _of_run(run)
    else:
        # All is checked before the system, so that wrong options leave no derived system behind.
        alpha = training.pop("alpha")
        study = BiasStudy(
            model,
            training | start.parameters(model),
            alpha=alpha,
            trajectories=trajectories,
            q0=start.q0,
            seed=start.seed,
            threads=threads,
        )
        weights = RandomWeights(study, n)
        unequal = UnequalNorms(study, conditions if isinstance(conditions, list) else [conditions], scale)
        system = load(model, generated)
        with printer.progress("steps") as progress:
            sizes = bias_at_finite_n(system, weights, progress)
            norms = bias_of_norms(system, unequal)
        result = sizes.assign_coords(norms.coords).assign(norms.data_vars)
        result.attrs |= {"scale": norms.attrs["scale"], **made_attributes("bias_of_norms", sizes.attrs)}
    printer.write(result)
    printer.show(result, lambda: study_table(result) if run is None else run_table(result, TABLE_ROWS))
    lost, total = _lost(result)
    if run is None:
        problem = unfinished_line({"ok": total - lost, "diverged": lost}, "runs")
        return printer.outcome(problem, finished=lost < total)
    if lost:
        printer.say(f"{lost} of {total} runs in the file did not reach the end")
    return 0


def _lost(result: xarray.Dataset) -> tuple[int, int]:
    """How many runs have no distance, since they did not reach the end, and how many there are."""
    ends = [result[name] for name in result.data_vars if str(name).endswith("remaining")]
    return sum(int(one.isnull().sum()) for one in ends), sum(one.size for one in ends)


def _of_run(path: Path) -> xarray.Dataset:
    from runtime.analysis.bias.closest_solutions import bias_of_run

    run = shared.run_of_file("run", path)
    try:
        return bias_of_run(run)
    except InputError as error:
        problem = error.problem if error.option == "run" else f"{error.option} {error.problem}"
        raise InputError("run", f"{path}: {problem}") from None


def study_table(study: xarray.Dataset) -> str:
    """Excess distance and alignment at each N and each condition number, for people."""
    import numpy as np

    measured = (
        Column(""),
        Column("closest", "10.5f"),
        Column("excess", "11.4e"),
        Column("error", "9.1e"),
        Column("alignment", "11.6f"),
        Column("error", "9.1e"),
        Column("solved", "9d"),
    )
    sizes = [
        (n, prefix.upper(), *_row(study, prefix, k))
        for k, n in enumerate(study["n"].values)
        for prefix in ("ode", "sgd")
        if f"{prefix}_alignment" in study
    ]
    lines = [Table((Column("N", "12d"), *measured), sizes).as_text()]
    if study.attrs.get("noise_to_signal", 0.0) > 0.0:
        lines.append(
            f"theory of SGD for large N: alignment {study.attrs['expected_alignment']:.4f}"
            f", excess {study.attrs['expected_excess']:.4f}/sqrt(N)"
            f" (noise over signal {study.attrs['noise_to_signal']:.4f})"
        )
    conditions = [
        (condition, "ODE", *_row(study, "norms", k), np.mean(study["norms_theory"].values[k]))
        for k, condition in enumerate(study["condition"].values)
    ]
    columns = (Column("cond. of Q0", "12.6g"), *measured, Column("theory", "10.6f"))
    lines.append(Table(columns, conditions).as_text())
    if not all(study[name].values.any() for name in study.data_vars if str(name).endswith("solved")):
        lines.append("where nothing is solved, runs are too short (raise --alpha) or diverge (lower --eta)")
    if study.attrs["weight_decay"] > 0.0:
        lines.append("weight decay keeps runs from solutions; the one that they point to counts as found")
    return "\n".join(lines)


def _row(study: xarray.Dataset, prefix: str, k: int) -> tuple[float | str, ...]:
    """The cells of a row: means over the starts that were solved, with standard errors."""
    from runtime.analysis.bias.bias_study import mean_of

    solved = study[f"{prefix}_solved"].values[k]
    closest, excess, alignment = (
        mean_of(study[f"{prefix}_{name}"].values[k], solved) for name in ("closest", "excess", "alignment")
    )
    numbers = (closest.value, excess.value, excess.error, alignment.value, alignment.error)
    return (*numbers, f"{excess.count}/{solved.size}")


def run_table(result: xarray.Dataset, rows: int) -> str:
    """Distances and alignment of runs from a file, for people."""
    import numpy as np

    names = ("closest", "reached", "excess", "alignment", "remaining", "missed", "loss")
    values = np.array([np.atleast_1d(result[name].values) for name in names])
    found = [(str(k), *values[:, k]) for k in range(min(rows, values.shape[1]))]
    there = np.isfinite(values).all(axis=0)
    if there.size > 1:
        means = values[:, there].mean(axis=1) if there.any() else np.full(len(names), np.nan)
        found.append(("mean", *means))
    columns = (Column("run", "8d"), *(Column(name, "12.6g") for name in names))
    table = Table(columns, found).as_text()
    return table if there.size == 1 else f"{table}\n{there.sum()} of {there.size} runs reached the end"
