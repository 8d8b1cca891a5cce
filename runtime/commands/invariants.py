"""`cli invariants`: prove, search and monitor conserved quantities."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING

from derive.errors import InputError
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import TABLE_ROWS, Talk, echo
from runtime.commands.value_types import Integer
from runtime.output.netcdf_files import save_netcdf
from runtime.output.output_files import check_output

if TYPE_CHECKING:
    import xarray

    from derive.model import Model

DEFAULT_DEGREE = 3
# With more order parameters, the polynomials take minutes.
LARGEST_STATE = 30


@command()
@shared.model_options(p=2, pstar=1)
@option(
    "Analysis",
    "--degree",
    type=Integer(),
    help="Search for polynomials up to this degree; 0 for none.  [default: 3, or less in wide networks]",
)
@option(
    "Analysis",
    "--monitor",
    type=shared.A_PATH,
    help="Measure the drift along the run in this .nc file, and prove the laws of its model.",
)
@option("Output", "--out", type=shared.A_PATH, help="Write the monitors to this .nc file.")
@shared.json_option
@shared.quiet_option
def invariants(
    model: Model, degree: int | None, monitor: Path | None, out: Path | None, as_json: bool, talk: Talk
) -> None:
    """Find conserved quantities: exact proofs, a search for polynomials, and their drift along a run.

    \b
    Examples:
      cli invariants --flow gradient               K, the commutator's integral, Darboux polynomials
      cli invariants --p 2 --pstar 2 --degree 4
      cli invariants --flow gradient --second-layer trained    what a trained second layer keeps
      cli invariants --monitor run.nc              how well a run keeps what its equations conserve
    """
    from derive.invariants import laws, search
    from runtime.analysis.conservation import conservation_text

    if out is not None:
        if monitor is None:
            raise InputError("out", "writes the monitors of a run: give --monitor RUN.nc")
        check_output(out, (".nc",), option="out")
    monitors = None
    if monitor is not None:
        model, monitors = _monitored(monitor)
    provable = model.state_size <= LARGEST_STATE
    if not provable:
        problem = f"{model.name} has {model.state_size} order parameters, more than {LARGEST_STATE}"
        if monitors is None:
            raise InputError("p", f"{problem}: give smaller widths, or a run with --monitor")
        talk(f"{problem}: nothing is proved, the run is measured")
    searched = _degree(model, degree, talk) if provable else 0
    # The search comes first since it rejects degrees that take too long.
    findings = search(model, searched) if searched else None
    report = conservation_text.ConservationReport(
        model, laws(model) if provable else [], findings, monitors
    )
    if out is not None and monitors is not None:
        save_netcdf(monitors, out)
        talk(f"wrote {out}")
    if as_json:
        echo(json.dumps(conservation_text.as_json(report)))
    else:
        echo(conservation_text.as_text(report, TABLE_ROWS))


def _monitored(path: Path) -> tuple[Model, xarray.Dataset]:
    """The model and the monitors of the run in a file."""
    from runtime.analysis.conservation.monitors import drift_monitors
    from runtime.analysis.recorded_runs import model_of_run

    run = shared.run_of_file("monitor", path, "degree")
    try:
        return model_of_run(run), drift_monitors(run)
    except InputError as error:
        problem = error.problem if error.option == "run" else f"{error.option} {error.problem}"
        raise InputError("monitor", f"{path}: {problem}") from None


def _degree(model: Model, asked: int | None, talk: Talk) -> int:
    """The degree of the search; by default the largest up to 3 that is quick, 0 for none."""
    from derive.invariants.invariant_search import (
        LARGEST_DEGREE,
        LARGEST_SPACE,
        NOT_SEARCHED,
        searchable,
    )

    if asked is not None:
        if not 0 <= asked <= LARGEST_DEGREE:
            raise InputError("degree", f"{asked} is not an integer from 0 (no search) to {LARGEST_DEGREE}")
        return asked
    if not searchable(model):
        talk(f"nothing is searched: {NOT_SEARCHED}")
        return 0
    degree = DEFAULT_DEGREE
    while degree and comb(model.state_size + degree, degree) > LARGEST_SPACE // 2:
        degree -= 1
    if degree < DEFAULT_DEGREE:
        talk(f"{model.state_size} order parameters: searched up to degree {degree}; --degree changes that")
    return degree
