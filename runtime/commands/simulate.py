"""`cli simulate`: run one-pass SGD at finite N."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runtime.commands.grouped_help import command, option
from runtime.commands.printing import TABLE_ROWS, Talk, show
from runtime.commands.shared_options import (
    OutputFiles,
    ideal_option,
    json_option,
    model_options,
    output_options,
    overlaps_option,
    quiet_option,
    start_options,
    threads_option,
    training_options,
)
from runtime.commands.value_types import Integer

if TYPE_CHECKING:
    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart


@command()
@model_options(4, 2)
@training_options(100.0)
@option("Start", "--n", type=Integer(), default=10_000, help="Input dimension N.")
@option("Start", "--trajectories", type=Integer(), default=64, help="Number of independent runs.")
@start_options(ideal_option(None, " instead of random weights"), overlaps_option)
@option(
    "Solver",
    "--method",
    type=click.Choice(["chain", "weights"]),
    default="chain",
    help="Exact Markov chain of the overlaps, or N-dimensional weights.",
)
@threads_option
@output_options
@json_option
@quiet_option
def simulate(
    model: Model,
    training: dict[str, Any],
    n: int,
    trajectories: int,
    start: ChosenStart,
    method: str,
    threads: int | None,
    files: OutputFiles,
    as_json: bool,
    talk: Talk,
) -> None:
    """Run one-pass SGD at finite N, many times: the exact chain of the overlaps, or weights.

    \b
    Examples:
      cli simulate --n 1000 --plot runs.png
      cli simulate --n 1000000 --alpha 0,10,20 --trajectories 16 --out runs.nc
      cli simulate --method weights --n 500 --constraint sphere --json
    """
    from runtime.output import text_tables
    from runtime.sgd.comparison_figure import plot_runs
    from runtime.sgd.prepared_simulation import PreparedSimulation

    prepared = PreparedSimulation.of(
        model, start, n=n, trajectories=trajectories, method=method, threads=threads, **training
    )
    with talk.progress("steps") as progress:
        runs = prepared.run(progress)
        files.write(runs, plot_runs, talk)
        if runs.attrs["method"] != method:
            talk(f"n = {n} is less than p + p*: the weights themselves were run")
    show(as_json, runs, lambda: text_tables.runs_table(runs, TABLE_ROWS))
