"""Integrates one trajectory of the overlaps, with our stepper or with SciPy's as a cross-check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from runtime import states
from runtime.errors import InputError
from runtime.results import trajectory_dataset
from runtime.scipy_solvers import SCIPY_METHODS, solve_scipy
from runtime.solver import solve
from runtime.system import System
from runtime.tableaux import TABLEAUX

if TYPE_CHECKING:
    import xarray

DEFAULT_METHOD = "prince8"
SCIPY_PREFIX = "scipy:"
METHODS = (*TABLEAUX, *(SCIPY_PREFIX + name for name in SCIPY_METHODS))
# Below this a local error is rounding, and no step is small enough.
SMALLEST_RTOL = 1e-14


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
        Bound of the local error of each order parameter: atol + rtol · |y|.
    method
        ``"prince8"`` (order 8), ``"tsit5"`` (order 5), or ``"scipy:LSODA"`` and the like, which
        run SciPy's solver on the same right-hand side and, where implicit, generated Jacobian.

    Returns
    -------
    xarray.Dataset
        ``Q`` (alpha, i, j), ``R`` (alpha, i, r), ``loss`` (alpha), ``T`` (r, s); ``status``:
        "ok", "diverged" (an order parameter grew a million-fold or was not finite) or
        "step_too_small"; ``alpha_end`` reached, ``steps``, ``rejected``, ``evaluations``.
        Outputs behind the end of a trajectory that failed are NaN.

    Raises
    ------
    InputError
        An argument is not allowed; the message names it.
    """
    if method not in METHODS:
        raise InputError("method", f"{method!r} is not one of {', '.join(METHODS)}")
    model = system.model
    teacher = states.teacher_overlaps(model, T)
    Q, R = states.overlaps(model, Q0, R0, teacher)
    rate = states.real_number("eta", eta, least=0.0, strict=True)
    times = states.output_times(alpha)
    relative = states.real_number("rtol", rtol, least=SMALLEST_RTOL)
    absolute = states.real_number("atol", atol, least=0.0, strict=True)
    parameters = system.parameters(rate, label_noise, T)
    y0 = system.pack(0.5 * (Q + Q.T), R)
    if method in TABLEAUX:
        solution = solve(
            system.compiled_rhs,
            y0,
            times,
            parameters=parameters,
            rtol=relative,
            atol=absolute,
            tableau=TABLEAUX[method],
            operations=system.operations,
        )
    else:
        name = method.removeprefix(SCIPY_PREFIX)
        solution = solve_scipy(system, name, y0, times, parameters, relative, absolute)
    settings = {
        "eta": rate,
        "label_noise": float(label_noise),
        "rtol": relative,
        "atol": absolute,
        "method": method,
    }
    return trajectory_dataset(system, solution, teacher, settings)


def final_state(run: xarray.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Q and R at the last output time that was reached."""
    reached = int(np.flatnonzero(np.isfinite(run["loss"].values))[-1])
    return run["Q"].values[reached], run["R"].values[reached]
