"""Vector code for equations whose matrices lie in memory and are computed in tiles, of either kind.

Here are scalars, contractions and the drift on the sphere. `tile_products` has the sums of products, and
`entry_statements` those of single entries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from llvmlite import ir

from derive import readout
from derive.model import Model
from derive.program import (
    Contraction,
    EntryStatement,
    Matrix,
    MatrixStatement,
    NormRates,
    Program,
    Projection,
    RowSum,
    ScalarStatement,
    Vector,
    VectorStatement,
    sources,
)
from derive.scalar_polynomials import ScalarPolynomial
from runtime.ensemble.kernels.entry_statements import EntryStatements
from runtime.ensemble.kernels.matrix_memory import Index, MatrixMemory, MatrixTiles, Sides
from runtime.ensemble.kernels.matrix_placement import MatrixPlacement, over_pairs
from runtime.ensemble.kernels.pair_blocks import PairBlocks
from runtime.ensemble.kernels.program_form import ProgramAddresses
from runtime.ensemble.kernels.tile_products import TileProducts
from runtime.vector.builder import BIT, VectorFunction

# Independent partial sums of a contraction, to hide the latency of fused multiply-adds.
_PARTIAL_SUMS = 8


@dataclasses.dataclass(frozen=True)
class TiledMatrices:
    """A program whose matrices lie in memory and are computed in tiles of one kind.

    `largest` is as in `MatrixTiles`.
    """

    kind: type[MatrixTiles]
    model: Model
    program: Program
    largest: Sides

    @property
    def distinct(self) -> bool:
        return self.kind.distinct

    @cached_property
    def places(self) -> MatrixPlacement:
        """Where each matrix lies."""
        return MatrixPlacement(self.program, self.model.parameters, self.kind.packed)

    @property
    def scratch_components(self) -> int:
        return self.places.components

    def emit(self, vector: VectorFunction, addresses: ProgramAddresses) -> None:
        memory = MatrixMemory(vector, addresses, self.places)
        StatementEmitter(self.model, self.program, memory, self.kind(memory, self.largest)).emit()


class StatementEmitter:
    """Emits one program; scalars are values, matrices lie in `memory`."""

    def __init__(self, model: Model, program: Program, memory: MatrixMemory, tiles: MatrixTiles) -> None:
        self.model, self.program, self.memory, self.tiles = model, program, memory, tiles
        self.vector, self.places = memory.vector, memory.places
        constants = dict(zip("ab", readout.weights(model), strict=True))
        self.scalars: dict[str, Any] = {
            name: self.vector.constant(value) for name, value in constants.items()
        }
        self._products = TileProducts(memory, tiles, constants, self.scalars)
        self._entries = EntryStatements(memory, tiles, self.scalars, self._products)
        self._pairs = PairBlocks(memory, tiles, self._entries)

    def emit(self) -> None:
        """Emit all statements, and store the outputs that are scalars."""
        self._load()
        for statement in self.program.statements:
            match statement:
                case _ if over_pairs(statement):
                    # All of them are computed where the last of them stands.
                    if statement is self.places.pair_statements[-1]:
                        self._pairs.emit()
                case ScalarStatement():
                    self._scalar(statement)
                case MatrixStatement():
                    if statement.target.name not in self.places.multiples | self.places.inlined:
                        self._products.emit(statement)
                case EntryStatement():
                    self._entries.emit(statement)
                case VectorStatement():
                    self._entries.emit_vector(statement)
                case RowSum(target):
                    rows = self.program.size(target.rows)
                    self._entries.emit_row_sum(statement, rows, self.memory.base(target.name))
                case NormRates():
                    self._norm_rates(statement)
                case Projection():
                    self._projection(statement)
                case _:
                    raise NotImplementedError(f"no vector code for {type(statement).__name__}")
        offset = 0
        for output in self.program.outputs:
            if isinstance(output, str):
                self.vector.store(self.scalars[output], self.memory.addresses.result, offset)
                offset += 1
            else:
                if output.name not in self.places.result:
                    raise NotImplementedError(f"the output {output.name} is read by the program")
                offset += self.program.size_of(output)

    def _load(self) -> None:
        """Read the scalar parameters, and unpack the inputs that are kept whole."""
        used = {name for statement in self.program.statements for name in sources(statement)}
        for k, name in enumerate(self.model.parameters):
            if name in used:
                self.scalars[name] = self.vector.load(self.memory.addresses.parameters, k)
        for matrix in self.program.inputs:
            if isinstance(matrix, Matrix) and matrix.name in self.places.scratch:
                self.memory.unpack(matrix)

    # --- scalars -------------------------------------------------------------------------

    def _polynomial(self, polynomial: ScalarPolynomial, total: Any = None) -> Any:
        vector = self.vector
        for monomial, coefficient in polynomial.sorted_terms():
            value = vector.constant(float(coefficient))
            for name in monomial:
                value = vector.multiply(value, self.scalars[name])
            total = value if total is None else vector.add(total, value)
        return vector.constant(0.0) if total is None else total

    def _scalar(self, statement: ScalarStatement) -> None:
        total: Any = None
        vector = self.vector
        for contraction in statement.contractions:
            coefficient = self._polynomial(contraction.coefficient)
            value = self._contraction(contraction)
            total = (
                vector.multiply(coefficient, value)
                if total is None
                else vector.fma(coefficient, value, total)
            )
        self.scalars[statement.target] = self._polynomial(statement.polynomial, total)

    def _contraction(self, contraction: Contraction) -> Any:
        left, right = contraction.left, contraction.right
        if contraction.rows or contraction.columns:
            return self._weighted(contraction)
        assert left is not None
        vector, rows = self.vector, self.places.rows(left)
        if right is None:
            return self._sum(rows, lambda k, total: vector.add(total, self.tiles.entry(left, k, k)))

        def square(k: Index, total: Any) -> Any:
            return vector.fma(self.tiles.entry(left, k, k), self.tiles.entry(right, k, k), total)

        if left == right and left.symmetric and left in self.program.inputs:
            # The sum is twice that over the independent entries, less that over the diagonal.
            packed, start = self.memory.packed_input(left)

            def independent(k: Index, total: Any) -> Any:
                value = vector.load(packed, vector.plus(k, start))
                return vector.fma(value, value, total)

            twice = self._sum(self.program.size_of(left), independent)
            return vector.subtract(vector.add(twice, twice), self._sum(rows, square))

        def product(k: Index, total: Any) -> Any:
            return vector.fma(self.tiles.flat(left, k), self.tiles.flat(right, k), total)

        return self._sum(rows * self.places.columns(left), product)

    def _weighted(self, contraction: Contraction) -> Any:
        """The sum of a contraction whose entries are weighted by vectors."""
        left, right = contraction.left, contraction.right
        row_weights, column_weights = contraction.rows, contraction.columns

        def at(vectors: Sequence[Vector], i: Index) -> list[Any]:
            return [self.memory.vector_entry(part, i) for part in vectors]

        def on_diagonal(i: Index, total: Any) -> Any:
            values = at((*row_weights, *column_weights), i)
            if left is not None:
                values.append(self.tiles.entry(left, i, i))
            return self._entries.added(None, values, total)

        if left is None or right is None:
            return self._sum(self.program.size((left or row_weights[0]).rows), on_diagonal)

        def row(i: Index, carried: list[Any]) -> list[Any]:
            def column(j: Index, total: Any) -> Any:
                entries = [self.tiles.entry(matrix, i, j) for matrix in (left, right)]
                return self._entries.added(None, [*at(column_weights, j), *entries], total)

            inner = self._sum(self.places.columns(left), column)
            return [self._entries.added(None, [*at(row_weights, i), inner], carried[0])]

        return self.tiles.loop(self.places.rows(left), row, [self.vector.constant(0.0)])[0]

    def _sum(self, count: int, add: Callable[[Index, Any], Any]) -> Any:
        """add(k, total) over all k < count, in partial sums that do not wait for each other."""
        vector = self.vector
        parts = min(count, _PARTIAL_SUMS)
        totals = [vector.constant(0.0)] * parts

        def turn(k: Index, carried: list[Any]) -> list[Any]:
            first = vector.times(k, parts)
            return [add(vector.plus(first, part), total) for part, total in enumerate(carried)]

        totals = self.tiles.loop(count // parts, turn, totals)
        for part in range(count % parts):
            totals[part] = add(count - count % parts + part, totals[part])
        while len(totals) > 1:
            pairs = [vector.add(x, y) for x, y in zip(totals[::2], totals[1::2], strict=False)]
            totals = pairs + totals[2 * len(pairs) :]
        return totals[0]

    # --- sphere --------------------------------------------------------------------------

    def _norm_rates(self, statement: NormRates) -> None:
        vector = self.vector
        drift, overlap = statement.drift, statement.overlap

        def body(i: Index, _: list[Any]) -> None:
            inverse = vector.divide(vector.constant(1.0), self.tiles.entry(overlap, i, i))
            growth = self.tiles.entry(drift, i, i)
            rate = vector.multiply(vector.multiply(vector.constant(0.5), growth), inverse)
            vector.store(rate, self.memory.base(statement.target), i)

        self.tiles.loop(self.program.p, body)

    def _equal(self, x: Index, y: Index) -> Any:
        if isinstance(x, int) and isinstance(y, int):
            return ir.Constant(BIT, int(x == y))
        return self.vector.builder.icmp_signed("==", x, y)

    def _projection(self, statement: Projection) -> None:
        vector, builder = self.vector, self.vector.builder
        target, both = statement.target, statement.sides == 2

        def row(i: Index, _: list[Any]) -> None:
            mine = vector.load(self.memory.base(statement.rates), i)

            def column(j: Index, __: list[Any]) -> None:
                rate = mine
                if both:
                    rate = vector.add(mine, vector.load(self.memory.base(statement.rates), j))
                drift = self.tiles.entry(statement.drift, i, j)
                value = vector.fma(vector.negate(rate), self.tiles.entry(statement.overlap, i, j), drift)
                if both:
                    value = builder.select(self._equal(i, j), vector.constant(0.0), value)
                self.memory.store_packed(value, target, i, j)

            self.tiles.loop(self.places.columns(target), column, start=i if target.symmetric else 0)

        self.tiles.loop(self.places.rows(target), row)
