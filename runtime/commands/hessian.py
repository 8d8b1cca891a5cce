"""`cli hessian`: compute the spectrum of the Hessian at a state, or along a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derive.errors import InputError
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import collected, command, option
from runtime.commands.printing import TABLE_ROWS
from runtime.output.result_table import Column, Table, evenly
from runtime.run_options import HESSIAN_PLACES

if TYPE_CHECKING:
    import xarray

    from derive.model import Model
    from runtime.analysis.landscape.hessian_spectra import HessianSpectrum
    from runtime.start.chosen_start import ChosenStart

_ROUNDING = 1e-13


@command()
@shared.model_options()
@collected("training", dict, shared.number_options("hessian"))
@shared.run_option("hessian", "n")
@shared.start_options("hessian")
@option(
    "Analysis",
    "--at",
    type=click.Choice(HESSIAN_PLACES),
    help="At the plateau (R = 0), a global minimum, or random weights.  [default: plateau]",
)
@option("Analysis", "--along", type=shared.A_PATH, help="At all states of the trajectory in this .nc file.")
@shared.run_option("hessian", "tolerance")
@shared.output_options
@shared.generated_option
def hessian(
    model: Model,
    training: dict[str, Any],
    n: int,
    start: ChosenStart,
    at: str | None,
    along: Path | None,
    tolerance: float,
    printer: shared.Printer,
    generated: Path,
) -> None:
    """Compute the spectrum of the Hessian of the population loss in w/√N: saddle, minimum, flat directions.

    \b
    Examples:
      cli hessian --flow gradient                  the plateau of gradient flow
      cli hessian --at solution --n 1000000        a point of the zero-loss manifold
      cli hessian --along run.nc --plot spectrum.png
    """
    from runtime.analysis.landscape.hessian_study import HessianStudy, hessian_of_study
    from runtime.system.loading import load

    if along is not None:
        result = _along(along, n, tolerance)
        printer.write(result)
        printer.show(result, lambda: spectra_table(result, TABLE_ROWS))
        return
    if printer.log_x:
        raise InputError("log_x", "is about spectra over time: give --along FILE.nc")
    study = HessianStudy(model, training, start, at, n, tolerance)
    # The other states are known without the equations.
    system = load(model, generated) if study.state is None else None
    spectrum, result = hessian_of_study(study, system)
    printer.write(result)
    printer.show(result, lambda: f"{spectrum_table(spectrum)}\n{verdict_of(spectrum, result)}")


def _along(path: Path, n: int, tolerance: float) -> xarray.Dataset:
    """The spectra along the run of a file."""
    from runtime.analysis.landscape.hessian_spectra import spectra_along

    run = shared.run_of_file("along", path, "n", "tolerance", "plot", "log_x")
    try:
        return spectra_along(run, n, tolerance=tolerance)
    except InputError as error:
        if error.option != "run":
            raise
        raise InputError("along", f"{path} {error.problem}") from None


def verdict_of(spectrum: HessianSpectrum, result: xarray.Dataset) -> str:
    """Classification, gradient and, at a solution, the theory of flat directions, for people."""
    counts = f"{spectrum.negative} negative, {spectrum.flat} flat, {spectrum.positive} positive"
    kind = f"{spectrum.classification}: {counts} of {spectrum.size} directions"
    lines = [f"{kind}; norm of the gradient {spectrum.gradient:.3g}"]
    if "flat_tangent" in result.attrs:
        tangent, quartic = result.attrs["flat_tangent"], result.attrs["flat_quartic"]
        lines.append(
            f"loss {result.attrs['loss']:.6g}; by theory {tangent + quartic} flat directions:"
            f" {tangent} along the manifold of minima, {quartic} of fourth order"
        )
    return "\n".join(lines)


def spectrum_table(spectrum: HessianSpectrum) -> str:
    """Eigenvalue, multiplicity and block, for people."""
    import numpy as np

    # Eigenvalues that are rounding of the largest one are shown as zero.
    rounding = _ROUNDING * float(np.max(np.abs(spectrum.eigenvalues), initial=0.0))
    rows = [
        (0.0 if abs(value) <= rounding else value, count, block)
        for value, count, block in zip(
            spectrum.eigenvalues, spectrum.multiplicities, spectrum.blocks, strict=True
        )
    ]
    columns = (Column("eigenvalue", "14.8g"), Column("multiplicity", "14d"), Column("block"))
    return Table(columns, rows).as_text()


def spectra_table(spectra: xarray.Dataset, rows: int) -> str:
    """Loss, extreme eigenvalues and numbers of directions along a trajectory, for people."""
    import numpy as np

    from runtime.analysis.landscape.hessian_figure import lowest

    columns = (
        Column("alpha", "12.6g"),
        Column("loss", "14.6e"),
        Column("lowest", "12.6f"),
        Column("highest", "12.6f"),
        Column("negative", "10d"),
        Column("flat", "12d"),
        Column("|gradient|", "12.4e"),
    )
    alpha, loss, negative, flat, gradient = (
        spectra[name].values for name in ("alpha", "loss", "negative", "flat", "gradient")
    )
    least, largest = lowest(spectra), np.max(spectra["inside"].values, axis=1, initial=-np.inf)
    found = [
        (alpha[k], loss[k], least[k], largest[k], negative[k], flat[k], gradient[k])
        for k in evenly(alpha.size, rows)
    ]
    return Table(columns, found).as_text()
