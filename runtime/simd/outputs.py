"""Emits the kernels that write: dense output, its evaluation, the loss, rows of memory."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from runtime.simd import layout as at
from runtime.simd.emitter import Emitter
from runtime.simd.vector import BYTES, DOUBLE, INT64, POINTER, VectorFunction, integer


class Outputs(Emitter):
    """The kernels that turn steps into outputs."""

    def emit_dense(self) -> None:
        """The interpolant of the attempted step: h Σ_j k_j p_jm for each power θ^m."""
        vector = self.new_function("dense")
        (work,) = vector.arguments
        layout, tableau = self.layout, self.tableau
        h = vector.load(work, at.ATTEMPTED)
        for number, row in enumerate(tableau.extra):
            # Why not where stages are tried: the new state is still needed there.
            self.move(vector, work, h, row, layout.output)
            self.call_program(
                vector, self.rhs, work, layout.output, layout.slope_of(layout.stages + 1 + number)
            )

        def body(index: Any, _: list[Any]) -> None:
            for power in range(layout.degree):
                total = self.combine(vector, work, index, tableau.p[:, power])
                place = vector.address(work, layout.dense + power * layout.size)
                vector.store(vector.multiply(h, total), place, index)

        vector.loop(layout.size, body)
        vector.builder.ret(integer(0))
        self.dense = vector.function

    def emit_evaluate(self) -> None:
        """The interpolant at θ; at θ = 0 and 1 the states themselves, to the last bit."""
        vector = self.new_function("evaluate")
        (work,) = vector.arguments
        builder, layout = vector.builder, self.layout
        theta = vector.load(work, at.THETA)
        at_end = builder.fcmp_ordered(">=", theta, vector.constant(1.0))
        at_start = builder.fcmp_ordered("<=", theta, vector.constant(0.0))
        old = vector.address(work, layout.state)
        new = vector.address(work, layout.new_state)
        output = vector.address(work, layout.output)

        def inside(index: Any, _: list[Any]) -> None:
            value: Any = None
            for power in reversed(range(layout.degree)):
                coefficient = vector.load(vector.address(work, layout.dense + power * layout.size), index)
                value = coefficient if value is None else vector.fma(value, theta, coefficient)
            vector.store(vector.fma(value, theta, vector.load(old, index)), output, index)

        vector.loop(layout.size, inside)
        ends = vector.function.append_basic_block("ends")
        done = vector.function.append_basic_block("done")
        bits = vector.bits(builder.or_(at_end, at_start))
        builder.cbranch(builder.icmp_unsigned("!=", bits, integer(0)), ends, done)
        builder.position_at_end(ends)

        def replace(index: Any, _: list[Any]) -> None:
            value = vector.select(at_start, vector.load(old, index), vector.load(output, index))
            vector.store(vector.select(at_end, vector.load(new, index), value), output, index)

        vector.loop(layout.size, replace)
        builder.branch(done)
        builder.position_at_end(done)
        builder.ret(integer(0))
        self.evaluate = vector.function

    def emit_loss(self) -> None:
        """The loss at what `evaluate` left."""
        vector = self.new_function("loss")
        self.call_program(vector, self.loss, vector.arguments[0], self.layout.output, at.LOSS)
        vector.builder.ret(integer(0))
        self.output_loss = vector.function

    def emit_scatter(self) -> None:
        """What `evaluate` left as rows: the bits in PLACE are addresses of n doubles."""
        vector = self.new_function("scatter")
        (work,) = vector.arguments
        builder, size, lanes = vector.builder, self.layout.size, vector.lanes
        # Groups of lanes that one transposition turns into pieces of rows.
        group = min(lanes, self.target.lanes, 1 << (size.bit_length() - 1))
        outputs = vector.address(work, self.layout.output)
        piece = ir.VectorType(DOUBLE, group)
        places = []
        for lane in range(lanes):
            slot = vector.element(work, at.PLACE, lane)
            places.append(builder.inttoptr(builder.load(slot, align=BYTES, typ=INT64), POINTER))

        def block(start: Any) -> None:
            for first in range(0, lanes, group):
                rows = []
                for k in range(group):
                    component = builder.add(start, integer(k))
                    offset = builder.add(builder.mul(component, integer(lanes)), integer(first))
                    source = builder.gep(outputs, [offset], inbounds=True, source_etype=DOUBLE)
                    rows.append(builder.load(source, align=BYTES, typ=piece))
                for k, row in enumerate(vector.transpose(rows)):
                    target = builder.gep(places[first + k], [start], inbounds=True, source_etype=DOUBLE)
                    builder.store(row, target, align=BYTES)

        def body(index: Any, _: list[Any]) -> None:
            block(builder.mul(index, integer(group)))

        vector.loop(size // group, body)
        if size % group:
            # The last piece overlaps the one before it.
            block(integer(size - group))
        builder.ret(integer(0))
        self.scatter = vector.function

    def emit_write(self, name: str, states: bool, losses: bool) -> None:
        """Every output up to LIMIT, all lanes at once: the next of each, until none is left.

        POSITION counts outputs of a lane; ROW and LOSS_ROW are where its next ones go.
        """
        vector = self.new_function(name)
        (work,) = vector.arguments
        builder = vector.builder
        words = ir.VectorType(INT64, vector.lanes)

        def constant(value: int) -> Any:
            return ir.Constant(words, [value] * vector.lanes)

        def load_words(component: int) -> Any:
            return builder.load(vector.address(work, component), align=vector.alignment, typ=words)

        def store_words(value: Any, component: int) -> None:
            builder.store(value, vector.address(work, component), align=vector.alignment)

        head = vector.function.append_basic_block("next")
        body = vector.function.append_basic_block("body")
        done = vector.function.append_basic_block("done")
        builder.branch(head)
        builder.position_at_end(head)
        wanted, time = vector.load(work, at.NEXT_OUTPUT), vector.load(work, at.TIME)
        due = builder.fcmp_ordered("<=", wanted, vector.load(work, at.LIMIT))
        builder.cbranch(builder.icmp_unsigned("!=", vector.bits(due), integer(0)), body, done)
        builder.position_at_end(body)
        theta = vector.divide(vector.subtract(wanted, time), vector.load(work, at.ATTEMPTED))
        zero, one = vector.constant(0.0), vector.constant(1.0)
        at_end = builder.fcmp_ordered("==", wanted, vector.load(work, at.NEW_TIME))
        at_start = builder.fcmp_ordered("==", wanted, time)
        theta = vector.select(at_end, one, vector.select(at_start, zero, theta))
        # A lane without an output is evaluated in mid-step, away from the special ends.
        vector.store(vector.select(due, theta, vector.constant(0.5)), work, at.THETA)
        builder.call(self.evaluate, [work])
        if states:
            rows = load_words(at.ROW)
            store_words(builder.select(due, rows, load_words(at.DUMMY)), at.PLACE)
            builder.call(self.scatter, [work])
            advanced = builder.add(rows, constant(self.layout.size * BYTES))
            store_words(builder.select(due, advanced, rows), at.ROW)
        if losses:
            builder.call(self.output_loss, [work])
            rows = load_words(at.LOSS_ROW)
            self._masked_store(vector, vector.load(work, at.LOSS), rows, due)
            store_words(builder.select(due, builder.add(rows, constant(BYTES)), rows), at.LOSS_ROW)
        position = load_words(at.POSITION)
        position = builder.select(due, builder.add(position, constant(BYTES)), position)
        store_words(position, at.POSITION)
        vector.store(self._masked_load(vector, position, due, wanted), work, at.NEXT_OUTPUT)
        builder.branch(head)
        builder.position_at_end(done)
        builder.ret(integer(0))

    def _pointers(self, vector: VectorFunction, addresses: Any) -> Any:
        return vector.builder.inttoptr(addresses, ir.VectorType(POINTER, vector.lanes))

    def _masked_store(self, vector: VectorFunction, value: Any, addresses: Any, mask: Any) -> None:
        pointers = self._pointers(vector, addresses)
        kinds = [vector.type, pointers.type, ir.IntType(32), vector.mask_type]
        name = f"llvm.masked.scatter.v{vector.lanes}f64.v{vector.lanes}p0"
        function = vector.intrinsic(name, ir.VoidType(), kinds)
        vector.builder.call(function, [value, pointers, ir.Constant(ir.IntType(32), BYTES), mask])

    def _masked_load(self, vector: VectorFunction, addresses: Any, mask: Any, other: Any) -> Any:
        pointers = self._pointers(vector, addresses)
        kinds = [pointers.type, ir.IntType(32), vector.mask_type, vector.type]
        name = f"llvm.masked.gather.v{vector.lanes}f64.v{vector.lanes}p0"
        function = vector.intrinsic(name, vector.type, kinds)
        return vector.builder.call(function, [pointers, ir.Constant(ir.IntType(32), BYTES), mask, other])
