"""Vector code in small modules, called through ctypes; and the scalar code to compare with."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir
from table_numbers import numbers

from derive import Model
from derive.pipeline import Pipeline
from derive.program import Program
from runtime.ensemble.kernels.form_by_size import FORMS
from runtime.ensemble.kernels.program_form import ProgramAddresses
from runtime.vector.builder import ALIGNMENT, BYTES, VectorFunction, integer
from runtime.vector.jit import CompiledModule, Target

EPSILON = np.finfo(np.float64).eps
# Nobody may overwrite it.
GUARD = 12345.5
_GUARD_COMPONENTS = 4


def aligned(components: int, lanes: int, fill: float = 0.0) -> np.ndarray:
    """An array (components, lanes) that vector code can read and write."""
    room = np.full(components * lanes + ALIGNMENT // BYTES, fill)
    skip = (-room.ctypes.data % ALIGNMENT) // BYTES
    return room[skip : skip + components * lanes].reshape(components, lanes)


def call(compiled: CompiledModule, name: str, *arrays: np.ndarray) -> int:
    """Call a function of vector code with the addresses of the arrays."""
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * len(arrays))
    return function(compiled.address(name))(*(array.ctypes.data for array in arrays))


def compile_function(
    target: Target, arguments: int, emit: Callable[[VectorFunction], Any]
) -> CompiledModule:
    """A module with one function, "f"; what `emit` returns is its result, None is 0."""
    module = ir.Module("test")
    vector = VectorFunction(module, "f", target.lanes, target.fma, arguments)
    result = emit(vector)
    vector.builder.ret(integer(0) if result is None else result)
    return CompiledModule(module, target)


class Programs:
    """The drift and the loss of a model, or other programs, as vector code of one form."""

    def __init__(
        self, model: Model, target: Target, form: str, programs: Mapping[str, Program] | None = None
    ) -> None:
        self.lanes = target.lanes
        functions = Pipeline.of(model).functions
        self.programs = programs or {name: functions[name] for name in ("rhs", "loss")}
        self.forms = {
            name: FORMS[form](model, program, target.tile) for name, program in self.programs.items()
        }
        module = ir.Module(model.name)
        for name, emitted in self.forms.items():
            vector = VectorFunction(module, name, target.lanes, target.fma, 4)
            emitted.emit(vector, ProgramAddresses(*vector.arguments))
            vector.builder.ret(integer(0))
        self.compiled = CompiledModule(module, target)

    def __call__(self, name: str, states: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Outputs (lane, number) of a program at states and parameters (lane, number)."""
        program = self.programs[name]
        inputs = []
        for rows in (states, parameters):
            memory = aligned(rows.shape[1], self.lanes)
            memory[:] = rows.T
            inputs.append(memory)
        count = sum(
            1 if isinstance(output, str) else len(list(program.entries(output)))
            for output in program.outputs
        )
        scratch_size = self.forms[name].scratch_components
        # The scratch array holds no number at first, since what is read there must have been written.
        scratch = aligned(scratch_size + _GUARD_COMPONENTS, self.lanes, np.nan)
        scratch[scratch_size:] = GUARD
        result = aligned(count + _GUARD_COMPONENTS, self.lanes, GUARD)
        call(self.compiled, name, *inputs, scratch, result)
        assert (scratch[scratch_size:] == GUARD).all()
        assert (result[count:] == GUARD).all()
        return result[:count].T.copy()


@lru_cache(maxsize=64)
def scalar_module(model: Model) -> SimpleNamespace:
    """The generated module, its functions in plain Python: nothing is fused or reordered."""
    header = "from numba import njit\n"
    text = Pipeline.of(model).python
    assert text.count(header) == 1
    names: dict[str, Any] = {}
    plain = "def njit(**options):\n    return lambda function: function\n"
    exec(compile(text.replace(header, plain), model.name, "exec"), names)  # noqa: S102
    return SimpleNamespace(**names)


def scalar_drift(model: Model, y: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    slope = np.full(model.state_size, np.nan)
    scalar_module(model).rhs(y, parameters, slope)
    return slope


def random_lanes(model: Model, lanes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """States and parameters of random weights, every lane with its own η, Δ and teacher."""
    generator = np.random.default_rng(seed)
    module, p, width = scalar_module(model), model.p, model.p + model.pstar
    states, parameters = [], []
    for _ in range(lanes):
        weights = generator.standard_normal((width, width + 3)) / np.sqrt(width)
        if model.teacher == "orthonormal":
            weights[p:] = np.eye(model.pstar, width + 3)
        C = weights @ weights.T
        C = (C + C.T) / 2
        teacher = {"T": C[p:, p:]} if model.teacher == "general" else {}
        states.append(module.pack(C[:p, :p], C[:p, p:]))
        rate, noise = generator.uniform(0.01, 1.0), generator.uniform(0.0, 1.0)
        parameters.append(module.pack_parameters(**numbers(model, rate, noise), **teacher))
    return np.array(states), np.array(parameters)


def largest_terms(model: Model, y: np.ndarray, parameters: np.ndarray) -> tuple[float, float]:
    """Sizes of the terms that drift and loss are sums of: rounding is proportional to these.

    The closed form with every sign positive; the drift itself may cancel.
    """
    module, p = scalar_module(model), model.p
    Q, R = module.unpack(y)
    T = np.eye(model.pstar)
    if model.teacher == "general":
        rows, columns = np.triu_indices(model.pstar)
        T[rows, columns] = T[columns, rows] = parameters[model.parameters.index("T_1_1") :][: rows.size]
    C = np.abs(np.block([[Q, R], [R.T, T]]))
    D = np.diag([module.a] * p + [module.b] * model.pstar)
    CDC = C @ D @ C
    s, t = np.trace(D @ C), np.trace(D @ CDC)
    step = 2.0 * module.a * parameters[0]
    terms = 2.0 * step * (s * C + 2.0 * CDC)
    if model.flow == "sgd":
        noise = (s**2 + 2.0 * t + parameters[1]) * C + 4.0 * s * CDC + 8.0 * CDC @ D @ C
        terms = terms + step**2 * noise
    largest = float(np.max(terms[:p]))
    if model.constraint == "sphere":
        growth = np.max(np.diag(terms)[:p] / np.diag(Q))
        largest += float(growth * np.max(C[:p]))
    return largest, 0.5 * (s**2 + 2.0 * t)
