"""The plateau at one learning rate, or as a dataset over several, with the rates at which it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from derive import readout
from derive.errors import InputError
from derive.model import Model
from derive.parameters import PARAMETERS
from runtime.analysis.plateau.bisection import largest_where
from runtime.analysis.plateau.fixed_point import (
    Plateau,
    checked_norms,
    find_plateau,
    largest_plateau_eta_of,
    plateau_at,
    plateau_norms,
    require_plateau,
)
from runtime.analysis.plateau.linear_modes import LinearDynamics
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import result_attributes
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array, real_number
from runtime.start.chosen_start import ChosenStart
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.trajectory_dataset import layer_variables

if TYPE_CHECKING:
    import xarray

# The number of learning rates where none is given, of which the last is so little below the largest.
_EVEN, _BELOW = 24, 1e-9
# Rates over η below this part of the largest one are rounding.
_ROUNDING = 1e-12
# Words about the largest learning rates of `largest_eta`.
LARGEST = {
    "plateau": "largest eta at which the plateau exists and attracts within R = 0",
    "escape": "largest eta at which it also repels along R",
}


@takes_parameters(positional=True)
def plateau(system: System, *_: Any, norms: ArrayLike | None = None, **parameters: Any) -> Any:
    """The plateau of a system: R = 0 and Q stationary, and its linear dynamics.

    Parameters
    ----------
    system
        From `oo.load`.
    eta
        A learning rate; or several, for a dataset over them.
    label_noise, T
        As for `oo.integrate`, and so all other run-time parameters.
    norms
        On the sphere: norms Q_ii (p,), which are kept; None is 1. With free norms they follow.

    Returns
    -------
    Plateau or xarray.Dataset
        A Plateau for one η. For several a dataset with the dimension ``eta``: ``q`` (mean norm of a
        student), ``loss``, ``rate`` (of the escape), ``multiplicity``, ``stable`` (1 if it attracts within
        R = 0), and ``norm`` (eta, i), the norm of each student. Where there is no plateau they are NaN, or
        0. Attributes ``largest_eta_plateau`` and ``largest_eta_escape`` are as for `oo.largest_stable_eta`.

    Raises
    ------
    NoPlateauError
        (an InputError) For one η: it is too large and the norms run away; or they shrink to zero, by weight
        decay or without a teacher. For any η: the second layer is trained, and there is never a plateau.
    InputError
        Another argument is not allowed.
    """
    model = as_system(system).model
    kept = None if norms is None else checked_norms(model, norms)
    if checked_arrays.axis_count("eta", parameters["eta"]) == 0:
        return plateau_at(system, RunParameters.of(model, parameters), kept)
    rates = checked_rates(parameters["eta"])
    return plateau_curve(system, RunParameters.of(model, {**parameters, "eta": rates[0]}), rates, kept)


def checked_rates(eta: Any) -> list[float]:
    """Ascending learning rates, at least one; else InputError."""
    bounds = PARAMETERS["eta"]
    rates = [
        real_number("eta", rate, least=bounds.least, strict=bounds.strict)
        for rate in checked_arrays.listed("eta", eta)
    ]
    if not rates or np.any(np.diff(rates) <= 0.0):
        raise InputError("eta", "needs ascending learning rates: 0.1,0.2,0.4")
    return rates


def chosen_curve(
    load: Callable[[], System], model: Model, start: ChosenStart, given: Mapping[str, Any]
) -> xarray.Dataset:
    """The dataset of `plateau` from choices; without learning rates they go up to the largest.

    On the sphere `start` has the norm of the students. Everything is checked before the system is loaded.
    """
    require_plateau(model)
    norm = real_number("q0", start.q0, least=0.0, strict=True)
    if model.constraint == "free" and "q0" in start.given:
        raise InputError("q0", "needs --constraint sphere: free norms follow from the plateau")
    eta = given["eta"]
    rates = None if eta is None else checked_rates(eta)
    usual = PARAMETERS["eta"].usual if rates is None else rates[0]
    parameters = RunParameters.of(model, {**given, **start.parameters(model), "eta": usual})
    norms = np.full(model.p, norm) if model.constraint == "sphere" else None
    system = load()
    curve = plateau_curve(system, parameters, rates or _even_rates(system, parameters, norms), norms)
    return curve if norms is None else curve.assign_attrs(q0=norm)


def _even_rates(system: System, parameters: RunParameters, norms: Array | None) -> list[float]:
    """Even learning rates up to the largest with a plateau, or to 1; NoPlateauError if there is none."""
    end = largest_eta(system, parameters, "plateau", norms)
    if not np.isfinite(end) or end == 0.0:
        plateau_at(system, parameters.replaced(eta=1.0), norms)
        end = 1.0
    return [float(rate) for rate in np.linspace(0.0, end * (1.0 - _BELOW), _EVEN + 1)[1:]]


def plateau_curve(
    system: System, parameters: RunParameters, rates: Sequence[float], norms: Array | None = None
) -> xarray.Dataset:
    """The dataset of `plateau` over checked learning rates; the η of the parameters does not matter."""
    model = system.model
    require_plateau(model)
    points = [find_plateau(system, parameters.replaced(eta=eta), norms) for eta in rates]
    nothing = np.full(model.p, np.nan)
    table = {
        "q": ([np.nan if x is None else x.q for x in points], "mean norm of a student"),
        "loss": ([np.nan if x is None else x.loss for x in points], "generalisation error"),
        "rate": ([np.nan if x is None else x.rate for x in points], "escape rate per unit of alpha"),
        "multiplicity": (
            [0 if x is None else x.multiplicity for x in points],
            "directions of R with this rate",
        ),
        "stable": ([int(x is not None and x.stable) for x in points], "1 if it attracts within R = 0"),
    }
    variables: dict[str, Any] = {
        name: (("eta",), np.array(values), words) for name, (values, words) in table.items()
    }
    each = np.array([nothing if x is None else x.norms for x in points])
    variables["norm"] = (("eta", "i"), each, "norm Q_ii of each student")
    settings = {name: value for name, value in parameters.attributes.items() if name != "eta"}
    settings |= {f"largest_eta_{where}": largest_eta(system, parameters, where, norms) for where in LARGEST}
    attributes = result_attributes(f"plateau of {model.name} over eta", model, settings, "plateau")
    variables |= layer_variables(parameters)
    return PlainResult(variables, {"eta": np.array(rates)}, attributes).dataset()


def largest_eta(system: System, parameters: RunParameters, where: str, norms: Array | None = None) -> float:
    """The largest η of `LARGEST`; 0 if there is none, infinity if there is no limit.

    The η of the parameters does not matter.
    """
    model = system.model
    require_plateau(model)
    a, b = readout.weights(model)
    # The product of κ = 2aη and the teacher's mean output decides on stability.
    start = 1.0 / (2.0 * a * b * max(float(np.trace(parameters.T)), np.finfo(np.float64).tiny))
    if model.constraint == "sphere" and model.weighted:
        return _largest_with_fixed_norms(system, parameters, where, norms, start)
    # Norms shrink to zero at small η by weight decay, or where no student has the sign of the teacher; a
    # plateau may then exist at a larger η, up to where norms run away.
    may_shrink = model.constraint == "free" and (model.weighted or parameters["weight_decay"] > 0.0)
    ends = largest_plateau_eta_of(system, parameters) if may_shrink else np.inf
    start = min(start, ends)

    def point_at(eta: float) -> Plateau | None:
        return find_plateau(system, parameters.replaced(eta=eta), norms)

    def holds(eta: float) -> bool:
        if eta > ends:
            return False
        point = point_at(eta)
        if point is None:
            # Close to the end of the plateau its norms may not be found.
            return may_shrink and plateau_norms(system, parameters.replaced(eta=eta)) is not None
        return point.stable and (where == "plateau" or point.rate > 0.0)

    largest = largest_where(holds, start)
    exists = largest > 0.0 and point_at(start if np.isinf(largest) else largest) is not None
    return largest if exists else 0.0


def _largest_with_fixed_norms(
    system: System, parameters: RunParameters, where: str, norms: Array | None, unit: float
) -> float:
    """As `largest_eta` on the sphere, where each rate divided by η is a linear function of η.

    So the plateau attracts in an interval of η. With second-layer weights that differ it need not begin at
    0: overlaps of students may grow in gradient flow, and noise stops that. `unit` is a scale of η.
    """

    def dynamics(eta: float) -> LinearDynamics:
        return plateau_at(system, parameters.replaced(eta=eta), norms).dynamics

    once, twice = dynamics(unit), dynamics(2.0 * unit)

    def line(first: Array, second: Array) -> tuple[Array, Array]:
        """Rates over η at 0, and what each `unit` of η adds; zero where they are rounding."""
        slopes = 0.5 * second - first
        limits = first - slopes
        rounding = _ROUNDING * np.max(np.abs([first, second]), initial=0.0)
        limits, slopes = (np.where(np.abs(part) > rounding, part, 0.0) for part in (limits, slopes))
        return limits.ravel(), slopes.ravel()

    limits, slopes = line(once.pairs, twice.pairs)
    rising, falling = slopes > 0.0, slopes < 0.0
    least = np.max(-limits[falling] / slopes[falling], initial=0.0)
    largest = np.min(-limits[rising] / slopes[rising], initial=np.inf)
    if not least < largest or np.any((slopes == 0.0) & (limits > 0.0)):
        return 0.0
    if where == "escape":
        limits, slopes = line(once.alignment, twice.alignment)
        ends = slopes + limits / largest
        if not np.any((ends > 0.0) | ((ends == 0.0) & (limits > 0.0))):
            # R grows below a smaller η, if at all.
            falling = slopes < 0.0
            largest = np.max(-limits[falling] / slopes[falling], initial=0.0)
    return float(largest) * unit if largest > least else 0.0


@takes_parameters(positional=True, without=("eta",))
def largest_plateau_eta(system: System, *_: Any, **parameters: Any) -> float:
    """The largest η with a plateau at free norms, by bisection to rounding; infinity in gradient flow.

    With equal second-layer weights whether there is one is decided by the sign of the discriminant of a
    polynomial of second degree, which passes through zero linearly in η. The parameters are those of
    `plateau` but η.

    Raises InputError as `plateau`, and on the sphere, where there is a plateau at any η.
    """
    model = as_system(system).model
    if model.constraint != "free":
        raise InputError("constraint", f"{model.constraint!r}: the plateau exists at any η")
    return largest_plateau_eta_of(system, RunParameters.of(model, {"eta": 1.0, **parameters}))
