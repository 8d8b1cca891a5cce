"""Integrates the generated right-hand side with SciPy's solvers, to check our stepper from outside."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.start.checked_arrays import Array
from runtime.system.compiled_system import System
from runtime.trajectory.controller import BLOW_UP
from runtime.trajectory.solver import DIVERGENCE_GROWTH, OdeSolution

_WITH_JACOBIAN = ("LSODA", "Radau", "BDF")
# SciPy's own lower limit of rtol; it warns about smaller ones, and uses this.
_SMALLEST_RTOL = 100 * np.finfo(np.float64).eps


def solve_scipy(
    system: System, method: str, y0: Array, times: Array, parameters: Array, rtol: float, atol: float
) -> OdeSolution:
    """Integrate with `scipy.integrate.solve_ivp`; the result has the type of our own stepper's."""
    from scipy.integrate import solve_ivp

    rhs = system.compiled_rhs
    start = float(np.max(np.abs(y0)))
    bound = DIVERGENCE_GROWTH * max(1.0, start)
    # These are the time that the solver has reached, the largest order parameter there, and whether its
    # last slope was finite.
    reached, size, finite = 0.0, start, True

    def slope(_: float, y: Array) -> Array:
        nonlocal finite
        dy = np.empty(y.size)
        rhs(np.ascontiguousarray(y), parameters, dy)
        finite = bool(np.isfinite(dy).all())
        return dy

    def jacobian(_: float, y: Array) -> Array:
        return system.jacobian_of_state(y, parameters)

    def blows_up(t: float, y: Array) -> float:
        nonlocal reached, size
        largest = float(np.max(np.abs(y)))
        # SciPy calls this after every step, and then perhaps at earlier times to find the crossing.
        if t > reached:
            reached, size = t, largest
        return bound - largest if np.isfinite(largest) else -1.0

    blows_up.terminal = True  # type: ignore[attr-defined]
    states = np.full((times.size, y0.size), np.nan)
    if times[-1] == 0.0:
        states[:] = y0
        return OdeSolution(times, states, "ok", 0.0, 0, 0, 0)
    if not np.isfinite(slope(0.0, y0)).all():
        # SciPy would look for a first step for ever, or raise.
        states[times == 0.0] = y0
        return OdeSolution(times, states, "diverged", 0.0, 0, 0, 1)
    options: dict[str, Any] = {"jac": jacobian} if method in _WITH_JACOBIAN else {}
    with np.errstate(all="ignore"):
        result = solve_ivp(
            slope,
            (0.0, float(times[-1])),
            y0,
            method=method,
            t_eval=times,
            rtol=max(rtol, _SMALLEST_RTOL),
            atol=atol,
            events=blows_up,
            **options,
        )
    written = len(result.t)
    if written:
        states[:written] = result.y.T
    if result.status == 0 and np.isfinite(states).all():
        status, end = "ok", float(times[-1])
    else:
        crossings = [] if result.t_events is None else result.t_events[0]
        # The rule is that of `stepper.advance`: steps also vanish where a solution blows up.
        grown = not size <= BLOW_UP * bound
        finite = finite and bool(np.isfinite(states[:written]).all())
        status = "diverged" if len(crossings) or grown or not finite else "step_too_small"
        end = float(crossings[0]) if len(crossings) else reached
    # SciPy reports evaluations, but not the steps between requested outputs.
    return OdeSolution(times, states, status, end, 0, 0, int(result.nfev))
