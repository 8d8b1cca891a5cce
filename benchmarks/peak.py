"""Measures the floating-point peak of this processor, and the speed of a vector right-hand side."""

from __future__ import annotations

import ctypes
import time

import numpy as np
from llvmlite import ir

from derive.expansion import operation_count
from derive.model import Model
from derive.pipeline import Pipeline
from runtime.ensemble.kernels.kernel_emitter import KernelEmitter
from runtime.trajectory.tableaux import TSIT5
from runtime.vector import jit
from runtime.vector.aligned_arrays import aligned
from runtime.vector.builder import VectorFunction, integer

_CHAINS = 12
_ROUNDS = 7


def _fastest(function, arguments, seconds: float = 0.05) -> float:
    """Least seconds per turn of a kernel whose last argument is the number of turns."""
    turns = 1000
    while True:
        start = time.perf_counter()
        function(*arguments, turns)
        if time.perf_counter() - start > seconds:
            break
        turns *= 4
    best = np.inf
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        function(*arguments, turns)
        best = min(best, (time.perf_counter() - start) / turns)
    return best


def _callable(compiled: jit.CompiledModule, name: str, arguments: int):
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * arguments, ctypes.c_int64)
    return kind(compiled.address(name))


def peak(target: jit.Target) -> float:
    """Floating-point operations per second of independent fused multiply-adds in registers."""
    module = ir.Module("peak")
    vector = VectorFunction(module, "peak", target.lanes, target.fma, 2)
    memory, turns = vector.arguments
    count = vector.builder.ptrtoint(turns, ir.IntType(64))
    scale, shift = vector.load(memory, 0), vector.load(memory, 1)
    start = [vector.load(memory, 2 + k) for k in range(_CHAINS)]

    def body(_, values):
        return [vector.fma(value, scale, shift) for value in values]

    for k, value in enumerate(vector.loop(count, body, start)):
        vector.store(value, memory, 2 + k)
    vector.builder.ret(integer(0))
    compiled = jit.CompiledModule(module, target)
    memory = aligned((2 + _CHAINS) * target.lanes)
    memory[: target.lanes] = 0.5
    seconds = _fastest(_callable(compiled, "peak", 1), (memory.ctypes.data,))
    return 2.0 * _CHAINS * target.lanes / seconds


def rhs_speed(model: Model, target: jit.Target) -> float:
    """Floating-point operations per second of the vector right-hand side, counted as in the manifest."""
    emitter = KernelEmitter(model, TSIT5, target)
    layout = emitter.layout
    vector = VectorFunction(emitter.module, "many", emitter.lanes, target.fma, 2)
    work, turns = vector.arguments
    count = vector.builder.ptrtoint(turns, ir.IntType(64))

    def body(_, __):
        emitter.call_program(vector, emitter.rhs, work, layout.state_at, layout.slopes_at)

    vector.loop(count, body)
    vector.builder.ret(integer(0))
    compiled = jit.CompiledModule(emitter.module, target)
    work = aligned(layout.component_count * emitter.lanes)
    rng = np.random.default_rng(0)
    work[:] = 0.1 * rng.standard_normal(work.size)
    seconds = _fastest(_callable(compiled, "many", 1), (work.ctypes.data,))
    return operation_count(Pipeline.of(model).functions["rhs"]) * emitter.lanes / seconds
