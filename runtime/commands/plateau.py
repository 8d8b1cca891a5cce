"""`cli plateau`: find the plateau over learning rates, and the largest ones at which it exists."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import collected, command
from runtime.commands.printing import TABLE_ROWS
from runtime.output.result_table import Column, Table, evenly

if TYPE_CHECKING:
    import xarray

    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart


@command()
@shared.model_options()
@collected("training", dict, shared.number_options("plateau", eta="24 values up to the largest"))
@shared.start_options("plateau")
@shared.output_options
@shared.generated_option
def plateau(
    model: Model,
    training: dict[str, Any],
    start: ChosenStart,
    printer: shared.Printer,
    generated: Path,
) -> None:
    """Find the plateau (R = 0): norm, loss and escape rate over learning rates, and where it ends.

    \b
    Examples:
      cli plateau --plot plateau.png
      cli plateau --p 8 --pstar 4 --eta 0.2,0.4,0.8 --json
      cli plateau --weight-decay 0.1 --batch 4
      cli plateau --second-layer fixed --student-weights 1,0.5,-1,2
    """
    from runtime.analysis.plateau.plateau_curve import chosen_curve
    from runtime.system.loading import load

    curve = chosen_curve(lambda: load(model, generated), model, start, training)
    printer.write(curve)
    missing = int(curve["loss"].isnull().sum())
    if missing:
        printer.say(f"{missing} of {curve.sizes['eta']} learning rates have no plateau")
    printer.show(curve, lambda: plateau_table(curve, TABLE_ROWS))


def plateau_table(curve: xarray.Dataset, rows: int) -> str:
    """Norm, loss and rate at each η, then the largest learning rates, for people."""
    columns = (
        Column("eta", "12.6g"),
        Column("q", "12.6g"),
        Column("loss", "12.6g"),
        Column("escape rate", "12.6g"),
        Column("directions", "10d"),
        Column("attracts at R = 0"),
    )
    names = ("eta", "q", "loss", "rate", "multiplicity", "stable")
    values = [curve[name].values for name in names]
    found = []
    for k in evenly(curve.sizes["eta"], rows):
        eta, q, loss, rate, directions, stable = (column[k] for column in values)
        words = "no plateau" if math.isnan(loss) else "yes" if stable else "no"
        found.append((eta, q, loss, rate, directions, words))
    return "\n".join([Table(columns, found).as_text(), *_ends(curve)])


def _ends(curve: xarray.Dataset) -> list[str]:
    """The largest learning rates in words."""
    lines = []
    for where, words in (
        ("plateau", "with a plateau that attracts at R = 0"),
        ("escape", "at which SGD escapes from it"),
    ):
        largest = curve.attrs[f"largest_eta_{where}"]
        if math.isinf(largest):
            lines.append(f"no largest eta {words}")
        else:
            lines.append(f"largest eta {words}: {largest:.6g}" if largest else f"no eta {words}")
    return lines
