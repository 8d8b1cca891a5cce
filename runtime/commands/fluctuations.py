"""`cli fluctuations`: integrate the covariance at order 1/N beside the ODE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command
from runtime.commands.printing import TABLE_ROWS
from runtime.output.result_table import Column, Table, evenly

if TYPE_CHECKING:
    from derive.model import Model
    from runtime.output.run_summaries import Result
    from runtime.start.chosen_start import ChosenStart


@command()
@shared.model_options()
@shared.training_options("fluctuations")
@shared.run_option("fluctuations", "n")
@shared.start_options("fluctuations")
@shared.run_option("fluctuations", "covariance")
@shared.run_option("fluctuations", "bias")
@shared.solver_options("fluctuations")
@shared.output_options
@shared.generated_option
def fluctuations(
    model: Model,
    training: dict[str, Any],
    n: int,
    start: ChosenStart,
    covariance: Path,
    bias: bool,
    solver: dict[str, Any],
    printer: shared.Printer,
    generated: Path,
) -> int:
    """Integrate the ODE and, beside it, how much runs of SGD at large N spread around it.

    N times the covariance of the overlaps obeys an ODE of its own. Bands at N are √(covariance/N) wide.

    \b
    Examples:
      cli fluctuations --plot bands.png
      cli fluctuations --n 1000 --ideal 0.2 --batch 4 --out bands.nc
      cli fluctuations --covariance random --alpha 30 --json
      cli fluctuations --overlaps bands.nc --covariance bands.nc --alpha 200,300
    """
    from runtime.covariance.fluctuation_run import chosen_fluctuations, linear_line
    from runtime.output import run_summaries
    from runtime.system.loading import load

    problem = chosen_fluctuations(model, start, covariance=covariance, n=n, bias=bias, **training, **solver)
    run = problem.run(load(model, generated))
    printer.write(run)
    line = linear_line(run)
    if line is not None:
        printer.say(line)
    printer.show(run, lambda: fluctuation_table(run, TABLE_ROWS))
    return printer.outcome(run_summaries.stopped_line(run), finished=False)


def fluctuation_table(run: Result, rows: int) -> str:
    """A short table of α, the loss and the largest overlap with their deviations at N, for people."""
    import numpy as np

    from runtime.output.run_summaries import status_line

    n = run.attrs["n"]
    alpha, loss, needed = (run[name].values for name in ("alpha", "loss", "linear_n"))
    spread = run["loss_std"].values / np.sqrt(n)
    count = len(alpha)
    R, R_std = (abs(run[name].values).reshape(count, -1) for name in ("R", "R_std"))
    largest = np.argmax(np.nan_to_num(R), axis=1)
    columns = (
        Column("alpha", "12.6g"),
        Column("loss", "14.6e"),
        Column("deviation", "12.4e"),
        Column("max |R_ir|", "12.6f"),
        Column("deviation", "12.4e"),
        Column("linear from N", "14.4g"),
    )
    found = [
        (alpha[k], loss[k], spread[k], R[k, j], R_std[k, j] / np.sqrt(n), needed[k])
        for k, j in ((k, largest[k]) for k in evenly(count, rows))
    ]
    return f"{Table(columns, found).as_text()}\ndeviations at N = {n}; {status_line(run)}"
