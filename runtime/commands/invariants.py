"""What `cli invariants` does with its options; `invariants_report` prints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import comb
from typing import TYPE_CHECKING, Any

from derive.errors import InputError
from derive.invariants import laws, search
from derive.invariants.search import LARGEST_DEGREE, LARGEST_SPACE
from derive.model import Model
from runtime.analysis.conservation.conservation_text import Report
from runtime.analysis.conservation.monitors import drift_monitors
from runtime.analysis.recorded_runs import model_of_run, read_run
from runtime.commands.run_options import model_of
from runtime.output.netcdf_files import check_output, save_netcdf

if TYPE_CHECKING:
    import xarray

DEFAULT_DEGREE = 3
# Order parameters: the polynomials of more take minutes.
LARGEST_STATE = 30
# Options that say what the run in a file says already.
_OF_A_MODEL = ("p", "pstar", "constraint", "flow", "teacher", "readout")


def invariants(arguments: Mapping[str, Any], given: frozenset[str], say: Callable[[str], None]) -> Report:
    """Prove what is known, search for more, monitor a run; write its monitors to --out.

    `arguments` are the options of the command by name, `given` those on the command line.
    """
    monitors = None
    if arguments["out"] is not None:
        if arguments["monitor"] is None:
            raise InputError("out", "needs the monitors of a run: --monitor RUN.nc")
        check_output(arguments["out"], (".nc",), option="out")
    if arguments["monitor"] is None:
        model = model_of(arguments)
    else:
        superfluous = sorted(given.intersection(_OF_A_MODEL))
        if superfluous:
            raise InputError(
                superfluous[0], "does not go with --monitor: the file says what it is a run of"
            )
        model, monitors = _monitored(arguments["monitor"])
    provable = model.state_size <= LARGEST_STATE
    if not provable:
        problem = f"{model.name} has {model.state_size} order parameters, more than {LARGEST_STATE}"
        if monitors is None:
            raise InputError("p", problem)
        say(f"{problem}: nothing is proved, the run is measured")
    degree = _degree(model, arguments["degree"], say) if provable else 0
    # Why the search first: it refuses degrees that take too long.
    findings = search(model, degree) if degree else None
    report = Report(model, laws(model) if provable else [], findings, monitors)
    if arguments["out"] is not None and monitors is not None:
        save_netcdf(monitors, arguments["out"])
        say(f"wrote {arguments['out']}")
    return report


def _monitored(path: Any) -> tuple[Model, xarray.Dataset]:
    run = read_run(path, "monitor")
    try:
        return model_of_run(run), drift_monitors(run)
    except InputError as error:
        problem = error.problem if error.option == "run" else f"{error.option} {error.problem}"
        raise InputError("monitor", f"{path}: {problem}") from None


def _degree(model: Model, asked: int | None, say: Callable[[str], None]) -> int:
    """The degree of the search; by default the largest up to 3 that is quick, 0 for none."""
    if asked is not None:
        if not 0 <= asked <= LARGEST_DEGREE:
            raise InputError("degree", f"{asked} is not an integer from 0 (no search) to {LARGEST_DEGREE}")
        return asked
    degree = DEFAULT_DEGREE
    while degree and comb(model.state_size + degree, degree) > LARGEST_SPACE // 2:
        degree -= 1
    if degree < DEFAULT_DEGREE:
        say(f"{model.state_size} order parameters: searched up to degree {degree} (--degree)")
    return degree
