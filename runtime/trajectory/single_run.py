"""Integrates the overlap ODEs along one trajectory, with our stepper or one of SciPy's to check it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import one_of
from derive.errors import InputError
from derive.model import Model
from runtime.start import checked_arrays
from runtime.system.compiled_system import System, as_system
from runtime.trajectory.scipy_solvers import SCIPY_METHODS, solve_scipy
from runtime.trajectory.solver import solve
from runtime.trajectory.tableaux import DEFAULT_METHOD, TABLEAUX
from runtime.trajectory.trajectory_dataset import trajectory_dataset

if TYPE_CHECKING:
    import xarray

SCIPY_PREFIX = "scipy:"
METHODS = (*TABLEAUX, *(SCIPY_PREFIX + name for name in SCIPY_METHODS))
# The variables of a state, and their axes.
_STATES = (("Q", ("i", "j")), ("R", ("i", "r")))


@dataclasses.dataclass(frozen=True)
class OdeProblem:
    """One trajectory to integrate, with checked values; `integrate` says what they mean."""

    Q0: checked_arrays.Array
    R0: checked_arrays.Array
    T: checked_arrays.Array
    eta: float
    label_noise: float
    times: checked_arrays.Array
    rtol: float
    atol: float
    method: str

    @classmethod
    def checked(
        cls,
        model: Model,
        Q0: ArrayLike,
        R0: ArrayLike,
        *,
        eta: float,
        alpha: ArrayLike,
        label_noise: float,
        T: ArrayLike | None,
        rtol: float,
        atol: float,
        method: str,
    ) -> OdeProblem:
        """The problem with these values; the InputError names the first argument that is not allowed."""
        one_of("method", method, METHODS)
        teacher = checked_arrays.teacher_overlaps(model, T)
        Q, R = checked_arrays.overlaps(model, Q0, R0, teacher)
        relative, absolute = checked_arrays.tolerances(rtol, atol)
        return cls(
            Q0=checked_arrays.symmetric_part("Q0", Q),
            R0=R,
            T=teacher,
            eta=checked_arrays.real_number("eta", eta, least=0.0, strict=True),
            label_noise=checked_arrays.real_number("label_noise", label_noise, least=0.0),
            times=checked_arrays.output_times(alpha),
            rtol=relative,
            atol=absolute,
            method=method,
        )


def integrate(
    system: System,
    Q0: ArrayLike,
    R0: ArrayLike,
    *,
    eta: float,
    alpha: ArrayLike = 200.0,
    label_noise: float = 0.0,
    T: ArrayLike | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    method: str = DEFAULT_METHOD,
) -> xarray.Dataset:
    """Integrate the overlap ODEs from Q0, R0 at α = 0.

    Parameters
    ----------
    system
        From `runtime.load`.
    Q0, R0
        Overlaps (p, p) and (p, p*) that some weights have together with T.
    eta
        Learning rate η > 0.
    alpha
        End of 200 even output times from 0 (both included), or the ascending times themselves;
        α = samples / N.
    label_noise
        Variance Δ ≥ 0 of the label noise; without effect in gradient flow.
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

    Returns
    -------
    xarray.Dataset
        ``Q`` (alpha, i, j), ``R`` (alpha, i, r), ``loss`` (alpha), ``T`` (r, s); ``status``:
        "ok", "diverged" (an order parameter grew a million-fold or was not finite) or
        "step_too_small"; ``alpha_end`` reached, ``steps``, ``rejected``, ``evaluations``.
        Outputs after the end of a trajectory that failed are NaN.

    Raises
    ------
    InputError
        An argument is not allowed; the message names it.
    """
    problem = OdeProblem.checked(
        as_system(system).model,
        Q0,
        R0,
        eta=eta,
        alpha=alpha,
        label_noise=label_noise,
        T=T,
        rtol=rtol,
        atol=atol,
        method=method,
    )
    return integrate_problem(system, problem)


def integrate_problem(system: System, problem: OdeProblem) -> xarray.Dataset:
    """As `integrate`, for a problem that was checked against the system's model."""
    checked_arrays.warn_if_unresolved(problem.R0, problem.atol, stacklevel=3)
    general = checked_arrays.given_T(system.model, problem.T)
    parameters = system.parameters(problem.eta, problem.label_noise, general)
    y0 = system.pack(problem.Q0, problem.R0)
    if problem.method in TABLEAUX:
        solution = solve(
            system.compiled_rhs,
            y0,
            problem.times,
            parameters=parameters,
            rtol=problem.rtol,
            atol=problem.atol,
            tableau=TABLEAUX[problem.method],
            operations=system.operations,
        )
    else:
        name = problem.method.removeprefix(SCIPY_PREFIX)
        solution = solve_scipy(system, name, y0, problem.times, parameters, problem.rtol, problem.atol)
    settings = {name: getattr(problem, name) for name in ("eta", "label_noise", "rtol", "atol", "method")}
    return trajectory_dataset(system, solution, problem.T, settings)


def final_state(run: xarray.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Q and R at the last output time that was reached, or where an ensemble's trajectory stopped.

    Shapes are (p, p) and (p, p*), with the trajectories of an ensemble, or of `simulate`, in front. They
    are NaN for trajectories without any output.

    Raises InputError if there is no output at all, or the dataset holds no states.
    """
    if any(name not in run for name in ("Q", "R", "loss")):
        raise InputError("run", "holds no Q, R and loss: an ensemble needs output 'all' or 'final'")
    loss = run["loss"]
    if not np.isfinite(loss.values).any():
        raise InputError("run", "has no output: it ended before the first time")
    states = (run[name].transpose(..., "alpha", *rest, missing_dims="ignore") for name, rest in _STATES)
    if "alpha" not in loss.dims:
        Q, R = (state.values for state in states)
        return Q, R
    backwards = np.isfinite(loss.transpose(..., "alpha").values)[..., ::-1]
    last = backwards.shape[-1] - 1 - np.argmax(backwards, axis=-1)
    Q, R = (
        np.take_along_axis(state.values, last[..., None, None, None], axis=-3)[..., 0, :, :]
        for state in states
    )
    return Q, R
