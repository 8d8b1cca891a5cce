"""Vector code of large programs: loops over register tiles of the matrix products.

A tile of accumulators stays in registers while k runs over the inner index. Matrices that
products read are whole (both halves of a symmetric one) in a scratch array, so that every
product is the same loop; `placement` says which matrices need no room there.
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
    sources,
)
from derive.scalars import ScalarPolynomial
from runtime.simd.placement import Part, Placement
from runtime.simd.unrolled import readout_values
from runtime.simd.vector import VectorFunction, integer

# Independent partial sums of a contraction, to hide the latency of fused multiply-adds.
_PARTIAL_SUMS = 8

Coefficient = tuple[int, Any]


class Tiled:
    """Emits one program; scalars are values, matrices lie where `Placement` says.

    `tile` is the largest side of a tile: tile² accumulators, a column and one more value
    should fit into the registers.
    """

    def __init__(self, vector: VectorFunction, model: Model, program: Program, tile: int = 4) -> None:
        self.vector, self.model, self.program, self.tile = vector, model, program, tile
        self.places = Placement(program)
        self.scalars: dict[str, Any] = {
            name: vector.constant(value) for name, value in readout_values(model).items()
        }

    @staticmethod
    def scratch_components(program: Program) -> int:
        """Vectors of scratch that a program needs."""
        return Placement(program).components

    def emit(self, state: Any, parameters: Any, scratch: Any, result: Any) -> None:
        """Emit the program: from packed state and parameters to the packed outputs."""
        self.state, self.scratch, self.result = state, scratch, result
        self._load(parameters)
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

    # --- places --------------------------------------------------------------------------

    def _rows(self, matrix: Matrix) -> int:
        return self.program.size(matrix.rows)

    def _columns(self, matrix: Matrix) -> int:
        return self.program.size(matrix.columns)

    def _base(self, name: str) -> Any:
        if name in self.places.state:
            return self.vector.address(self.state, self.places.state[name])
        return self.vector.address(self.scratch, self.places.scratch[name])

    def _at(self, matrix: Matrix, i: Any, j: Any) -> Any:
        """Component number of entry (i, j) of a whole matrix, counted from 0."""
        builder = self.vector.builder
        return builder.add(builder.mul(i, integer(self._columns(matrix))), j)

    def _packed_at(self, matrix: Matrix, i: Any, j: Any) -> Any:
        """Component number of entry i ≤ j among the independent entries."""
        if not matrix.symmetric:
            return self._at(matrix, i, j)
        # i p − i (i + 1) / 2 + j
        builder = self.vector.builder
        before = builder.ashr(builder.mul(i, builder.add(i, integer(1))), integer(1))
        return builder.add(builder.sub(builder.mul(i, integer(self._rows(matrix))), before), j)

    def _entry(self, matrix: Matrix, i: Any, j: Any) -> Any:
        return self.vector.load(self._base(matrix.name), self._at(matrix, i, j))

    def _operand(self, operand: Operand, i: Any, j: Any) -> Any:
        if operand.transposed:
            i, j = j, i
        return self._entry(operand.matrix, i, j)

    def _load(self, parameters: Any) -> None:
        used = {name for statement in self.program.statements for name in sources(statement)}
        for k, name in enumerate(self.model.parameters[:2]):
            if name in used:
                self.scalars[name] = self.vector.load(parameters, k)
        offset = 0
        for matrix in self.program.inputs:
            if matrix.name == "T":
                self._unpack(matrix, parameters, 2)
                continue
            if matrix.name not in self.places.state:
                self._unpack(matrix, self.state, offset)
            offset += self.places.packed_size(matrix)

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

    def _store(self, value: Any, matrix: Matrix, i: Any, j: Any, mirrored: bool) -> None:
        """Entry (i, j), and (j, i) where `mirrored`; results are packed and need no mirror."""
        vector, name = self.vector, matrix.name
        if name in self.places.result:
            base = vector.address(self.result, self.places.result[name])
            vector.store(value, base, self._packed_at(matrix, i, j))
            return
        vector.store(value, self._base(name), self._at(matrix, i, j))
        if mirrored:
            vector.store(value, self._base(name), self._at(matrix, j, i))

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
        vector = self.vector
        mine = self._base(left.name)
        if right is None:
            stride = self._columns(left) + 1

            def diagonal(k: Any, total: Any) -> Any:
                return vector.add(total, vector.load(mine, vector.builder.mul(k, integer(stride))))

            return self._sum(self._rows(left), diagonal)
        other = self._base(right.name)

        def product(k: Any, total: Any) -> Any:
            return vector.fma(vector.load(mine, k), vector.load(other, k), total)

        return self._sum(self._rows(left) * self._columns(left), product)

    def _sum(self, count: int, add: Callable[[Any, Any], Any]) -> Any:
        """add(k, total) for all k < count, in partial sums that do not wait for each other."""
        vector, builder = self.vector, self.vector.builder
        parts = min(count, _PARTIAL_SUMS)
        totals = [vector.constant(0.0)] * parts

        def turn(k: Any, carried: list[Any]) -> list[Any]:
            first = builder.mul(k, integer(parts))
            return [add(builder.add(first, integer(part)), total) for part, total in enumerate(carried)]

        totals = vector.loop(count // parts, turn, totals)
        for part in range(count % parts):
            totals[part] = add(integer(count - count % parts + part), totals[part])
        while len(totals) > 1:
            pairs = [vector.add(x, y) for x, y in zip(totals[::2], totals[1::2], strict=False)]
            totals = pairs + totals[2 * len(pairs) :]
        return totals[0]

    # --- matrices ------------------------------------------------------------------------

    def _coefficient(self, part: Part) -> Coefficient:
        """Sign and value; the value of no scalar at all is None."""
        value: Any = None
        for name in part.scalars:
            scalar = self.scalars[name]
            value = scalar if value is None else self.vector.multiply(value, scalar)
        return part.sign, value

    def _scaled(self, coefficient: Coefficient, value: Any) -> Any:
        sign, scale = coefficient
        if scale is not None:
            value = self.vector.multiply(scale, value)
        return self.vector.negate(value) if sign < 0 else value

    def _matrix(self, statement: MatrixStatement) -> None:
        target = statement.target
        parts = [(self._coefficient(part), part.operands) for part in self.places.parts(statement)]
        products = [(scale, operands) for scale, operands in parts if len(operands) == 2]
        linear = [(scale, operands) for scale, operands in parts if len(operands) < 2]
        if not target.symmetric and any(not operands for _, operands in linear):
            raise NotImplementedError(f"{target.name}: the identity as a term of a matrix not symmetric")
        # The longest first: its sums are scaled as a whole, of the others one factor each turn.
        products.sort(key=lambda product: -self._inner(product[1]))

        def body(i0: Any, height: int, j0: Any, width: int, on_diagonal: bool) -> None:
            indices = [(u, v) for u in range(height) for v in range(width) if not (on_diagonal and u > v)]
            self._tile(target, products, linear, i0, j0, indices, on_diagonal)

        if target.symmetric:
            self._triangle_of_tiles(self._rows(target), body)
        else:
            self._all_tiles(self._rows(target), self._columns(target), body)

    def _inner(self, operands: tuple[Operand, ...]) -> int:
        left = operands[0]
        return self._rows(left.matrix) if left.transposed else self._columns(left.matrix)

    def _sides(self, count: int) -> tuple[int, int]:
        """Side of the tiles that cover `count` rows most evenly, and how many are whole."""
        side = -(-count // -(-count // self.tile))
        return side, count // side

    def _all_tiles(self, rows: int, columns: int, body: Callable[[Any, int, Any, int, bool], None]) -> None:
        """Call body(i0, height, j0, width, False) in loops that cover a rectangle."""
        vector, builder = self.vector, self.vector.builder
        (height, bands), (width, tiles) = self._sides(rows), self._sides(columns)

        def band_of(i0: Any, height: int) -> None:
            def tile(j: Any, _: list[Any]) -> None:
                body(i0, height, builder.mul(j, integer(width)), width, False)

            vector.loop(tiles, tile)
            if columns % width:
                body(i0, height, integer(tiles * width), columns % width, False)

        def band(i: Any, _: list[Any]) -> None:
            band_of(builder.mul(i, integer(height)), height)

        vector.loop(bands, band)
        if rows % height:
            band_of(integer(bands * height), rows % height)

    def _triangle_of_tiles(self, rows: int, body: Callable[[Any, int, Any, int, bool], None]) -> None:
        """Call body(i0, height, j0, width, on_diagonal) in loops that cover all i ≤ j."""
        vector, builder = self.vector, self.vector.builder
        side, bands = self._sides(rows)
        rest = rows % side

        def band(i: Any, _: list[Any]) -> None:
            i0 = builder.mul(i, integer(side))
            body(i0, side, i0, side, True)

            def tile(j: Any, _: list[Any]) -> None:
                body(i0, side, builder.mul(j, integer(side)), side, False)

            vector.loop(bands, tile, start=builder.add(i, integer(1)))
            if rest:
                body(i0, side, integer(bands * side), rest, False)

        if bands > 1:
            vector.loop(bands - 1, band)
        # Why apart: a loop has at least one turn, and the last band has no tile beside its own.
        last = integer((bands - 1) * side)
        body(last, side, last, side, True)
        if rest:
            corner = integer(bands * side)
            body(last, side, corner, rest, False)
            body(corner, rest, corner, rest, True)

    def _tile(
        self,
        target: Matrix,
        products: Sequence[tuple[Coefficient, tuple[Operand, ...]]],
        linear: Sequence[tuple[Coefficient, tuple[Operand, ...]]],
        i0: Any,
        j0: Any,
        indices: Sequence[tuple[int, int]],
        on_diagonal: bool,
    ) -> None:
        vector, builder = self.vector, self.vector.builder
        rows, columns = sorted({u for u, _ in indices}), sorted({v for _, v in indices})
        totals = [vector.constant(0.0)] * len(indices)

        def shifted(start: Any, step: int) -> Any:
            return builder.add(start, integer(step)) if step else start

        def add_product(
            totals: list[Any], coefficient: Coefficient, operands: tuple[Operand, ...]
        ) -> list[Any]:
            def turn(k: Any, carried: list[Any]) -> list[Any]:
                left, right = operands
                column = {u: self._operand(left, shifted(i0, u), k) for u in rows}
                column = {u: self._scaled(coefficient, value) for u, value in column.items()}
                row = {v: self._operand(right, k, shifted(j0, v)) for v in columns}
                return [
                    vector.fma(column[u], row[v], total)
                    for (u, v), total in zip(indices, carried, strict=True)
                ]

            return vector.loop(self._inner(operands), turn, totals)

        for number, (coefficient, operands) in enumerate(products):
            if number == 0:
                totals = add_product(totals, (1, None), operands)
                totals = [self._scaled(coefficient, total) for total in totals]
            else:
                totals = add_product(totals, coefficient, operands)
        for (u, v), product in zip(indices, totals, strict=True):
            i, j = shifted(i0, u), shifted(j0, v)
            total = product
            for coefficient, term in linear:
                sign, scale = coefficient
                if term:
                    value = self._operand(term[0], i, j)
                elif on_diagonal and u == v:
                    value = vector.constant(1.0)
                else:
                    continue
                if scale is None:
                    total = vector.subtract(total, value) if sign < 0 else vector.add(total, value)
                else:
                    total = vector.fma(vector.negate(scale) if sign < 0 else scale, value, total)
            self._store(total, target, i, j, mirrored=target.symmetric and not (on_diagonal and u == v))

    # --- sphere --------------------------------------------------------------------------

    def _norm_rates(self, statement: NormRates) -> None:
        vector = self.vector
        drift, overlap = statement.drift, statement.overlap

        def body(i: Any, _: list[Any]) -> None:
            inverse = vector.divide(vector.constant(1.0), self._entry(overlap, i, i))
            growth = self._entry(drift, i, i)
            rate = vector.multiply(vector.multiply(vector.constant(0.5), growth), inverse)
            vector.store(rate, self._base(statement.target), i)

        vector.loop(self.program.p, body)

    def _projection(self, statement: Projection) -> None:
        vector, builder = self.vector, self.vector.builder
        target, both = statement.target, statement.sides == 2

        def row(i: Any, _: list[Any]) -> None:
            mine = vector.load(self._base(statement.rates), i)

            def column(j: Any, __: list[Any]) -> None:
                rate = mine
                if both:
                    rate = vector.add(mine, vector.load(self._base(statement.rates), j))
                drift = self._entry(statement.drift, i, j)
                value = vector.fma(vector.negate(rate), self._entry(statement.overlap, i, j), drift)
                if both:
                    on_diagonal = builder.icmp_signed("==", i, j)
                    value = builder.select(on_diagonal, vector.constant(0.0), value)
                self._store(value, target, i, j, mirrored=False)

            vector.loop(self._columns(target), column, start=i if target.symmetric else 0)

        vector.loop(self._rows(target), row)
