"""`cli bias`: is the solution that is found the one closest to the start?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, given_options, option
from runtime.commands.printing import TABLE_ROWS
from runtime.commands.value_types import Integer, Integers, Real, Times

if TYPE_CHECKING:
    import xarray

    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart

# Options that go with a run from a file.
_OF_A_RUN = {"run", "out", "as_json", "quiet"}


@command()
@shared.model_options(4, 2)
@shared.eta_option
@shared.noise_option
@option("Training", "--alpha", type=Real(), default=200.0, help="End of the runs.")
@option("Start", "--n", type=Integers(), default="100,1000,10000", help="Input dimensions N.")
@option("Start", "--trajectories", type=Integer(), default=128, help="Number of starts of each kind.")
@shared.start_options()
@option(
    "Analysis",
    "--conditions",
    type=Times(),
    default="1,3,10,30,100",
    help="Condition numbers of Q0, of starts with unequal norms.",
)
@option(
    "Analysis", "--scale", type=Real(), default=1e-6, help="Size of R0 in the starts with unequal norms."
)
@option("Analysis", "--run", type=shared.A_PATH, help="Judge the runs in this .nc file instead.")
@shared.threads_option
@shared.output_options
@shared.generated_option
def bias(
    model: Model,
    eta: float,
    label_noise: float,
    alpha: float,
    n: list[int],
    trajectories: int,
    start: ChosenStart,
    conditions: float | list[float],
    scale: float,
    run: Path | None,
    threads: int | None,
    printer: shared.Printer,
    generated: Path,
) -> None:
    """Implicit bias: is the solution that is found the one closest to the start?

    \b
    Examples:
      cli bias --plot bias.png
      cli bias --p 6 --pstar 3 --eta 0.1 --alpha 2000 --n 1000
      cli bias --run runs.nc
    """
    from runtime.analysis.bias import bias_study
    from runtime.analysis.bias.bias_figure import plot_bias
    from runtime.concurrency.thread_pool import thread_count
    from runtime.system.loading import load

    if run is not None:
        result = _of_run(run)
    else:
        T = start.teacher(model)
        study: dict[str, Any] = {
            "T": T,
            "eta": eta,
            "alpha": alpha,
            "trajectories": trajectories,
            "label_noise": label_noise,
            "q0": start.q0,
        }
        numbers = conditions if isinstance(conditions, list) else [conditions]
        # All is checked before the system, so that wrong options leave no derived system behind.
        bias_study.check_study(model, **study)
        bias_study.check_sizes(model, n, alpha)
        thread_count(threads)
        bias_study.check_norms(
            model, numbers, T=T, scale=scale, trajectories=trajectories, q0=start.q0, seed=start.seed
        )
        study |= {"seed": start.seed, "threads": threads}
        system = load(model, generated)
        with printer.progress("steps") as progress:
            sizes = bias_study.bias_at_finite_n(system, n, progress=progress, **study)
            norms = bias_study.bias_of_norms(system, numbers, scale=scale, **study)
        result = sizes.assign_coords(norms.coords).assign(norms.data_vars)
        result.attrs["scale"] = norms.attrs["scale"]
    printer.write(result, plot_bias)
    printer.show(result, lambda: study_table(result) if run is None else run_table(result, TABLE_ROWS))


def _of_run(path: Path) -> xarray.Dataset:
    from derive.errors import InputError
    from runtime.analysis.bias.closest_solutions import bias_of_run
    from runtime.analysis.recorded_runs import read_run

    superfluous = sorted(given_options() - _OF_A_RUN)
    if superfluous:
        raise InputError(superfluous[0], "does not go with --run: the file says what it is a run of")
    run = read_run(path, "run")
    try:
        return bias_of_run(run)
    except InputError as error:
        problem = error.problem if error.option == "run" else f"{error.option} {error.problem}"
        raise InputError("run", f"{path}: {problem}") from None


def study_table(study: xarray.Dataset) -> str:
    """Excess distance and alignment at each N and each condition number, for people."""
    import numpy as np

    from runtime.output.result_table import cell

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
    from runtime.analysis.bias.bias_study import mean_of
    from runtime.output.result_table import cell

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
    import numpy as np

    from runtime.output.result_table import cell

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
