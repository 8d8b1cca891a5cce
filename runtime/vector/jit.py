"""Compiles modules of vector code for this processor, and says which vectors it has."""

from __future__ import annotations

import ctypes
import dataclasses
import os
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from derive.errors import InputError

# This variable restricts the vector code to narrower vectors, for tests and comparisons.
ENVIRONMENT = "OVERLAP_ODE_SIMD"
RESTRICTIONS = ("avx512", "avx2", "baseline")


@dataclasses.dataclass(frozen=True)
class Target:
    """A processor: lanes per operation, whether it fuses multiply-adds, and LLVM's names for it."""

    name: str
    lanes: int
    fma: bool
    cpu: str
    features: str

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of register tiles: a tile, a row and one more value fit into the registers."""
        return {"avx512": (4, 4), "avx2": (4, 3), "neon": (4, 3)}.get(self.name, (2, 2))


@lru_cache(maxsize=1)
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def target(restrict: str | None = None) -> Target:
    """The widest vectors of this processor, or those of a narrower kind (RESTRICTIONS).

    Raises InputError for another restriction.
    """
    restrict = restrict if restrict is not None else os.environ.get(ENVIRONMENT, "")
    if restrict not in ("", *RESTRICTIONS):
        raise InputError(ENVIRONMENT, f"{restrict!r} is not one of {', '.join(RESTRICTIONS)}")
    features = llvm.get_host_cpu_features()
    cpu = llvm.get_host_cpu_name()
    if llvm.get_process_triple().split("-")[0] in ("aarch64", "arm64"):
        return Target("neon", 4, True, cpu, features.flatten())
    if restrict in ("", "avx512") and features.get("avx512f") and features.get("fma"):
        # On some processors LLVM would otherwise halve the vectors.
        return Target("avx512", 8, True, cpu, features.flatten() + ",-prefer-256-bit")
    if restrict in ("", "avx512", "avx2") and features.get("avx2") and features.get("fma"):
        kept = [f for f in features.flatten().split(",") if not f.startswith("+avx512")]
        kept.append("-avx512f")
        return Target("avx2", 4, True, cpu if not restrict else "haswell", ",".join(kept))
    return Target("baseline", 4, False, "", "")


def module_text(module: ir.Module) -> str:
    """A module as LLVM reads it, for this kind of processor."""
    module.triple = llvm.get_process_triple()
    return str(module)


class CompiledModule:
    """A module in memory; keeps its machine code alive as long as it lives."""

    def __init__(self, module: ir.Module, machine: Target) -> None:
        _initialize()
        parsed = llvm.parse_assembly(module_text(module))
        parsed.verify()
        self._machine = llvm.Target.from_triple(module.triple).create_target_machine(
            cpu=machine.cpu, features=machine.features, opt=3, codemodel="jitdefault", jit=True
        )
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = False
        options.slp_vectorization = False
        passes = llvm.create_pass_builder(self._machine, options)
        passes.getModulePassManager().run(parsed, passes)
        self._module = parsed
        self._engine = llvm.create_mcjit_compiler(parsed, self._machine)
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        return int(self._engine.get_function_address(name))

    def function(self, name: str, result: Any, *arguments: Any) -> Any:
        """A function of the module, callable with types of ctypes; it keeps the machine code alive."""
        found = ctypes.CFUNCTYPE(result, *arguments)(self.address(name))
        found.code = self  # type: ignore[attr-defined]
        return found

    def assembly(self) -> str:
        """The machine code as text, for tests that look for vector instructions."""
        return str(self._machine.emit_assembly(self._module))
