"""Integrates the generated right-hand side with SciPy's solvers, to check our stepper from outside."""

from __future__ import annotations

from typing import Any

import numpy as np

from derive.parameters import scheduled_places
from runtime.problem import Problem
from runtime.run_options import SCIPY_PREFIX
from runtime.start.checked_arrays import Array
from runtime.start.schedule_kinds import CONSTANT
from runtime.system.compiled_system import System
from runtime.trajectory.controller import DIVERGED, why_stuck
from runtime.trajectory.solver import DIVERGENCE_GROWTH, STATUS, OdeSolution, blow_up_of

_WITH_JACOBIAN = ("LSODA", "Radau", "BDF")
# SciPy's own lower limit of rtol; it warns about smaller ones, and uses this.
_SMALLEST_RTOL = 100 * np.finfo(np.float64).eps


class _Watch:
    """The functions that SciPy calls, and where it is: the time, and the largest order parameter."""

    def __init__(self, system: System, problem: Problem, y0: Array) -> None:
        self.system, self.stop_loss, self.schedule = system, problem.stop_loss, problem.schedule
        self.packed = problem.parameters.packed[0]
        self.places = list(scheduled_places(system.model))
        # The factor of the stretch without jumps, and where it ends.
        self.factor, self.end = 1.0, float(problem.alpha[-1])
        self.reached, self.size = problem.start.alpha, float(np.max(np.abs(y0)))
        self.bound = DIVERGENCE_GROWTH * max(1.0, self.size)
        self.blow_up = blow_up_of(system.model)
        # Whether the last slope was finite.
        self.finite = True

    def parameters(self, t: float) -> Array:
        """The packed parameters at a time of the stretch."""
        factor = self.factor
        if self.schedule.kind != CONSTANT:
            factor *= float(self.schedule.factors(np.array(min(t, self.end))))
        packed: Array = self.packed.copy()
        packed[self.places] *= factor
        return packed

    def slope(self, t: float, y: Array) -> Array:
        dy = np.empty(y.size)
        self.system.compiled_rhs(np.ascontiguousarray(y), self.parameters(t), dy)
        self.finite = bool(np.isfinite(dy).all())
        return dy

    def jacobian(self, t: float, y: Array) -> Array:
        return self.system.jacobian_of_state(y, self.parameters(t))

    def events(self) -> list[Any]:
        """Functions that end the run where they become zero: divergence, and a low loss if asked for."""

        def below_bound(t: float, y: Array) -> float:
            largest = float(np.max(np.abs(y)))
            # SciPy calls this after every step, and then perhaps at earlier times to find the crossing.
            if t > self.reached:
                self.reached, self.size = t, largest
            return self.bound - largest if np.isfinite(largest) else -1.0

        def height(_: float, y: Array) -> float:
            loss = self.system.compiled_loss(np.ascontiguousarray(y), self.packed)
            return float(loss - self.stop_loss)

        events: list[Any] = [below_bound] if self.stop_loss is None else [below_bound, height]
        for event in events:
            event.terminal = True
        return events

    def failure(self, states: Array, diverged: bool) -> str:
        """Why the run ended early; the rule is that of the stepper: steps also vanish before a pole."""
        grown = not self.size <= self.blow_up * self.bound
        finite = self.finite and bool(np.isfinite(states).all())
        return STATUS[DIVERGED if diverged else why_stuck(grown, not finite)]


def solve_scipy(system: System, problem: Problem, y0: Array) -> OdeSolution:
    """Integrate with `scipy.integrate.solve_ivp`; the result has the type of our own stepper's.

    An event is found if the loss at the end of a step is not above `stop_loss`. SciPy starts afresh at each
    jump of the schedule.
    """
    times, start, watch = problem.alpha, problem.start.alpha, _Watch(system, problem, y0)
    states = np.full((times.size, y0.size), np.nan)
    events = watch.events()
    crossed = any(event(start, y0) <= 0.0 for event in events[1:])
    states[times == start] = y0
    if crossed or times[-1] == start:
        return OdeSolution(times, states, "ok", start, 0, 0, 0, crossed)
    if not np.isfinite(watch.slope(start, y0)).all():
        # SciPy would look for a first step for ever, or raise.
        return OdeSolution(times, states, "diverged", start, 0, 0, 1)
    evaluations, state = 0, y0
    for since, end, factor in problem.schedule.segments(start, float(times[-1])):
        watch.factor, watch.end = factor, end
        inside = (times > since) & (times <= end)
        result = _stretch(watch, problem, since, state, np.union1d(times[inside], end), events)
        evaluations += int(result.nfev)
        # Where no time was reached, SciPy has an empty list of states.
        passed = np.reshape(result.y, (y0.size, -1)).T
        found = np.flatnonzero(inside)[: len(passed)]
        states[found] = passed[: found.size]
        # SciPy ends at the first event, so that at most one has a time.
        diverged, *crossing = map(list, result.t_events)
        if any(crossing):
            status, reached = "ok", float(crossing[0][0])
        elif result.status == 0 and np.isfinite(passed).all():
            status, reached, state = "ok", end, passed[-1]
            continue
        else:
            status = watch.failure(passed, bool(diverged))
            reached = float(diverged[0]) if diverged else watch.reached
        break
    # SciPy reports evaluations, but not the steps between requested outputs.
    return OdeSolution(times, states, status, reached, 0, 0, evaluations, any(crossing))


def _stretch(
    watch: _Watch, problem: Problem, since: float, state: Array, times: Array, events: list[Any]
) -> Any:
    """What SciPy finds from a state to the last of the times, without a jump of the schedule between."""
    from scipy.integrate import solve_ivp

    method = problem.method.removeprefix(SCIPY_PREFIX)
    options: dict[str, Any] = {"jac": watch.jacobian} if method in _WITH_JACOBIAN else {}
    with np.errstate(all="ignore"):
        return solve_ivp(
            watch.slope,
            (since, watch.end),
            state,
            method=method,
            t_eval=times,
            rtol=max(problem.rtol, _SMALLEST_RTOL),
            atol=problem.atol,
            events=events,
            **options,
        )
