"""`cli simulate`: run one-pass SGD at finite N."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import TABLE_ROWS
from runtime.commands.value_types import Integer

if TYPE_CHECKING:
    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart


@command()
@shared.model_options(4, 2)
@shared.training_options(100.0)
@option("Start", "--n", type=Integer(), default=10_000, help="Input dimension N.")
@option("Start", "--trajectories", type=Integer(), default=64, help="Number of independent runs.")
@shared.start_options(shared.ideal_option(None, " instead of random weights"), shared.overlaps_option)
@option(
    "Solver",
    "--method",
    type=click.Choice(["chain", "weights"]),
    default="chain",
    help="Exact Markov chain of the overlaps, or N-dimensional weights.",
)
@shared.threads_option
@shared.output_options
def simulate(
    model: Model,
    training: dict[str, Any],
    n: int,
    trajectories: int,
    start: ChosenStart,
    method: str,
    threads: int | None,
    printer: shared.Printer,
) -> None:
    """Run one-pass SGD at finite N, many times: the exact chain of the overlaps, or weights.

    \b
    Examples:
      cli simulate --n 1000 --plot runs.png
      cli simulate --n 1000000 --alpha 0,10,20 --trajectories 16 --out runs.nc
      cli simulate --method weights --n 500 --constraint sphere --json
    """
    from runtime.output import run_summaries
    from runtime.sgd.comparison_figure import plot_runs
    from runtime.sgd.prepared_simulation import PreparedSimulation

    prepared = PreparedSimulation.of(
        model, start, n=n, trajectories=trajectories, method=method, threads=threads, **training
    )
    with printer.progress("steps") as progress:
        runs = prepared.run(progress)
        printer.write(runs, plot_runs)
        if runs.attrs["method"] != method:
            printer.say(f"n = {n} is less than p + p*: the weights themselves were run")
    printer.show(runs, lambda: run_summaries.runs_table(runs, TABLE_ROWS))
