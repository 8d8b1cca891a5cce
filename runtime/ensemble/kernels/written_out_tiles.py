"""Tiles for equations of middle size: they are written out one after the other, and matrices are packed.

There are too many entries for the registers, but few enough that the code fits into the instruction
cache. Without loops every address is known, so symmetric matrices stay packed, and nothing is unpacked
or mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from derive.program import Matrix, Operand
from runtime.ensemble.kernels.matrix_memory import (
    Index,
    LoopBody,
    MatrixMemory,
    Sides,
    Tile,
    TileBody,
    View,
    even_sides,
)


class WrittenOutTiles:
    """Tiles without loops, whose indices are numbers."""

    packed: ClassVar[bool] = True
    # LLVM keeps what it knows to be unchanged, and spills it. If it does not know, it loads an entry again
    # where the next turn needs it, which is up to a third faster.
    distinct: ClassVar[bool] = False

    def __init__(self, memory: MatrixMemory, largest: Sides) -> None:
        self.largest, self._memory, self._vector = largest, memory, memory.vector

    def loop(self, count: int, body: LoopBody, carried: Sequence[Any] = (), start: Index = 0) -> list[Any]:
        results = list(carried)
        for index in range(start, count):
            results = list(body(index, results) or [])
        return results

    def turns(self, inner: int) -> int:
        return inner

    def triangle(self, rows: int, body: TileBody) -> None:
        most_rows, most_columns = self.largest
        height, _ = even_sides(rows, most_rows)
        for i0 in range(0, rows, height):
            width, _ = even_sides(rows - i0, most_columns)
            for j0 in range(i0, rows, width):
                indices = [
                    (u, v)
                    for u in range(min(height, rows - i0))
                    for v in range(min(width, rows - j0))
                    if i0 + u <= j0 + v
                ]
                body(Tile(i0, j0, indices))

    def entry(self, matrix: Matrix, i: Index, j: Index) -> Any:
        return self._vector.load(self._memory.base(matrix.name), self._at(matrix, i, j))

    def _at(self, matrix: Matrix, i: Index, j: Index) -> Index:
        if matrix.symmetric:
            i, j = min(i, j), max(i, j)
        return self._memory.packed_at(matrix, i, j)

    def flat(self, matrix: Matrix, k: Index) -> Any:
        return self.entry(matrix, *divmod(k, self._memory.places.columns(matrix)))

    def view(self, operand: Operand, i0: Index, j0: Index) -> View:
        matrix, base = operand.matrix, self._memory.base(operand.matrix.name)

        def address(u: int, v: int) -> Any:
            i, j = i0 + u, j0 + v
            return self._vector.address(base, self._at(matrix, *((j, i) if operand.transposed else (i, j))))

        return address

    def store(self, totals: Sequence[Any], target: Matrix, tile: Tile) -> None:
        for (u, v), total in zip(tile.indices, totals, strict=True):
            self._memory.store_packed(total, target, tile.i0 + u, tile.j0 + v)
