"""Integrates the covariance of the overlaps at order 1/N beside their ODE, and says how far they spread."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import one_of, whole_number
from derive.errors import InputError
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.model import Model
from derive.parameters import ParameterValues, scheduled_places
from runtime.covariance.fluctuation_system import fluctuations_of
from runtime.covariance.initial_covariance import RANDOM_WEIGHTS, initial_covariance
from runtime.covariance.mean_bias import BiasEquations, initial_bias
from runtime.covariance.spread import deviations_along, linear_size, loss_gradients
from runtime.output.input_files import read_array
from runtime.output.memory_limit import LARGEST_ARRAYS
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import result_attributes
from runtime.problem import Problem, chosen_problem
from runtime.run_options import ALPHA, ATOL, DEFAULT_METHOD, RTOL
from runtime.start.checked_arrays import Array
from runtime.start.chosen_start import ChosenStart
from runtime.start.initial_overlaps import LARGEST_START_N
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.starts import GivenStart
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.controller import EPSILON, STEP_TOO_SMALL
from runtime.trajectory.single_run import packed_start, plain_trajectory
from runtime.trajectory.solver import STATUS, Equations, OdeSolution, SolverRules, solve
from runtime.trajectory.tableaux import TABLEAUX
from runtime.trajectory.trajectory_dataset import solver_variables

if TYPE_CHECKING:
    import xarray

# What commands call a start without spread and one of random weights.
NONE, RANDOM = "none", "random"
# Σ is followed while its entries are below this times N; they have long been too large for any theory.
_FOLLOWED = 1e6
# Entries of Σ whose rounding is this many times the relative tolerance spoil the small ones, which steps
# then become smaller and smaller for. Σ is followed at least up to _NEEDED N, where the theory has failed.
_ROUNDED, _NEEDED = 300.0, 100.0
_DEVIATION = "sqrt(N) times the standard deviation of the"


@takes_parameters
def fluctuations(
    system: System,
    Q0: ArrayLike,
    R0: ArrayLike,
    *,
    alpha: ArrayLike = ALPHA,
    covariance: ArrayLike | str | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    method: str = DEFAULT_METHOD,
    schedule: Any = None,
    start_alpha: float = 0.0,
    n: int | None = None,
    bias: ArrayLike | bool = False,
    **parameters: Unpack[ParameterValues],
) -> xarray.Dataset:
    """Integrate N times the covariance of the order parameters over runs of SGD, beside their ODE.

    It obeys dΣ/dα = JΣ + ΣJᵀ + 𝓓, with the Jacobian J of the drift and the covariance 𝓓 of N times the
    change in one step; docs/fluctuations.md derives it. Bands around the ODE at N are √(Σ/N) wide.

    Parameters
    ----------
    system
        From `oo.load`; the covariance is derived into the same folder if it is missing.
    Q0, R0, alpha, rtol, atol, schedule, start_alpha
        As in `oo.integrate`.
    {parameters}
    T
        Teacher overlaps (p*, p*), for a general teacher only.
    covariance
        N times the covariance at the start: None, all runs start at Q0 and R0; ``"random weights"``, of
        independent weights N(0, q0), whose mean is Q0 = q0·1 and R0 = 0; or a matrix (n, n) in the order of
        ``model.state``, such as the last one of an earlier run.
    method
        ``"prince8"``, ``"dop853"`` or ``"tsit5"``.
    n
        An input dimension N. A warning then says from which α on the linear theory fails there. The
        covariance is followed up to 300 rtol/2⁻⁵², above which its small entries are rounding: 1.4·10¹⁰ at
        the usual rtol. With `n` it is followed at least up to 100 N, and at most up to 10⁶ N.
    bias
        Whether N times the bias is integrated too, for quadratic networks: the mean over runs of SGD is the
        ODE + bias/N + O(1/N²). True: it is 0 at the start, as that of one start or of random weights is; or
        the vector (n,) that it is there, in the order of ``model.state``. It takes several times as long.

    Returns
    -------
    xarray.Dataset
        Q, R, loss and all else of `oo.integrate`, to the last bit. Also, as functions of alpha:
        ``covariance`` (``component``, ``component_``), N times the covariance of the order parameters;
        ``Q_std`` (i, j), ``R_std`` (i, r), a trained second layer's ``v_std`` (i), and ``loss_std``, √N
        times standard deviations; ``linear_n``, the N above which two standard deviations of each overlap
        are less than the largest overlap that the norms of its vectors allow. With `n` also
        ``linear_until``, the first output time at which ``linear_n`` is `n` or more, or NaN. Where the
        covariance has grown too large, it is NaN and ``linear_n`` infinite. With `bias` also ``Q_bias``,
        ``R_bias``, ``v_bias`` and ``loss_bias``, N times the biases. ``status`` and ``alpha_end``
        are those of the ODE; ``steps``, ``rejected`` and ``evaluations`` those of it with the covariance.

    Raises
    ------
    InputError
        An argument is not allowed; the message names it. For SGD with another activation than λ², 𝓓 is not
        derived.
    """
    one_of("method", method, TABLEAUX)
    model, start = as_system(system).model, GivenStart(Q0, R0, alpha=start_alpha)
    problem = Problem(
        model, start, parameters, alpha=alpha, rtol=rtol, atol=atol, method=method, schedule=schedule
    )
    result = FluctuationProblem(problem, covariance, n, bias).run(system)
    line = linear_line(result)
    if line is not None:
        warnings.warn(line, stacklevel=3)
    return result.dataset()


@dataclasses.dataclass(frozen=True, eq=False)
class FluctuationProblem:
    """What a run of the covariance is asked for; everything is checked when it is made.

    problem
        The trajectory of the ODE.
    covariance
        That of the start, as `fluctuations` takes it; afterwards the matrix (n, n).
    n
        The input dimension N at which the linear theory is judged, or None.
    bias
        That of the start, as `fluctuations` takes it; afterwards the vector (n,), or None.
    origin
        Which of the kinds of `covariance` it was.
    """

    problem: Problem
    covariance: Any
    n: int | None = None
    bias: Any = False
    origin: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        model, given = self.problem.model, self.covariance
        size = FluctuationModel.of(model).extended_size
        Q0, R0 = self.problem.start.all()
        found = initial_covariance(model, given, Q0[0], R0[0], self.problem.T)
        origin = "none" if given is None else given if isinstance(given, str) else "given"
        object.__setattr__(self, "covariance", found)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "bias", initial_bias(model, self.bias))
        if self.n is not None:
            object.__setattr__(self, "n", whole_number("n", self.n, 1, LARGEST_START_N))
        # The solver keeps each triangle, and the result the whole matrix.
        needed = 8 * self.problem.alpha.size * (size + model.state_size**2)
        if needed > LARGEST_ARRAYS:
            raise InputError(
                "alpha",
                f"has {self.problem.alpha.size} times, at which the covariance would take"
                f" {needed / 2**30:.3g} GiB, more than {LARGEST_ARRAYS / 2**30:.3g}",
            )

    def run(self, system: System) -> PlainResult:
        """The result of `fluctuations` for a system of this model."""
        problem, size = self.problem, self.problem.model.state_size
        ode = plain_trajectory(system, problem)
        failed = ode["status"].values.item() != "ok"
        reached = ode["alpha_end"].values.item() if failed else np.inf
        times = problem.alpha[problem.alpha <= reached]
        rows, columns = np.triu_indices(size)
        extended = size + len(rows)
        states = np.full((problem.alpha.size, extended + (0 if self.bias is None else size)), np.nan)
        counted: dict[str, Any] = {}
        if times.size:
            solution = self._solution(system, times)
            states[: times.size] = solution.states
            counted = solver_variables(solution)
            if solution.status != STATUS[STEP_TOO_SMALL]:
                # What has grown beyond its bound is no longer fluctuations; the ODE goes on.
                counted = {name: counted[name] for name in ("steps", "rejected", "evaluations")}
        covariance = np.empty((len(states), size, size))
        covariance[:, rows, columns] = covariance[:, columns, rows] = states[:, size:extended]
        variables = {**ode.data_vars, **self._spread(system, ode, states[:, :size], covariance), **counted}
        if self.bias is not None:
            variables |= self._biases(system, ode, states, extended)
        names = np.array(problem.model.state)
        words = "order parameter"
        coordinates = {**ode.coords, **{axis: (axis, names, words) for axis in ("component", "component_")}}
        attributes = result_attributes(
            f"fluctuations of {problem.model.name} at order 1/N",
            problem.model,
            problem.attributes,
            "fluctuations",
        )
        attributes |= {"start_covariance": self.origin} | ({} if self.n is None else {"n": self.n})
        if problem.start.alpha:
            attributes["start_alpha"] = problem.start.alpha
        attributes |= {name: value for name, value in problem.start.origin.items() if name != "n"}
        return PlainResult(variables, coordinates, attributes)

    def _solution(self, system: System, times: Array) -> OdeSolution:
        """The order parameters, the upper triangle of Σ, and N times the bias if it is wanted."""
        problem, parts = self.problem, fluctuations_of(system)
        y0 = packed_start(system, problem)
        start = [y0, self.covariance[np.triu_indices(len(self.covariance))]]
        equations: Equations = parts
        biased = None
        if self.bias is not None:
            equations = biased = BiasEquations(system, parts, problem)
            start.append(self.bias + biased.shift(y0[None], np.array([problem.start.alpha]))[0])
        # On the way to a saddle Σ grows without end, and rounding of its largest entries, which others are
        # differences of, would make steps smaller and smaller.
        bound = float(_ROUNDED * problem.rtol / EPSILON)
        if self.n is not None:
            bound = min(max(bound, _NEEDED * self.n), _FOLLOWED * self.n)
        rules = SolverRules(TABLEAUX[problem.method], problem.rtol, problem.atol, bound=bound)
        solution = solve(
            equations,
            np.concatenate(start),
            times,
            problem.parameters.packed[0],
            rules,
            schedule=problem.schedule,
            scheduled=scheduled_places(problem.model),
            start=problem.start.alpha,
        )
        if biased is not None:
            solution.states[:, -y0.size :] -= biased.shift(solution.states[:, : y0.size], times)
        return solution

    def _biases(self, system: System, ode: PlainResult, states: Array, extended: int) -> dict[str, Any]:
        """N times the biases, as variables."""
        equations = BiasEquations(system, fluctuations_of(system), self.problem)
        values = dict(zip(("Q", "R", "v"), system.unpack(states[:, extended:]), strict=False))
        values["loss"] = equations.losses(states)
        return {
            f"{name}_bias": (
                ode[name].dims,
                found,
                f"N times the bias of the {ode[name].attributes['long_name']}",
            )
            for name, found in values.items()
        }

    def _spread(self, system: System, ode: PlainResult, states: Array, covariance: Array) -> dict[str, Any]:
        """The covariance, standard deviations and where the linear theory holds, as variables."""
        problem = self.problem
        variances = np.diagonal(covariance, axis1=1, axis2=2)
        # A variance of 0 is slightly negative after rounding.
        deviations = system.unpack(np.sqrt(np.maximum(variances, 0.0)))
        gradients = loss_gradients(system, states, problem.parameters.packed[0])
        needed = linear_size(problem.model, ode["Q"].values, variances, problem.T)
        needed[np.isnan(needed) & np.isfinite(ode["loss"].values)] = np.inf
        axes = ("alpha", "component", "component_")
        variables: dict[str, Any] = {
            "covariance": (axes, covariance, "N times the covariance of the order parameters"),
            **{
                f"{name}_std": (ode[name].dims, values, f"{_DEVIATION} {ode[name].attributes['long_name']}")
                for name, values in zip(("Q", "R", "v"), deviations, strict=False)
            },
            "loss_std": (("alpha",), deviations_along(gradients, covariance), f"{_DEVIATION} loss"),
            "linear_n": (("alpha",), needed, "N above which the linear theory holds"),
        }
        if self.n is not None:
            fails = np.flatnonzero(needed >= self.n)
            until = problem.alpha[fails[0]] if fails.size else np.nan
            variables["linear_until"] = ((), until, "time from which the linear theory fails at N = n")
        return variables


def linear_line(result: PlainResult) -> str | None:
    """From which α on the linear theory fails at the N of a result, in a line; None if it never does."""
    if "n" not in result.attrs:
        return None
    until = result["linear_until"].values.item()
    if np.isnan(until):
        return None
    line = (
        f"from alpha = {until:.6g} on, the linear theory fails at N = {result.attrs['n']}: two standard"
        " deviations reach the largest overlap that the norms allow"
    )
    if np.any(result["R"].values[0] != 0.0):
        return line
    return f"{line}; from R0 = 0 it never escapes, while SGD does"


def chosen_fluctuations(
    model: Model,
    start: ChosenStart,
    *,
    covariance: str | Path,
    n: int,
    bias: bool = False,
    **options: Any,
) -> FluctuationProblem:
    """The problem of the options of a command, as `chosen_problem` makes that of its trajectory.

    `covariance` is ``"none"``, ``"random"``, which starts at Q0 = q0·1 and R0 = 0, or the file of a matrix.
    """
    FluctuationModel.of(model)
    word, given = str(covariance), RANDOM_WEIGHTS if str(covariance) == RANDOM else None
    if given is not None and "ideal" in start.given:
        raise InputError("ideal", f"does not go with --covariance {RANDOM}, whose R0 is 0")
    if start.overlaps is not None:
        start = start if "ideal" in start.given else dataclasses.replace(start, ideal=None)
    elif word == RANDOM:
        start = dataclasses.replace(start, ideal=0.0)
    if bias and word not in (NONE, RANDOM):
        raise InputError(
            "bias", "does not go with --covariance FILE, whose bias is not known; `fluctuations` takes both"
        )
    problem = chosen_problem(model, start, **options)
    if word in (NONE, RANDOM):
        return FluctuationProblem(problem, given, n, bias)
    matrix = read_array(Path(covariance), "covariance", "covariance", lambda _shape: None)
    return FluctuationProblem(problem, matrix, n)
