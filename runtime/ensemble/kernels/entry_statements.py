"""Sums of products of single entries: scaled rows and columns of matrices in tiles, and vectors.

Their cost is that of one pass over the entries. It is small beside that of products of matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from derive.program import EntryStatement, EntryTerm, Vector, VectorStatement
from runtime.ensemble.kernels.matrix_memory import Index, MatrixMemory, MatrixTiles, Tile, over_rectangle


class EntryStatements:
    """Emits statements whose terms are products of entries.

    scalars
        The values of all scalars that statements before have computed.
    """

    def __init__(self, memory: MatrixMemory, tiles: MatrixTiles, scalars: Mapping[str, Any]) -> None:
        self.vector, self.memory, self.tiles, self.scalars = memory.vector, memory, tiles, scalars

    def emit(self, statement: EntryStatement) -> None:
        """Emit target_ij = Σ terms, tile by tile."""
        target, terms, vector = statement.target, statement.terms, self.vector
        factors = [self._factor(term) for term in terms]
        # What tiles read is loaded once, in an order that does not change from run to run.
        rows = dict.fromkeys(part for term in terms for part in term.rows)
        columns = dict.fromkeys(part for term in terms for part in term.columns)
        operands = dict.fromkeys(part for term in terms for part in term.operands)

        def body(tile: Tile) -> None:
            mine = {(x, u): self._entry(x, tile.i0, u) for x in rows for u, _ in tile.indices}
            theirs = {(x, v): self._entry(x, tile.j0, v) for x in columns for _, v in tile.indices}
            views = {operand: self.tiles.view(operand, tile.i0, tile.j0) for operand in operands}
            totals = []
            for u, v in tile.indices:
                loaded = {operand: vector.load(view(u, v)) for operand, view in views.items()}
                total: Any = None
                for factor, term in zip(factors, terms, strict=True):
                    values = [mine[x, u] for x in term.rows] + [theirs[x, v] for x in term.columns]
                    values += [loaded[operand] for operand in term.operands]
                    total = self.added(factor, values, total)
                totals.append(total)
            self.tiles.store(totals, target, tile)

        places = self.memory.places
        if target.symmetric:
            self.tiles.triangle(places.rows(target), body)
        else:
            over_rectangle(self.tiles, vector, places.rows(target), places.columns(target), body)

    def emit_vector(self, statement: VectorStatement) -> None:
        """Emit target_i = Σ terms, where matrices stand for their diagonals."""
        target, places = statement.target, self.memory.places
        factors = [self._factor(term) for term in statement.terms]

        def body(i: Index, _: list[Any]) -> None:
            total: Any = None
            for factor, term in zip(factors, statement.terms, strict=True):
                values = [self.memory.vector_entry(vector, i) for vector in (*term.rows, *term.columns)]
                values += [self.tiles.entry(operand.matrix, i, i) for operand in term.operands]
                total = self.added(factor, values, total)
            self.vector.store(total, self.memory.base(target.name), i)

        self.tiles.loop(places.program.size(target.rows), body)

    def added(self, factor: Any, values: Sequence[Any], total: Any) -> Any:
        """total + factor · Π values; no factor stands for 1, and no total for 0."""
        product, *rest = values if factor is None else (factor, *values)
        for value in rest[:-1]:
            product = self.vector.multiply(product, value)
        if not rest:
            return product if total is None else self.vector.add(total, product)
        if total is None:
            return self.vector.multiply(product, rest[-1])
        return self.vector.fma(product, rest[-1], total)

    def _factor(self, term: EntryTerm) -> Any:
        """coefficient · Π scalars, which all entries share; None for 1."""
        value = None if term.coefficient == 1 else self.vector.constant(float(term.coefficient))
        for name in term.scalars:
            scalar = self.scalars[name]
            value = scalar if value is None else self.vector.multiply(value, scalar)
        return value

    def _entry(self, part: Vector, start: Index, distance: int) -> Any:
        return self.memory.vector_entry(part, self.vector.plus(start, distance))
