"""Random numbers in vector code: every lane has a stream of its own.

Uniform bits come from xoshiro256++ (D. Blackman and S. Vigna, ACM TOMS 47, 36 (2021)), normal
numbers from G. E. P. Box and M. E. Muller (Ann. Math. Stat. 29, 610 (1958)), χ² from
G. Marsaglia and W. W. Tsang (ACM TOMS 26, 363 (2000)). Every method is exact but for rounding:
uniform numbers are the 2⁵² midpoints (k + ½)/2⁵², so no normal number is larger than 8.6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from runtime.vector.builder import INT32, VectorFunction

# Number of 64-bit words in the state of a stream.
WORDS = 4
_MANTISSA_BITS = 52
_ONE = 0x3FF0000000000000
_SIGN = 1 << 63
_LN2 = 0.6931471805599453

# Polynomials in z that are right to rounding. They were interpolated at Chebyshev's points once and for
# all, since a fit at run time would depend on the BLAS. These are sin(πy/2)/y and cos(πy/2) as functions
# of z = y² from 0 to ¼, for angles of |y| ≤ ½ quarter turns.
_SINE = (
    1.5707963267948966,
    -0.6459640975062845,
    0.07969262624813821,
    -0.0046817541669627516,
    0.00016044140647863966,
    -3.599520173988172e-06,
    5.747590746198382e-08,
)
_COSINE = (
    0.9999999999999998,
    -1.2337005501360783,
    0.2536695078963196,
    -0.020863480674279344,
    0.0009192594889100292,
    -2.519853296689689e-05,
    4.634493961930275e-07,
)
# This is (artanh(s)/s − 1)/s² as a function of z = s² from 0 to 0.0295: log m = 2 artanh s with
# s = (m − 1)/(m + 1), for √½ < m ≤ √2.
_LOG = (
    0.3333333333333328,
    0.20000000000141935,
    0.1428571419812663,
    0.11111133373428078,
    0.09088054091797584,
    0.07893876283051358,
    -0.01285093357946534,
    1.7019109212139722,
    -13.796932767838548,
)


def streams(seed: int, kind: int, first: int, count: int, words: int = WORDS) -> NDArray[np.uint64]:
    """Initial words (count, words) of the streams `first`, `first` + 1, … of a seed.

    They are blocks of a Philox counter with the seed as key (and `kind`, for another set of
    streams of the same seed), so stream k is the same wherever it is asked for.
    """
    key = np.array([seed, kind], dtype=np.uint64)
    generator = np.random.Philox(key=key)
    # Each count of the counter gives four words.
    generator.advance(first * words // 4)
    found: NDArray[np.uint64] = generator.random_raw(count * words).reshape(count, words)
    return found


class RandomNumbers:
    """A generator in a function under construction; its state is carried as values.

    Read the state with `load`, draw, and write it back with `save`.
    """

    def __init__(self, vector: VectorFunction) -> None:
        self.vector = vector
        self.state: list[Any] = []

    def load(self, base: Any, component: int) -> None:
        vector = self.vector
        places = [vector.address(base, component + k) for k in range(WORDS)]
        self.state = [
            vector.builder.load(place, align=vector.alignment, typ=vector.word_type) for place in places
        ]

    def save(self, base: Any, component: int) -> None:
        for k, word in enumerate(self.state):
            self.vector.store(word, base, component + k)

    def _rotate(self, x: Any, bits: int) -> Any:
        vector = self.vector
        name = f"llvm.fshl.v{vector.lanes}i64"
        function = vector.intrinsic(name, vector.word_type, [vector.word_type] * 3)
        return vector.builder.call(function, [x, x, vector.words(bits)])

    def bits(self) -> Any:
        """64 random bits in each lane."""
        vector, builder = self.vector, self.vector.builder
        s0, s1, s2, s3 = self.state
        result = builder.add(self._rotate(builder.add(s0, s3), 23), s0)
        shifted = builder.shl(s1, vector.words(17))
        s2, s3 = builder.xor(s2, s0), builder.xor(s3, s1)
        s1, s0 = builder.xor(s1, s2), builder.xor(s0, s3)
        s2, s3 = builder.xor(s2, shifted), self._rotate(s3, 45)
        self.state = [s0, s1, s2, s3]
        return result

    def _fraction(self, bits: Any) -> Any:
        """(k + ½)/2⁵² of the upper bits k."""
        vector, builder = self.vector, self.vector.builder
        mantissa = builder.lshr(bits, vector.words(64 - _MANTISSA_BITS))
        number = builder.bitcast(builder.or_(mantissa, vector.words(_ONE)), vector.type)
        return vector.subtract(number, vector.constant(1.0 - 2.0**-53))

    def uniform(self) -> Any:
        """Uniform on (0, 1)."""
        return self._fraction(self.bits())

    def normals(self) -> tuple[Any, Any]:
        """Two independent standard normal numbers."""
        vector, builder = self.vector, self.vector.builder
        square = vector.multiply(vector.constant(-2.0), self.logarithm(self.uniform()))
        radius = vector.unary("sqrt", square)
        bits = self.bits()
        # Two bits choose the quadrant, others the angle in it.
        y = vector.subtract(self._fraction(builder.shl(bits, vector.words(2))), vector.constant(0.5))
        z = vector.multiply(y, y)
        sine = vector.multiply(y, vector.polynomial(_SINE, z))
        cosine = vector.polynomial(_COSINE, z)
        turned = builder.icmp_unsigned("!=", builder.and_(bits, vector.words(1 << 62)), vector.words(0))
        x = vector.select(turned, vector.negate(sine), cosine)
        y = vector.select(turned, cosine, sine)
        signed = builder.and_(bits, vector.words(_SIGN))
        radius = builder.bitcast(
            builder.xor(builder.bitcast(radius, vector.word_type), signed), vector.type
        )
        return vector.multiply(radius, x), vector.multiply(radius, y)

    def logarithm(self, x: Any) -> Any:
        """Natural logarithm of positive normal numbers."""
        vector, builder = self.vector, self.vector.builder
        bits = builder.bitcast(x, vector.word_type)
        # Exponents are counted from √½ on, so that small logarithms stay exact on both sides of 1.
        root_half = 0x3FE6A09E667F3BCD
        offset = builder.sub(bits, vector.words(root_half))
        exponent = builder.ashr(offset, vector.words(_MANTISSA_BITS))
        m = builder.bitcast(
            builder.sub(bits, builder.shl(exponent, vector.words(_MANTISSA_BITS))), vector.type
        )
        shorter = builder.trunc(exponent, ir.VectorType(INT32, vector.lanes))
        whole = builder.sitofp(shorter, vector.type)
        one = vector.constant(1.0)
        s = vector.divide(vector.subtract(m, one), vector.add(m, one))
        z = vector.multiply(s, s)
        rest = vector.multiply(vector.multiply(s, z), vector.polynomial(_LOG, z))
        part = vector.multiply(vector.constant(2.0), vector.add(s, rest))
        return vector.fma(whole, vector.constant(_LN2), part)

    def gamma(self, d: Any, normal: Any) -> Any:
        """A gamma-distributed number of shape d + ⅓ ≥ 1; nothing else may use the number `normal`.

        With ε = x/√(9d), v = (1 + ε)³ is accepted if log u < x²/2 + d (1 − v + log v). That is
        certain for u < 1 − ¾ d ε⁴/(1 − |ε|), since x²/2 + d (1 − v + log v) = −3 d Σ_{k≥4} (−ε)ᵏ/k.
        Lanes that are not accepted draw again from their own streams.
        """
        vector, builder = self.vector, self.vector.builder
        step = vector.divide(
            vector.constant(1.0), vector.unary("sqrt", vector.multiply(vector.constant(9.0), d))
        )
        u = self.uniform()
        v, sure = self._quick(d, step, normal, u)
        all_sure = vector.all_lanes(sure)
        before, begun = builder.block, list(self.state)
        slow, again, done = (vector.block(f"gamma_{name}") for name in ("slow", "again", "done"))
        builder.cbranch(all_sure, done, slow)

        builder.position_at_end(slow)
        accepted = builder.or_(sure, self._exactly(d, step, normal, u))
        builder.branch(again)

        builder.position_at_end(again)
        found, taken, *state = (vector.merged((value, slow)) for value in (v, accepted, *begun))
        self.state = state
        x, _ = self.normals()
        u = self.uniform()
        redrawn, surely = self._quick(d, step, x, u)
        fits = builder.or_(surely, self._exactly(d, step, x, u))
        # Lanes that were accepted before keep their number and their place in the stream.
        self.state = [builder.select(taken, old, new) for old, new in zip(state, self.state, strict=True)]
        chosen = vector.select(taken, found, redrawn)
        now = builder.or_(taken, fits)
        for phi, value in zip([found, taken, *state], [chosen, now, *self.state], strict=True):
            phi.add_incoming(value, builder.block)
        complete = vector.all_lanes(now)
        last = builder.block
        builder.cbranch(complete, done, again)

        builder.position_at_end(done)
        result = vector.merged((v, before), (chosen, last))
        self.state = [
            vector.merged((old, before), (new, last)) for old, new in zip(begun, self.state, strict=True)
        ]
        return vector.multiply(d, result)

    def _quick(self, d: Any, step: Any, x: Any, u: Any) -> tuple[Any, Any]:
        """v, and in which lanes u accepts it for certain."""
        vector, builder = self.vector, self.vector.builder
        one = vector.constant(1.0)
        epsilon = vector.multiply(step, x)
        base = vector.add(one, epsilon)
        v = vector.multiply(base, vector.multiply(base, base))
        square = vector.multiply(epsilon, epsilon)
        rest = vector.subtract(one, vector.unary("fabs", epsilon))
        doubt = vector.multiply(vector.multiply(vector.constant(0.75), d), vector.multiply(square, square))
        # u < 1 − doubt/rest, without the division.
        sure = builder.fcmp_ordered("<", doubt, vector.multiply(vector.subtract(one, u), rest))
        return v, builder.and_(sure, builder.fcmp_ordered(">", rest, vector.constant(0.0)))

    def _exactly(self, d: Any, step: Any, x: Any, u: Any) -> Any:
        vector, builder = self.vector, self.vector.builder
        one = vector.constant(1.0)
        base = vector.fma(step, x, one)
        possible = builder.fcmp_ordered(">", base, vector.constant(0.0))
        safe = vector.select(possible, base, one)
        v = vector.multiply(safe, vector.multiply(safe, safe))
        log_v = vector.multiply(vector.constant(3.0), self.logarithm(safe))
        bound = vector.multiply(d, vector.add(vector.subtract(one, v), log_v))
        bound = vector.fma(vector.multiply(vector.constant(0.5), x), x, bound)
        return builder.and_(possible, builder.fcmp_ordered("<", self.logarithm(u), bound))
