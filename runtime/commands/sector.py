"""`cli sector`: integrate aligned starts at any width p, by 2p* + 1 numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derive.errors import InputError
from derive.parameters import VECTORS
from derive.readout import READOUTS
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import collected, command, given_options, option
from runtime.commands.printing import TABLE_ROWS
from runtime.commands.value_types import Times
from runtime.output.result_table import Column, Table, evenly

if TYPE_CHECKING:
    import xarray

    from derive.sector import SectorModel
    from runtime.sector.aligned_starts import SectorStart

# Default end of the time axis: growth by e⁴⁰ at the plateau's rate 4abη; α = 200 at (4, 2), η = 0.4.
_EXPONENT = 40.0


@command()
@shared.width_options(p=1_000_000)
@collected("conventions", dict, shared.convention_options)
@collected("training", dict, shared.number_options("sector"))
@collected("weights", dict, *(shared.run_option("sector", vector.name) for vector in VECTORS))
@shared.run_option("sector", "alpha")
@shared.run_option("sector", "schedule")
@option(
    "Start",
    "--singular-values",
    type=Times(),
    help="Singular values of R0: one for all, or all min(p, p*).",
)
@shared.run_option("sector", "ideal")
@shared.run_option("sector", "seed")
@shared.run_option("sector", "q0")
@shared.solver_options("sector")
@shared.output_options
@shared.generated_option
def sector(
    p: int,
    pstar: int,
    conventions: dict[str, str],
    training: dict[str, Any],
    weights: dict[str, float | None],
    alpha: float | list[float] | None,
    schedule: str,
    singular_values: float | list[float] | None,
    ideal: float,
    seed: int,
    q0: float,
    solver: dict[str, Any],
    printer: shared.Printer,
    generated: Path,
) -> int:
    """Integrate aligned starts, Q0 = q0·1, whose whole state is 2p* + 1 numbers: any p costs the same.

    \b
    Examples:
      cli sector --p 1000000 --plot wide.png
      cli sector --p 1000 --singular-values 1e-3,5e-4 --flow gradient --json
      cli sector --p 1000 --weight-decay 1e-4 --second-layer fixed --student-weights 2
    """
    from derive.sector import SectorModel
    from runtime.output import run_summaries
    from runtime.sector.sector_run import integrate_sector
    from runtime.sector.sector_system import load_sector, numbers_of

    model = SectorModel.of_options(pstar, **conventions)
    superfluous = sorted(given_options() & {"ideal", "seed"})
    if superfluous and singular_values is not None:
        raise InputError(superfluous[0], "does not go with --singular-values")
    if singular_values is None:
        start = _random(p, model, ideal, seed, q0)
        origin: dict[str, Any] = {"seed": seed, "ideal": float(ideal)}
    else:
        start = _aligned(p, model, singular_values, q0)
        origin = {"singular_values": singular_values}
    training |= weights
    if alpha is None:
        alpha = _end(model, start.p, numbers_of(model, start.p, training))
    system = load_sector(model, generated)
    run = integrate_sector(system, start, alpha=alpha, schedule=schedule, **training, **solver)
    run.attrs |= {"q0": float(q0), **origin}
    printer.write(run)
    printer.show(run, lambda: sector_table(run, TABLE_ROWS))
    return printer.outcome(run_summaries.stopped_line(run), finished=False)


def _end(model: SectorModel, p: int, numbers: Mapping[str, float]) -> float:
    """The α after which aligned students have escaped, unless their R0 is very small."""
    rate = 4.0 * numbers["eta"] * abs(math.prod(numbers.get(vector.name, 1.0) for vector in VECTORS))
    if not rate:
        raise InputError("alpha", "is required where students or teachers have the weight 0")
    return _EXPONENT * READOUTS[model.readout].inverse(float(p) * model.pstar) / rate


def _random(p: int, model: SectorModel, ideal: float, seed: int, q0: float) -> SectorStart:
    """A start whose R0 has random entries of the size `ideal`."""
    from runtime.sector.aligned_starts import SectorStart

    try:
        return SectorStart.random(p, model.pstar, ideal, seed, q0)
    except InputError as error:
        raise InputError("ideal" if error.option == "scale" else error.option, error.problem) from None


def _aligned(p: int, model: SectorModel, values: float | list[float], q0: float) -> SectorStart:
    """A start whose R0 has these singular values."""
    from runtime.sector.aligned_starts import SectorStart
    from runtime.start.checked_arrays import real_number

    directions = min(p, model.pstar)
    if isinstance(values, list) and len(values) != directions:
        raise InputError(
            "singular_values", f"{len(values)} are given, not one for all or min(p, p*) = {directions}"
        )
    try:
        return SectorStart.from_singular_values(p, model.pstar, values, real_number("q0", q0))
    except InputError as error:
        option = {"m": "singular_values", "q": "q0"}.get(error.option, error.option)
        raise InputError(option, error.problem) from None


def sector_table(run: xarray.Dataset, rows: int) -> str:
    """A short table of α, loss, overlaps and norms, for people; the last line is the status."""
    import numpy as np

    from runtime.output.run_summaries import status_line

    alpha, loss, m, q = (run[name].values for name in ("alpha", "loss", "m", "q"))
    perp = run["q_perp"].values if "q_perp" in run else np.full(alpha.size, np.nan)
    names = ("max |m_k|", "min |m_k|", "mean q_k", "q_perp")
    columns = (
        Column("alpha", "12.6g"),
        Column("loss", "14.6e"),
        *(Column(name, "12.6g") for name in names),
    )
    found = [
        (alpha[k], loss[k], np.max(np.abs(m[k])), np.min(np.abs(m[k])), np.mean(q[k]), perp[k])
        for k in evenly(alpha.size, rows)
    ]
    return f"{Table(columns, found).as_text()}\n{status_line(run)}"
