"""Statements over pairs i ≤ j of students, for a block of pairs at a time.

A matrix over pairs has p (p + 1) / 2 rows, too many for the caches of large systems. Rows know nothing of
each other, so a block of them is made, multiplied and summed before the next one takes its place.
"""

from __future__ import annotations

from typing import Any

from derive.program import MatrixStatement, Operand, PairProducts, RowSum
from runtime.ensemble.kernels.entry_statements import EntryStatements
from runtime.ensemble.kernels.matrix_memory import Index, MatrixMemory, MatrixTiles, Tile


class PairBlocks:
    """Emits the statements over pairs of a program."""

    def __init__(self, memory: MatrixMemory, tiles: MatrixTiles, entries: EntryStatements) -> None:
        self.vector, self.memory, self.tiles, self.entries = memory.vector, memory, tiles, entries

    def emit(self) -> None:
        """Emit all statements over pairs of students, for one block of pairs after another."""
        places = self.memory.places
        blocks = type(self.tiles)(self.memory, (places.pair_side, places.pair_side))
        blocks.triangle(places.program.p, self._block)

    def _block(self, block: Tile) -> None:
        """Pair number r of the block is row r of matrices over pairs."""
        vector, memory = self.vector, self.memory
        for statement in memory.places.pair_statements:
            match statement:
                case PairProducts():
                    self._products(statement, block)
                case MatrixStatement():
                    if statement.target.name not in memory.places.inlined:
                        self.entries.products.emit(statement, len(block.indices))
                case RowSum(target):
                    part = memory.base(memory.places.block_name(target))
                    self.entries.emit_row_sum(statement, len(block.indices), part)
                    for r, (u, v) in enumerate(block.indices):
                        i, j = vector.plus(block.i0, u), vector.plus(block.j0, v)
                        vector.store(vector.load(part, r), memory.base(target.name), memory.pair_at(i, j))
                case _:
                    raise NotImplementedError(f"no vector code for {type(statement).__name__} over pairs")

    def _products(self, statement: PairProducts, block: Tile) -> None:
        vector, base = self.vector, self.memory.base(statement.target.name)
        columns = self.memory.places.columns(statement.target)
        rows = sorted({u for u, _ in block.indices}), sorted({v for _, v in block.indices})

        def column(m: Index, _: list[Any]) -> None:
            left, right = (
                {u: vector.load(self.tiles.view(Operand(matrix), start, m)(u, 0)) for u in sides}
                for matrix, start, sides in zip(
                    (statement.left, statement.right), (block.i0, block.j0), rows, strict=True
                )
            )
            at = vector.address(base, m)
            for r, (u, v) in enumerate(block.indices):
                vector.store(vector.multiply(left[u], right[v]), at, r * columns)

        self.tiles.loop(columns, column)
