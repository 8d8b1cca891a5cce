"""Vector code for large systems of equations: loops over tiles of matrix products.

A tile of accumulators stays in registers while k runs over the inner index. Matrices that
products read are whole (both halves of a symmetric one) in a scratch array, so that every
product is the same loop; `matrix_placement` says which matrices need no room there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from derive.program import Matrix, MatrixStatement, Operand
from runtime.ensemble.kernels.matrix_statements import Index, StatementEmitter, View

# At most this many turns of a product's inner loop are written out.
_WRITTEN_TURNS = 4

# A coefficient is a sign and the names of scalars that multiply it.
Coefficient = tuple[int, tuple[str, ...]]


class LoopedTiles(StatementEmitter):
    """Emits one program; its matrix products are loops over tiles."""

    def _coefficient(self, coefficient: Coefficient) -> Any:
        """The value of a coefficient; None for +1."""
        sign, names = coefficient
        value: Any = None
        for name in names:
            scalar = self.scalars[name]
            value = scalar if value is None else self.vector.multiply(value, scalar)
        if sign > 0:
            return value
        return self.vector.constant(-1.0) if value is None else self.vector.negate(value)

    def _ratio(self, first: Coefficient, second: Coefficient) -> float | None:
        """first / second, if that is known when code is emitted."""
        ratio = float(first[0] * second[0])
        above, below = Counter(first[1]), Counter(second[1])
        for names, power in ((above - below, 1), (below - above, -1)):
            for name in names.elements():
                if name not in self.constants:
                    return None
                ratio *= self.constants[name] ** power
        return ratio

    def _scaled(self, factor: Any, values: list[Any]) -> list[Any]:
        return values if factor is None else [self.vector.multiply(factor, value) for value in values]

    def _matrix(self, statement: MatrixStatement) -> None:
        target = statement.target
        parts = [((part.sign, part.scalars), part.operands) for part in self.places.parts(statement)]
        if not target.symmetric and any(not operands for _, operands in parts):
            raise NotImplementedError(f"{target.name}: the identity as a term of a matrix not symmetric")
        products = [part for part in parts if len(part[1]) == 2]
        # The longest product comes first, since its sums are scaled as a whole. The others may have a
        # factor scaled in each turn.
        products.sort(key=lambda product: -self._inner(product[1]))
        # A step has a factor for the sums so far, one for the product's left operand, and the product.
        steps: list[tuple[Any, Any, tuple[Operand, ...]]] = []
        scale: Coefficient = (1, ())
        for number, (coefficient, operands) in enumerate(products):
            before, factor = None, None
            if number:
                ratio = self._ratio(scale, coefficient)
                if ratio is None:
                    before, factor, coefficient = (
                        self._coefficient(scale),
                        self._coefficient(coefficient),
                        (1, ()),
                    )
                elif ratio != 1.0:
                    before = self.vector.constant(ratio)
            steps.append((before, factor, operands))
            scale = coefficient
        after = self._coefficient(scale)
        linear = [(self._coefficient(factor), operands) for factor, operands in parts if len(operands) < 2]

        def body(i0: Index, j0: Index, indices: Sequence[tuple[int, int]]) -> None:
            totals: list[Any] = []
            for before, factor, operands in steps:
                totals = self._scaled(before, totals)
                totals = self._add_product(totals, factor, operands, i0, j0, indices)
            totals = self._add_linear(self._scaled(after, totals), linear, i0, j0, indices)
            self._store_tile(totals, target, i0, j0, indices)

        if target.symmetric:
            self._triangle_of_tiles(self._rows(target), body)
        else:
            self._all_tiles(self._rows(target), self._columns(target), body)

    def _inner(self, operands: tuple[Operand, ...]) -> int:
        left = operands[0]
        return self._rows(left.matrix) if left.transposed else self._columns(left.matrix)

    def _turns(self, inner: int) -> int:
        """How many turns of an inner loop are written out: a divisor of their number."""
        return max(turns for turns in range(1, _WRITTEN_TURNS + 1) if inner % turns == 0)

    def _add_product(
        self,
        totals: list[Any],
        factor: Any,
        operands: tuple[Operand, ...],
        i0: Index,
        j0: Index,
        indices: Sequence[tuple[int, int]],
    ) -> list[Any]:
        """totals + factor · left · right; an empty list of totals stands for zeros."""
        vector = self.vector
        left, right = operands
        if right.matrix.symmetric:
            # Transposed, the entries that one tile reads follow each other in memory.
            right = Operand(right.matrix, transposed=True)
        rows, columns = sorted({u for u, _ in indices}), sorted({v for _, v in indices})
        inner = self._inner(operands)
        written = self._turns(inner)

        def turn(view_left: View, view_right: View, k: int, carried: list[Any]) -> list[Any]:
            column = dict(
                zip(rows, self._scaled(factor, [vector.load(view_left(u, k)) for u in rows]), strict=True)
            )
            row = {v: vector.load(view_right(k, v)) for v in columns}
            if carried:
                sums = [
                    vector.fma(column[u], row[v], total)
                    for (u, v), total in zip(indices, carried, strict=True)
                ]
            else:
                sums = [vector.multiply(column[u], row[v]) for u, v in indices]
            vector.fence()
            return sums

        def turns(index: Index, carried: list[Any]) -> list[Any]:
            k0 = vector.times(index, written)
            view_left, view_right = self._view(left, i0, k0), self._view(right, k0, j0)
            for k in range(written):
                carried = turn(view_left, view_right, k, carried)
            return carried

        if inner == written:
            return turns(0, totals)
        return vector.loop(inner // written, turns, totals or [vector.constant(0.0)] * len(indices))

    def _add_linear(
        self,
        totals: list[Any],
        linear: Sequence[tuple[Any, tuple[Operand, ...]]],
        i0: Index,
        j0: Index,
        indices: Sequence[tuple[int, int]],
    ) -> list[Any]:
        """totals + Σ factor · matrix, where no matrix is the identity; no totals stand for zeros."""
        vector = self.vector
        for factor, operands in linear:
            view = self._view(operands[0], i0, j0) if operands else None
            sums = []
            for number, (u, v) in enumerate(indices):
                total = totals[number] if totals else None
                if view is not None:
                    value = vector.load(view(u, v))
                elif self._on_diagonal(i0, u, j0, v):
                    value = vector.constant(1.0)
                else:
                    sums.append(vector.constant(0.0) if total is None else total)
                    continue
                if factor is None:
                    sums.append(value if total is None else vector.add(total, value))
                elif total is None:
                    sums.append(vector.multiply(factor, value))
                else:
                    sums.append(vector.fma(factor, value, total))
            totals = sums
        return totals

    def _store_tile(
        self, totals: list[Any], target: Matrix, i0: Index, j0: Index, indices: Sequence[tuple[int, int]]
    ) -> None:
        vector = self.vector
        if target.name in self.places.result:
            for (u, v), total in zip(indices, totals, strict=True):
                self._store(total, target, vector.plus(i0, u), vector.plus(j0, v))
            return
        view = self._view(Operand(target), i0, j0)
        mirror = self._view(Operand(target, transposed=True), i0, j0) if target.symmetric else None
        for (u, v), total in zip(indices, totals, strict=True):
            vector.store(total, view(u, v))
            if mirror is not None and not self._on_diagonal(i0, u, j0, v):
                vector.store(total, mirror(u, v))

    def _sides(self, count: int, most: int) -> tuple[int, int]:
        """Side of the tiles that cover `count` rows most evenly, and how many are whole."""
        side = -(-count // -(-count // most))
        return side, count // side

    def _all_tiles(self, rows: int, columns: int, body: Callable[..., None]) -> None:
        """Call body(i0, j0, indices) in loops that cover a rectangle."""
        (height, bands), (width, tiles) = (
            self._sides(rows, self.tile[0]),
            self._sides(columns, self.tile[1]),
        )

        def band_of(i0: Index, height: int) -> None:
            def tile(j0: Index, width: int) -> None:
                body(i0, j0, [(u, v) for u in range(height) for v in range(width)])

            self._loop(tiles, lambda j, _: tile(self.vector.times(j, width), width))
            if columns % width:
                tile(tiles * width, columns % width)

        self._loop(bands, lambda i, _: band_of(self.vector.times(i, height), height))
        if rows % height:
            band_of(bands * height, rows % height)

    def _triangle_of_tiles(self, rows: int, body: Callable[..., None]) -> None:
        """Call body(i0, j0, indices) in loops that cover all i ≤ j."""
        side, bands = self._sides(rows, min(self.tile))
        rest = rows % side

        def tile(i0: Index, height: int, j0: Index, width: int) -> None:
            body(i0, j0, [(u, v) for u in range(height) for v in range(width)])

        def corner(i0: Index, side: int) -> None:
            body(i0, i0, [(u, v) for u in range(side) for v in range(u, side)])

        def band(i: Index, _: list[Any]) -> None:
            i0 = self.vector.times(i, side)
            corner(i0, side)
            self._loop(
                bands,
                lambda j, _: tile(i0, side, self.vector.times(j, side), side),
                start=self.vector.plus(i, 1),
            )
            if rest:
                tile(i0, side, bands * side, rest)

        if bands > 1:
            self._loop(bands - 1, band)
        # The last band has no tile beside its own, and a loop would have at least one turn.
        last = (bands - 1) * side
        corner(last, side)
        if rest:
            tile(last, side, bands * side, rest)
            corner(bands * side, rest)
