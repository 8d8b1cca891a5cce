"""`cli simulate`: run one-pass SGD at finite N."""

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
@shared.training_options("simulate")
@shared.run_option("simulate", "n")
@shared.run_option("simulate", "trajectories")
@shared.start_options("simulate")
@shared.solver_options("simulate")
@shared.run_option("simulate", "threads")
@shared.output_options
@shared.generated_option
def simulate(
    model: Model,
    training: dict[str, Any],
    n: int,
    trajectories: int,
    start: ChosenStart,
    solver: dict[str, Any],
    threads: int | None,
    printer: shared.Printer,
    generated: Path,
) -> int:
    """Run one-pass SGD at finite N, many times: the exact chain of the overlaps, or weights.

    \b
    Examples:
      cli simulate --n 1000 --plot runs.png
      cli simulate --n 1000000 --alpha 0,10,20 --trajectories 16 --out runs.nc
      cli simulate --method weights --n 500 --constraint sphere --json
    """
    from runtime.output import run_summaries
    from runtime.sgd.same_start import ode_from_same_start
    from runtime.sgd.simulation import chosen_simulation
    from runtime.system.loading import load

    simulation = chosen_simulation(
        model, start, n=n, trajectories=trajectories, threads=threads, **training, **solver
    )
    with printer.progress("steps") as progress:
        runs = simulation.run(progress)
        # The figure shows the ODE too, which is derived for it.
        printer.write(runs, lambda: {"ode": ode_from_same_start(simulation, load(model, generated))})
        if simulation.method != solver["method"]:
            printer.say(f"n = {n} is less than p + p*: the weights themselves were run")
    printer.show(runs, lambda: run_summaries.runs_table(runs, TABLE_ROWS))
    counts = run_summaries.endings(runs)
    return printer.outcome(run_summaries.unfinished_line(counts, "runs"), finished="ok" in counts)
