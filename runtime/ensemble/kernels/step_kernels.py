"""Emits the kernels that take steps: start, advance, watch and commit, with the step-size controller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from derive.pipeline import Pipeline
from runtime.ensemble.kernels import lane_memory
from runtime.ensemble.kernels.kernel_emitter import KernelEmitter
from runtime.ensemble.kernels.lane_memory import double_at, word_at
from runtime.ensemble.kernels.lane_operations import log2
from runtime.start.checked_arrays import Array
from runtime.trajectory.controller import (
    LOW_SHARE,
    SMALLEST_ERROR,
    attempted_step,
    smallest_step,
    step_factor,
)
from runtime.trajectory.event_search import extended, near
from runtime.vector.builder import INT64, VectorFunction, integer

# Operations of each lane between two looks at Ctrl-C: they take some hundredths of a second.
_OPERATIONS_BETWEEN_PAUSES = 20_000_000
# The square of an error of more than this counts as this, so that it has a logarithm.
_LARGEST_SQUARE = 1e30


class StepEmitter(KernelEmitter):
    """The kernels that advance the lanes."""

    def emit_start(self) -> None:
        """The first slope of all lanes, and for fresh ones a first step of a hundredth of |y|/|dy/dα|.

        This is the first guess of E. Hairer, S. P. Nørsett, G. Wanner, Solving ODEs I, sec. II.4.
        """
        vector = self.new_function("start")
        (work,) = vector.arguments
        if self.layout.scheduled:
            self.keep_rates(vector, work, vector.flag(work, double_at.fresh))
        self.emit_slope(vector, work, self.layout.state_at, 0)
        rtol, atol = vector.load(work, double_at.rtol), vector.load(work, double_at.atol)
        zero = vector.constant(0.0)

        def norms(index: Any, sums: list[Any]) -> list[Any]:
            y = vector.load(vector.address(work, self.layout.state_at), index)
            slope = vector.load(vector.address(work, self.layout.slopes_at), index)
            scale = vector.fma(rtol, vector.unary("fabs", y), atol)
            size, speed = vector.divide(y, scale), vector.divide(slope, scale)
            return [vector.fma(size, size, sums[0]), vector.fma(speed, speed, sums[1])]

        size, speed = vector.loop(self.layout.size, norms, [zero, zero])
        tiny = vector.constant(1e-300)
        ratio = vector.unary("sqrt", vector.divide(size, vector.maximum(speed, tiny)))
        first = vector.multiply(vector.constant(0.01), ratio)
        # A state of zero norm has no scale of its own, so it starts with a small part of the whole time.
        floor = vector.multiply(vector.constant(1e-6), vector.load(work, double_at.time_end))
        first = vector.select(vector.builder.fcmp_ordered(">", first, zero), first, floor)
        fresh = vector.flag(work, double_at.fresh)
        vector.store(vector.select(fresh, first, vector.load(work, double_at.step)), work, double_at.step)
        for control in (
            double_at.last_log_error,
            double_at.failed_before,
            double_at.attempts,
            double_at.rejections,
        ):
            vector.store(vector.select(fresh, zero, vector.load(work, control)), work, control)
        vector.store(zero, work, double_at.fresh)
        vector.builder.ret(integer(0))

    def emit_advance(self, name: str, watch: bool) -> None:
        vector = self.new_function(name)
        (work,) = vector.arguments
        builder = vector.builder
        attempt, stop, go_on, pause = map(vector.block, ("attempt", "stop", "go_on", "pause"))
        entry = builder.block
        builder.branch(attempt)
        builder.position_at_end(attempt)
        count = builder.phi(INT64)
        count.add_incoming(integer(0), entry)
        attention = self._attempt(vector, work, watch)
        bits = vector.bits(attention)
        builder.cbranch(builder.icmp_unsigned("!=", bits, integer(0)), stop, go_on)
        builder.position_at_end(go_on)
        self._commit(vector, work, watch)
        following = builder.add(count, integer(1))
        count.add_incoming(following, builder.block)
        # The loop that calls this kernel can see only between calls that it should stop.
        cost = self.layout.stage_count * Pipeline.of(self.model).operations["rhs"]
        attempts = integer(max(1, _OPERATIONS_BETWEEN_PAUSES // cost))
        builder.cbranch(builder.icmp_unsigned("<", following, attempts), attempt, pause)
        builder.position_at_end(pause)
        builder.ret(integer(0))
        builder.position_at_end(stop)
        builder.ret(bits)

    def _attempt(self, vector: VectorFunction, work: Any, watch: bool) -> Any:
        """Try one step of all lanes; returns the mask of lanes that need attention."""
        builder, zero, one = vector.builder, vector.constant(0.0), vector.constant(1.0)
        time, end = vector.load(work, double_at.time), vector.load(work, double_at.time_end)
        live = vector.flag(work, double_at.live)
        step = vector.load(work, double_at.step)
        size, final = self.rule(vector, attempted_step)(time, step, end)
        h = vector.select(live, size, zero)
        vector.store(h, work, double_at.attempted)
        square, largest = self._make_step(vector, work, h)
        accepted = builder.fcmp_ordered("<=", square, one)
        new_time = vector.select(final, end, vector.add(time, h))
        new_time = vector.select(accepted, new_time, time)
        factor = self._factor(vector, work, square, accepted)
        next_step = vector.multiply(h, factor)
        vector.store(new_time, work, double_at.new_time)
        vector.store(next_step, work, double_at.next_step)
        vector.store(vector.select(accepted, one, zero), work, double_at.accepted)
        vector.store(largest, work, double_at.largest)

        unbounded = builder.fcmp_unordered(">", largest, vector.load(work, double_at.bound))
        smallest = self.rule(vector, smallest_step)(time, end)
        stuck = builder.fcmp_unordered("<=", next_step, smallest)
        # The last step may be of any length.
        ended = builder.and_(accepted, final)
        stuck = builder.and_(stuck, builder.not_(ended))
        vector.store(vector.select(stuck, one, zero), work, double_at.stuck)
        attention = builder.or_(builder.or_(builder.and_(unbounded, accepted), stuck), ended)
        due = builder.fcmp_ordered("<=", vector.load(work, double_at.next_output), new_time)
        due = builder.and_(due, accepted)
        if watch:
            crossed = builder.and_(self._may_cross(vector, work, h), accepted)
            vector.store(vector.select(crossed, one, zero), work, double_at.crossed)
            attention = builder.or_(attention, crossed)
            # The time of the event is not known yet, and neither is which outputs come before it.
            due = builder.and_(due, builder.not_(crossed))
        attention = builder.or_(attention, self._write_due(vector, work, due, new_time))
        return builder.and_(attention, live)

    def _make_step(self, vector: VectorFunction, work: Any, h: Any) -> tuple[Any, Any]:
        """The slopes and the new state of the attempted step; returns what `_squared_error` does."""
        layout, tableau = self.layout, self.tableau
        base_y = vector.address(work, layout.state_at)
        base_new = vector.address(work, layout.new_state_at)
        for stage in range(1, layout.stage_count):
            self.move(vector, work, h, tableau.a[stage, :stage], layout.new_state_at)
            self.emit_slope(vector, work, layout.new_state_at, stage)
        # Each estimate of the error has its weights, and a place where all but its last term wait.
        weights_of = [tableau.e, tableau.e_low][: layout.estimate_count]
        estimates = [
            (weights, vector.address(work, layout.estimate_at(k))) for k, weights in enumerate(weights_of)
        ]

        def finish(index: Any, _: list[Any]) -> None:
            change = self.combine(vector, work, index, tableau.b)
            vector.store(vector.fma(h, change, vector.load(base_y, index)), base_new, index)
            # The slopes are in registers here, and a later pass need not load them again.
            for weights, place in estimates:
                vector.store(self.combine(vector, work, index, weights[:-1]), place, index)

        vector.loop(layout.size, finish)
        self.emit_slope(vector, work, layout.new_state_at, layout.stage_count)
        return self._squared_error(vector, work, h, estimates)

    def _may_cross(self, vector: VectorFunction, work: Any, h: Any) -> Any:
        """The mask of lanes whose loss may come down to the threshold in the attempted step."""
        layout = self.layout
        weights_of = self.tableau.coefficients["screen"][:, : layout.stage_count + 1]
        base_y = vector.address(work, layout.state_at)
        places = [vector.address(work, layout.inner_at(k)) for k in range(len(weights_of))]

        def inside(index: Any, _: list[Any]) -> None:
            # All states at once, since each slope is loaded only once then.
            y = vector.load(base_y, index)
            for weights, place in zip(weights_of, places, strict=True):
                change = self.combine(vector, work, index, weights)
                vector.store(vector.fma(h, change, y), place, index)

        vector.loop(layout.size, inside)
        self.call_program(vector, self.loss, work, layout.new_state_at, double_at.new_loss)
        losses = [vector.load(work, double_at.old_loss), vector.load(work, double_at.new_loss)]
        for k in range(len(places)):
            self.call_program(vector, self.loss, work, layout.inner_at(k), double_at.loss)
            losses.append(vector.load(work, double_at.loss))
        lowest, highest = vector.constant(np.inf), vector.constant(-np.inf)
        for value in losses:
            lowest, highest = self.rule(vector, extended)(lowest, highest, value)
        return self.rule(vector, near)(lowest, highest, vector.load(work, double_at.threshold))

    def _squared_error(
        self, vector: VectorFunction, work: Any, h: Any, estimates: Sequence[tuple[Array, Any]]
    ) -> tuple[Any, Any]:
        """The square of the attempted step's error in units of the tolerance, and the largest |y| after it.

        `estimates` are the weights of each estimate, and where all of it but its last term waits.
        """
        builder, layout, zero = vector.builder, self.layout, vector.constant(0.0)
        base_y = vector.address(work, layout.state_at)
        base_new = vector.address(work, layout.new_state_at)
        last_slope = vector.address(work, layout.slope_at(layout.stage_count))
        rtol, atol = vector.load(work, double_at.rtol), vector.load(work, double_at.atol)

        def norms(quotient: Callable[[Any, Any], Any]) -> list[Any]:
            """Sums of the squares of scaled estimates, and the largest order parameter."""

            def body(index: Any, carried: list[Any]) -> list[Any]:
                before = vector.unary("fabs", vector.load(base_y, index))
                after = vector.unary("fabs", vector.load(base_new, index))
                scale = vector.fma(rtol, vector.maximum(before, after), atol)
                sums = []
                for (weights, place), total in zip(estimates, carried, strict=False):
                    error = vector.load(place, index)
                    if weights[-1] != 0.0:
                        weight = vector.constant(weights[-1])
                        error = vector.fma(weight, vector.load(last_slope, index), error)
                    scaled = quotient(error, scale)
                    sums.append(vector.fma(scaled, scaled, total))
                return [*sums, vector.maximum(carried[-1], after)]

            return vector.loop(layout.size, body, [zero] * (len(estimates) + 1))

        *rough, largest = norms(vector.rough_quotient)
        # The sums of lanes whose scales single precision cannot hold are taken again, in double.
        outside = vector.flag(work, double_at.exact)
        before_exact = builder.block
        exact_block, summed = vector.block("exact"), vector.block("summed")
        builder.cbranch(vector.any_lane(outside), exact_block, summed)
        builder.position_at_end(exact_block)
        *exact, _ = norms(vector.divide)
        chosen = [vector.select(outside, x, y) for x, y in zip(exact, rough, strict=True)]
        after_exact = builder.block
        builder.branch(summed)
        builder.position_at_end(summed)
        totals = [
            vector.merged((before, before_exact), (after, after_exact))
            for before, after in zip(rough, chosen, strict=True)
        ]
        mean = vector.multiply(totals[0], vector.constant(1.0 / layout.size))
        if len(totals) > 1:
            both = vector.fma(vector.constant(LOW_SHARE), totals[1], totals[0])
            share = vector.divide(totals[0], vector.maximum(both, vector.constant(1e-300)))
            mean = vector.multiply(mean, share)
        # The square of h would overflow where the end is very far, so h is multiplied twice.
        return vector.multiply(vector.multiply(mean, h), h), largest

    def _write_due(self, vector: VectorFunction, work: Any, due: Any, new_time: Any) -> Any:
        """Write the outputs that the step has passed; returns the lanes that are due if nothing is written.

        The kernel writes them itself, since on a grid of times nearly every step passes an output.
        """
        builder = vector.builder
        vector.store(vector.select(due, new_time, vector.constant(-1.0)), work, double_at.limit)
        writer = builder.load(vector.address(work, word_at.writer), align=vector.alignment, typ=INT64)
        writes = builder.icmp_signed("!=", writer, integer(lane_memory.NOTHING))
        write, written = vector.block("write"), vector.block("written")
        any_due = vector.any_lane(due)
        builder.cbranch(builder.and_(any_due, writes), write, written)
        builder.position_at_end(write)
        builder.call(self.dense, [work])
        builder.call(self.write, [work])
        builder.branch(written)
        builder.position_at_end(written)
        nobody = ir.Constant(vector.mask_type, [0] * vector.lanes)
        return builder.select(writes, nobody, due)

    def _factor(self, vector: VectorFunction, work: Any, square: Any, accepted: Any) -> Any:
        """How many times the attempted step the next one is, for all lanes."""
        smallest, largest = vector.constant(SMALLEST_ERROR**2), vector.constant(_LARGEST_SQUARE)
        finite = vector.builder.fcmp_ordered("<", square, vector.constant(float("inf")))
        clamped = vector.minimum(vector.maximum(square, smallest), largest)
        log_error = vector.multiply(vector.constant(0.5), log2(vector, clamped))
        log_last = vector.load(work, double_at.last_log_error)
        failed, exponent = vector.flag(work, double_at.failed_before), 1.0 / (self.tableau.error_order + 1)
        factor = self.rule(vector, step_factor)(log_error, log_last, accepted, failed, finite, exponent)
        zero, one = vector.constant(0.0), vector.constant(1.0)
        vector.store(vector.select(finite, zero, one), work, double_at.not_finite)
        vector.store(vector.select(accepted, log_error, log_last), work, double_at.log_error)
        return factor

    def _commit(self, vector: VectorFunction, work: Any, watch: bool) -> None:
        builder, layout = vector.builder, self.layout
        one = vector.constant(1.0)
        taken = vector.load(work, double_at.accepted)
        accepted = builder.fcmp_ordered(">", taken, vector.constant(0.5))
        pairs = [
            (layout.state_at, layout.new_state_at),
            (layout.slopes_at, layout.slope_at(layout.stage_count)),
        ]
        bases = [(vector.address(work, old), vector.address(work, new)) for old, new in pairs]

        def copy(index: Any, _: list[Any]) -> None:
            for old, new in bases:
                vector.store(vector.load(new, index), old, index)

        def choose(index: Any, _: list[Any]) -> None:
            for old, new in bases:
                value = vector.select(accepted, vector.load(new, index), vector.load(old, index))
                vector.store(value, old, index)

        # There are two loops, since nearly always all lanes are accepted, and LLVM turns the choice into
        # masked stores, which take some twenty cycles each on processors without AVX-512.
        all_taken, some_taken, done = map(vector.block, ("all_taken", "some_taken", "done"))
        builder.cbranch(vector.all_lanes(accepted), all_taken, some_taken)
        for block, body in ((all_taken, copy), (some_taken, choose)):
            builder.position_at_end(block)
            vector.loop(layout.size, body)
            builder.branch(done)
        builder.position_at_end(done)
        vector.store(vector.load(work, double_at.new_time), work, double_at.time)
        vector.store(vector.load(work, double_at.next_step), work, double_at.step)
        vector.store(vector.load(work, double_at.log_error), work, double_at.last_log_error)
        if watch:
            old, new = vector.load(work, double_at.old_loss), vector.load(work, double_at.new_loss)
            vector.store(vector.select(accepted, new, old), work, double_at.old_loss)
        rejected = vector.subtract(one, taken)
        vector.store(rejected, work, double_at.failed_before)
        for control, change in ((double_at.attempts, one), (double_at.rejections, rejected)):
            vector.store(vector.add(vector.load(work, control), change), work, control)

    def emit_commit(self) -> None:
        vector = self.new_function("commit")
        self._commit(vector, vector.arguments[0], watch=True)
        vector.builder.ret(integer(0))
