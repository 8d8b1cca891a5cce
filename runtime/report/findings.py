"""Computes everything that a report says; where something is missing, a sentence says why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.invariants import laws
from derive.model import Model
from derive.parameters import PARAMETERS
from runtime.analysis.claims import Claim
from runtime.analysis.landscape.critical_points import SeveralSolutionsError, solution
from runtime.analysis.landscape.hessian_spectra import LARGEST_HESSIAN_N, HessianSpectrum, hessian_spectrum
from runtime.analysis.landscape.solution_stability import WHERE, largest_stable_eta
from runtime.analysis.landscape.zero_loss_solutions import NoSolutionError, zero_loss_solution
from runtime.analysis.plateau.fixed_point import NoPlateauError, Plateau, plateau_at
from runtime.ensemble.chosen_ensemble import ChosenEnsemble
from runtime.problem import Problem
from runtime.report import model_checks
from runtime.report.printed_numbers import number
from runtime.report.solution_checks import LARGEST_JACOBIAN, solution_claims
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters
from runtime.system.compiled_system import System
from runtime.system.loading import model_and_manifest
from runtime.trajectory.single_run import integrate_problem

if TYPE_CHECKING:
    import xarray

    from derive.invariants import Law

# With more order parameters, exact proofs of conservation laws take minutes.
LARGEST_LAWS = 30
# With more order parameters, an ensemble takes minutes to compile or run.
LARGEST_ENSEMBLE = 400
# With more students and teachers, the Hessian in the span of their weights takes too long to diagonalise.
LARGEST_HESSIAN = 40
NOT_QUADRATIC = (
    "Plateau, Hessian, solutions and conservation laws are known for quadratic networks only, so this"
    " report has none of them."
)
# A trajectory has escaped when its loss is below this part of the plateau's loss.
ESCAPED = 0.5


@dataclasses.dataclass(frozen=True)
class Unavailable:
    """Stands for something that is not in the report; `reason` is a sentence that says why."""

    reason: str


@dataclasses.dataclass(frozen=True)
class HessianAt:
    """The Hessian's spectrum and the loss at one place, the "plateau" or a "solution"."""

    place: str
    spectrum: HessianSpectrum | Unavailable
    loss: float


@dataclasses.dataclass(frozen=True)
class ReportInput:
    """The problem of the trajectory, and the number of random starts like its own (0 for no ensemble).

    random
        The problem of the ensemble from random starts; None if there is none.
    """

    problem: Problem
    random: Problem | None
    trajectories: int
    n: int


@dataclasses.dataclass(frozen=True, eq=False)
class ReportFindings:
    """All that a report says; `limits` holds the largest learning rates, by what they limit."""

    system: System
    start: ReportInput
    manifest: Mapping[str, Any]
    run: xarray.Dataset
    ensemble: xarray.Dataset | Unavailable
    plateau: Plateau | Unavailable
    limits: Mapping[str, float | Unavailable]
    hessians: tuple[HessianAt, ...]
    laws: list[Law] | Unavailable
    claims: tuple[Claim, ...]

    @property
    def model(self) -> Model:
        return self.system.model

    @cached_property
    def escape(self) -> float | None:
        """The α at which the loss comes down to half of the plateau's; None as in `first_below`."""
        if isinstance(self.plateau, Unavailable):
            return None
        return first_below(self.run["alpha"].values, self.run["loss"].values, ESCAPED * self.plateau.loss)

    @property
    def last(self) -> tuple[float, float]:
        """α and loss at the last output that was reached; NaN if there is none."""
        reached = np.flatnonzero(np.isfinite(self.run["loss"].values))
        if not reached.size:
            return np.nan, np.nan
        return float(self.run["alpha"].values[reached[-1]]), float(self.run["loss"].values[reached[-1]])


def first_below(alpha: Array, loss: Array, level: float) -> float | None:
    """The α at which a loss that starts above `level` comes down to it; None if it never does.

    The logarithm of the loss is interpolated linearly between two outputs.
    """
    there = np.isfinite(loss)
    alpha, loss = alpha[there], loss[there]
    below = np.flatnonzero(loss <= level)
    if not below.size or below[0] == 0:
        return None
    k = int(below[0])
    high, low = np.log(loss[k - 1]), np.log(max(loss[k], np.finfo(np.float64).tiny))
    part = (high - np.log(level)) / (high - low)
    return float(alpha[k - 1] + part * (alpha[k] - alpha[k - 1]))


def gather(system: System, start: ReportInput, say: Callable[[str], None]) -> ReportFindings:
    """Integrate, analyse and check, which takes some seconds for small models; `say` is told each stage."""
    problem, model = start.problem, system.model
    say("integrating")
    run = integrate_problem(system, problem)
    _, manifest = model_and_manifest(system.folder)
    ensemble = _ensemble(system, start)
    point: Plateau | Unavailable = Unavailable(NOT_QUADRATIC)
    limits: dict[str, float | Unavailable] = {}
    hessians: tuple[HessianAt, ...] = ()
    if model.quadratic:
        say("analysing plateau and Hessian")
        point = _plateau(system, problem)
        limits = {where: _limit(system, where, problem) for where in WHERE}
        hessians = _hessians(problem.parameters, point, start.n)
    say("checking")
    return ReportFindings(
        system=system,
        start=start,
        manifest=manifest,
        run=run,
        ensemble=ensemble,
        plateau=point,
        limits=limits,
        hessians=hessians,
        laws=_laws(model),
        claims=tuple(_claims(system, start, manifest, run, point, limits, hessians)),
    )


def no_ensemble(model: Model, start: ReportInput) -> str | None:
    """A sentence that says why there is no ensemble; None if there is one."""
    method = start.problem.method
    if start.trajectories == 0:
        return "No ensemble was asked for."
    if "overlaps" in start.problem.start.origin:
        return "There is no ensemble: the start comes from a file."
    if method.startswith("scipy:"):
        return f"There is no ensemble: it cannot run with {method}."
    if model.state_size > LARGEST_ENSEMBLE:
        return (
            f"There is no ensemble: for more than {LARGEST_ENSEMBLE} order parameters `cli ensemble`"
            " runs it."
        )
    return None


def _ensemble(system: System, start: ReportInput) -> xarray.Dataset | Unavailable:
    why = no_ensemble(system.model, start)
    if start.random is None:
        return Unavailable(why or "")
    return ChosenEnsemble(start.random).run(system)


def _plateau(system: System, problem: Problem) -> Plateau | Unavailable:
    norms = np.diag(problem.start.all()[0][0]) if system.model.constraint == "sphere" else None
    try:
        return plateau_at(system, problem.parameters, norms)
    except NoPlateauError as error:
        where = rf"With $\eta$ = {problem.parameters['eta']:g} there" if error.option == "eta" else "There"
        return Unavailable(f"{where} is no plateau: {error.reason}.")


def _limit(system: System, where: str, problem: Problem) -> float | Unavailable:
    model = system.model
    if where != "solution" and model.trained:
        return Unavailable("there is no plateau")
    if where == "solution":
        if model.weighted:
            return Unavailable("with second-layer weights solutions differ, and with them the rate")
        if model.constraint == "sphere":
            return Unavailable("solutions on the sphere differ, and with them the rate")
        if problem.parameters["label_noise"] > 0.0 and model.flow == "sgd":
            return Unavailable("with label noise none of them is stationary")
        if problem.parameters["weight_decay"] > 0.0:
            return Unavailable("with weight decay none of them is stationary")
        if model.state_size > LARGEST_JACOBIAN:
            return Unavailable(f"not computed for more than {LARGEST_JACOBIAN} order parameters")
    elif model.constraint == "sphere" and not np.allclose(np.diag(problem.start.all()[0][0]), 1.0):
        return Unavailable("computed for norms of 1 only")
    try:
        others = {name: value for name, value in problem.parameters.keywords.items() if name != "eta"}
        return largest_stable_eta(system, where, **others)
    except (NoPlateauError, NoSolutionError) as error:
        return Unavailable(error.reason)


def _hessians(parameters: RunParameters, point: Plateau | Unavailable, n: int) -> tuple[HessianAt, ...]:
    if parameters.model.trained:
        reason = (
            "The Hessian is not computed here, since it is that of a first layer beside a fixed second one."
        )
        return tuple(HessianAt(place, Unavailable(reason), np.nan) for place in ("plateau", "solution"))
    found = []
    if isinstance(point, Unavailable):
        found.append(HessianAt("plateau", Unavailable(point.reason), np.nan))
    else:
        found.append(HessianAt("plateau", _spectrum(parameters, point.Q, point.R, n), point.loss))
    best = _global_minimum(parameters)
    if isinstance(best, Unavailable):
        found.append(HessianAt("solution", best, np.nan))
    else:
        Q, R, loss = best
        found.append(HessianAt("solution", _spectrum(parameters, Q, R, n), loss))
    return tuple(found)


def _global_minimum(parameters: RunParameters) -> tuple[Array, Array, float] | Unavailable:
    """Q, R and the loss of a global minimum; with second-layer weights of one without loss."""
    model = parameters.model
    try:
        if model.weighted:
            return *zero_loss_solution(model, seed=None, **_placing(parameters)), 0.0
        best = solution(model, parameters.T)
    except SeveralSolutionsError as error:
        return Unavailable(f"On the sphere {error.reason}.")
    except NoSolutionError as error:
        return Unavailable(f"No solution without loss is known here: {error.reason}.")
    return best.Q, best.R, best.loss


def _placing(parameters: RunParameters) -> dict[str, Any]:
    """The parameters that the loss depends on, as keywords."""
    return {name: value for name, value in parameters.keywords.items() if PARAMETERS[name].in_loss}


def _spectrum(parameters: RunParameters, Q: Array, R: Array, n: int) -> HessianSpectrum | Unavailable:
    model = parameters.model
    if model.p + model.pstar > LARGEST_HESSIAN:
        return Unavailable(
            f"The Hessian is not computed here for more than {LARGEST_HESSIAN} students and teachers;"
            " `cli hessian` may compute it."
        )
    if n > LARGEST_HESSIAN_N:
        return Unavailable(f"The Hessian is not computed for $N$ above {number(LARGEST_HESSIAN_N)}.")
    return hessian_spectrum(model, Q, R, n, **_placing(parameters))


def _laws(model: Model) -> list[Law] | Unavailable:
    if not model.quadratic:
        return Unavailable(NOT_QUADRATIC)
    if model.state_size > LARGEST_LAWS:
        return Unavailable(
            f"Conservation laws are proved for up to {LARGEST_LAWS} order parameters; this model has"
            f" {model.state_size}."
        )
    return laws(model)


def _claims(
    system: System,
    start: ReportInput,
    manifest: Mapping[str, Any],
    run: xarray.Dataset,
    point: Plateau | Unavailable,
    limits: Mapping[str, float | Unavailable],
    hessians: tuple[HessianAt, ...],
) -> list[Claim]:
    model, problem = system.model, start.problem
    found = [model_checks.proof_claim(model, manifest["proof"])]
    # The closed forms on the sphere are for norms of 1.
    if not isinstance(point, Unavailable) and (
        model.constraint == "free" or np.allclose(np.diag(point.Q), 1.0)
    ):
        found += model_checks.plateau_claims(system, point)
    spectra = {h.place: h.spectrum for h in hessians if not isinstance(h.spectrum, Unavailable)}
    found += model_checks.hessian_claims(problem, spectra, start.n)
    if limits and (problem.parameters["label_noise"] == 0.0 or model.flow == "gradient"):
        limit = limits["solution"]
        largest = None if isinstance(limit, Unavailable) else limit
        found += solution_claims(system, problem.parameters, largest)
    found += model_checks.run_claims(system, problem, run)
    return found
