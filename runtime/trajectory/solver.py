"""Runs the compiled stepper along one trajectory, in chunks of steps between which Ctrl-C is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from derive.model import Model
from runtime.concurrency.interrupts import held_interrupts
from runtime.start.checked_arrays import Array
from runtime.start.schedules import Schedule
from runtime.system.compilation import compile_now
from runtime.trajectory import stepper, watched_stepper
from runtime.trajectory.controller import (
    BLOW_UP,
    DIVERGED,
    EPSILON,
    FINISHED,
    RUNNING,
    SMALLEST_STEP,
    STEP_TOO_SMALL,
)
from runtime.trajectory.scheduled_parameters import scheduled_parameters
from runtime.trajectory.tableaux import Tableau

# A run has diverged when an order parameter is this many times the largest one of the start (at least 1).
# A solution that blows up in finite time passes this well before its steps underflow.
DIVERGENCE_GROWTH = 1e6
# Floating-point operations between two looks at signals: about a twentieth of a second.
_CHUNK_OPERATIONS = 5e7

STATUS = {FINISHED: "ok", DIVERGED: "diverged", STEP_TOO_SMALL: "step_too_small"}


@dataclasses.dataclass(frozen=True)
class OdeSolution:
    """States at the requested times, NaN after the end of a trajectory that failed or stopped.

    status
        ``"ok"``, ``"diverged"`` or ``"step_too_small"``.
    end
        The time that was reached: that of the event, if the trajectory ended in one.
    accepted, rejected, evaluations
        Numbers of steps, of failed steps, and of calls of the right-hand side.
    crossed
        Whether the trajectory ended because its loss came down to `stop_loss`.
    """

    times: Array
    states: Array
    status: str
    end: float
    accepted: int
    rejected: int
    evaluations: int
    crossed: bool = False


@dataclasses.dataclass(frozen=True)
class SolverRules:
    """How a trajectory is integrated, and where it ends before its last time.

    bound
        The trajectory has diverged when an entry grows beyond this; None is ``DIVERGENCE_GROWTH`` times
        the largest entry of its start, or times 1 if that is more.
    stop_loss
        It ends where its loss first comes down to this, located on the interpolant of the step;
        `event_search` says which dips inside a step are found. None if events are not looked for.
    blow_up
        The part of the bound from which on a solution whose steps vanish has diverged.
    """

    tableau: Tableau
    rtol: float
    atol: float
    bound: float | None = None
    stop_loss: float | None = None
    blow_up: float = BLOW_UP


def blow_up_of(model: Model) -> float:
    """The part of what counts as divergence from which on solutions of a model blow up where steps vanish.

    The drift of an activation of degree d is of degree 2d − 1 in the overlaps. So at a time δ before a
    blow-up they have grown by 1/δ to the power 1/(2d − 2), and steps vanish where δ is 16 units of
    rounding.
    A third of that growth is asked for.
    """
    degree = max(activation.degree for activation in model.activations)
    if degree < 2:
        return BLOW_UP
    vanishing = (1.0 / (SMALLEST_STEP * EPSILON)) ** (1.0 / (2 * degree - 2))
    return min(BLOW_UP, float(vanishing) / 3.0 / DIVERGENCE_GROWTH)


class Equations(Protocol):
    """What is integrated; a loaded system, for one.

    compiled_rhs, compiled_loss
        Numba functions ``rhs(y, parameters, dy)`` and ``loss(y, parameters)``, compiled for the types in
        `compilation`. Without a `stop_loss` the loss is not used.
    operations
        Rough cost of one call of `compiled_rhs`, to look at signals often enough.
    """

    @property
    def compiled_rhs(self) -> Any: ...

    @property
    def compiled_loss(self) -> Any: ...

    @property
    def operations(self) -> int: ...


def solve(
    equations: Equations,
    y0: Array,
    times: Array,
    parameters: Array,
    rules: SolverRules,
    *,
    schedule: Schedule | None = None,
    scheduled: Sequence[int] = (),
    start: float = 0.0,
) -> OdeSolution:
    """Integrate dy/dt = rhs from the state y0 (n,) at t = `start`, with packed parameters (k,).

    `times` are strictly ascending and not before the start; the last one is where the integration ends.
    The factor g(t) of the schedule multiplies the parameters at the places `scheduled`. Where it jumps, the
    stepper starts afresh; between jumps it is evaluated at the time of each slope.
    """
    schedule = schedule or Schedule()
    rhs, tableau, bound = equations.compiled_rhs, rules.tableau, rules.bound
    if bound is None:
        bound = DIVERGENCE_GROWTH * max(1.0, float(np.max(np.abs(y0))))
    memory = _memory(y0, times, tableau)
    cost = tableau.b.size * (equations.operations + 20 * y0.size)
    threshold = -np.inf if rules.stop_loss is None else rules.stop_loss
    steps = max(1, int(_CHUNK_OPERATIONS / cost))
    position = np.zeros((), dtype=stepper.POSITION)
    position["time"] = start
    advance: Callable[..., int] = stepper.advance
    functions: tuple[Any, ...] = (rhs,)
    if rules.stop_loss is not None:
        advance, functions = watched_stepper.advance, (rhs, equations.compiled_loss)
        position["loss"] = equations.compiled_loss(memory.y, parameters)
        position["crossed"] = position["loss"] <= threshold
    compile_now(advance)
    status = FINISHED
    with held_interrupts() as deliver:
        for _, end, factor in schedule.segments(start, float(memory.times[-1])):
            packed = scheduled_parameters(parameters, scheduled, schedule.kind, factor)
            limits = stepper.Limits(
                rules.rtol,
                rules.atol,
                bound,
                threshold,
                steps,
                end,
                schedule.kind,
                schedule.scale,
                rules.blow_up,
            )
            position["begun"], status = 0, RUNNING
            while status == RUNNING:
                # Ctrl-C can be seen only between calls of compiled code.
                status = advance(*functions, packed, tableau.coefficients, limits, memory, position[()])
                deliver()
            if status != FINISHED or position["crossed"]:
                break
    return OdeSolution(
        times=memory.times,
        states=memory.outputs,
        status=STATUS[status],
        end=float(position["time"]),
        accepted=int(position["accepted"]),
        rejected=int(position["rejected"]),
        evaluations=int(position["evaluations"]),
        crossed=bool(position["crossed"]),
    )


def _memory(y0: Array, times: Array, tableau: Tableau) -> stepper.Memory:
    """The arrays of a trajectory that starts at y0."""
    return stepper.Memory(
        y=np.array(y0, dtype=np.float64),
        work=np.zeros((tableau.slopes + 3, y0.size)),
        times=np.ascontiguousarray(times, dtype=np.float64),
        outputs=np.full((len(times), y0.size), np.nan),
    )
