"""Integrates the overlap ODEs along one trajectory, with our stepper or one of SciPy's to check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from derive.errors import InputError
from derive.parameters import ParameterValues, scheduled_places
from runtime.output.plain_result import PlainResult
from runtime.problem import Problem
from runtime.run_options import ALPHA, ATOL, DEFAULT_METHOD, RTOL
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.starts import GivenStart
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.scipy_solvers import solve_scipy
from runtime.trajectory.solver import SolverRules, blow_up_of, solve
from runtime.trajectory.tableaux import TABLEAUX
from runtime.trajectory.trajectory_dataset import trajectory_result

if TYPE_CHECKING:
    import xarray

# The variables of a state, and their axes.
_STATES = (("Q", ("i", "j")), ("R", ("i", "r")))


@takes_parameters
def integrate(
    system: System,
    Q0: ArrayLike,
    R0: ArrayLike,
    *,
    alpha: ArrayLike = ALPHA,
    rtol: float = RTOL,
    atol: float = ATOL,
    method: str = DEFAULT_METHOD,
    stop_loss: float | None = None,
    schedule: Any = None,
    start_alpha: float = 0.0,
    **parameters: Unpack[ParameterValues],
) -> xarray.Dataset:
    """Integrate the overlap ODEs from Q0, R0 at α = 0, or at `start_alpha`.

    Parameters
    ----------
    system
        From `oo.load`.
    Q0, R0
        Overlaps (p, p) and (p, p*) that some weights have together with T.
    {parameters}
    alpha
        End of 201 even output times from the start on (both included), or the ascending times
        themselves; α = steps / N, which is samples / N where a step takes one sample.
    T
        Teacher overlaps (p*, p*), for a general teacher only.
    rtol, atol
        Bound of the local error of each order parameter: atol + rtol · |y|. A warning says if R0 is
        not zero but below 100 atol, where times of escape are no longer right to 1e-6.
    method
        ``"prince8"`` (order 8), ``"dop853"`` (order 8; the cheapest to a final state, but its
        outputs between steps are a hundred times less accurate), ``"tsit5"`` (order 5, for
        loose tolerances), or ``"scipy:LSODA"`` and the like, which run SciPy's solver on the
        same right-hand side and, where implicit, generated Jacobian.
    stop_loss
        The trajectory ends where its loss comes down to this; ``escape_alpha`` is that time, located on
        the interpolant of the step, or NaN if it is not reached.
    schedule
        The factor g(α) of η and η_v, with g(0) = 1: ``"exponential:50"`` is e^(−α/50), ``"inverse:50"``
        1/(1 + α/50), ``"inverse-sqrt:50"`` 1/√(1 + α/50); ``"0:1,50:0.5"``, or pairs or a mapping of times
        and factors, is piecewise constant. None is constant.
    start_alpha
        The time α ≥ 0 of the start, where an earlier run is continued: the schedule goes on from there.

    Returns
    -------
    xarray.Dataset
        ``Q`` (alpha, i, j), ``R`` (alpha, i, r), ``loss`` (alpha), ``T`` (r, s); a trained second layer
        ``v`` (alpha, i), a fixed one ``student_weights`` (i), and both ``teacher_weights`` (r); ``status``:
        "ok", "diverged" (an order parameter grew a million-fold or was not finite) or
        "step_too_small"; ``alpha_end`` reached, ``steps``, ``rejected``, ``evaluations``.
        Outputs after the end of a trajectory that failed or was stopped are NaN.

    Raises
    ------
    InputError
        An argument is not allowed; the message names it.
    """
    model, start = as_system(system).model, GivenStart(Q0, R0, alpha=start_alpha)
    problem = Problem(
        model,
        start,
        parameters,
        alpha=alpha,
        rtol=rtol,
        atol=atol,
        method=method,
        stop_loss=stop_loss,
        schedule=schedule,
    )
    return integrate_problem(system, problem)


def integrate_problem(system: System, problem: Problem) -> xarray.Dataset:
    """As `integrate`, for a problem of the system's model with a single start."""
    return plain_trajectory(system, problem).dataset()


def plain_trajectory(system: System, problem: Problem) -> PlainResult:
    """As `integrate_problem`, without xarray."""
    checked_arrays.warn_if_unresolved(problem.start.all()[1], problem.atol, stacklevel=5)
    y0 = packed_start(system, problem)
    if problem.method in TABLEAUX:
        rules = SolverRules(
            TABLEAUX[problem.method],
            problem.rtol,
            problem.atol,
            stop_loss=problem.stop_loss,
            blow_up=blow_up_of(system.model),
        )
        solution = solve(
            system,
            y0,
            problem.alpha,
            problem.parameters.packed[0],
            rules,
            schedule=problem.schedule,
            scheduled=scheduled_places(system.model),
            start=problem.start.alpha,
        )
    else:
        solution = solve_scipy(system, problem, y0)
    return trajectory_result(system, problem, solution)


def packed_start(system: System, problem: Problem) -> Array:
    """The state (n,) at which a single trajectory starts, with a trained second layer."""
    Q0, R0 = problem.start.all()
    trained = (problem.parameters.vectors["student_weights"][0],) if system.model.trained else ()
    return system.pack(Q0[0], R0[0], *trained)


def final_state(run: xarray.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Q and R at the last output time that was reached, or where an ensemble's trajectory stopped.

    Shapes are (p, p) and (p, p*), with the trajectories of an ensemble, or of `simulate`, in front. They
    are NaN for trajectories without any output. `final_weights` has a trained second layer.

    Raises InputError if there is no output at all, or the dataset holds no states.
    """
    Q, R = (_at_the_end(run, name, axes) for name, axes in _STATES)
    return Q, R


def final_weights(run: xarray.Dataset) -> np.ndarray:
    """The trained second-layer weights v (..., p) where `final_state` takes Q and R.

    A run is continued from there with these as `student_weights`. Raises InputError as `final_state` does,
    and if the second layer is not trained.
    """
    if "v" not in run and run.attrs.get("second_layer") != "trained":
        raise InputError("run", "holds no v: its second layer is not trained")
    return _at_the_end(run, "v", ("i",))


def _at_the_end(run: xarray.Dataset, name: str, axes: tuple[str, ...]) -> np.ndarray:
    """A variable of a run, with these axes after those of time, at the last output of each trajectory."""
    if any(held not in run for held in ("Q", "R", "loss")):
        raise InputError("run", "holds no Q, R and loss: an ensemble needs output 'all' or 'final'")
    loss = run["loss"]
    if not np.isfinite(loss.values).any():
        raise InputError("run", "has no output: it ended before the first time")
    state: np.ndarray = run[name].transpose(..., "alpha", *axes, missing_dims="ignore").values
    if "alpha" not in loss.dims:
        return state
    backwards = np.isfinite(loss.transpose(..., "alpha").values)[..., ::-1]
    last = backwards.shape[-1] - 1 - np.argmax(backwards, axis=-1)
    time = -1 - len(axes)
    places = np.expand_dims(last, tuple(range(time, 0)))
    return np.take_along_axis(state, places, axis=time).squeeze(axis=time)
