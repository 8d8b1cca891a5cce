"""`cli merge`: merge the results of a sweep into one dataset."""

from __future__ import annotations

import json
from pathlib import Path

import click

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import echo


@command()
@click.argument("folder", type=shared.A_PATH)
@option("Output", "--out", type=shared.A_PATH, required=True, help="Write to this .nc file.")
@option("Output", "--partial", is_flag=True, help="Merge even if tasks are missing; their values are NaN.")
@shared.json_option
def merge(folder: Path, out: Path, partial: bool, as_json: bool) -> None:
    """Merge the results of a sweep into one netCDF file, with the parameters as dimensions.

    \b
    Example:
      cli merge runs --out runs.nc
    """
    from runtime.sweep.whole_sweeps import merge_sweep

    sizes = merge_sweep(folder, out, partial)
    shape = ", ".join(f"{name} {size}" for name, size in sizes.items())
    echo(json.dumps({"file": str(out), "sizes": sizes}) if as_json else f"{out}: {shape}", kept="")
