"""The exponential function in vector code, to the last bits of double precision."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from runtime.vector.builder import VectorFunction

_MANTISSA_BITS = 52
_EXPONENT_BIAS = 1023
# Beyond these the result is infinite, and zero.
_LARGEST, _SMALLEST = 710.0, -746.0
_INVERSE_LN2 = 1.4426950408889634
# The sum of these is ln 2. The upper part has so few bits that its product with n, which has eleven at
# most, is exact.
_UPPER_LN2, _LOWER_LN2 = 0.6931471803691238, 1.9082149292705877e-10
# A number becomes whole where this is added, and the last bits of the sum are those of the whole number.
_WHOLE = 1.5 * 2.0**_MANTISSA_BITS
# The series (eʳ − 1 − r)/r² = Σ rᵏ/(k + 2)! to the power that leaves 2e-17 of eʳ for |r| ≤ ½ ln 2.
_SERIES = tuple(float(Fraction(1, math.factorial(k))) for k in range(2, 14))


def exponential(vector: VectorFunction, x: Any) -> Any:
    """eˣ within one unit in the last place, for any x.

    With x = n ln 2 + r and |r| ≤ ½ ln 2 it is 2ⁿ eʳ, where eʳ is the sum of its series.
    """
    builder, words = vector.builder, vector.words
    within = vector.maximum(vector.minimum(x, vector.constant(_LARGEST)), vector.constant(_SMALLEST))
    shifted = vector.fma(within, vector.constant(_INVERSE_LN2), vector.constant(_WHOLE))
    whole = vector.subtract(shifted, vector.constant(_WHOLE))
    minus = vector.negate(whole)
    upper = vector.fma(minus, vector.constant(_UPPER_LN2), within)
    r = vector.fma(minus, vector.constant(_LOWER_LN2), upper)
    rest = vector.fma(vector.multiply(r, r), vector.polynomial(_SERIES, r), r)
    value = vector.add(rest, vector.constant(1.0))
    # The power of two is multiplied in halves, since it may be no normal number where the result is one.
    power = builder.sub(builder.bitcast(shifted, vector.word_type), words(_bits_of_whole()))
    half = builder.ashr(power, words(1))
    for part in (half, builder.sub(power, half)):
        exponent = builder.shl(builder.add(part, words(_EXPONENT_BIAS)), words(_MANTISSA_BITS))
        value = vector.multiply(value, builder.bitcast(exponent, vector.type))
    return vector.select(builder.fcmp_unordered("uno", x, x), x, value)


def _bits_of_whole() -> int:
    """The bits of _WHOLE as a whole number."""
    return (_EXPONENT_BIAS + _MANTISSA_BITS) << _MANTISSA_BITS | 1 << (_MANTISSA_BITS - 1)
