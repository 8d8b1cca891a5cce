"""The memory of an ensemble's kernels with a trajectory in every lane, and one step in NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
from vector_code import GUARD, aligned, call, random_lanes, scalar_drift

from derive import Model
from derive.parameters import scheduled_places
from runtime.ensemble.kernels.compiled_kernels import KERNELS, CompiledKernels, compile_kernels
from runtime.ensemble.kernels.lane_memory import double_at
from runtime.start.schedules import Schedule
from runtime.trajectory.tableaux import TABLEAUX, Tableau
from runtime.vector import jit

RTOL, ATOL = 1e-8, 1e-10
METHODS = tuple(TABLEAUX)
CONSTANT_RATES = Schedule()
MODEL = Model(3, 2, constraint="sphere", teacher="general")


@dataclasses.dataclass
class Lanes:
    """Memory of the kernels with a trajectory in every lane, ready for its first step."""

    model: Model
    tableau: Tableau
    kernels: CompiledKernels
    memory: np.ndarray
    states: np.ndarray
    parameters: np.ndarray
    schedule: Schedule
    time: float

    def __call__(self, name: str) -> int:
        assert name in KERNELS
        return call(self.kernels.compiled, name, self.memory)

    def rows(self, first: int) -> np.ndarray:
        """A block of components of the size of the state, (lane, component)."""
        return self.memory[first : first + self.kernels.layout.size].T

    @property
    def count(self) -> int:
        return self.kernels.lanes

    def point(self, control: int, rows: np.ndarray) -> None:
        """Make a control of each lane the address of a row of its own."""
        assert len(rows) == self.count
        self.memory.view(np.int64)[control] = rows.ctypes.data + np.arange(self.count) * rows.strides[0]

    def slopes(self, lane: int, h: float) -> np.ndarray:
        """All slopes of the first step in plain Python: its stages, that at its end, extra ones."""
        a, b = self.tableau.a, self.tableau.b
        places = [*self.tableau.c, 1.0, *self.tableau.extra.sum(axis=1)]
        slopes: list[np.ndarray] = []
        y, scheduled = self.states[lane], list(scheduled_places(self.model))
        for weights, place in zip([*a, b, *self.tableau.extra], places, strict=True):
            trial = y + h * sum((w * k for w, k in zip(weights, slopes, strict=False)), np.zeros_like(y))
            parameters = self.parameters[lane].copy()
            parameters[scheduled] *= self.schedule.factors(self.time + place * h)
            slopes.append(scalar_drift(self.model, trial, parameters))
        return np.array(slopes)


def make_lanes(
    model: Model, method: str, seed: int = 1, schedule: Schedule = CONSTANT_RATES, time: float = 0.0
) -> Lanes:
    kernels = compile_kernels(model, method, jit.target(), schedule.kind)
    layout, count = kernels.layout, kernels.lanes
    states, parameters = random_lanes(model, count, seed)
    memory = aligned(layout.component_count + 1, count)
    memory[layout.component_count] = GUARD
    memory[layout.parameters_at : layout.state_at] = parameters.T
    memory[layout.state_at : layout.new_state_at] = states.T
    if layout.scheduled:
        memory[layout.scale_at] = schedule.scale
    memory[double_at.time] = time
    memory[double_at.rtol], memory[double_at.atol] = RTOL, ATOL
    memory[double_at.time_end] = 1e3
    # An output is due at once, so every step asks for attention, and advance returns after it.
    memory[double_at.next_output] = time
    memory[double_at.bound] = 1e6
    memory[double_at.fresh] = memory[double_at.live] = 1.0
    # No output is due yet.
    memory[double_at.limit] = -1.0
    lanes = Lanes(model, TABLEAUX[method], kernels, memory, states, parameters, schedule, time)
    lanes("start")
    return lanes
