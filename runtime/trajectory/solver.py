"""Runs the compiled stepper along one trajectory, in chunks of steps between which Ctrl-C is seen."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from runtime.concurrency.interrupts import held_interrupts
from runtime.start.checked_arrays import Array
from runtime.system.compilation import compile_now
from runtime.trajectory import stepper
from runtime.trajectory.tableaux import Tableau

# A run has diverged when an order parameter is this many times the largest one of the start (at least 1).
# A solution that blows up in finite time passes this well before its steps underflow.
DIVERGENCE_GROWTH = 1e6
# Floating-point operations between two looks at signals: about a twentieth of a second.
_CHUNK_OPERATIONS = 5e7

STATUS = {stepper.FINISHED: "ok", stepper.DIVERGED: "diverged", stepper.STEP_TOO_SMALL: "step_too_small"}


@dataclasses.dataclass(frozen=True)
class OdeSolution:
    """States at the requested times, NaN after the end of a trajectory that failed.

    status
        ``"ok"``, ``"diverged"`` or ``"step_too_small"``.
    end
        The time that was reached.
    accepted, rejected, evaluations
        Numbers of steps, of failed steps, and of calls of the right-hand side.
    """

    times: Array
    states: Array
    status: str
    end: float
    accepted: int
    rejected: int
    evaluations: int


def solve(
    rhs: Any,
    y0: Array,
    times: Array,
    *,
    parameters: Array,
    rtol: float,
    atol: float,
    tableau: Tableau,
    operations: int = 1000,
    bound: float | None = None,
) -> OdeSolution:
    """Integrate dy/dt = rhs from t = 0.

    Parameters
    ----------
    rhs
        Numba function ``rhs(y, parameters, dy)``, compiled for ``stepper.RIGHT_HAND_SIDE``.
    y0
        State at t = 0, shape (n,).
    times
        Strictly ascending, ≥ 0; the last is where the integration ends.
    operations
        Rough cost of one call of `rhs`, to look at signals often enough.
    bound
        The run has diverged when an entry grows beyond this; None is ``DIVERGENCE_GROWTH`` times the
        largest entry of `y0`, or times 1 if that is more.
    """
    n, stages = y0.size, tableau.b.size
    y = np.array(y0, dtype=np.float64)
    times = np.ascontiguousarray(times, dtype=np.float64)
    outputs = np.full((times.size, n), np.nan)
    work = np.zeros((tableau.slopes + 2, n))
    position = np.zeros((), dtype=stepper.POSITION)
    position["last_error"] = 1.0
    if bound is None:
        bound = DIVERGENCE_GROWTH * max(1.0, float(np.max(np.abs(y))))
    chunk = max(1, int(_CHUNK_OPERATIONS / (stages * (operations + 20 * n))))
    compile_now(stepper.first_step, stepper.advance)
    with held_interrupts() as deliver:
        rhs(y, parameters, work[0])
        position["evaluations"] = 1
        # A single output at t = 0 needs no step.
        if times[-1] > 0.0:
            position["step"] = stepper.first_step(
                rhs, parameters, y, work, tableau.order, rtol, atol, times[-1]
            )
            position["evaluations"] = 2
        status = stepper.RUNNING
        while status == stepper.RUNNING:
            # Ctrl-C can be seen only between calls of compiled code.
            status = stepper.advance(
                rhs,
                parameters,
                tableau.a,
                tableau.b,
                tableau.e,
                tableau.e_low,
                tableau.extra,
                tableau.p,
                tableau.error_order,
                rtol,
                atol,
                bound,
                y,
                times,
                position[()],
                outputs,
                work,
                chunk,
            )
            deliver()
    return OdeSolution(
        times=times,
        states=outputs,
        status=STATUS[status],
        end=float(position["time"]),
        accepted=int(position["accepted"]),
        rejected=int(position["rejected"]),
        evaluations=int(position["evaluations"]),
    )
