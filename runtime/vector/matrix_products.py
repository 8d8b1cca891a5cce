"""Products of small matrices, the same to the last bit on every machine.

The order in which a BLAS adds depends on the processor, and starts of runs must not depend on it. Here
an entry is x₀y₀ + x₁y₁ + …, added from the first term on, each with one rounding (a fused multiply-add;
processors without one call the C library's).
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir

from runtime.vector.aligned_arrays import Array
from runtime.vector.builder import DOUBLE, INT64, POINTER, integer
from runtime.vector.jit import CompiledModule, target

# Numbers of entries of a row that are summed at once; a single sum would wait for each of its
# multiply-adds.
_TOGETHER = (8, 4, 1)


class _ProductsEmitter:
    """Emits products(X, Y, Z, count, apart, rows, columns, depth): Z = X Yᵀ of `count` matrices in C order.

    Each Y starts `apart` numbers after the one before.
    """

    def __init__(self) -> None:
        self.module = ir.Module("products")
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 3 + [INT64] * 5)
        self.function = ir.Function(self.module, kind, "products")
        *self.bases, count, self.apart, self.rows, self.columns, self.depth = self.function.args
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self._loop(integer(0), count, 1, lambda number, _: self._product(number))
        self.builder.ret_void()

    def _loop(self, first: Any, last: Any, step: int, body: Any, carried: Sequence[Any] = ()) -> list[Any]:
        """for index in range(first, last, step): carried = body(index, carried)."""
        builder, before = self.builder, self.builder.block
        head, turn, after = (self.function.append_basic_block(name) for name in ("head", "turn", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INT64)
        index.add_incoming(first, before)
        values = [builder.phi(DOUBLE) for _ in carried]
        for phi, value in zip(values, carried, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", index, last), turn, after)
        builder.position_at_end(turn)
        results = body(index, values) or []
        index.add_incoming(builder.add(index, integer(step)), builder.block)
        for phi, value in zip(values, results, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return values

    def _place(self, base: Any, row: Any, width: Any, column: Any = None) -> Any:
        offset = self.builder.mul(row, width)
        if column is not None:
            offset = self.builder.add(offset, column)
        return self.builder.gep(base, [offset], inbounds=True, source_etype=DOUBLE)

    def _product(self, number: Any) -> None:
        """One matrix Z = X Yᵀ."""
        builder = self.builder
        sizes = (
            builder.mul(self.rows, self.depth),
            self.apart,
            builder.mul(self.rows, self.columns),
        )
        x, y, z = (self._place(base, number, size) for base, size in zip(self.bases, sizes, strict=True))

        def line(row: Any, _: list[Any]) -> None:
            first: Any = integer(0)
            for together in _TOGETHER:
                last = builder.sub(self.columns, builder.srem(self.columns, integer(together)))

                def entries(column: Any, _: list[Any], together: int = together) -> None:
                    places = [builder.add(column, integer(j)) for j in range(together)]
                    for j, total in zip(places, self._entries(x, y, row, places), strict=True):
                        builder.store(total, self._place(z, row, self.columns, j))

                self._loop(first, last, together, entries)
                first = last

        self._loop(integer(0), self.rows, 1, line)

    def _entries(self, x: Any, y: Any, row: Any, places: Sequence[Any]) -> list[Any]:
        """Entries of one row of X Yᵀ, which are summed at once."""
        builder = self.builder

        def term(k: Any, sums: list[Any]) -> list[Any]:
            left = builder.load(self._place(x, row, self.depth, k), typ=DOUBLE)
            right = [builder.load(self._place(y, j, self.depth, k), typ=DOUBLE) for j in places]
            return [builder.fma(left, factor, total) for factor, total in zip(right, sums, strict=True)]

        return self._loop(integer(0), self.depth, 1, term, [ir.Constant(DOUBLE, 0.0)] * len(places))


@lru_cache(maxsize=1)
def _compile() -> Any:
    """The compiled function; threads that ask at the same moment may compile it twice."""
    return CompiledModule(_ProductsEmitter().module, target()).function(
        "products", None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 5
    )


def times_transpose(X: Array, Y: Array) -> Array:
    """X Yᵀ (…, rows, columns) of X (…, rows, depth) and Y (columns, depth), or with one Y for each X."""
    X, Y = (np.ascontiguousarray(matrix, dtype=np.float64) for matrix in (X, Y))
    *front, rows, depth = X.shape
    columns = Y.shape[-2]
    if Y.shape != (columns, depth) and Y.shape != (*front, columns, depth):
        raise ValueError(f"shapes {X.shape} and {Y.shape} do not fit")
    result = np.empty((*front, rows, columns))
    apart = 0 if Y.ndim == 2 else columns * depth
    count = math.prod(front)
    _compile()(X.ctypes.data, Y.ctypes.data, result.ctypes.data, count, apart, rows, columns, depth)
    return result
