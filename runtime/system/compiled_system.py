"""A loaded system: its compiled right-hand side, loss and Jacobian as functions of overlaps Q and R."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.errors import InputError
from derive.model import Model
from derive.parameters import NUMBERS
from runtime.concurrency.interrupts import remembered_interrupts
from runtime.start.checked_arrays import axis_count, real_array, symmetric_part, vectors
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.system.compilation import RIGHT_HAND_SIDE

Array = NDArray[np.float64]
# Drifts are asked for at any values of these; runs have positive ones.
_RATES = tuple(number.name for number in NUMBERS if number.scheduled)


@dataclasses.dataclass(frozen=True)
class VerifiedCode:
    """A verified generated module, and the floating-point operations of its right-hand side."""

    module: ModuleType
    operations: int


class GeneratedCode:
    """Generated code of a model, and its compiled functions; made by loading.

    Nothing is derived, verified or compiled before it is used for the first time, by one thread for all.

    model
        What was derived.
    folder
        Where the generated files are, or will be.
    """

    def __init__(self, model: Any, folder: Path, verify: Callable[[], VerifiedCode]) -> None:
        self.model = model
        self.folder = folder
        self._verify = verify
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model.name} from {self.folder}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, and what another process receives, verifies and compiles on first use again.
        return type(self), (self.model, self.folder, self._verify)

    @cached_property
    def _verified(self) -> VerifiedCode:
        with self._lock:
            # Another thread may have been faster.
            known: VerifiedCode | None = self.__dict__.get("_verified")
            return self._verify() if known is None else known

    @property
    def module(self) -> ModuleType:
        """The generated module, for use in your own Numba code; its functions check nothing."""
        return self._verified.module

    @property
    def operations(self) -> int:
        """Floating-point operations of the right-hand side."""
        return self._verified.operations

    @cached_property
    def compiled_rhs(self) -> Any:
        """The generated ``rhs(y, parameters, dy)``, compiled for contiguous float64 vectors.

        It checks no lengths: a vector that is too short is read and written beyond its end.
        """
        # The code is verified before the lock is taken: up to Python 3.11, a cached property has one lock
        # for all systems, and two threads that take both in different orders would wait for each other.
        return self._compiled(self.module.rhs)

    def _compiled(self, function: Any) -> Any:
        """A function of the module with the arguments of rhs, after it was compiled for them."""
        with self._lock, remembered_interrupts():
            function.compile(RIGHT_HAND_SIDE)
            return function

    @cached_property
    def compiled_loss(self) -> Any:
        """The generated ``loss(y, parameters)``, compiled like `compiled_rhs`."""
        module = self.module
        with self._lock:
            return self._first_call(module.loss)

    def packed_losses(self, states: ArrayLike, parameters: Array) -> Array:
        """ε of packed states (m, n) with packed parameters, shape (m,); NaN where a state has NaN."""
        n = self.model.state_size
        if axis_count("states", states) != 2:
            raise InputError("states", f"has the shape {np.shape(states)}, not (states, {n})")
        rows = vectors("states", states, n)
        return np.array([self.compiled_loss(y, parameters) for y in rows], dtype=np.float64)

    def _first_call(self, function: Any, *results: Array) -> Any:
        """A function of the module, after a first call that compiles it and is of no other use."""
        with remembered_interrupts():
            function(np.ones(self.model.state_size), np.ones(len(self.model.parameters)), *results)
        return function


class System(GeneratedCode):
    """One generated system; made by `oo.load`.

    model, folder, operations
        As for `GeneratedCode`. The system of a model is derived, verified and compiled on first use.
    module
        The generated module: ``rhs``, ``loss``, ``tangent``, ``jacobian``, ``pack``, ``unpack``
        and ``pack_parameters``. The first four are raw compiled code, without any check of lengths.

    Methods take arrays of any real type and layout, or lists, and raise InputError on wrong shapes.
    """

    model: Model

    @cached_property
    def _compiled_jacobian(self) -> Any:
        n = self.model.state_size
        return self._first_call(self.module.jacobian, np.empty((n, n)))

    def tangent(self, y: ArrayLike, parameters: ArrayLike, direction: ArrayLike) -> Array:
        """The derivative of the packed right-hand side at y along a packed direction, both (n,)."""
        state, packed = self._state("y", y), self._packed_parameters(parameters)
        along = self._state("direction", direction)
        result = np.empty_like(state)
        self.module.tangent(state, packed, along, result)
        return result

    def _state(self, option: str, y: ArrayLike) -> Array:
        # NaN is allowed, since a solver may evaluate at a state that has overflowed.
        return real_array(option, y, (self.model.state_size,), finite=False)

    def _packed_parameters(self, parameters: ArrayLike) -> Array:
        return real_array("parameters", parameters, (len(self.model.parameters),))

    @takes_parameters(positional=True)
    def parameters(self, *_: Any, **values: Any) -> Array:
        """The vector of run-time parameters that the generated functions take.

        Learning rates may be any numbers. The weights of a trained second layer are checked, but are part
        of states.
        """
        return np.array(RunParameters.of(self.model, values, unbounded=_RATES).packed[0])

    def pack(self, Q: ArrayLike, R: ArrayLike, v: ArrayLike | None = None) -> Array:
        """State vectors (..., n) from Q (..., p, p), of which the upper triangle is read, and R.

        A trained second layer also has its weights v (..., p); other models take none.
        """
        q, r = self._overlaps(Q, R)
        if not self.model.trained:
            if v is not None:
                raise InputError("v", f"is not part of the state of {self.model.name}")
            return self._packed(q, r)
        if v is None:
            raise InputError("v", f"is required: {self.model.name} trains its second layer")
        return self._packed(q, r, real_array("v", v, (*q.shape[:-2], self.model.p)))

    def _overlaps(self, Q: ArrayLike, R: ArrayLike) -> tuple[Array, Array]:
        leading = np.shape(Q)[:-2] if axis_count("Q", Q) else ()
        q = real_array("Q", Q, (*leading, self.model.p, self.model.p))
        return q, real_array("R", R, (*leading, self.model.p, self.model.pstar))

    def _symmetric_state(
        self, Q: ArrayLike, R: ArrayLike, parameters: Mapping[str, Any]
    ) -> tuple[Array, Array]:
        """States of symmetric Q, of R and of a trained v among the parameters; and the packed parameters.

        Q must be symmetric up to rounding, and is replaced by its symmetric part. A trained v may have the
        leading axes of Q, or be the same for all states.
        """
        q, r = self._overlaps(Q, R)
        overlaps, name, values = [symmetric_part("Q", q), r], "student_weights", dict(parameters)
        given, weights = values.get(name), (*q.shape[:-2], self.model.p)
        v = None
        if self.model.trained and len(weights) > 1 and given is not None and axis_count(name, given) > 1:
            v = real_array(name, values.pop(name), weights)
        run = RunParameters.of(self.model, values, unbounded=_RATES)
        if self.model.trained:
            overlaps.append(np.broadcast_to(run.vectors[name][0], weights) if v is None else v)
        return self._packed(*overlaps), run.packed[0]

    def _packed(self, *parts: Array) -> Array:
        # For a stack, `pack` returns an array whose states are not contiguous in memory.
        packed: Array = np.ascontiguousarray(self.module.pack(*parts))
        return packed

    def unpack(self, y: ArrayLike) -> tuple[Array, ...]:
        """Q (..., p, p), R (..., p, p*), and a trained v (..., p), from states (..., n); NaN stays NaN."""
        parts: tuple[Array, ...] = self.module.unpack(vectors("y", y, self.model.state_size))
        return parts

    @takes_parameters(positional=True)
    def rhs(self, Q: ArrayLike, R: ArrayLike, *_: Any, **parameters: Any) -> tuple[Array, ...]:
        """The drift (dQ/dα, dR/dα) at overlaps Q (..., p, p) and R (..., p, p*); dv/dα too if v is trained.

        A trained v is given as `student_weights`, (p,) or (..., p). Q may be any symmetric matrix, even one
        that no weights have. Raises InputError on wrong shapes, and if Q is not symmetric.
        """
        states, packed = self._symmetric_state(Q, R, parameters)
        flat = states.reshape(-1, self.model.state_size)
        drift = np.empty_like(flat)
        for y, dy in zip(flat, drift, strict=True):
            self.compiled_rhs(y, packed, dy)
        return self.unpack(drift.reshape(states.shape))

    @takes_parameters(positional=True, loss=True)
    def loss(self, Q: ArrayLike, R: ArrayLike, *_: Any, **parameters: Any) -> Any:
        """Generalisation error ε at Q (..., p, p), R (..., p, p*): a float, or an array (...).

        A trained v is given as `student_weights`, as for `rhs`. The loss is a difference of terms of order
        one, so that values below about 1e-16 are rounding. Raises InputError as `rhs` does.
        """
        states, packed = self._symmetric_state(Q, R, {**self._unused_by_loss, **parameters})
        values = self.packed_losses(states.reshape(-1, self.model.state_size), packed)
        return float(values[0]) if states.ndim == 1 else values.reshape(states.shape[:-1])

    @takes_parameters(positional=True, loss=True)
    def loss_of_states(self, states: ArrayLike, *_: Any, **parameters: Any) -> Array:
        """ε of packed states (m, n), shape (m,); NaN where a state has NaN."""
        if self.model.trained and parameters.get("student_weights") is not None:
            raise InputError("student_weights", "are part of the states")
        return self.packed_losses(states, self.parameters(**self._unused_by_loss, **parameters))

    @property
    def _unused_by_loss(self) -> dict[str, float]:
        """Values of the parameters that have to be given, but that the loss does not depend on."""
        return {
            number.name: 0.0
            for number in NUMBERS
            if number.default is None and number.belongs_to(self.model) and not number.in_loss
        }

    @takes_parameters(positional=True)
    def packed_state(self, Q: ArrayLike, R: ArrayLike, *_: Any, **parameters: Any) -> tuple[Array, Array]:
        """One state (n,) and the parameters as generated functions take them; errors as those of `rhs`."""
        y, packed = self._symmetric_state(Q, R, parameters)
        if y.ndim != 1:
            raise InputError("Q", f"has the shape {np.shape(Q)}: one state is wanted")
        return y, packed

    @takes_parameters(positional=True)
    def jacobian(self, Q: ArrayLike, R: ArrayLike, *_: Any, **parameters: Any) -> Array:
        """∂(dy/dα)ᵢ/∂yⱼ at one state, shape (n, n), in the order of ``model.state``."""
        return self.jacobian_of_state(*self.packed_state(Q, R, **parameters))

    def jacobian_of_state(self, y: ArrayLike, parameters: ArrayLike) -> Array:
        """The Jacobian (n, n) at a packed state (n,), with packed parameters of this model."""
        state, packed = self._state("y", y), self._packed_parameters(parameters)
        result = np.empty((state.size, state.size))
        self._compiled_jacobian(state, packed, result)
        return result


def as_system(value: Any) -> System:
    """The value, if it is a System; else InputError, which says how a Model becomes one."""
    if isinstance(value, Model):
        raise InputError("system", "is a Model: load it with overlap_ode.load(model)")
    if not isinstance(value, System):
        raise InputError(
            "system", f"is of the type {type(value).__name__}, not a System: load one with overlap_ode.load"
        )
    return value
