"""The vector code's random numbers in small modules, and the same numbers in plain Python."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from runtime.vector.aligned_arrays import aligned
from runtime.vector.builder import INT64, VectorFunction, integer
from runtime.vector.jit import CompiledModule, Target
from runtime.vector.random_numbers import WORDS, RandomNumbers

_MASK = 2**64 - 1


class Xoshiro:
    """xoshiro256++ of D. Blackman and S. Vigna, line by line, and what is made of its bits."""

    def __init__(self, words: Any) -> None:
        self.state = [int(word) for word in words]
        self.drawn = 0

    def bits(self) -> int:
        self.drawn += 1
        s = self.state
        result = (_rotate((s[0] + s[3]) & _MASK, 23) + s[0]) & _MASK
        t = (s[1] << 17) & _MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = _rotate(s[3], 45)
        return result

    def uniform(self) -> float:
        return ((self.bits() >> 12) + 0.5) / 2**52

    def normals(self) -> tuple[float, float]:
        """Box and Muller: a radius, two bits for the quadrant, others for the angle in it."""
        radius = math.sqrt(-2.0 * math.log(self.uniform()))
        bits = self.bits()
        angle = math.pi / 2 * ((((bits << 2) & _MASK) >> 12) / 2**52 + 0.5 / 2**52 - 0.5)
        angle += math.pi / 2 * (bits >> 62 & 1) + math.pi * (bits >> 63)
        return radius * math.cos(angle), radius * math.sin(angle)

    def gamma(self, d: float, normal: float) -> float:
        """Marsaglia and Tsang, with the exact test of acceptance alone."""
        while True:
            u = self.uniform()
            v = (1.0 + normal / math.sqrt(9.0 * d)) ** 3
            if v > 0.0 and math.log(u) < 0.5 * normal**2 + d - d * v + d * math.log(v):
                return d * v
            normal = self.normals()[0]


def _rotate(x: int, bits: int) -> int:
    return (x << bits | x >> (64 - bits)) & _MASK


class Draws:
    """Draws `values` vectors in each turn: those that emit(random, parameter) returns.

    `parameter` is the vector at an index of the parameters.
    """

    def __init__(
        self, target: Target, values: int, emit: Callable[[RandomNumbers, Callable[[int], Any]], list[Any]]
    ) -> None:
        module = ir.Module("draws")
        vector = VectorFunction(module, "draws", target.lanes, target.fma, 4)
        state, parameters, out, turns = vector.arguments
        random = RandomNumbers(vector)

        def turn(index: Any, _: list[Any]) -> None:
            random.load(state, 0)
            drawn = emit(random, lambda k: vector.load(parameters, k))
            assert len(drawn) == values
            start = vector.builder.mul(index, integer(values))
            for k, value in enumerate(drawn):
                vector.store(value, out, vector.builder.add(start, integer(k)))
            random.save(state, 0)

        vector.loop(vector.builder.ptrtoint(turns, INT64), turn)
        vector.builder.ret(integer(0))
        self.values, self.lanes = values, target.lanes
        types = [*[ctypes.c_void_p] * 3, ctypes.c_int64]
        self._function = CompiledModule(module, target).function("draws", ctypes.c_int64, *types)

    def __call__(
        self, words: np.ndarray, turns: int, parameters: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values (turns, values, lanes) from streams (lanes, WORDS), and the streams' words after.

        `parameters` are (number, lanes).
        """
        state = aligned(WORDS * self.lanes)
        state[:] = np.ascontiguousarray(words.T).view(np.float64).ravel()
        given = np.zeros((1, self.lanes)) if parameters is None else parameters
        memory = aligned(given.size)
        memory[:] = given.ravel()
        out = aligned(turns * self.values * self.lanes)
        self._function(state.ctypes.data, memory.ctypes.data, out.ctypes.data, turns)
        after = state.reshape(WORDS, self.lanes).view(np.uint64).T.copy()
        return out.reshape(turns, self.values, self.lanes), after


def elementwise(target: Target, function: Callable[[RandomNumbers, Any], Any], x: np.ndarray) -> np.ndarray:
    """function of each number of x, in vector code."""
    module = ir.Module("elementwise")
    vector = VectorFunction(module, "f", target.lanes, target.fma, 3)
    source, out, turns = vector.arguments

    def turn(index: Any, _: list[Any]) -> None:
        vector.store(function(RandomNumbers(vector), vector.load(source, index)), out, index)

    vector.loop(vector.builder.ptrtoint(turns, INT64), turn)
    vector.builder.ret(integer(0))
    count = -(-x.size // target.lanes)
    given, found = (aligned(count * target.lanes) for _ in range(2))
    given[:] = 1.0
    given[: x.size] = x
    types = [*[ctypes.c_void_p] * 2, ctypes.c_int64]
    compiled = CompiledModule(module, target).function("f", ctypes.c_int64, *types)
    compiled(given.ctypes.data, found.ctypes.data, count)
    return found[: x.size].copy()
