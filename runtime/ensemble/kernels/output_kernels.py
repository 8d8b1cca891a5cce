"""Emits the kernels that turn steps into outputs: dense output, its evaluation, the loss, the writing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from runtime.ensemble.kernels import lane_memory
from runtime.ensemble.kernels.kernel_emitter import KernelEmitter
from runtime.ensemble.kernels.lane_memory import double_at, word_at
from runtime.vector.builder import BYTES, DOUBLE, INT32, INT64, POINTER, VectorFunction, integer

# Number of doubles in a piece of a row. Whole vectors would need more shuffles, and straddle cache lines.
_PIECE = 4


class OutputEmitter(KernelEmitter):
    """The kernels that turn steps into outputs."""

    def emit_dense(self) -> None:
        """The slopes of the attempted step that only its interpolant needs."""
        vector = self.new_function("dense")
        (work,) = vector.arguments
        layout = self.layout
        h = vector.load(work, double_at.attempted)
        for number, row in enumerate(self.tableau.extra):
            # The state of the stage goes where outputs go, since the new state is still needed.
            self.move(vector, work, h, row, layout.output_at)
            self.emit_slope(vector, work, layout.output_at, layout.stage_count + 1 + number)
        vector.builder.ret(integer(0))
        self.dense = vector.function

    def _interpolant(self, vector: VectorFunction, work: Any, theta: Any) -> Callable[[Any], Any]:
        """y + h Σ_j b_j(θ) k_j as a function of the component, with weights b_j(θ) of each lane.

        Coefficients of θ, θ², … for each component would pay only from about ten outputs per step on, and
        need as much memory as the slopes.
        """
        weights = {}
        for stage, row in enumerate(self.tableau.p):
            if row.any():
                polynomial = vector.polynomial(np.trim_zeros(row, "b"), theta)
                weights[stage] = vector.multiply(theta, polynomial)
        h = vector.load(work, double_at.attempted)
        old = vector.address(work, self.layout.state_at)

        def value(index: Any) -> Any:
            change = self.combine_lanes(vector, work, index, weights)
            return vector.fma(h, change, vector.load(old, index))

        return value

    def emit_evaluate(self) -> None:
        """The interpolant at θ; at θ = 0 and 1 it is the states themselves, to the last bit."""
        vector = self.new_function("evaluate")
        (work,) = vector.arguments
        builder, layout = vector.builder, self.layout
        theta = vector.load(work, double_at.theta)
        at_end = builder.fcmp_ordered(">=", theta, vector.constant(1.0))
        at_start = builder.fcmp_ordered("<=", theta, vector.constant(0.0))
        old = vector.address(work, layout.state_at)
        new = vector.address(work, layout.new_state_at)
        output = vector.address(work, layout.output_at)
        interpolant = self._interpolant(vector, work, theta)

        def body(index: Any, _: list[Any]) -> None:
            value = vector.select(at_start, vector.load(old, index), interpolant(index))
            vector.store(vector.select(at_end, vector.load(new, index), value), output, index)

        vector.loop(layout.size, body)
        builder.ret(integer(0))
        self.evaluate = vector.function

    def emit_loss(self) -> None:
        """The loss at what `evaluate` left."""
        vector = self.new_function("loss")
        self.call_program(vector, self.loss, vector.arguments[0], self.layout.output_at, double_at.loss)
        vector.builder.ret(integer(0))
        self.output_loss = vector.function

    def emit_scatter(self) -> None:
        """Write what `evaluate` left as rows, to the n doubles of each lane whose address is in `place`."""
        vector = self.new_function("scatter")
        (work,) = vector.arguments
        output = vector.address(work, self.layout.output_at)
        self._rows(vector, work, lambda index: vector.load(output, index))
        vector.builder.ret(integer(0))
        self.scatter = vector.function

    def _rows(self, vector: VectorFunction, work: Any, value: Callable[[Any], Any]) -> None:
        """Write all components of `value` as rows to `place`: squares of lanes are transposed to pieces."""
        builder, size = vector.builder, self.layout.size
        places = []
        for lane in range(vector.lanes):
            slot = vector.element(work, word_at.place, lane)
            places.append(builder.inttoptr(builder.load(slot, align=BYTES, typ=INT64), POINTER))

        def block(start: Any, count: int) -> None:
            columns = [value(builder.add(start, integer(k))) for k in range(count)]
            for k, row in enumerate(vector.transpose(columns)):
                for first in range(0, vector.lanes, count):
                    piece = vector.shuffle(row, row, range(first, first + count))
                    target = builder.gep(places[first + k], [start], inbounds=True, source_etype=DOUBLE)
                    builder.store(piece, target, align=BYTES)

        def body(index: Any, _: list[Any]) -> None:
            block(builder.mul(index, integer(group)), group)

        group = min(_PIECE, 1 << (size.bit_length() - 1))
        vector.loop(size // group, body)
        rest = size % group
        if rest:
            # The last piece is as long as the next power of two, and may overlap the one before it.
            last = 1 << (rest - 1).bit_length()
            block(integer(size - last), last)

    def emit_write(self) -> None:
        """Write every output up to `limit`: states, losses or both, as `writer` says."""
        kinds = {
            lane_memory.STATES: self._emit_writer("write_states", states=True, losses=False),
            lane_memory.LOSSES: self._emit_writer("write_losses", states=False, losses=True),
            lane_memory.BOTH: self._emit_writer("write_both", states=True, losses=True),
        }
        vector = self.new_function("write")
        (work,) = vector.arguments
        builder = vector.builder
        done = vector.block("done")
        writer = builder.load(vector.address(work, word_at.writer), align=vector.alignment, typ=INT64)
        choice = builder.switch(writer, done)
        for kind, function in kinds.items():
            chosen = vector.block("chosen")
            choice.add_case(integer(kind), chosen)
            builder.position_at_end(chosen)
            builder.call(function, [work])
            builder.branch(done)
        builder.position_at_end(done)
        builder.ret(integer(0))
        self.write = vector.function

    def _emit_writer(self, name: str, states: bool, losses: bool) -> Any:
        """Write every output up to `limit`: the next one of each lane at once, until none is left.

        `row` and `loss_row` are where a lane's next outputs go, and `time_entry` is where their time is.
        """
        vector = self.new_function(name, inner=True)
        (work,) = vector.arguments
        builder = vector.builder
        head, body, done = map(vector.block, ("next", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        wanted = vector.load(work, double_at.next_output)
        due = builder.fcmp_ordered("<=", wanted, vector.load(work, double_at.limit))
        builder.cbranch(vector.any_lane(due), body, done)
        builder.position_at_end(body)
        theta = self._place(vector, work, wanted, due)
        vector.store(theta, work, double_at.theta)
        if states:
            rows = self._advanced(vector, work, word_at.row, self.layout.size, due)
            spare = self._load_words(vector, work, word_at.spare)
            self._store_words(vector, work, builder.select(due, rows, spare), word_at.place)
        if states and not losses:
            self._write_states(vector, work, theta)
        else:
            builder.call(self.evaluate, [work])
        if states and losses:
            builder.call(self.scatter, [work])
        if losses:
            builder.call(self.output_loss, [work])
            rows = self._advanced(vector, work, word_at.loss_row, 1, due)
            self._masked_store(vector, vector.load(work, double_at.loss), rows, due)
        self._advanced(vector, work, word_at.time_entry, 1, due)
        entry = self._load_words(vector, work, word_at.time_entry)
        vector.store(self._masked_load(vector, entry, due, wanted), work, double_at.next_output)
        builder.branch(head)
        builder.position_at_end(done)
        builder.ret(integer(0))
        return vector.function

    def _place(self, vector: VectorFunction, work: Any, wanted: Any, due: Any) -> Any:
        """The places θ of the wanted outputs in the attempted steps."""
        builder, time = vector.builder, vector.load(work, double_at.time)
        theta = vector.divide(vector.subtract(wanted, time), vector.load(work, double_at.attempted))
        zero, one = vector.constant(0.0), vector.constant(1.0)
        at_end = builder.fcmp_ordered("==", wanted, vector.load(work, double_at.new_time))
        at_start = builder.fcmp_ordered("==", wanted, time)
        theta = vector.select(at_end, one, vector.select(at_start, zero, theta))
        # A lane without an output is evaluated in the middle of its step, away from the special ends.
        return vector.select(due, theta, vector.constant(0.5))

    def _write_states(self, vector: VectorFunction, work: Any, theta: Any) -> None:
        """Write states alone: inside of steps, where nearly all are, as they are computed."""
        builder = vector.builder
        inside, ends, written = map(vector.block, ("inside", "ends", "written"))
        within = builder.and_(
            builder.fcmp_ordered(">", theta, vector.constant(0.0)),
            builder.fcmp_ordered("<", theta, vector.constant(1.0)),
        )
        builder.cbranch(vector.all_lanes(within), inside, ends)
        builder.position_at_end(inside)
        self._rows(vector, work, self._interpolant(vector, work, theta))
        builder.branch(written)
        builder.position_at_end(ends)
        builder.call(self.evaluate, [work])
        builder.call(self.scatter, [work])
        builder.branch(written)
        builder.position_at_end(written)

    def _load_words(self, vector: VectorFunction, work: Any, component: int) -> Any:
        place = vector.address(work, component)
        return vector.builder.load(place, align=vector.alignment, typ=vector.word_type)

    def _store_words(self, vector: VectorFunction, work: Any, value: Any, component: int) -> None:
        vector.builder.store(value, vector.address(work, component), align=vector.alignment)

    def _advanced(self, vector: VectorFunction, work: Any, component: int, count: int, due: Any) -> Any:
        """Advance addresses by so many doubles in the lanes that are due; returns those of before."""
        before = self._load_words(vector, work, component)
        after = vector.builder.add(before, vector.words(count * BYTES))
        self._store_words(vector, work, vector.builder.select(due, after, before), component)
        return before

    def _pointers(self, vector: VectorFunction, addresses: Any) -> Any:
        return vector.builder.inttoptr(addresses, ir.VectorType(POINTER, vector.lanes))

    def _masked_store(self, vector: VectorFunction, value: Any, addresses: Any, mask: Any) -> None:
        pointers = self._pointers(vector, addresses)
        kinds = [vector.type, pointers.type, INT32, vector.mask_type]
        name = f"llvm.masked.scatter.v{vector.lanes}f64.v{vector.lanes}p0"
        function = vector.intrinsic(name, ir.VoidType(), kinds)
        vector.builder.call(function, [value, pointers, ir.Constant(INT32, BYTES), mask])

    def _masked_load(self, vector: VectorFunction, addresses: Any, mask: Any, other: Any) -> Any:
        pointers = self._pointers(vector, addresses)
        kinds = [pointers.type, INT32, vector.mask_type, vector.type]
        name = f"llvm.masked.gather.v{vector.lanes}f64.v{vector.lanes}p0"
        function = vector.intrinsic(name, vector.type, kinds)
        return vector.builder.call(function, [pointers, ir.Constant(INT32, BYTES), mask, other])
