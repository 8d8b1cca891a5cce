"""`cli plot`: draw a result from its file."""

from __future__ import annotations

from pathlib import Path

import click

from derive.errors import InputError
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import Talk


@command()
@click.argument("file", type=shared.A_PATH)
@option(
    "Output",
    "--plot",
    type=shared.A_PATH,
    help="Draw to this .png, .pdf or .svg file.  [default: its name with .png, in this folder]",
)
@option("Output", "--panels", help="Draw these panels: names with commas in between.  [default: all]")
@shared.log_x_option
@shared.quiet_option
def plot(file: Path, plot: Path | None, panels: str | None, log_x: bool, talk: Talk) -> None:
    """Draw a result from the .nc file that --out of its command has written, or a merged sweep.

    A sweep has a line for each value of its axes.

    \b
    Examples:
      cli plot run.nc --plot run.pdf --log-x
      cli plot run.nc --panels loss,R
      cli plot sweep.nc
    """
    from runtime.analysis.recorded_runs import read_run
    from runtime.output.figures import SUFFIXES
    from runtime.output.output_files import check_output
    from runtime.plot.kinds_of_results import drawing_of

    target = check_output(Path(f"{file.stem}.png") if plot is None else plot, SUFFIXES, option="plot")
    dataset = read_run(file, "file")
    try:
        drawing = drawing_of(dataset, log_x=log_x)
        drawing.choose(None if panels is None else [name.strip() for name in panels.split(",")]).save(
            target
        )
    except InputError as error:
        if error.option not in ("dataset", "run"):
            raise
        raise InputError("file", f"{file} {error.problem}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A file may have been edited in any way, and not all of that is seen before it is drawn.
        raise InputError("file", f"{file} cannot be drawn: {type(error).__name__}: {error}") from None
    talk(f"wrote {target}")
