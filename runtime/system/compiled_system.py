"""A loaded system: its compiled right-hand side, loss and Jacobian as functions of overlaps Q and R."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.errors import InputError
from derive.model import Model
from runtime.start.checked_arrays import (
    axis_count,
    real_array,
    real_number,
    symmetric_part,
    teacher_overlaps,
    vectors,
)
from runtime.system.compilation import RIGHT_HAND_SIDE

Array = NDArray[np.float64]


class GeneratedCode:
    """A verified generated module and its compiled functions; made by loading.

    model
        What was derived.
    folder
        Where the generated files are.
    module
        The generated module, for use in your own Numba code; its functions check nothing.
    operations
        Floating-point operations of the right-hand side.
    """

    def __init__(self, model: Any, folder: Path, module: ModuleType, operations: int) -> None:
        self.model = model
        self.folder = folder
        self.module = module
        self.operations = operations

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model.name} from {self.folder}>"

    @cached_property
    def compiled_rhs(self) -> Any:
        """The generated ``rhs(y, parameters, dy)``, compiled for contiguous float64 vectors.

        It checks no lengths: a vector that is too short is read and written beyond its end.
        """
        self.module.rhs.compile(RIGHT_HAND_SIDE)
        return self.module.rhs

    @cached_property
    def _compiled_loss(self) -> Any:
        return self.first_call("loss")

    def _losses(self, states: ArrayLike, parameters: Array) -> Array:
        """The losses at packed states (m, n), shape (m,), NaN where a state has NaN; raises InputError."""
        n = self.model.state_size
        if axis_count("states", states) != 2:
            raise InputError("states", f"has the shape {np.shape(states)}, not (states, {n})")
        rows = vectors("states", states, n)
        return np.array([self._compiled_loss(y, parameters) for y in rows], dtype=np.float64)

    def first_call(self, name: str) -> Any:
        """The function `name` of the module, after a first call that compiles it and is of no other use."""
        function = getattr(self.module, name)
        n = self.model.state_size
        y, parameters = np.ones(n), np.ones(len(self.model.parameters))
        function(y, parameters, *([np.empty((n, n))] if name == "jacobian" else []))
        return function


class System(GeneratedCode):
    """One generated system; made by `runtime.load`.

    model, folder, operations
        As for `GeneratedCode`.
    module
        The generated module: ``rhs``, ``loss``, ``tangent``, ``jacobian``, ``pack``, ``unpack``
        and ``pack_parameters``. The first four are raw compiled code, without any check of lengths.

    Methods take arrays of any real type and layout, or lists, and raise InputError on wrong shapes.
    """

    model: Model

    @cached_property
    def _compiled_jacobian(self) -> Any:
        return self.first_call("jacobian")

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

    def parameters(self, eta: float, label_noise: float = 0.0, T: ArrayLike | None = None) -> Array:
        """The vector of run-time parameters of the generated functions."""
        teacher = teacher_overlaps(self.model, T)
        rate = real_number("eta", eta)
        noise = real_number("label_noise", label_noise, least=0.0)
        general = [teacher] if self.model.teacher == "general" else []
        packed: Array = self.module.pack_parameters(rate, noise, *general)
        return packed

    def pack(self, Q: ArrayLike, R: ArrayLike) -> Array:
        """State vectors (..., n) from Q (..., p, p), of which the upper triangle is read, and R."""
        return self._packed(*self._overlaps(Q, R))

    def _overlaps(self, Q: ArrayLike, R: ArrayLike) -> tuple[Array, Array]:
        leading = np.shape(Q)[:-2] if axis_count("Q", Q) else ()
        q = real_array("Q", Q, (*leading, self.model.p, self.model.p))
        return q, real_array("R", R, (*leading, self.model.p, self.model.pstar))

    def _symmetric_state(self, Q: ArrayLike, R: ArrayLike) -> Array:
        """As `pack`, but Q must be symmetric up to rounding; it is replaced by its symmetric part."""
        q, r = self._overlaps(Q, R)
        return self._packed(symmetric_part("Q", q), r)

    def _packed(self, q: Array, r: Array) -> Array:
        # For a stack, `pack` returns an array whose states are not contiguous in memory.
        packed: Array = np.ascontiguousarray(self.module.pack(q, r))
        return packed

    def unpack(self, y: ArrayLike) -> tuple[Array, Array]:
        """Q (..., p, p) and R (..., p, p*) from state vectors (..., n); NaN stays NaN."""
        q, r = self.module.unpack(vectors("y", y, self.model.state_size))
        return q, r

    def rhs(
        self,
        Q: ArrayLike,
        R: ArrayLike,
        eta: float,
        label_noise: float = 0.0,
        T: ArrayLike | None = None,
    ) -> tuple[Array, Array]:
        """The drift (dQ/dα, dR/dα) at overlaps Q (..., p, p) and R (..., p, p*).

        Q may be any symmetric matrix, even one that no weights have. Raises InputError on wrong shapes,
        and if Q is not symmetric.
        """
        states = self._symmetric_state(Q, R)
        parameters = self.parameters(eta, label_noise, T)
        flat = states.reshape(-1, self.model.state_size)
        drift = np.empty_like(flat)
        for y, dy in zip(flat, drift, strict=True):
            self.compiled_rhs(y, parameters, dy)
        return self.unpack(drift.reshape(states.shape))

    def loss(self, Q: ArrayLike, R: ArrayLike, T: ArrayLike | None = None) -> Any:
        """Generalisation error ε at Q (..., p, p), R (..., p, p*): a float, or an array (...).

        It is a difference of terms of order one, so that values below about 1e-16 are rounding. Raises
        InputError as `rhs` does.
        """
        states = self._symmetric_state(Q, R)
        values = self.loss_of_states(states.reshape(-1, self.model.state_size), T)
        return float(values[0]) if states.ndim == 1 else values.reshape(states.shape[:-1])

    def loss_of_states(self, states: ArrayLike, T: ArrayLike | None = None) -> Array:
        """ε of packed states (m, n), shape (m,); NaN where a state has NaN."""
        return self._losses(states, self.parameters(0.0, 0.0, T))

    def jacobian(
        self,
        Q: ArrayLike,
        R: ArrayLike,
        eta: float,
        label_noise: float = 0.0,
        T: ArrayLike | None = None,
    ) -> Array:
        """∂(dy/dα)ᵢ/∂yⱼ at one state, shape (n, n), in the order of ``model.state``."""
        y = self._symmetric_state(Q, R)
        if y.ndim != 1:
            raise InputError("Q", f"has the shape {np.shape(Q)}: the Jacobian takes one state")
        return self.jacobian_of_state(y, self.parameters(eta, label_noise, T))

    def jacobian_of_state(self, y: ArrayLike, parameters: ArrayLike) -> Array:
        """The Jacobian (n, n) at a packed state (n,), with packed parameters of this model."""
        state, packed = self._state("y", y), self._packed_parameters(parameters)
        result = np.empty((state.size, state.size))
        self._compiled_jacobian(state, packed, result)
        return result


def as_system(value: Any) -> System:
    """The value, if it is a System; else InputError, which says how a Model becomes one."""
    if isinstance(value, Model):
        raise InputError("system", "is a Model: load it with runtime.load(model)")
    if not isinstance(value, System):
        raise InputError("system", f"is of the type {type(value).__name__}, not a System of runtime.load")
    return value
