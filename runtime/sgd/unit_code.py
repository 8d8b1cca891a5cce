"""Emits what a unit with a polynomial activation does to sums and kicks, in vector code for a step of SGD.

The chain and the weights use it alike. λ² keeps the code that it had when it was the only activation: no
polynomial is evaluated, and λ² is not rounded by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from derive.activation import QUADRATIC, Activation
from runtime.vector.builder import VectorFunction


@dataclasses.dataclass(frozen=True)
class UnitCode:
    """Emits σ(λ) and ½ σ'(λ) in products and sums; the coefficients are constants of the code.

    The half is exact, and makes the kick of λ² a multiple of λ.
    """

    vector: VectorFunction
    activation: Activation

    def add_output(self, weight: Any, field: Any, total: Any) -> Any:
        """total + weight σ(λ)."""
        vector = self.vector
        if self.activation == QUADRATIC:
            return vector.fma(vector.multiply(weight, field), field, total)
        return vector.fma(weight, self._polynomial(self.activation.coefficients, field), total)

    def kick(self, rate: Any, field: Any) -> Any:
        """rate ½ σ'(λ)."""
        if self.activation == QUADRATIC:
            return self.vector.multiply(rate, field)
        halves = [coefficient / 2 for coefficient in self.activation.derivative(1)]
        return self.vector.multiply(rate, self._polynomial(halves, field))

    def _polynomial(self, coefficients: Sequence[Fraction], x: Any) -> Any:
        """Σ coefficients_k xᵏ by Horner's rule, in x² where it is even or odd."""
        vector, numbers = self.vector, [float(coefficient) for coefficient in coefficients]
        odd, even = any(numbers[1::2]), any(numbers[::2])
        if odd and even:
            return vector.polynomial(numbers, x)
        value = vector.polynomial(numbers[odd::2], vector.multiply(x, x))
        return vector.multiply(value, x) if odd else value
