"""Vector code in small modules, called through ctypes; and the scalar code to compare with."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir

from derive import Model
from derive.expansion import evaluate
from derive.parameters import PARAMETERS
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
# Units of rounding, relative to the largest terms of the sums.
ALLOWED = 6.0


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
        count = sum(1 if isinstance(output, str) else program.size_of(output) for output in program.outputs)
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


def random_parameters(model: Model, generator: np.random.Generator, T: np.ndarray) -> dict[str, Any]:
    """Values of all run-time parameters: rates from 0 to 1, batches of 1 to 4, weights of either sign."""
    values: dict[str, Any] = {}
    for name, parameter in PARAMETERS.items():
        if not parameter.belongs_to(model):
            continue
        if len(parameter.shape) == 2:
            values[name] = T
        elif parameter.shape:
            values[name] = generator.standard_normal(getattr(model, parameter.shape[0]))
        elif parameter.whole:
            values[name] = float(generator.integers(1, 5))
        else:
            values[name] = generator.uniform(0.01, 1.0)
    return values


def random_lanes(model: Model, lanes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """States and parameters of random weights, every lane with its own parameters and teacher."""
    generator = np.random.default_rng(seed)
    module, p, width = scalar_module(model), model.p, model.p + model.pstar
    states, parameters = [], []
    for _ in range(lanes):
        weights = generator.standard_normal((width, width + 3)) / np.sqrt(width)
        if model.teacher == "orthonormal":
            weights[p:] = np.eye(model.pstar, width + 3)
        C = weights @ weights.T
        C = (C + C.T) / 2
        values = random_parameters(model, generator, C[p:, p:])
        second = [values.pop("student_weights")] if model.trained else []
        states.append(module.pack(C[:p, :p], C[:p, p:], *second))
        parameters.append(module.pack_parameters(**values))
    return np.array(states), np.array(parameters)


def largest_terms(model: Model, y: np.ndarray, parameters: np.ndarray) -> tuple[float, float]:
    """Sizes of the terms that drift and loss are sums of: rounding is proportional to these.

    The closed form, or the program of another activation, with every sign positive; the drift itself may
    cancel.
    """
    if not model.quadratic:
        return _program_terms(model, y, parameters)
    module, p, pstar = scalar_module(model), model.p, model.pstar
    known = dict(zip(model.parameters, parameters, strict=True))
    Q, R, *second = module.unpack(y)
    T = np.eye(pstar)
    if model.teacher == "general":
        for r, s in zip(*np.triu_indices(pstar), strict=True):
            T[r, s] = T[s, r] = known[f"T_{r + 1}_{s + 1}"]
    v = second[0] if second else np.array([known.get(f"v_{i + 1}", 1.0) for i in range(p)])
    vstar = np.array([known.get(f"vstar_{r + 1}", 1.0) for r in range(pstar)])
    C = np.abs(np.block([[Q, R], [R.T, T]]))
    d = np.abs(np.concatenate([module.a * v, module.b * vstar]))
    CDC = C @ np.diag(d) @ C
    s, t = np.sum(d * np.diag(C)), np.sum(d * np.diag(CDC))
    mean = s * C + 2.0 * CDC
    steps, decay = 2.0 * known["eta"] * d[:p], known["eta"] * known["weight_decay"]
    terms = 2.0 * np.max(steps) * mean + 2.0 * decay * C
    if model.flow == "sgd":
        noise = (s**2 + 2.0 * t + known["label_noise"]) * C + 4.0 * s * CDC + 8.0 * CDC @ np.diag(d) @ C
        terms = terms + known["inverse_batch"] * np.max(steps) ** 2 * noise
    largest = float(np.max(terms[:p]))
    if model.constraint == "sphere":
        growth = np.max(np.diag(terms)[:p] / np.diag(Q))
        largest += float(growth * np.max(C[:p]))
    if model.trained:
        largest = max(largest, float(known["eta_second"] * module.a * np.max(np.diag(mean)[:p])))
    return largest, 0.5 * (s**2 + 2.0 * t)


def _program_terms(model: Model, y: np.ndarray, parameters: np.ndarray) -> tuple[float, float]:
    module, functions = scalar_module(model), Pipeline.of(model).functions
    known = dict(zip((*model.state, *model.parameters), np.abs([*y, *parameters]), strict=True))
    known |= {"a": module.a, "b": module.b}
    sizes = []
    for name in ("rhs", "loss"):
        values = evaluate(
            functions[name],
            known,
            lambda terms: sum(abs(float(value)) * math.prod(factors) for value, factors in terms),
            lambda value: 1.0 / value,
        )
        sizes.append(float(max(values.values())))
    return sizes[0], sizes[1]


def assert_equals_scalar_code(model: Model, target: Target, form: str, seed: int) -> None:
    """Compare a form of vector code with the generated scalar code, at random states and parameters."""
    states, parameters = random_lanes(model, target.lanes, seed)
    programs = Programs(model, target, form)
    drifts = programs("rhs", states, parameters)
    losses = programs("loss", states, parameters)[:, 0]
    for y, values, drift, loss in zip(states, parameters, drifts, losses, strict=True):
        terms, loss_terms = largest_terms(model, y, values)
        error = np.max(np.abs(drift - scalar_drift(model, y, values)))
        assert error <= ALLOWED * EPSILON * terms
        if model.constraint == "sphere":
            # Norms do not change at all, whatever the rounding.
            norms = np.diagonal(scalar_module(model).unpack(drift)[0])
            assert (norms == 0.0).all()
        assert abs(loss - scalar_module(model).loss(y, values)) <= ALLOWED * EPSILON * loss_terms
