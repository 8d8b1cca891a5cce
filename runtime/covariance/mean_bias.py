"""Integrates the bias of the mean overlaps at order 1/N with their covariance."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from derive.errors import InputError
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline
from derive.model import Model, require_quadratic
from derive.parameters import scheduled_places
from runtime.covariance.fluctuation_system import FluctuationSystem
from runtime.problem import Problem
from runtime.start.checked_arrays import Array, real_array
from runtime.start.schedule_kinds import CONSTANT
from runtime.system.compiled_system import System

# What errors say about other activations.
BIAS_IS_DERIVED = "the bias at order 1/N is derived"


def initial_bias(model: Model, bias: Any) -> Array | None:
    """N times the bias at a start (n,), in the order of ``model.state``; None if it is not asked for.

    `bias` is False, True for starts whose mean is that of the ODE at any N, or the vector. Those of random
    weights have that mean: w → −w changes the signs of all their overlaps but the norms.

    Raises InputError if it is none of these, or if the bias of this model is not derived.
    """
    chosen = isinstance(bias, (bool, np.bool_))
    if bias is None or (chosen and not bias):
        return None
    require_quadratic(model, BIAS_IS_DERIVED)
    if chosen:
        return np.zeros(model.state_size)
    vector = real_array("bias", bias, (model.state_size,))
    norms = [
        k for k, name in enumerate(model.state) if name in {f"Q_{i}_{i}" for i in range(1, model.p + 1)}
    ]
    if model.constraint == "sphere" and np.any(vector[norms] != 0.0):
        raise InputError("bias", "has an entry of some Q_ii that is not 0, but the sphere fixes Q_ii")
    return vector


@dataclasses.dataclass(frozen=True)
class BiasEquations:
    """What `solve` integrates: the order parameters, the upper triangle of Σ, and m, N times the bias.

    Where a smooth schedule changes the learning rates of SGD, n = m + ½ f is in the place of m, with the
    drift f (`derive.fluctuations.bias_program`).
    """

    system: System
    parts: FluctuationSystem
    problem: Problem

    @property
    def compiled_rhs(self) -> Any:
        """As the protocol `Equations` has it."""
        return self.parts.compiled_rhs_with_bias

    @property
    def compiled_loss(self) -> Any:
        """As the protocol `Equations` has it."""
        return self.system.compiled_loss

    @property
    def operations(self) -> int:
        """Rough cost of one call of `compiled_rhs`."""
        return FluctuationPipeline.of(self.parts.model).operations["rhs_with_bias"]

    def shift(self, states: Array, alpha: Array) -> Array:
        """n − m at packed order parameters (times, n) of these times."""
        problem, shifts = self.problem, np.zeros(states.shape)
        if problem.schedule.kind == CONSTANT or problem.model.flow == "gradient":
            return shifts
        places = list(scheduled_places(problem.model))
        factors = problem.schedule.factors(alpha)
        for y, factor, shift in zip(states, factors, shifts, strict=True):
            packed = problem.parameters.packed[0].copy()
            packed[places] *= factor
            self.system.compiled_rhs(y, packed, shift)
        return np.asarray(0.5 * shifts)

    def losses(self, states: Array) -> Array:
        """N times the bias of the loss at states (times, …) with Σ and m; NaN where a state has NaN."""
        function, packed = self.parts.compiled_loss_bias, self.problem.parameters.packed[0]
        return np.array([function(state, packed) for state in np.ascontiguousarray(states)])
