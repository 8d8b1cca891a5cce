"""Sums of products of single entries: scaled rows and columns of matrices in tiles, and vectors.

Their cost is that of one pass over the entries. It is small beside that of products of matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from derive.program import (
    EntryStatement,
    EntryTerm,
    Matrix,
    RowSum,
    Vector,
    VectorStatement,
)
from runtime.ensemble.kernels.matrix_memory import (
    Index,
    MatrixMemory,
    MatrixTiles,
    Tile,
    even_sides,
    over_matrix,
)
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
        pairs = dict.fromkeys(part for term in terms for part in term.pairs)
        if pairs and not target.symmetric:
            raise NotImplementedError(f"{target.name}: values for pairs i ≤ j in a matrix not symmetric")
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
                ours = {x: self._pair(x, tile, u, v) for x in pairs}
                total: Any = None
                for factor, term in zip(factors, terms, strict=True):
                    values = [mine[x, u] for x in term.rows] + [theirs[x, v] for x in term.columns]
                    values += [values_of[operand] for operand in term.operands]
                    values += [ours[x] for x in term.pairs]
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
                if term.pairs:
                    raise NotImplementedError(f"{target.name}: values for pairs in a vector")
                total = self.added(factor, values, total)
            total = self.vector.constant(0.0) if total is None else total
            self.vector.store(total, self.memory.base(target.name), i)

        self.tiles.loop(places.program.size(target.rows), body)

    def added(self, factor: Any, values: Sequence[Any], total: Any) -> Any:
        """total + factor · Π values; no factor stands for 1, and no total for 0."""
        factors = values if factor is None else (factor, *values)
        product, *rest = factors or (self.vector.constant(1.0),)
        for value in rest[:-1]:
            product = self.vector.multiply(product, value)
        if not rest:
            return product if total is None else self.vector.add(total, product)
        if total is None:
            return self.vector.multiply(product, rest[-1])
        return self.vector.fma(product, rest[-1], total)

    def emit_row_sum(self, statement: RowSum, rows: int, result: Any) -> None:
        """Emit result_i = Σ_j Σ terms for i < rows, where `result` is an address."""
        height, bands = even_sides(rows, self.tiles.largest[0])

        def band(i0: Index, height: int) -> None:
            totals: list[Any] = [None] * height
            for term in statement.terms:
                totals = self._add_to_rows(term, i0, totals)
            for u, total in enumerate(totals):
                self.vector.store(total, result, self.vector.plus(i0, u))

        self.tiles.loop(bands, lambda i, _: band(self.vector.times(i, height), height))
        if rows % height:
            band(bands * height, rows % height)

    def _add_to_rows(self, term: EntryTerm, i0: Index, totals: list[Any]) -> list[Any]:
        """totals_u + Σ_j term_(i0 + u),j; totals that are None stand for zeros."""
        vector, places = self.vector, self.memory.places
        first = term.operands[0]
        inner = places.rows(first.matrix) if first.transposed else places.columns(first.matrix)
        width, count = even_sides(inner, self.tiles.largest[1])
        sums = {
            operand: self.products.sums(places.inlined[operand.matrix.name])
            for operand in term.operands
            if operand.matrix.name in places.inlined
        }

        def add(j0: Index, width: int, carried: list[Any]) -> list[Any]:
            indices = [(u, v) for u in range(len(totals)) for v in range(width)]
            tile = Tile(i0, j0, indices)
            computed = [dict(zip(indices, sum_(tile), strict=True)) for sum_ in sums.values()]
            views = [self.tiles.view(x, i0, j0) for x in term.operands if x not in sums]
            theirs = [[self._entry(x, j0, v) for v in range(width)] for x in term.columns]
            results = list(carried)
            for u, v in indices:
                values = [vector.load(view(u, v)) for view in views]
                values += [known[u, v] for known in computed] + [entries[v] for entries in theirs]
                results[u] = self.added(None, values, results[u])
            return results

        # Factors that do not depend on j multiply the sum, if there are any.
        factor = self._factor(term)
        alone = factor is None and not term.rows
        zeros = [vector.constant(0.0)] * len(totals)
        carried = totals if alone and None not in totals else zeros
        carried = self.tiles.loop(count, lambda j, c: add(vector.times(j, width), width, c), carried)
        if inner % width:
            carried = add(count * width, inner % width, carried)
        if alone:
            return carried
        return [
            self.added(factor, [*(self._entry(x, i0, u) for x in term.rows), value], total)
            for u, (value, total) in enumerate(zip(carried, totals, strict=True))
        ]

    def _pair(self, part: Vector, tile: Tile, u: int, v: int) -> Any:
        i, j = self.vector.plus(tile.i0, u), self.vector.plus(tile.j0, v)
        return self.memory.vector_entry(part, self.memory.pair_at(i, j))

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
