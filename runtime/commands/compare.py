"""`cli compare`: compare the ODE with SGD at several N."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import EXIT_FAILURE, TABLE_ROWS

if TYPE_CHECKING:
    import xarray

    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart


@command()
@shared.model_options()
@shared.training_options("compare")
@shared.run_option("compare", "n")
@shared.run_option("compare", "trajectories")
@shared.start_options("compare")
@option(
    "Analysis",
    "--weights/--no-weights",
    default=None,
    help="Also simulate the weights at the smallest N.  [default: if it takes about a minute or less]",
)
@shared.run_option("compare", "bias")
@shared.run_option("compare", "threads")
@shared.output_options
@shared.generated_option
def compare(
    model: Model,
    training: dict[str, Any],
    n: list[int],
    trajectories: int,
    start: ChosenStart,
    weights: bool | None,
    bias: bool,
    threads: int | None,
    printer: shared.Printer,
    generated: Path,
) -> int:
    """Compare the ODE with SGD at several N, from the same start; exit code 1 unless they agree.

    \b
    Examples:
      cli compare --plot compare.png
      cli compare --n 100,400,1600 --trajectories 1000 --alpha 30 --constraint sphere
    """
    from runtime.output import run_summaries
    from runtime.sgd.comparison import chosen_comparison
    from runtime.sgd.comparison_figure import plot_comparison
    from runtime.system.loading import load

    if start.overlaps is not None and "ideal" not in start.given:
        start = dataclasses.replace(start, ideal=None)
    comparison = chosen_comparison(
        model,
        start,
        n=n,
        trajectories=trajectories,
        weights=weights,
        bias=bias,
        threads=threads,
        **training,
    )
    with printer.progress("steps") as progress:
        result = comparison.run(load(model, generated), progress)
        printer.write(result, plot_comparison)

    def text() -> str:
        return f"{run_summaries.comparison_table(result, TABLE_ROWS)}\n{verdict_line(result)}"

    printer.show(result, text)
    return 0 if result.attrs["verdict"] == "agree" else EXIT_FAILURE


def verdict_line(result: xarray.Dataset) -> str:
    """The verdict of a comparison in a line."""
    attributes = result.attrs
    if attributes["verdict"] == "undecided":
        diverged = int(result["diverged"].sum())
        which = f"{diverged} runs" if diverged else "runs on weights"
        return f"undecided: {which} diverged, and the mean of the others is biased"
    agrees = attributes["deviation"] <= attributes["allowed"]
    words = "agrees with" if agrees else "differs from"
    text = (
        f"SGD {words} the ODE as N grows: largest deviation {attributes['deviation']:.2f} standard errors"
        f" ({attributes['where']}), {attributes['allowed']:.2f} allowed"
        f" for {attributes['comparisons']} comparisons"
    )
    text += f"; {_spread_words(attributes)}"
    if "weights_deviation" in attributes:
        text += (
            f"; chain and weights differ by at most {attributes['weights_deviation']:.2f},"
            f" {attributes['weights_allowed']:.2f} allowed"
        )
    return text


def _spread_words(attributes: Mapping[str, Any]) -> str:
    """What the verdict says of the spread over runs."""
    if not attributes["spread_comparisons"]:
        return f"spreads are not compared: {attributes['spread_reason']}"
    return (
        f"spreads deviate from the covariance at order 1/N by at most {attributes['spread_deviation']:.2f}"
        f" ({attributes['spread_where']}), {attributes['spread_allowed']:.2f} allowed"
        f" for {attributes['spread_comparisons']} comparisons"
    )
