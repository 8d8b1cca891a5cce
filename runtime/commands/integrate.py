"""`cli integrate`: integrate one trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.commands.grouped_help import command
from runtime.commands.printing import TABLE_ROWS, Talk, show
from runtime.commands.shared_options import (
    OutputFiles,
    any_start_options,
    generated_option,
    json_option,
    model_options,
    output_options,
    quiet_option,
    single_method_option,
    solver_options,
    training_options,
)

if TYPE_CHECKING:
    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart


@command()
@model_options(4, 2)
@training_options(200.0)
@any_start_options
@solver_options(single_method_option)
@output_options
@generated_option
@json_option
@quiet_option
def integrate(
    model: Model,
    training: dict[str, Any],
    start: ChosenStart,
    solver: dict[str, Any],
    files: OutputFiles,
    generated: Path,
    as_json: bool,
    talk: Talk,
) -> None:
    """Integrate one trajectory from random weights; derives the system if it is not there.

    \b
    Examples:
      cli integrate --plot escape.png
      cli integrate --p 8 --pstar 4 --eta 0.3 --alpha 400 --out run.nc
      cli integrate --ideal 1e-3 --flow gradient --method scipy:LSODA --json
    """
    from runtime.output import text_tables
    from runtime.output.figures import plot_trajectory
    from runtime.system.loading import load
    from runtime.trajectory.prepared_run import PreparedRun

    # All is checked before the system, so that wrong options leave no derived system behind.
    prepared = PreparedRun.of(model, start, **training, **solver)
    run = prepared.run(load(model, generated))
    files.write(run, plot_trajectory, talk)
    if run["status"].item() != "ok":
        talk(text_tables.stopped_line(run))
    show(as_json, run, lambda: text_tables.as_table(run, TABLE_ROWS))
