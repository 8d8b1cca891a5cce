"""`cli ensemble`: integrate many random starts at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from derive.errors import InputError
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command
from runtime.commands.printing import TABLE_ROWS

if TYPE_CHECKING:
    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart


@command()
@shared.model_options()
@shared.training_options("ensemble")
@shared.run_option("ensemble", "trajectories")
@shared.start_options("ensemble")
@shared.solver_options("ensemble")
@shared.run_option("ensemble", "threads")
@shared.run_option("ensemble", "output")
@shared.output_options
@shared.generated_option
def ensemble(
    model: Model,
    training: dict[str, Any],
    trajectories: int,
    start: ChosenStart,
    solver: dict[str, Any],
    threads: int | None,
    output: str,
    printer: shared.Printer,
    generated: Path,
) -> int:
    """Integrate many random starts at once, on all processors.

    \b
    Examples:
      cli ensemble --trajectories 10000 --plot losses.png
      cli ensemble --trajectories 1000000 --output final --out final.nc
      cli ensemble --stop-loss 0.1 --n 100000 --json
    """
    from runtime.ensemble.chosen_ensemble import ChosenEnsemble
    from runtime.output import run_summaries
    from runtime.problem import chosen_problem
    from runtime.system.loading import load

    if printer.log_x and output == "final":
        raise InputError("log_x", "needs losses over time: --output statistics, loss or all")
    problem = chosen_problem(model, start, trajectories, **training, **solver)
    chosen = ChosenEnsemble(problem, output, threads)
    with printer.progress("trajectories") as progress:
        runs = chosen.run(load(model, generated), progress)
        printer.write(runs)
    printer.show(runs, lambda: run_summaries.ensemble_table(runs, TABLE_ROWS))
    counts = run_summaries.endings(runs)
    return printer.outcome(run_summaries.unfinished_line(counts, "trajectories"), finished="ok" in counts)
