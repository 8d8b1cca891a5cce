"""The vector kernels of one system and one tableau.

start      slopes and first steps of fresh lanes
advance    steps until a lane needs attention; returns the lanes as bits, 0 for a pause
watch      the same; a loss at or below the threshold needs attention too
commit     makes the attempted step the state, lane by lane where it was accepted
dense      slopes of the attempted step that only its interpolant needs
evaluate   the interpolant at θ
loss       the loss there
scatter    writes it to an address of each lane's own
write      all outputs that the attempted steps have passed: states, losses, both, as WRITER says
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

from derive.model import Model
from runtime.ensemble.kernels.lane_memory import Layout
from runtime.ensemble.kernels.output_kernels import Outputs
from runtime.ensemble.kernels.step_kernels import Stepping
from runtime.trajectory.tableaux import TABLEAUX, Tableau
from runtime.vector.jit import Compiled, Target

KERNELS = (
    "start",
    "advance",
    "watch",
    "commit",
    "dense",
    "evaluate",
    "loss",
    "scatter",
    "write",
)


@dataclasses.dataclass(frozen=True)
class Kernels:
    """Compiled kernels by the names in KERNELS, and how their memory is laid out."""

    compiled: Compiled
    layout: Layout
    lanes: int


class KernelBuilder(Stepping, Outputs):
    """Emits all kernels into one module."""

    def __init__(self, model: Model, tableau: Tableau, target: Target) -> None:
        super().__init__(model, tableau, target)
        self.emit_dense()
        self.emit_evaluate()
        self.emit_loss()
        self.emit_scatter()
        self.emit_write()
        self.emit_start()
        self.emit_advance("advance", watch=False)
        self.emit_advance("watch", watch=True)
        self.emit_commit()


@lru_cache(maxsize=64)
def compile_kernels(model: Model, method: str, target: Target) -> Kernels:
    """The kernels of `model` for a tableau by name; compiled once a process."""
    builder = KernelBuilder(model, TABLEAUX[method], target)
    return Kernels(Compiled(builder.module, target), builder.layout, builder.lanes)
