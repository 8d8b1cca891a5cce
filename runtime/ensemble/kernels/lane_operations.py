"""The operations on vectors of lanes over which the rules of steps, events and schedules are traced.

`controller`, `event_search` and `schedule_rule` of `runtime.trajectory` state these rules; here errors are
their log₂.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from runtime.vector.builder import INT32, VectorFunction
from runtime.vector.exponential import exponential

_MANTISSA_BITS = 52
_EXPONENT_BIAS = 1023
# Polynomials for log₂(1.5 + x) and 2^(x + ½), |x| ≤ ½, interpolated at Chebyshev's points. They are right
# to 1e-6, more than a step size needs. A fit at run time would depend on the BLAS.
_LOG2 = (
    0.5849625007211561,
    0.9618208211752002,
    -0.32061303548492204,
    0.1417247357974217,
    -0.07079685998119041,
    0.04390747983075828,
    -0.024568534745087942,
)
_EXP2 = (
    1.414213562373095,
    0.9802581804401733,
    0.33973158738456355,
    0.07849348039565995,
    0.013601986198312132,
    0.0018951067270255148,
    0.00021865784823863317,
)


class LaneOperations:
    """Operations whose operands are vectors, or numbers for all lanes; conditions are masks."""

    def __init__(self, vector: VectorFunction) -> None:
        self._vector = vector

    def _value(self, x: Any) -> Any:
        return self._vector.constant(x) if isinstance(x, float) else x

    def add(self, x: Any, y: Any) -> Any:
        return self._vector.add(self._value(x), self._value(y))

    def subtract(self, x: Any, y: Any) -> Any:
        return self._vector.subtract(self._value(x), self._value(y))

    def multiply(self, x: Any, y: Any) -> Any:
        return self._vector.multiply(self._value(x), self._value(y))

    def divide(self, x: Any, y: Any) -> Any:
        return self._vector.divide(self._value(x), self._value(y))

    def exp(self, x: Any) -> Any:
        return exponential(self._vector, x)

    def sqrt(self, x: Any) -> Any:
        return self._vector.unary("sqrt", x)

    def maximum(self, x: Any, y: Any) -> Any:
        return self._vector.maximum(self._value(x), self._value(y))

    def minimum(self, x: Any, y: Any) -> Any:
        return self._vector.minimum(self._value(x), self._value(y))

    def at_most(self, x: Any, y: Any) -> Any:
        return self._vector.builder.fcmp_ordered("<=", self._value(x), self._value(y))

    def select(self, condition: Any, x: Any, y: Any) -> Any:
        return self._vector.select(condition, self._value(x), self._value(y))

    def reaches(self, time: Any, stretch: float, step: Any, end: Any) -> Any:
        """Whether the step, made longer by a factor, reaches the end."""
        return self.at_most(self.subtract(end, time), self.multiply(step, stretch))

    def powers(self, factor: float, x: Any, m: Any, y: Any, n: Any) -> Any:
        """factor · (2ˣ)ᵐ · (2ʸ)ⁿ."""
        exponent = self._vector.fma(n, y, self.multiply(m, x))
        return self.multiply(factor, exp2(self._vector, exponent))


def log2(vector: VectorFunction, x: Any) -> Any:
    """log₂ of positive normal numbers, to about 1e-6."""
    builder, words = vector.builder, vector.words
    bits = builder.bitcast(x, vector.word_type)
    exponent = builder.sub(builder.lshr(bits, words(_MANTISSA_BITS)), words(_EXPONENT_BIAS))
    fraction = builder.and_(bits, words((1 << _MANTISSA_BITS) - 1))
    mantissa = builder.or_(fraction, words(_EXPONENT_BIAS << _MANTISSA_BITS))
    m = builder.bitcast(mantissa, vector.type)
    whole = builder.sitofp(builder.trunc(exponent, ir.VectorType(INT32, vector.lanes)), vector.type)
    return vector.add(whole, vector.polynomial(_LOG2, vector.subtract(m, vector.constant(1.5))))


def exp2(vector: VectorFunction, x: Any) -> Any:
    """2ˣ for −60 ≤ x ≤ 60, to about 1e-6; clamped outside."""
    builder = vector.builder
    x = vector.minimum(vector.maximum(x, vector.constant(-60.0)), vector.constant(60.0))
    whole = vector.unary("floor", x)
    small = builder.fptosi(whole, ir.VectorType(INT32, vector.lanes))
    exponent = builder.add(builder.sext(small, vector.word_type), vector.words(_EXPONENT_BIAS))
    power = builder.shl(exponent, vector.words(_MANTISSA_BITS))
    scale = builder.bitcast(power, vector.type)
    rest = vector.subtract(vector.subtract(x, whole), vector.constant(0.5))
    return vector.multiply(scale, vector.polynomial(_EXP2, rest))
