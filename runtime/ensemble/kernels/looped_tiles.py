"""Tiles for large systems of equations: the code loops over them, and matrices are whole.

Matrices that products read are whole (both halves of a symmetric one) in a scratch array, so that every
product is the same loop; `matrix_placement` says which matrices need no room there.
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

# At most this many turns of a product's inner loop are written out.
_WRITTEN_TURNS = 4


class LoopedTiles:
    """Tiles that loops go through."""

    packed: ClassVar[bool] = False
    distinct: ClassVar[bool] = True

    def __init__(self, memory: MatrixMemory, largest: Sides) -> None:
        self.largest, self._memory, self._vector = largest, memory, memory.vector

    def loop(self, count: int, body: LoopBody, carried: Sequence[Any] = (), start: Index = 0) -> list[Any]:
        return self._vector.loop(count, body, carried, start)

    def turns(self, inner: int) -> int:
        return max(turns for turns in range(1, _WRITTEN_TURNS + 1) if inner % turns == 0)

    def triangle(self, rows: int, body: TileBody) -> None:
        side, bands = even_sides(rows, min(self.largest))
        rest = rows % side

        def tile(i0: Index, height: int, j0: Index, width: int) -> None:
            body(Tile(i0, j0, [(u, v) for u in range(height) for v in range(width)]))

        def corner(i0: Index, side: int) -> None:
            body(Tile(i0, i0, [(u, v) for u in range(side) for v in range(u, side)]))

        def band(i: Index, _: list[Any]) -> None:
            i0 = self._vector.times(i, side)
            corner(i0, side)
            self.loop(
                bands,
                lambda j, _: tile(i0, side, self._vector.times(j, side), side),
                start=self._vector.plus(i, 1),
            )
            if rest:
                tile(i0, side, bands * side, rest)

        if bands > 1:
            self.loop(bands - 1, band)
        # The last band has no tile beside its own, and a loop would have at least one turn.
        last = (bands - 1) * side
        corner(last, side)
        if rest:
            tile(last, side, bands * side, rest)
            corner(bands * side, rest)

    def entry(self, matrix: Matrix, i: Index, j: Index) -> Any:
        return self._vector.load(self._memory.base(matrix.name), self._memory.whole_at(matrix, i, j))

    def flat(self, matrix: Matrix, k: Index) -> Any:
        return self._vector.load(self._memory.base(matrix.name), k)

    def view(self, operand: Operand, i0: Index, j0: Index) -> View:
        matrix, vector, memory = operand.matrix, self._vector, self._memory
        # One address is computed for all entries, which are at known distances from it.
        start = (j0, i0) if operand.transposed else (i0, j0)
        origin = vector.address(memory.base(matrix.name), memory.whole_at(matrix, *start))
        columns = memory.places.columns(matrix)
        if operand.transposed:
            return lambda u, v: vector.address(origin, v * columns + u)
        return lambda u, v: vector.address(origin, u * columns + v)

    def store(self, totals: Sequence[Any], target: Matrix, tile: Tile) -> None:
        vector, memory = self._vector, self._memory
        if target.name in memory.places.result:
            for (u, v), total in zip(tile.indices, totals, strict=True):
                memory.store_packed(total, target, vector.plus(tile.i0, u), vector.plus(tile.j0, v))
            return
        view = self.view(Operand(target), tile.i0, tile.j0)
        mirror = None
        if target.symmetric:
            mirror = self.view(Operand(target, transposed=True), tile.i0, tile.j0)
        for (u, v), total in zip(tile.indices, totals, strict=True):
            vector.store(total, view(u, v))
            if mirror is not None and not tile.on_diagonal(u, v):
                vector.store(total, mirror(u, v))
