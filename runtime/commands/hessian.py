"""`cli hessian`: compute the spectrum of the Hessian at a state, or along a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import collected, command, option
from runtime.commands.printing import TABLE_ROWS

if TYPE_CHECKING:
    import xarray

    from derive.model import Model
    from runtime.analysis.landscape.hessian_spectra import HessianSpectrum
    from runtime.start.checked_arrays import Array
    from runtime.start.chosen_start import ChosenStart

_ROUNDING = 1e-13
PLACES = ("plateau", "solution", "start")


@command()
@shared.model_options()
@collected("training", dict, shared.number_options("hessian"))
@shared.run_option("hessian", "n")
@shared.start_options("hessian")
@option(
    "Analysis",
    "--at",
    type=click.Choice(PLACES),
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
    from derive.arguments import whole_number
    from derive.errors import InputError
    from runtime.analysis.landscape.critical_points import flat_directions
    from runtime.analysis.landscape.hessian_figure import plot_spectra
    from runtime.analysis.landscape.hessian_spectra import hessian_spectrum
    from runtime.start import checked_arrays
    from runtime.start.chosen_start import naming_choices
    from runtime.start.initial_overlaps import LARGEST_START_N
    from runtime.start.parameter_values import RunParameters
    from runtime.start.seeds import LARGEST_SEED

    if along is not None:
        result = _along(along, n, tolerance)
        printer.write(result, plot_spectra)
        printer.show(result, lambda: spectra_table(result, TABLE_ROWS))
        return
    if printer.plot is not None:
        raise InputError("plot", "draws spectra over time: give --along FILE.nc")
    # Values are checked even where the state does not depend on them.
    whole_number("n", n, 1, LARGEST_START_N)
    RunParameters.of(model, training)
    checked_arrays.real_number("q0", start.q0, least=0.0, strict=True)
    whole_number("seed", start.seed, 0, LARGEST_SEED)
    checked_arrays.real_number("tolerance", tolerance, least=0.0)
    with naming_choices():
        Q, R, T, origin = _state(model, start, at, n, training, generated)
        checked_arrays.overlaps(model, Q, R, checked_arrays.teacher_overlaps(model, T))
    spectrum = hessian_spectrum(model, Q, R, n, T, tolerance=tolerance)
    result = spectrum.to_dataset()
    result.attrs.update(origin)
    if at == "solution" and model.constraint == "free":
        flat = flat_directions(model, n, T)
        result.attrs.update(flat_tangent=flat.tangent, flat_quartic=flat.quartic)
    printer.write(result, plot_spectra)
    printer.show(result, lambda: f"{spectrum_table(spectrum)}\n{verdict_of(spectrum, result)}")


def _along(path: Path, n: int, tolerance: float) -> xarray.Dataset:
    """The spectra along the run of a file."""
    from derive.errors import InputError
    from runtime.analysis.landscape.hessian_spectra import spectra_along

    run = shared.run_of_file("along", path, "n", "tolerance", "plot")
    try:
        return spectra_along(run, n, tolerance=tolerance)
    except InputError as error:
        if error.option != "run":
            raise
        raise InputError("along", f"{path} {error.problem}") from None


def _state(
    model: Model, start: ChosenStart, at: str | None, n: int, training: dict[str, Any], generated: Path
) -> tuple[Array, Array, Array | None, dict[str, Any]]:
    """Q, R and T of the wanted state, and the attributes that name it."""
    from derive.errors import InputError
    from runtime.analysis.landscape.critical_points import solution

    if start.overlaps is not None:
        if at is not None:
            raise InputError("at", "does not go with --overlaps")
        return start.overlaps_of(model)
    place = at or PLACES[0]
    if place == "start":
        Q, R, T, origin = dataclasses.replace(start, n=n).overlaps_of(model)
        return Q, R, T, origin | {"at": place}
    T = start.teacher(model)
    if place == "solution":
        point = solution(model, T)
        return point.Q, point.R, T, {"at": place, "loss": point.loss}
    return *_plateau(model, start.q0, T, n, training, generated), T, {"at": place}


def _plateau(
    model: Model, q0: float, T: Array | None, n: int, training: dict[str, Any], generated: Path
) -> tuple[Array, Array]:
    """Q and R = 0 where the drift vanishes without any overlap with the teachers."""
    import numpy as np

    from runtime.analysis.landscape.critical_points import critical_point
    from runtime.analysis.plateau.fixed_point import plateau
    from runtime.sgd.weight_coordinates import beyond
    from runtime.start.checked_arrays import teacher_overlaps
    from runtime.start.teacher_directions import Teacher
    from runtime.system.loading import load

    if model.constraint == "free" and model.flow == "gradient":
        point = critical_point(model, 0, model.p, T)
        return point.Q, point.R
    if model.constraint == "sphere":
        return q0 * np.eye(model.p), np.zeros((model.p, model.pstar))
    teacher = Teacher.from_overlaps(teacher_overlaps(model, T))
    # Whether the weights fit into N dimensions is known before the system is derived.
    beyond(np.eye(model.p), np.zeros((model.p, teacher.rank)), n - teacher.rank)
    fixed = plateau(load(model, generated), **training, T=T)
    return fixed.Q, fixed.R


def verdict_of(spectrum: HessianSpectrum, result: xarray.Dataset) -> str:
    """Classification, gradient and, at a solution, the theory of flat directions, for people."""
    kind = spectrum.classification if spectrum.stationary else "not stationary"
    counts = f"{spectrum.negative} negative, {spectrum.flat} flat, {spectrum.positive} positive"
    lines = [
        f"{kind}: {counts} of {spectrum.size} directions; norm of the gradient {spectrum.gradient:.3g}"
    ]
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

    from runtime.output.result_table import Column, Table

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
    from runtime.output.result_table import Column, Table, evenly

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
