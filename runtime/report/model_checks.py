"""The checks of a report: claims about its model that are computed each time and can fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from derive import readout
from derive.model import Model
from derive.parameters import NUMBERS
from runtime.analysis.claims import Claim
from runtime.analysis.conservation.monitors import drift_monitors
from runtime.analysis.landscape.critical_points import critical_point, flat_directions
from runtime.analysis.landscape.hessian_spectra import HessianSpectrum
from runtime.analysis.plateau.fixed_point import Plateau
from runtime.analysis.plateau.plateau_formulas import closed_form
from runtime.problem import Problem
from runtime.start.starts import GivenStart
from runtime.start.teacher_directions import Teacher
from runtime.system.compiled_system import System
from runtime.trajectory.single_run import integrate_problem

if TYPE_CHECKING:
    import xarray

# The factor on the tolerances for the other solver, and the allowed change of the loss over the largest
# loss.
_TIGHTER, _LOSS_CHANGE = 1e-2, 1e-5
# The smallest tolerances that the solvers can keep.
_LEAST_RTOL, _LEAST_ATOL = 1e-13, 1e-18
# Relative, and loose, since the plateau is known to half of the digits only where two fixed points meet.
_CLOSED_FORM = 1e-7
# The size of R where growth at the plateau is measured, so small that its square is below rounding.
_INFINITESIMAL = 1e-9
_GROWTH = 1e-6
# How negative the smallest eigenvalue of the joint Gram matrix may be, over the largest, in tolerances.
_REALISABLE = 100.0
_RISE = 1e-7
# Allowed drift along an accurate run. K needs the inverse of a matrix that decays, so its drift is known
# to some percent only.
_ACCURATE_RTOL, _ACCURATE_ATOL = 1e-12, 1e-15
_DRIFT, _DRIFT_OF_K = 1e-6, 0.02
_LOGARITHMIC = ("K_shape", "K_growth", "K_rate", "first_integral")


def proof_claim(model: Model, proof: dict[str, Any]) -> Claim:
    """The proof compared all entries of the model and the loss; `proof` is that of the manifest."""
    how = f"proof: {proof['method']}"
    route = "Wick pairings" if model.quadratic else "sums over multigraphs"
    return Claim(
        "two derivations",
        f"component moments and {route} give the same equations ({how}; entries compared)",
        float(model.state_size + 1),
        float(proof["compared"]),
        None,
        0.0,
    )


def plateau_claims(system: System, point: Plateau) -> Iterator[Claim]:
    """Norm, loss and rate at the plateau equal the closed forms, and a trajectory grows at this rate."""
    yield from _weighted_norms(point) if system.model.weighted else _closed_forms(point)
    yield _growth(system, point)


def _weighted_norms(point: Plateau) -> Iterator[Claim]:
    """In gradient flow without decay qᵢ = b tr(D_v* T)/(a (n + 2) vᵢ) for the n active students."""
    model = point.model
    if (model.constraint, model.flow) != ("free", "gradient") or point.parameters["weight_decay"]:
        return
    a, b = readout.weights(model)
    v, vstar = (weights[0] for weights in point.parameters.weights())
    output = b * float(vstar @ np.diagonal(point.T))
    active = v * output > 0.0
    norms = np.zeros(model.p)
    norms[active] = output / (a * (np.sum(active) + 2) * v[active])
    yield Claim(
        "plateau norms",
        "students whose second-layer weight has the sign of the teacher's mean output have norms"
        r" $\propto 1/v_i$ at the plateau, and the others none (largest deviation from"
        r" $b\operatorname{tr}(D_{v^*}T)/(a(n + 2)v_i)$ over the largest norm)",
        0.0,
        float(np.max(np.abs(point.norms - norms)) / np.max(norms)),
        None,
        _CLOSED_FORM,
    )


def _closed_forms(point: Plateau) -> Iterator[Claim]:
    model = point.model
    closed = closed_form(
        model.constraint, model.flow, model.teacher, model.readout, weight_decay=None, batch=None
    )
    numbers = {
        "p": model.p,
        "pstar": model.pstar,
        **{number.printed: point.parameters[number.name] for number in NUMBERS if number.belongs_to(model)},
        "T1": float(np.trace(point.T)),
        "T2": float(np.sum(point.T**2)),
        "tau": point.dynamics.leading.weight,
    }
    values = {symbol: numbers[name] for name, symbol in closed.symbols.items() if name in numbers}
    for name, sentence, expression, found in (
        ("plateau norm", "the norm $q$ at the plateau is that of the closed form", closed.q, point.q),
        ("plateau loss", "the loss at the plateau is that of the closed form", closed.loss, point.loss),
        (
            "plateau rate",
            "the rate of $R$ at the plateau is that of the closed form",
            closed.rate,
            point.rate,
        ),
    ):
        expected = float(expression.subs(values))
        yield Claim(name, sentence, expected, found, None, _CLOSED_FORM * max(abs(expected), _scale(point)))


def _scale(point: Plateau) -> float:
    """The size of the rates at the plateau, each of which may vanish."""
    layers = zip(readout.weights(point.model), point.parameters.weights(), strict=True)
    a, b = (weight * float(np.max(np.abs(layer))) for weight, layer in layers)
    drive = 4.0 * a * b * point.eta * point.dynamics.leading.weight
    return max(drive, *(abs(mode.rate) for mode in point.modes))


def _growth(system: System, point: Plateau) -> Claim:
    """R of a trajectory that starts next to the plateau grows at the rate, over one unit of time."""
    leading = point.dynamics.leading
    R0 = _INFINITESIMAL * np.sqrt(point.q) * leading.overlaps(leading.one)
    # Students that have no norm at the plateau have that of their overlaps with the teachers.
    A = Teacher.from_overlaps(point.T).along(R0)
    Q0 = point.Q + A @ A.T if system.model.weighted else point.Q
    end = 1.0 / _scale(point)
    problem = Problem(
        system.model,
        GivenStart(Q0, R0),
        point.parameters,
        alpha=[end],
        rtol=1e-12,
        atol=_INFINITESIMAL * 1e-13,
        method="dop853",
    )
    run = integrate_problem(system, problem)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = float(np.log(leading.size(run["R"].values[0]) / leading.size(R0)) / end)
    sentence = "a trajectory next to the plateau leaves it at the rate of the Jacobian"
    return Claim("escape rate", sentence, point.rate, rate, None, _GROWTH * _scale(point))


def run_claims(system: System, problem: Problem, run: xarray.Dataset) -> Iterator[Claim]:
    """Another solver agrees, some weights have the overlaps, the loss falls if it should, and laws hold."""
    loss = run["loss"].values
    if np.count_nonzero(np.isfinite(loss)) < 2:
        return
    largest = float(np.nanmax(np.abs(loss)))
    name = "dop853" if problem.method.startswith("scipy:") else "scipy:DOP853"
    other = _again(system, problem, name, _TIGHTER * problem.rtol, _TIGHTER * problem.atol)
    changes = np.abs(other["loss"].values - loss)
    yield Claim(
        "another solver",
        f"`{name}` at a hundredth of the tolerances gives the same losses (largest change over the"
        " largest loss)",
        0.0,
        float(np.nanmax(changes)) / largest,
        None,
        _LOSS_CHANGE,
    )
    yield Claim(
        "overlaps of weights",
        "overlaps stay those of some weights: no eigenvalue of their Gram matrix becomes negative"
        " (least one over the largest, if negative)",
        0.0,
        _least_eigenvalue(run),
        None,
        _REALISABLE * max(problem.rtol, problem.atol),
    )
    if system.model.flow == "gradient":
        # Decay is a gradient flow as well, that of γ|w|²/2 for each student.
        decay = problem.parameters["weight_decay"] if system.model.constraint == "free" else 0.0
        height = loss + 0.5 * decay * np.trace(run["Q"].values, axis1=1, axis2=2)
        what = r"loss $+ \frac{1}{2}\gamma\operatorname{tr} Q$" if decay else "loss"
        yield Claim(
            "descent",
            f"gradient flow never climbs: the {what} falls from output to output (largest rise over largest"
            " value)",
            0.0,
            max(0.0, float(np.nanmax(np.diff(height)))) / float(np.nanmax(height)),
            None,
            _RISE,
        )
    # What other activations conserve is not known.
    if system.model.quadratic:
        yield from _drift_claims(system, problem)


def _again(system: System, problem: Problem, method: str, rtol: float, atol: float) -> xarray.Dataset:
    changed = dataclasses.replace(
        problem, method=method, rtol=max(rtol, _LEAST_RTOL), atol=max(atol, _LEAST_ATOL)
    )
    return integrate_problem(system, changed)


def _least_eigenvalue(run: xarray.Dataset) -> float:
    """The smallest eigenvalue of [[Q, R], [Rᵀ, T]] over the largest, at any output; 0 if not negative."""
    there = np.isfinite(run["loss"].values)
    Q, R = run["Q"].values[there], run["R"].values[there]
    T = np.broadcast_to(run["T"].values, (len(Q), *run["T"].shape))
    values = np.linalg.eigvalsh(np.block([[Q, R], [np.swapaxes(R, 1, 2), T]]))
    return min(0.0, float(np.min(values[:, 0] / values[:, -1])))


def _drift_claims(system: System, problem: Problem) -> Iterator[Claim]:
    """The quantities that this model conserves are constant along an accurate run from the same start."""
    accurate = _again(system, problem, "dop853", _ACCURATE_RTOL, _ACCURATE_ATOL)
    for name, monitor in drift_monitors(accurate).data_vars.items():
        determined = monitor.values[np.isfinite(monitor.values)]
        if not monitor.attrs["conserved"] or determined.size < 2:
            continue
        meaning = monitor.attrs["long_name"]
        expected = 0.0
        if name == "rank":
            change = determined - determined[0]
            # Overlaps of students with some second-layer weights decay exponentially, down to rounding.
            measured = float(np.max(change if system.model.weighted else np.abs(change)))
        elif name == "K_rate":
            expected, measured = monitor.attrs["expected"], float(determined[-1])
        else:
            measured = float(np.max(np.abs(determined)))
        allowed = _DRIFT_OF_K if name in _LOGARITHMIC else 0.0 if name == "rank" else _DRIFT
        if name == "K_rate":
            allowed *= abs(expected)
        yield Claim(
            f"conserved: {str(name).replace('_', ' ')}",
            f"along the trajectory this stays as it was: {meaning}"
            if name != "K_rate"
            else f"along the trajectory, {meaning} is $8ab\\eta{' vv^*' * system.model.weighted}$",
            expected,
            measured,
            None,
            allowed,
        )


def hessian_claims(problem: Problem, spectra: Mapping[str, HessianSpectrum], n: int) -> Iterator[Claim]:
    """With free norms, and without a second layer, flat and descent directions are as many as in theory.

    `spectra` holds the spectra at the "plateau" and at a "solution", as far as they are known. With weight
    decay the plateau is no critical point of the loss.
    """
    model, T = problem.model, problem.T
    if model.constraint != "free" or model.weighted:
        return
    if "solution" in spectra:
        flat = flat_directions(model, n, T)
        yield Claim(
            "flat directions",
            "the Hessian at a global minimum has as many flat directions as the theory counts",
            float(flat.tangent + flat.quartic),
            float(spectra["solution"].flat),
            None,
            0.0,
        )
    if "plateau" in spectra and model.flow == "gradient" and not problem.parameters["weight_decay"]:
        spectrum = list(critical_point(model, 0, model.p, T).spectrum(n))
        zero = 1e-6 * max(abs(value) for value, _ in spectrum)
        yield Claim(
            "descent directions",
            "the Hessian at the plateau has as many descent directions as its closed form",
            float(sum(count for value, count in spectrum if value < -zero)),
            float(spectra["plateau"].negative),
            None,
            0.0,
        )
