"""`cli integrate`: integrate one trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command
from runtime.commands.printing import TABLE_ROWS

if TYPE_CHECKING:
    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart


@command()
@shared.model_options()
@shared.training_options("integrate")
@shared.start_options("integrate")
@shared.solver_options("integrate")
@shared.output_options
@shared.generated_option
def integrate(
    model: Model,
    training: dict[str, Any],
    start: ChosenStart,
    solver: dict[str, Any],
    printer: shared.Printer,
    generated: Path,
) -> int:
    """Integrate one trajectory, by default from random weights; derive the system if it is missing.

    \b
    Examples:
      cli integrate --plot escape.png
      cli integrate --p 8 --pstar 4 --eta 0.3 --alpha 400 --out run.nc
      cli integrate --ideal 1e-3 --flow gradient --method scipy:LSODA --json
    """
    from runtime.output import run_summaries
    from runtime.problem import chosen_problem
    from runtime.system.loading import load
    from runtime.trajectory.single_run import plain_trajectory

    problem = chosen_problem(model, start, **training, **solver)
    run = plain_trajectory(load(model, generated), problem)
    printer.write(run)
    printer.show(run, lambda: run_summaries.trajectory_table(run, TABLE_ROWS))
    return printer.outcome(run_summaries.stopped_line(run), finished=False)
