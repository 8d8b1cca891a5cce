"""Integrates the generated right-hand side with SciPy's solvers, to check our stepper from outside."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.problem import Problem
from runtime.run_options import SCIPY_PREFIX
from runtime.start.checked_arrays import Array
from runtime.system.compiled_system import System
from runtime.trajectory.controller import BLOW_UP, DIVERGED, why_stuck
from runtime.trajectory.solver import DIVERGENCE_GROWTH, STATUS, OdeSolution

_WITH_JACOBIAN = ("LSODA", "Radau", "BDF")
# SciPy's own lower limit of rtol; it warns about smaller ones, and uses this.
_SMALLEST_RTOL = 100 * np.finfo(np.float64).eps


class _Watch:
    """The functions that SciPy calls, and where it is: the time, and the largest order parameter."""

    def __init__(self, system: System, problem: Problem, y0: Array) -> None:
        self.system, self.stop_loss = system, problem.stop_loss
        self.parameters = problem.parameters.packed[0]
        self.reached, self.size = 0.0, float(np.max(np.abs(y0)))
        self.bound = DIVERGENCE_GROWTH * max(1.0, self.size)
        # Whether the last slope was finite.
        self.finite = True

    def slope(self, _: float, y: Array) -> Array:
        dy = np.empty(y.size)
        self.system.compiled_rhs(np.ascontiguousarray(y), self.parameters, dy)
        self.finite = bool(np.isfinite(dy).all())
        return dy

    def jacobian(self, _: float, y: Array) -> Array:
        return self.system.jacobian_of_state(y, self.parameters)

    def events(self) -> list[Any]:
        """Functions that end the run where they become zero: divergence, and a low loss if asked for."""

        def below_bound(t: float, y: Array) -> float:
            largest = float(np.max(np.abs(y)))
            # SciPy calls this after every step, and then perhaps at earlier times to find the crossing.
            if t > self.reached:
                self.reached, self.size = t, largest
            return self.bound - largest if np.isfinite(largest) else -1.0

        def height(_: float, y: Array) -> float:
            loss = self.system.compiled_loss(np.ascontiguousarray(y), self.parameters)
            return float(loss - self.stop_loss)

        events: list[Any] = [below_bound] if self.stop_loss is None else [below_bound, height]
        for event in events:
            event.terminal = True
        return events

    def failure(self, states: Array, diverged: bool) -> str:
        """Why the run ended early; the rule is that of the stepper: steps also vanish before a pole."""
        grown = not self.size <= BLOW_UP * self.bound
        finite = self.finite and bool(np.isfinite(states).all())
        return STATUS[DIVERGED if diverged else why_stuck(grown, not finite)]


def solve_scipy(system: System, problem: Problem, y0: Array) -> OdeSolution:
    """Integrate with `scipy.integrate.solve_ivp`; the result has the type of our own stepper's.

    An event is found if the loss at the end of a step is not above `stop_loss`.
    """
    from scipy.integrate import solve_ivp

    times, watch = problem.alpha, _Watch(system, problem, y0)
    states = np.full((times.size, y0.size), np.nan)
    events = watch.events()
    crossed = any(event(0.0, y0) <= 0.0 for event in events[1:])
    if crossed or times[-1] == 0.0:
        states[times == 0.0] = y0
        return OdeSolution(times, states, "ok", 0.0, 0, 0, 0, crossed)
    if not np.isfinite(watch.slope(0.0, y0)).all():
        # SciPy would look for a first step for ever, or raise.
        states[times == 0.0] = y0
        return OdeSolution(times, states, "diverged", 0.0, 0, 0, 1)
    method = problem.method.removeprefix(SCIPY_PREFIX)
    options: dict[str, Any] = {"jac": watch.jacobian} if method in _WITH_JACOBIAN else {}
    with np.errstate(all="ignore"):
        result = solve_ivp(
            watch.slope,
            (0.0, float(times[-1])),
            y0,
            method=method,
            t_eval=times,
            rtol=max(problem.rtol, _SMALLEST_RTOL),
            atol=problem.atol,
            events=events,
            **options,
        )
    written = len(result.t)
    if written:
        states[:written] = result.y.T
    # SciPy ends at the first event, so that at most one has a time.
    diverged, *crossing = map(list, result.t_events)
    if any(crossing):
        status, end = "ok", float(crossing[0][0])
    elif result.status == 0 and np.isfinite(states).all():
        status, end = "ok", float(times[-1])
    else:
        status = watch.failure(states[:written], bool(diverged))
        end = float(diverged[0]) if diverged else watch.reached
    # SciPy reports evaluations, but not the steps between requested outputs.
    return OdeSolution(times, states, status, end, 0, 0, int(result.nfev), any(crossing))
