"""Sums of products of single entries: scaled rows and columns of matrices in tiles, and vectors.

Their cost is that of one pass over the entries. It is small beside that of products of matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from derive.program import EntryStatement, EntryTerm, Matrix, Vector, VectorStatement
from runtime.ensemble.kernels.matrix_memory import Index, MatrixMemory, MatrixTiles, Tile, over_matrix
from runtime.ensemble.kernels.tile_products import TileProducts


class EntryStatements:
    """Emits statements whose terms are products of entries.

    scalars
        The values of all scalars that statements before have computed.
    products
        Computes the tiles of matrices that only one of these statements reads.
    """

    def __init__(
        self,
        memory: MatrixMemory,
        tiles: MatrixTiles,
        scalars: Mapping[str, Any],
        products: TileProducts,
    ) -> None:
        self.vector, self.memory, self.tiles, self.scalars = memory.vector, memory, tiles, scalars
        self.products = products

    def emit(self, statement: EntryStatement) -> None:
        """Emit target_ij = Σ terms, tile by tile."""
        target, terms, vector = statement.target, statement.terms, self.vector
        factors = [self._factor(term) for term in terms]
        # What tiles read is loaded once, in an order that does not change from run to run.
        rows = dict.fromkeys(part for term in terms for part in term.rows)
        columns = dict.fromkeys(part for term in terms for part in term.columns)
        operands = dict.fromkeys(part for term in terms for part in term.operands)
        inlined = self.memory.places.inlined
        sums = {
            operand: self.products.sums(inlined[operand.matrix.name])
            for operand in operands
            if operand.matrix.name in inlined
        }

        def body(tile: Tile) -> None:
            # Sums of products come first, as long as no other values are in registers.
            computed = {
                operand: dict(zip(tile.indices, sum_(tile), strict=True)) for operand, sum_ in sums.items()
            }
            mine = {(x, u): self._entry(x, tile.i0, u) for x in rows for u, _ in tile.indices}
            theirs = {(x, v): self._entry(x, tile.j0, v) for x in columns for _, v in tile.indices}
            views = {x: self.tiles.view(x, tile.i0, tile.j0) for x in operands if x not in sums}
            totals = []
            for u, v in tile.indices:
                values_of = {operand: vector.load(view(u, v)) for operand, view in views.items()}
                values_of |= {operand: values[u, v] for operand, values in computed.items()}
                total: Any = None
                for factor, term in zip(factors, terms, strict=True):
                    values = [mine[x, u] for x in term.rows] + [theirs[x, v] for x in term.columns]
                    values += [values_of[operand] for operand in term.operands]
                    total = self.added(factor, values, total)
                totals.append(total)
            self.tiles.store(totals, target, tile)

        over_matrix(self.tiles, self.memory, target, body)

    def emit_vector(self, statement: VectorStatement) -> None:
        """Emit target_i = Σ terms, where matrices stand for their diagonals."""
        target, places = statement.target, self.memory.places
        factors = [self._factor(term) for term in statement.terms]

        def body(i: Index, _: list[Any]) -> None:
            total: Any = None
            for factor, term in zip(factors, statement.terms, strict=True):
                values = [self.memory.vector_entry(vector, i) for vector in (*term.rows, *term.columns)]
                values += [self._on_diagonal(operand.matrix, i) for operand in term.operands]
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

    def _on_diagonal(self, matrix: Matrix, i: Index) -> Any:
        statement = self.memory.places.inlined.get(matrix.name)
        if statement is None:
            return self.tiles.entry(matrix, i, i)
        return self.products.sums(statement)(Tile(i, i, [(0, 0)]))[0]

    def _entry(self, part: Vector, start: Index, distance: int) -> Any:
        return self.memory.vector_entry(part, self.vector.plus(start, distance))
