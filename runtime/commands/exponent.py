"""`cli exponent`: measure how long the mediocre start takes, for several activations and dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command
from runtime.output.result_table import Column, Table
from runtime.run_options import MEDIOCRE

if TYPE_CHECKING:
    import xarray


@command()
@shared.several_activations(*MEDIOCRE)
@shared.run_option("exponent", "n")
@shared.run_option("exponent", "overlap")
@shared.timeless_output_options
@shared.generated_option
def exponent(
    activation: str, n: list[int], overlap: float, printer: shared.Printer, generated: Path
) -> int:
    """Measure the information exponent: the time of gradient flow from R0 = 1/√N, against N.

    One student and one teacher with the same activation on the sphere. The time η·α is of order 1, ln N
    or √N for he1, he2 and he3.

    \b
    Examples:
      cli exponent --plot exponents.png
      cli exponent --activation "he3;he2+he3;0,1,0,1/6" --n 1000,100000 --json
    """
    from runtime.analysis.exponent.mediocre_start import MediocreStudy, measure_exponents

    study = MediocreStudy.of(activation.split(";"), n, overlap)
    result = measure_exponents(study, generated)
    printer.write(result)
    printer.show(result, lambda: exponent_table(result))
    times = result["scaled_time"]
    missing = int(times.isnull().sum())
    problem = f"{missing} of {times.size} runs do not come to the overlap" if missing else None
    return printer.outcome(problem, finished=missing < times.size)


def exponent_table(result: xarray.Dataset) -> str:
    """The times of all activations at each N, then the laws, for people."""
    names = [str(name) for name in result["activation"].values]
    width = max(11, *(len(name) + 2 for name in names))
    columns = [Column("N", "12d"), *(Column(name, f"{width}.6g") for name in names)]
    times = result["scaled_time"].values.T
    rows = [(size, *row) for size, row in zip(result["n"].values, times, strict=True)]
    lines = [f"eta alpha from R = 1/sqrt(N) to R = {result.attrs['overlap']:g}:"]
    lines.append(Table(columns, rows).as_text())
    for name, number, law in zip(names, result["exponent"].values, result["law"].values, strict=True):
        lines.append(f"{name}: information exponent {number}, eta alpha of order {law}")
    return "\n".join(lines)
