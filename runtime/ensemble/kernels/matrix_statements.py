"""Vector code for equations whose matrices lie in memory: the base of both kinds of tiles.

It has what `looped_tiles` and `written_out_tiles` share: places and indices, scalars, contractions, the
projection to the sphere. They add the products of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from derive.model import Model
from derive.program import (
    Matrix,
    MatrixStatement,
    NormRates,
    Operand,
    Program,
    Projection,
    ScalarStatement,
    sources,
)
from derive.scalar_polynomials import ScalarPolynomial
from runtime.ensemble.kernels.matrix_placement import MatrixPlacement
from runtime.ensemble.kernels.unrolled_entries import readout_values
from runtime.vector.builder import BIT, VectorFunction, integer

# Independent partial sums of a contraction, to hide the latency of fused multiply-adds.
_PARTIAL_SUMS = 8

# An index is a number that is known when code is emitted, or a value of the code.
Index = Any
# Gives the address of the entry (u, v) of a part of a matrix.
View = Callable[[int, int], Any]


class StatementEmitter:
    """Emits one program; scalars are values, matrices lie where `MatrixPlacement` says.

    `tile` is the largest height and width of a tile: its accumulators, a row and one more value
    should fit into the registers.
    """

    # Whether symmetric matrices are kept as their independent entries.
    packed = False
    # Whether LLVM is told that state, parameters, scratch and result do not overlap.
    distinct = True

    def __init__(
        self, vector: VectorFunction, model: Model, program: Program, tile: tuple[int, int]
    ) -> None:
        self.vector, self.model, self.program, self.tile = vector, model, program, tile
        self.places = MatrixPlacement(program, self.packed)
        self.constants = readout_values(model)
        self.scalars: dict[str, Any] = {
            name: vector.constant(value) for name, value in self.constants.items()
        }

    @classmethod
    def scratch_components(cls, program: Program) -> int:
        """Vectors of scratch that a program needs."""
        return MatrixPlacement(program, cls.packed).components

    def emit(self, state: Any, parameters: Any, scratch: Any, result: Any) -> None:
        """Emit the program: from packed state and parameters to the packed outputs."""
        self.state, self.parameters, self.scratch, self.result = state, parameters, scratch, result
        self._load()
        for statement in self.program.statements:
            match statement:
                case ScalarStatement():
                    self._scalar(statement)
                case MatrixStatement():
                    if statement.target.name not in self.places.multiples:
                        self._matrix(statement)
                case NormRates():
                    self._norm_rates(statement)
                case Projection():
                    self._projection(statement)
                case _:
                    raise NotImplementedError(f"no vector code for {type(statement).__name__}")
        offset = 0
        for output in self.program.outputs:
            if isinstance(output, str):
                self.vector.store(self.scalars[output], result, offset)
                offset += 1
            else:
                if output.name not in self.places.result:
                    raise NotImplementedError(f"the output {output.name} is read by the program")
                offset += self.places.packed_size(output)

    # --- indices and loops ---------------------------------------------------------------

    @staticmethod
    def _on_diagonal(i0: Index, u: int, j0: Index, v: int) -> bool:
        """Whether i0 + u = j0 + v; tiles in loops either have equal i0 and j0 or are off the diagonal."""
        if isinstance(i0, int) and isinstance(j0, int):
            return i0 + u == j0 + v
        return i0 is j0 and u == v

    def _equal(self, x: Index, y: Index) -> Any:
        if isinstance(x, int) and isinstance(y, int):
            return ir.Constant(BIT, int(x == y))
        return self.vector.builder.icmp_signed("==", x, y)

    def _loop(
        self,
        count: int,
        body: Callable[[Index, list[Any]], Sequence[Any] | None],
        carried: Sequence[Any] = (),
        start: Index = 0,
    ) -> list[Any]:
        """for index in range(start, count): carried = body(index, carried); at least one turn."""
        return self.vector.loop(count, body, carried, start)

    # --- places --------------------------------------------------------------------------

    def _rows(self, matrix: Matrix) -> int:
        return self.program.size(matrix.rows)

    def _columns(self, matrix: Matrix) -> int:
        return self.program.size(matrix.columns)

    def _base(self, name: str) -> Any:
        for memory, places in (
            (self.state, self.places.state),
            (self.parameters, self.places.parameters),
            (self.result, self.places.result),
        ):
            if name in places:
                return self.vector.address(memory, places[name])
        return self.vector.address(self.scratch, self.places.scratch[name])

    def _at(self, matrix: Matrix, i: Index, j: Index) -> Index:
        """Component number of entry (i, j) of a matrix, counted from 0."""
        return self.vector.plus(self.vector.times(i, self._columns(matrix)), j)

    def _packed_at(self, matrix: Matrix, i: Index, j: Index) -> Index:
        """Component number of entry i ≤ j among the independent entries."""
        if not matrix.symmetric:
            return self._at(matrix, i, j)
        # i (2 p − i − 1) / 2 + j
        most = 2 * self._rows(matrix) - 1
        if isinstance(i, int):
            return self.vector.plus(i * (most - i) // 2, j)
        builder = self.vector.builder
        twice = builder.mul(i, builder.sub(integer(most), i))
        return self.vector.plus(builder.ashr(twice, integer(1)), j)

    def _entry(self, matrix: Matrix, i: Index, j: Index) -> Any:
        return self.vector.load(self._base(matrix.name), self._at(matrix, i, j))

    def _view(self, operand: Operand, i0: Index, j0: Index) -> View:
        """The view of an operand from its entry (i0, j0) on."""
        matrix, vector = operand.matrix, self.vector
        # One address is computed for all entries, which are at known distances from it.
        start = (j0, i0) if operand.transposed else (i0, j0)
        origin = vector.address(self._base(matrix.name), self._at(matrix, *start))
        columns = self._columns(matrix)
        if operand.transposed:
            return lambda u, v: vector.address(origin, v * columns + u)
        return lambda u, v: vector.address(origin, u * columns + v)

    def _load(self) -> None:
        used = {name for statement in self.program.statements for name in sources(statement)}
        for k, name in enumerate(self.model.parameters[:2]):
            if name in used:
                self.scalars[name] = self.vector.load(self.parameters, k)
        for matrix in self.program.inputs:
            if matrix.name in self.places.scratch:
                memory, start = self._packed_input(matrix)
                self._unpack(matrix, memory, start)

    def _packed_input(self, matrix: Matrix) -> tuple[Any, int]:
        """Where the independent entries of an input start: memory and component."""
        memory = self.parameters if matrix.name == "T" else self.state
        return memory, self.places.inputs[matrix.name]

    def _unpack(self, matrix: Matrix, packed: Any, offset: int) -> None:
        """Write a whole symmetric matrix from its upper triangle."""
        vector, base = self.vector, self._base(matrix.name)

        def row(i: Any, carried: list[Any]) -> list[Any]:
            def column(j: Any, inner: list[Any]) -> list[Any]:
                value = vector.load(packed, inner[0])
                vector.store(value, base, self._at(matrix, i, j))
                vector.store(value, base, self._at(matrix, j, i))
                return [vector.builder.add(inner[0], integer(1))]

            return vector.loop(self._columns(matrix), column, carried, start=i)

        vector.loop(self._rows(matrix), row, [integer(offset)])

    def _store(self, value: Any, matrix: Matrix, i: Index, j: Index) -> None:
        """Store an entry of a result, which is packed."""
        self.vector.store(value, self._base(matrix.name), self._packed_at(matrix, i, j))

    def _matrix(self, statement: MatrixStatement) -> None:
        """A sum of products and multiples of matrices."""
        raise NotImplementedError

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
            value = self._contraction(contraction.left, contraction.right)
            total = (
                vector.multiply(coefficient, value)
                if total is None
                else vector.fma(coefficient, value, total)
            )
        self.scalars[statement.target] = self._polynomial(statement.polynomial, total)

    def _contraction(self, left: Matrix, right: Matrix | None) -> Any:
        vector, rows = self.vector, self._rows(left)
        if right is None:
            return self._sum(rows, lambda k, total: vector.add(total, self._entry(left, k, k)))

        def square(k: Index, total: Any) -> Any:
            return vector.fma(self._entry(left, k, k), self._entry(right, k, k), total)

        if left == right and left.symmetric and left in self.program.inputs:
            # The sum is twice that over the independent entries, less that over the diagonal.
            memory, start = self._packed_input(left)

            def independent(k: Index, total: Any) -> Any:
                value = vector.load(memory, vector.plus(k, start))
                return vector.fma(value, value, total)

            twice = self._sum(self.places.packed_size(left), independent)
            return vector.subtract(vector.add(twice, twice), self._sum(rows, square))

        def product(k: Index, total: Any) -> Any:
            return vector.fma(self._flat(left, k), self._flat(right, k), total)

        return self._sum(rows * self._columns(left), product)

    def _flat(self, matrix: Matrix, k: Index) -> Any:
        """Entry k of a whole matrix, counted row by row."""
        return self.vector.load(self._base(matrix.name), k)

    def _sum(self, count: int, add: Callable[[Index, Any], Any]) -> Any:
        """add(k, total) over all k < count, in partial sums that do not wait for each other."""
        vector = self.vector
        parts = min(count, _PARTIAL_SUMS)
        totals = [vector.constant(0.0)] * parts

        def turn(k: Index, carried: list[Any]) -> list[Any]:
            first = vector.times(k, parts)
            return [add(vector.plus(first, part), total) for part, total in enumerate(carried)]

        totals = self._loop(count // parts, turn, totals)
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
            inverse = vector.divide(vector.constant(1.0), self._entry(overlap, i, i))
            growth = self._entry(drift, i, i)
            rate = vector.multiply(vector.multiply(vector.constant(0.5), growth), inverse)
            vector.store(rate, self._base(statement.target), i)

        self._loop(self.program.p, body)

    def _projection(self, statement: Projection) -> None:
        vector, builder = self.vector, self.vector.builder
        target, both = statement.target, statement.sides == 2

        def row(i: Index, _: list[Any]) -> None:
            mine = vector.load(self._base(statement.rates), i)

            def column(j: Index, __: list[Any]) -> None:
                rate = mine
                if both:
                    rate = vector.add(mine, vector.load(self._base(statement.rates), j))
                drift = self._entry(statement.drift, i, j)
                value = vector.fma(vector.negate(rate), self._entry(statement.overlap, i, j), drift)
                if both:
                    value = builder.select(self._equal(i, j), vector.constant(0.0), value)
                self._store(value, target, i, j)

            self._loop(self._columns(target), column, start=i if target.symmetric else 0)

        self._loop(self._rows(target), row)
