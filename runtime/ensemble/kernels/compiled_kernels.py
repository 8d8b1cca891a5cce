"""The vector kernels of one system, tableau and kind of schedule, emitted into a module and compiled."""

from __future__ import annotations

import dataclasses
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from derive.arguments import one_of
from derive.model import Model
from runtime.ensemble.kernels.kernel_addresses import KERNEL_ADDRESSES, KERNELS
from runtime.ensemble.kernels.lane_memory import LaneLayout
from runtime.ensemble.kernels.output_kernels import OutputEmitter
from runtime.ensemble.kernels.step_kernels import StepEmitter
from runtime.start.schedule_kinds import CONSTANT
from runtime.trajectory.tableaux import TABLEAUX, Tableau
from runtime.vector.jit import CompiledModule, Target, module_text, target


@dataclasses.dataclass(frozen=True)
class CompiledKernels:
    """Compiled kernels by the names in KERNELS, and how their memory is laid out."""

    compiled: CompiledModule
    layout: LaneLayout
    lanes: int

    @cached_property
    def addresses(self) -> Any:
        """A record of KERNEL_ADDRESSES."""
        places = tuple(self.compiled.address(name) for name in KERNELS)
        return np.array(places, dtype=KERNEL_ADDRESSES)[()]


class SystemKernels(StepEmitter, OutputEmitter):
    """Emits all kernels into one module."""

    def __init__(self, model: Model, tableau: Tableau, target: Target, schedule: int = CONSTANT) -> None:
        super().__init__(model, tableau, target, schedule)
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
def compile_kernels(
    model: Model, method: str, machine: Target, schedule: int = CONSTANT
) -> CompiledKernels:
    """The kernels of `model` for a tableau by name; compiled once per process.

    `schedule` is a kind of `runtime.start.schedules`. A smooth one has kernels of its own.
    """
    emitted = SystemKernels(model, TABLEAUX[method], machine, schedule)
    return CompiledKernels(CompiledModule(emitted.module, machine), emitted.layout, emitted.lanes)


def llvm_text(model: Model, method: str = "prince8") -> str:
    """The kernels of `model` for this processor in LLVM's language, before LLVM optimises them.

    Raises InputError if no tableau has the name `method`.
    """
    machine = target()
    emitted = SystemKernels(model, TABLEAUX[one_of("method", method, TABLEAUX)], machine)
    heading = f"; {model.name} with {method}: {emitted.lanes} trajectories at once ({machine.name}).\n"
    return heading + module_text(emitted.module)
