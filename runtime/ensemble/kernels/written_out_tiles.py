"""Vector code for equations of middle size: tiles of matrix products, written out one after the other.

There are too many entries for the registers, but few enough that the code fits into the instruction
cache. Without loops every address is known, so symmetric matrices stay packed, and nothing is unpacked
or mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from derive.program import Matrix, Operand
from runtime.ensemble.kernels.looped_tiles import LoopedTiles
from runtime.ensemble.kernels.matrix_statements import Index, View


class WrittenOutTiles(LoopedTiles):
    """Emits one program without loops; all indices are numbers."""

    packed = True
    # LLVM keeps what it knows to be unchanged, and spills it. If it does not know, it loads an entry again
    # where the next turn needs it, which is up to a third faster.
    distinct = False

    def _loop(
        self,
        count: int,
        body: Callable[[Index, list[Any]], Sequence[Any] | None],
        carried: Sequence[Any] = (),
        start: Index = 0,
    ) -> list[Any]:
        results = list(carried)
        for index in range(start, count):
            results = list(body(index, results) or [])
        return results

    def _turns(self, inner: int) -> int:
        return inner

    def _at(self, matrix: Matrix, i: Index, j: Index) -> Index:
        return (
            self._packed_at(matrix, min(i, j), max(i, j)) if matrix.symmetric else super()._at(matrix, i, j)
        )

    def _flat(self, matrix: Matrix, k: Index) -> Any:
        return self._entry(matrix, *divmod(k, self._columns(matrix)))

    def _view(self, operand: Operand, i0: Index, j0: Index) -> View:
        matrix, base = operand.matrix, self._base(operand.matrix.name)

        def address(u: int, v: int) -> Any:
            i, j = i0 + u, j0 + v
            return self.vector.address(base, self._at(matrix, *((j, i) if operand.transposed else (i, j))))

        return address

    def _store_tile(
        self, totals: list[Any], target: Matrix, i0: Index, j0: Index, indices: Sequence[tuple[int, int]]
    ) -> None:
        for (u, v), total in zip(indices, totals, strict=True):
            self._store(total, target, i0 + u, j0 + v)

    def _triangle_of_tiles(self, rows: int, body: Callable[..., None]) -> None:
        """Call body(i0, j0, indices) for tiles that cover all i ≤ j."""
        most_rows, most_columns = self.tile
        height, _ = self._sides(rows, most_rows)
        for i0 in range(0, rows, height):
            width, _ = self._sides(rows - i0, most_columns)
            for j0 in range(i0, rows, width):
                indices = [
                    (u, v)
                    for u in range(min(height, rows - i0))
                    for v in range(min(width, rows - j0))
                    if i0 + u <= j0 + v
                ]
                body(i0, j0, indices)
