"""What `cli hessian` does with its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import runtime
from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.analysis.landscape.critical_points import critical_point, flat_directions, solution
from runtime.analysis.landscape.hessian_figure import lowest, plot_spectra
from runtime.analysis.landscape.hessian_spectra import HessianSpectrum, hessian_spectrum, spectra_along
from runtime.analysis.plateau.fixed_point import plateau
from runtime.analysis.recorded_runs import read_run
from runtime.commands.run_options import (
    check_files,
    initial_overlaps,
    model_of,
    naming_options,
    teacher_of,
    write_files,
)
from runtime.output import result_table
from runtime.sgd.weight_coordinates import beyond
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.initial_overlaps import LARGEST_START_N
from runtime.start.seeds import LARGEST_SEED
from runtime.start.teacher_directions import Teacher

if TYPE_CHECKING:
    import xarray

_ROUNDING = 1e-13
PLACES = ("plateau", "solution", "start")
# Options that a trajectory in a file already answers.
_OF_A_STATE = (
    *("p", "pstar", "constraint", "flow", "teacher", "readout"),
    *("at", "overlaps", "eta", "label_noise", "teacher_correlation", "seed", "q0", "generated"),
)


def hessian(
    arguments: Mapping[str, Any], given: frozenset[str], say: Callable[[str], None]
) -> tuple[HessianSpectrum | None, xarray.Dataset]:
    """The spectrum at a state, or None with the spectra along a run; and the dataset, written to files.

    `arguments` are the options of the command by name, `given` those on the command line.
    """
    check_files(arguments)
    if arguments["along"] is not None:
        return None, _along(arguments, given, say)
    if arguments["plot"] is not None:
        raise InputError("plot", "draws spectra over time: it needs --along FILE.nc")
    model = model_of(arguments)
    _check(arguments)
    Q, R, T, origin = _state(model, arguments, given)
    with naming_options():
        checked_arrays.overlaps(model, Q, R, checked_arrays.teacher_overlaps(model, T))
    spectrum = hessian_spectrum(model, Q, R, arguments["n"], T, tolerance=arguments["tolerance"])
    result = spectrum.to_dataset()
    result.attrs.update(origin)
    if arguments["at"] == "solution" and model.constraint == "free":
        flat = flat_directions(model, arguments["n"], T)
        result.attrs.update(flat_tangent=flat.tangent, flat_quartic=flat.quartic)
    write_files(result, arguments, say, plot_spectra)
    return spectrum, result


def _check(arguments: Mapping[str, Any]) -> None:
    """Refuse single values that are not allowed, also where the state does not depend on them."""
    whole_number("n", arguments["n"], 1, LARGEST_START_N)
    checked_arrays.real_number("eta", arguments["eta"], least=0.0, strict=True)
    checked_arrays.real_number("label_noise", arguments["label_noise"], least=0.0)
    checked_arrays.real_number("q0", arguments["q0"], least=0.0, strict=True)
    whole_number("seed", arguments["seed"], 0, LARGEST_SEED)
    checked_arrays.real_number("tolerance", arguments["tolerance"], least=0.0)


def _along(
    arguments: Mapping[str, Any], given: frozenset[str], say: Callable[[str], None]
) -> xarray.Dataset:
    superfluous = [name for name in _OF_A_STATE if name in given]
    if superfluous:
        raise InputError(superfluous[0], "does not go with --along: the file says what it is a run of")
    run = read_run(arguments["along"], "along")
    try:
        result = spectra_along(run, arguments["n"], tolerance=arguments["tolerance"])
    except InputError as error:
        if error.option != "run":
            raise
        raise InputError("along", f"{arguments['along']} {error.problem}") from None
    write_files(result, arguments, say, plot_spectra)
    return result


def _state(
    model: Model, arguments: Mapping[str, Any], given: frozenset[str]
) -> tuple[Array, Array, Array | None, dict[str, Any]]:
    """Q, R and T of the wanted state, and the attributes that name it."""
    if arguments["overlaps"] is not None:
        if arguments["at"] is not None:
            raise InputError("at", "does not go with --overlaps")
        with naming_options():
            return initial_overlaps(model, {**arguments, "n": None, "ideal": None}, given)
    place = arguments["at"] or PLACES[0]
    if place == "start":
        with naming_options():
            Q, R, T, origin = initial_overlaps(model, {**arguments, "ideal": None})
        return Q, R, T, origin | {"at": place}
    T = teacher_of(model, arguments)
    if place == "solution":
        point = solution(model, T)
        return point.Q, point.R, T, {"at": place, "loss": point.loss}
    return *_plateau(model, arguments, T), T, {"at": place}


def _plateau(model: Model, arguments: Mapping[str, Any], T: Array | None) -> tuple[Array, Array]:
    """Q and R = 0 where the drift vanishes without any overlap with the teachers."""
    if model.constraint == "free" and model.flow == "gradient":
        point = critical_point(model, 0, model.p, T)
        return point.Q, point.R
    if model.constraint == "sphere":
        return arguments["q0"] * np.eye(model.p), np.zeros((model.p, model.pstar))
    teacher = Teacher.from_overlaps(checked_arrays.teacher_overlaps(model, T))
    beyond(np.eye(model.p), np.zeros((model.p, teacher.rank)), arguments["n"] - teacher.rank)
    # Why only now: bad options must not leave a derived system behind.
    system = runtime.load(model, arguments["generated"])
    fixed = plateau(system, arguments["eta"], arguments["label_noise"], T)
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
    lines = [f"{'eigenvalue':>14} {'multiplicity':>14}  block"]
    # Rounding of the largest eigenvalue is no information.
    rounding = _ROUNDING * float(np.max(np.abs(spectrum.eigenvalues), initial=0.0))
    for value, count, block in zip(
        spectrum.eigenvalues, spectrum.multiplicities, spectrum.blocks, strict=True
    ):
        lines.append(f"{0.0 if abs(value) <= rounding else value:14.8g} {count:14d}  {block}")
    return "\n".join(lines)


def spectra_table(spectra: xarray.Dataset, rows: int) -> str:
    """Loss, extreme eigenvalues and numbers of directions along a trajectory, for people."""
    extremes = f"{'lowest':>12} {'highest':>12} {'negative':>10} {'flat':>12}"
    lines = [f"{'alpha':>12} {'loss':>14} {extremes} {'|gradient|':>12}"]
    least, largest = lowest(spectra), np.max(spectra["inside"].values, axis=1, initial=-np.inf)
    count = spectra.sizes["alpha"]
    for k in result_table.evenly(count, rows):
        loss, gradient = spectra["loss"].values[k], spectra["gradient"].values[k]
        ends = f"{result_table.cell(least[k], '12.6f')} {result_table.cell(largest[k], '12.6f')}"
        counts = f"{spectra['negative'].values[k]:10d} {spectra['flat'].values[k]:12d}"
        lines.append(
            f"{spectra['alpha'].values[k]:12.6g} {result_table.cell(loss, '14.6e')} {ends} {counts}"
            f" {result_table.cell(gradient, '12.4e')}"
        )
    return "\n".join(lines)
