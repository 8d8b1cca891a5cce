"""Small problems for the stepper alone, compiled on first use."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from types import SimpleNamespace

import numba
import numpy as np

from runtime.start.schedules import Schedule
from runtime.system.compilation import LOSS, RIGHT_HAND_SIDE
from runtime.trajectory import stepper
from runtime.trajectory.controller import RUNNING
from runtime.trajectory.scheduled_parameters import scheduled_parameters


@functools.cache
def compiled(function):
    """A right-hand side as compiled loops take it."""
    return numba.njit(RIGHT_HAND_SIDE, error_model="numpy")(function)


@functools.cache
def equations(function, loss=None):
    """A right-hand side and a loss, not compiled, as `runtime.trajectory.solver.solve` takes them."""
    compiled_loss = None if loss is None else numba.njit(LOSS, error_model="numpy")(loss)
    return SimpleNamespace(compiled_rhs=compiled(function), compiled_loss=compiled_loss, operations=1000)


def linear(y, parameters, dy):
    dy[0] = parameters[0] * y[0]


def oscillator(y, _, dy):
    dy[0] = y[1]
    dy[1] = -y[0]


def logistic(y, _, dy):
    dy[0] = y[0] * (1.0 - y[0])


@dataclasses.dataclass(frozen=True)
class Problem:
    """y' = function(y) from y0 to t_end, with its solution (times, n) at given times."""

    function: Callable[..., None]
    y0: tuple[float, ...]
    t_end: float
    solution: Callable[[np.ndarray], np.ndarray]
    parameters: tuple[float, ...] = (0.0,)

    def arguments(self):
        """Right-hand side, state and parameters."""
        return compiled(self.function), np.array(self.y0), np.array(self.parameters)


SOLVABLE = {
    "decay": Problem(linear, (1.0,), 5.0, lambda t: np.exp(-t)[:, None], (-1.0,)),
    "growth": Problem(linear, (1.0,), 5.0, lambda t: np.exp(t)[:, None], (1.0,)),
    "oscillator": Problem(
        oscillator, (1.0, 0.0), 20.0, lambda t: np.stack([np.cos(t), -np.sin(t)], axis=1)
    ),
    "logistic": Problem(logistic, (0.01,), 10.0, lambda t: (1 / (1 + 99 * np.exp(-t)))[:, None]),
}


def memory_of(y, times, tableau):
    """The arrays of a trajectory that starts at y."""
    return stepper.Memory(
        y=np.array(y, dtype=float),
        work=np.vstack([np.full((tableau.slopes + 2, len(y)), np.nan), np.zeros(len(y))]),
        times=np.array(times, dtype=float),
        outputs=np.full((len(times), len(y)), np.nan),
    )


def integrate_in_fixed_steps(problem, tableau, steps, times, schedule=Schedule()):  # noqa: B008
    """States at `times` and the step ends: the loop of the stepper with its controller overruled."""
    function, y, parameters = problem.arguments()
    step = problem.t_end / steps
    memory, position = memory_of(y, times, tableau), np.zeros((), dtype=stepper.POSITION)
    # With this tolerance every step is accepted.
    limits = stepper.Limits(1e100, 1e100, np.inf, -np.inf, 1, times[-1], schedule.kind, schedule.scale)
    position["begun"], position["last_error"] = 1, 1.0
    function(memory.y, parameters, memory.work[0])
    packed = scheduled_parameters(parameters, [0], schedule.kind, 1.0)
    status, ends = RUNNING, []
    while status == RUNNING:
        position["step"] = step
        status = stepper.advance(function, packed, tableau.coefficients, limits, memory, position[()])
        ends.append(float(position["time"]))
    return memory.outputs, ends
