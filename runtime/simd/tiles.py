"""Vector code of large programs: loops over register tiles of the matrix products.

Matrices are whole (both halves of a symmetric one) in a scratch array, so that every product
is the same loop: a tile of up to 4 × 4 accumulators stays in registers while k runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from derive.model import Model
from derive.program import (
    Matrix,
    MatrixStatement,
    NormRates,
    Operand,
    Program,
    Projection,
    ScalarStatement,
    Term,
    sources,
    targets,
)
from derive.scalars import ScalarPolynomial
from runtime.simd.unrolled import readout_values
from runtime.simd.vector import VectorFunction, integer

TILE = 4


def _matrices(program: Program) -> dict[str, Matrix]:
    found = {matrix.name: matrix for matrix in program.inputs}
    for statement in program.statements:
        if isinstance(statement, (MatrixStatement, Projection)):
            found[statement.target.name] = statement.target
    return found


class Tiled:
    """Emits one program; scalars are values, matrices lie in the scratch array."""

    def __init__(self, vector: VectorFunction, model: Model, program: Program) -> None:
        self.vector, self.model, self.program = vector, model, program
        self.scalars: dict[str, Any] = {
            name: vector.constant(value) for name, value in readout_values(model).items()
        }
        self.places: dict[str, int] = {}
        self.matrices = _matrices(program)
        component = 0
        for name, matrix in self.matrices.items():
            self.places[name] = component
            component += program.size(matrix.rows) * program.size(matrix.columns)
        for statement in program.statements:
            if isinstance(statement, NormRates):
                for name in targets(statement):
                    self.places[name] = component
                    component += program.p

    @staticmethod
    def scratch_components(program: Program) -> int:
        """Vectors of scratch that a program needs."""
        sizes = [program.size(m.rows) * program.size(m.columns) for m in _matrices(program).values()]
        return sum(sizes) + 2 * program.p

    def emit(self, state: Any, parameters: Any, scratch: Any, result: Any) -> None:
        """Emit the program: from packed state and parameters to the packed outputs."""
        self.scratch = scratch
        self._load(state, parameters)
        for statement in self.program.statements:
            match statement:
                case ScalarStatement():
                    self._scalar(statement)
                case MatrixStatement():
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
                offset = self._packed(output, result, offset, reading=False)

    # --- places --------------------------------------------------------------------------

    def _base(self, name: str) -> Any:
        return self.vector.address(self.scratch, self.places[name])

    def _columns(self, matrix: Matrix) -> int:
        return self.program.size(matrix.columns)

    def _at(self, matrix: Matrix, i: Any, j: Any) -> Any:
        """Component number of entry (i, j), counted from 0."""
        builder = self.vector.builder
        if isinstance(i, int) and isinstance(j, int):
            return i * self._columns(matrix) + j
        i, j = (integer(x) if isinstance(x, int) else x for x in (i, j))
        return builder.add(builder.mul(i, integer(self._columns(matrix))), j)

    def _operand(self, operand: Operand, i: Any, j: Any) -> Any:
        if operand.transposed:
            i, j = j, i
        matrix = operand.matrix
        return self.vector.load(self._base(matrix.name), self._at(matrix, i, j))

    def _load(self, state: Any, parameters: Any) -> None:
        used = {name for statement in self.program.statements for name in sources(statement)}
        for k, name in enumerate(self.model.parameters[:2]):
            if name in used:
                self.scalars[name] = self.vector.load(parameters, k)
        offset = 0
        for matrix in self.program.inputs:
            if matrix.name == "T":
                self._packed(matrix, parameters, 2, reading=True)
            else:
                offset = self._packed(matrix, state, offset, reading=True)

    def _packed(self, matrix: Matrix, packed: Any, offset: int, reading: bool) -> int:
        """Copy between a whole matrix and its independent entries, row by row."""
        vector, base = self.vector, self._base(matrix.name)
        rows, columns = self.program.size(matrix.rows), self._columns(matrix)
        if not matrix.symmetric:
            source = vector.address(packed, offset)

            def whole(k: Any, _: list[Any]) -> None:
                if reading:
                    vector.store(vector.load(source, k), base, k)
                else:
                    vector.store(vector.load(base, k), source, k)

            vector.loop(rows * columns, whole)
            return offset + rows * columns

        def row(i: Any, carried: list[Any]) -> list[Any]:
            def column(j: Any, inner: list[Any]) -> list[Any]:
                if reading:
                    value = vector.load(packed, inner[0])
                    vector.store(value, base, self._at(matrix, i, j))
                    vector.store(value, base, self._at(matrix, j, i))
                else:
                    vector.store(vector.load(base, self._at(matrix, i, j)), packed, inner[0])
                return [vector.builder.add(inner[0], integer(1))]

            return vector.loop(columns, column, carried, start=i)

        vector.loop(rows, row, [integer(offset)])
        return offset + rows * (rows + 1) // 2

    # --- statements ----------------------------------------------------------------------

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
        vector, zero = self.vector, self.vector.constant(0.0)
        rows, columns = self.program.size(left.rows), self._columns(left)
        if right is None:

            def trace(i: Any, carried: list[Any]) -> list[Any]:
                return [vector.add(carried[0], vector.load(self._base(left.name), self._at(left, i, i)))]

            return vector.loop(rows, trace, [zero])[0]
        other = right

        def inner(k: Any, carried: list[Any]) -> list[Any]:
            x, y = vector.load(self._base(left.name), k), vector.load(self._base(other.name), k)
            return [vector.fma(x, y, carried[0])]

        return vector.loop(rows * columns, inner, [zero])[0]

    def _blocks(
        self, rows: int, columns: int, triangle: bool, body: Callable[[Any, int, Any, int], None]
    ) -> None:
        """Call body(i0, height, j0, width) in loops that cover all tiles (or those with i0 ≤ j0)."""
        vector = self.vector
        full_rows, full_columns = rows - rows % TILE, columns - columns % TILE

        def tile_row(i0: Any, height: int) -> None:
            if full_columns:
                first = vector.builder.sdiv(i0, integer(TILE)) if triangle else 0
                tiles = full_columns // TILE

                def tile(j: Any, _: list[Any]) -> None:
                    body(i0, height, vector.builder.mul(j, integer(TILE)), TILE)

                if not (triangle and height < TILE):
                    vector.loop(tiles, tile, start=first)
            if columns > full_columns:
                body(i0, height, integer(full_columns), columns - full_columns)

        if full_rows:

            def band(i: Any, _: list[Any]) -> None:
                tile_row(vector.builder.mul(i, integer(TILE)), TILE)

            vector.loop(full_rows // TILE, band)
        if rows > full_rows:
            tile_row(integer(full_rows), rows - full_rows)

    def _matrix(self, statement: MatrixStatement) -> None:
        target = statement.target
        rows, columns = self.program.size(target.rows), self._columns(target)
        products = [term for term in statement.terms if len(term.operands) == 2]
        linear = [term for term in statement.terms if len(term.operands) < 2]

        def body(i0: Any, height: int, j0: Any, width: int) -> None:
            self._tile(target, products, linear, i0, height, j0, width)

        self._blocks(rows, columns, target.symmetric and bool(products), body)

    def _tile(
        self,
        target: Matrix,
        products: Sequence[Term],
        linear: Sequence[Term],
        i0: Any,
        height: int,
        j0: Any,
        width: int,
    ) -> None:
        vector, builder = self.vector, self.vector.builder
        indices = [(u, v) for u in range(height) for v in range(width)]
        totals = [vector.constant(0.0)] * len(indices)

        def shifted(start: Any, step: int) -> Any:
            return builder.add(start, integer(step)) if step else start

        for term in products:
            left = term.operands[0]
            count = self.program.size(left.matrix.rows if left.transposed else left.matrix.columns)

            def body(k: Any, carried: list[Any], term: Term = term) -> list[Any]:
                left, right = term.operands
                column = [self._operand(left, shifted(i0, u), k) for u in range(height)]
                if term.sign < 0:
                    column = [vector.negate(x) for x in column]
                row = [self._operand(right, k, shifted(j0, v)) for v in range(width)]
                return [
                    vector.fma(column[u], row[v], total)
                    for (u, v), total in zip(indices, carried, strict=True)
                ]

            totals = vector.loop(count, body, totals)
        base = self._base(target.name)
        for (u, v), product in zip(indices, totals, strict=True):
            i, j = shifted(i0, u), shifted(j0, v)
            total = product
            for term in linear:
                scalar = self.scalars[term.scalar] if term.scalar else vector.constant(1.0)
                if term.sign < 0:
                    scalar = vector.negate(scalar)
                if term.operands:
                    total = vector.fma(scalar, self._operand(term.operands[0], i, j), total)
                else:
                    on_diagonal = builder.icmp_signed("==", i, j)
                    total = vector.add(total, builder.select(on_diagonal, scalar, vector.constant(0.0)))
            vector.store(total, base, self._at(target, i, j))
            if target.symmetric and products:
                vector.store(total, base, self._at(target, j, i))

    def _norm_rates(self, statement: NormRates) -> None:
        vector = self.vector
        drift, overlap = statement.drift, statement.overlap

        def body(i: Any, _: list[Any]) -> None:
            norm = vector.load(self._base(overlap.name), self._at(overlap, i, i))
            inverse = vector.divide(vector.constant(1.0), norm)
            growth = vector.load(self._base(drift.name), self._at(drift, i, i))
            rate = vector.multiply(vector.multiply(vector.constant(0.5), growth), inverse)
            vector.store(rate, self._base(statement.target), i)

        vector.loop(self.program.p, body)

    def _projection(self, statement: Projection) -> None:
        vector, builder = self.vector, self.vector.builder
        target = statement.target

        def row(i: Any, _: list[Any]) -> None:
            mine = vector.load(self._base(statement.rates), i)

            def column(j: Any, __: list[Any]) -> None:
                rate = mine
                if statement.sides == 2:
                    rate = vector.add(mine, vector.load(self._base(statement.rates), j))
                place = self._at(target, i, j)
                overlap = vector.load(self._base(statement.overlap.name), place)
                drift = vector.load(self._base(statement.drift.name), place)
                value = vector.fma(vector.negate(rate), overlap, drift)
                if statement.sides == 2:
                    on_diagonal = builder.icmp_signed("==", i, j)
                    value = builder.select(on_diagonal, vector.constant(0.0), value)
                vector.store(value, self._base(target.name), place)

            vector.loop(self._columns(target), column)

        vector.loop(self.program.size(target.rows), row)
