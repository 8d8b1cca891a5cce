"""Sums of products and multiples of matrices, in tiles.

A tile of accumulators stays in registers while k runs over the inner index of a product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from derive.program import MatrixStatement, Operand
from runtime.ensemble.kernels.matrix_memory import (
    Index,
    MatrixMemory,
    MatrixTiles,
    Tile,
    View,
    over_matrix,
)

# A coefficient is a sign and the names of scalars that multiply it.
Coefficient = tuple[int, tuple[str, ...]]


class TileProducts:
    """Emits matrix statements.

    constants
        Values of the scalars that are known when code is emitted.
    scalars
        The values of all scalars that statements before have computed, and of the constants.
    """

    def __init__(
        self,
        memory: MatrixMemory,
        tiles: MatrixTiles,
        constants: Mapping[str, float],
        scalars: Mapping[str, Any],
    ) -> None:
        self.memory, self.tiles = memory, tiles
        self.vector, self.places = memory.vector, memory.places
        self.constants, self.scalars = constants, scalars

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

    def emit(self, statement: MatrixStatement, rows: int | None = None) -> None:
        """Emit target = Σ terms, tile by tile: all rows, or so many."""
        sums, target = self.sums(statement), statement.target
        over_matrix(
            self.tiles, self.memory, target, lambda tile: self.tiles.store(sums(tile), target, tile), rows
        )

    def sums(self, statement: MatrixStatement) -> Callable[[Tile], list[Any]]:
        """A function that emits Σ terms for a tile of the target, which is not stored."""
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

        def sums(tile: Tile) -> list[Any]:
            totals: list[Any] = []
            for before, factor, operands in steps:
                totals = self._scaled(before, totals)
                totals = self._add_product(totals, factor, operands, tile)
            return self._add_linear(self._scaled(after, totals), linear, tile)

        return sums

    def _inner(self, operands: tuple[Operand, ...]) -> int:
        left = operands[0]
        return self.places.rows(left.matrix) if left.transposed else self.places.columns(left.matrix)

    def _add_product(
        self, totals: list[Any], factor: Any, operands: tuple[Operand, ...], tile: Tile
    ) -> list[Any]:
        """totals + factor · left · right; an empty list of totals stands for zeros."""
        vector, indices = self.vector, tile.indices
        left, right = operands
        if right.matrix.symmetric:
            # Transposed, the entries that one tile reads follow each other in memory.
            right = Operand(right.matrix, transposed=True)
        rows, columns = sorted({u for u, _ in indices}), sorted({v for _, v in indices})
        inner = self._inner(operands)
        written = self.tiles.turns(inner)

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
            view_left, view_right = self.tiles.view(left, tile.i0, k0), self.tiles.view(right, k0, tile.j0)
            for k in range(written):
                carried = turn(view_left, view_right, k, carried)
            return carried

        if inner == written:
            return turns(0, totals)
        return vector.loop(inner // written, turns, totals or [vector.constant(0.0)] * len(indices))

    def _add_linear(
        self, totals: list[Any], linear: Sequence[tuple[Any, tuple[Operand, ...]]], tile: Tile
    ) -> list[Any]:
        """totals + Σ factor · matrix, where no matrix is the identity; no totals stand for zeros."""
        vector = self.vector
        for factor, operands in linear:
            view = self.tiles.view(operands[0], tile.i0, tile.j0) if operands else None
            sums = []
            for number, (u, v) in enumerate(tile.indices):
                total = totals[number] if totals else None
                if view is not None:
                    value = vector.load(view(u, v))
                elif tile.on_diagonal(u, v):
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
