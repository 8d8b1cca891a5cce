"""What `cli sector` does with its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.errors import InputError
from derive.sector import SectorModel
from runtime.commands.run_options import check_files, write_files
from runtime.output import result_table, text_tables
from runtime.sector.aligned_starts import SectorStart
from runtime.sector.sector_figure import plot_sector
from runtime.sector.sector_run import integrate_sector
from runtime.sector.sector_system import load_sector
from runtime.start.checked_arrays import real_number

if TYPE_CHECKING:
    import xarray

_CONVENTIONS = ("pstar", "constraint", "flow", "teacher", "readout")
_SETTINGS = ("eta", "label_noise", "rtol", "atol", "method")
_OF_RANDOM_STARTS = ("ideal", "seed")
# Default end of the time axis: growth by e⁴⁰ at the plateau's rate 4abη; α = 200 at (4, 2), η = 0.4.
_EXPONENT = 40.0


def integrate(
    arguments: Mapping[str, Any], say: Callable[[str], None], given: frozenset[str] = frozenset()
) -> xarray.Dataset:
    """Load or derive the sector, make the start, integrate, write files; errors name options.

    `arguments` are the options of the command by name, `given` those on the command line.
    """
    model = SectorModel(**{name: arguments[name] for name in _CONVENTIONS})
    check_files(arguments)
    superfluous = [name for name in _OF_RANDOM_STARTS if name in given]
    if superfluous and arguments["singular_values"] is not None:
        raise InputError(superfluous[0], "does not go with --singular-values")
    start = _start(model, arguments)
    alpha = arguments["alpha"]
    if alpha is None:
        power = {"mean": 1.0, "sum": 0.0, "sqrt": 0.5}[model.readout]
        rate = real_number("eta", arguments["eta"], least=0.0, strict=True)
        alpha = _EXPONENT * (float(start.p) * model.pstar) ** power / (4.0 * rate)
    system = load_sector(model, arguments["generated"])
    settings = {name: arguments[name] for name in _SETTINGS}
    run = integrate_sector(system, start, alpha=alpha, **settings)
    run.attrs["q0"] = float(arguments["q0"])
    if arguments["singular_values"] is None:
        run.attrs |= {"seed": arguments["seed"], "ideal": float(arguments["ideal"])}
    else:
        run.attrs["singular_values"] = arguments["singular_values"]
    write_files(run, arguments, say, plot_sector)
    if run["status"].item() != "ok":
        say(text_tables.stopped_line(run))
    return run


def _start(model: SectorModel, arguments: Mapping[str, Any]) -> SectorStart:
    """--singular-values, or R0 with random entries of the size --ideal."""
    p, values, q0 = arguments["p"], arguments["singular_values"], arguments["q0"]
    if values is None:
        try:
            return SectorStart.random(p, model.pstar, arguments["ideal"], arguments["seed"], q0)
        except InputError as error:
            raise InputError("ideal" if error.option == "scale" else error.option, error.problem) from None
    m = np.asarray(values) if isinstance(values, list) else values
    directions = min(p, model.pstar)
    if np.ndim(m) == 1 and len(m) != directions:
        raise InputError("singular_values", f"are {len(m)}, not one for all or {directions} = min(p, p*)")
    try:
        return SectorStart.from_singular_values(p, model.pstar, m, real_number("q0", q0))
    except InputError as error:
        option = {"m": "singular_values", "q": "q0"}.get(error.option, error.option)
        raise InputError(option, error.problem) from None


def sector_table(run: xarray.Dataset, rows: int) -> str:
    """A short table of α, loss, overlaps and norms, for people; the last line is the status."""
    count = run.sizes["alpha"]
    chosen = result_table.evenly(count, rows)
    names = ("max |m_k|", "min |m_k|", "mean q_k", "q_perp")
    lines = [f"{'alpha':>12} {'loss':>14} " + " ".join(f"{name:>12}" for name in names)]
    loss, m, q = run["loss"].values, np.abs(run["m"].values), run["q"].values
    perp = run["q_perp"].values if "q_perp" in run else np.full(count, np.nan)
    for k in chosen:
        numbers = (np.max(m[k]), np.min(m[k]), np.mean(q[k]), perp[k])
        values = " ".join(result_table.cell(number, "12.6g") for number in numbers)
        lines.append(f"{run['alpha'].values[k]:12.6g} {result_table.cell(loss[k], '14.6e')} {values}")
    return "\n".join([*lines, text_tables.status_line(run)])
