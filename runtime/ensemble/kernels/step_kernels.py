"""Emits the kernels that take steps: start, advance, watch and commit, with the step-size controller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from derive.pipeline import Pipeline
from runtime.ensemble.kernels import lane_memory as at
from runtime.ensemble.kernels.kernel_emitter import KernelEmitter
from runtime.start.checked_arrays import Array
from runtime.trajectory.controller import (
    EPSILON,
    FAR_END,
    GROW,
    INTEGRAL,
    LOW_SHARE,
    PROPORTIONAL,
    SAFETY,
    SHRINK,
    SHRINK_NOT_FINITE,
    SMALLEST_ERROR,
    SMALLEST_STEP,
)
from runtime.vector.builder import INT32, INT64, VectorFunction, integer

_MANTISSA_BITS = 52
_EXPONENT_BIAS = 1023
# Operations of each lane: they take some hundredths of a second.
_OPERATIONS_BETWEEN_PAUSES = 20_000_000
# Polynomials for log₂(1.5 + x) and 2^(x + ½), |x| ≤ ½, interpolated at Chebyshev's points. They are right
# to 1e-6, more than a step size needs. A fit at run time would depend on the BLAS.
_LOG2 = (
    0.5849625007211561,
    0.9618208211752002,
    -0.32061303548492204,
    0.1417247357974217,
    -0.07079685998119041,
    0.04390747983075828,
    -0.024568534745087942,
)
_EXP2 = (
    1.414213562373095,
    0.9802581804401733,
    0.33973158738456355,
    0.07849348039565995,
    0.013601986198312132,
    0.0018951067270255148,
    0.00021865784823863317,
)


class StepEmitter(KernelEmitter):
    """The kernels that advance the lanes."""

    def emit_start(self) -> None:
        """The first slope of all lanes, and for fresh ones a first step of a hundredth of |y|/|dy/dα|.

        This is the first guess of E. Hairer, S. P. Nørsett, G. Wanner, Solving ODEs I, sec. II.4.
        """
        vector = self.new_function("start")
        (work,) = vector.arguments
        self.call_program(vector, self.rhs, work, self.layout.state_at, self.layout.slopes_at)
        rtol, atol = vector.load(work, at.RTOL), vector.load(work, at.ATOL)
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
        floor = vector.multiply(vector.constant(1e-6), vector.load(work, at.TIME_END))
        first = vector.select(vector.builder.fcmp_ordered(">", first, zero), first, floor)
        fresh = vector.flag(work, at.FRESH)
        vector.store(vector.select(fresh, first, vector.load(work, at.STEP)), work, at.STEP)
        for control in (at.LAST_LOG_ERROR, at.FAILED_BEFORE, at.ATTEMPTS, at.REJECTIONS):
            vector.store(vector.select(fresh, zero, vector.load(work, control)), work, control)
        vector.store(zero, work, at.FRESH)
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
        self._commit(vector, work)
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
        builder, layout, tableau = vector.builder, self.layout, self.tableau
        zero, one = vector.constant(0.0), vector.constant(1.0)
        time, end = vector.load(work, at.TIME), vector.load(work, at.TIME_END)
        live = vector.flag(work, at.LIVE)
        step, rest = vector.load(work, at.STEP), vector.subtract(end, time)
        # A step that ends just before the end is stretched, so that no sliver of a step remains.
        stretched = vector.multiply(step, vector.constant(1.0000001))
        final = builder.fcmp_ordered(">=", stretched, rest)
        h = vector.select(live, vector.select(final, rest, step), zero)
        vector.store(h, work, at.ATTEMPTED)
        base_y, base_new = vector.address(work, layout.state_at), vector.address(work, layout.new_state_at)

        for stage in range(1, layout.stage_count):
            self.move(vector, work, h, tableau.a[stage, :stage], layout.new_state_at)
            self.call_program(vector, self.rhs, work, layout.new_state_at, layout.slope_at(stage))
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
        self.call_program(vector, self.rhs, work, layout.new_state_at, layout.slope_at(layout.stage_count))
        square, largest = self._squared_error(vector, work, h, estimates, base_y, base_new)
        accepted = builder.fcmp_ordered("<=", square, one)
        new_time = vector.select(final, end, vector.add(time, h))
        new_time = vector.select(accepted, new_time, time)
        factor = self._factor(vector, work, square, accepted)
        # A final step that was accepted is shorter than the next one may be.
        next_step = vector.multiply(h, factor)

        vector.store(new_time, work, at.NEW_TIME)
        vector.store(next_step, work, at.NEXT_STEP)
        vector.store(vector.select(accepted, one, zero), work, at.ACCEPTED)
        vector.store(largest, work, at.LARGEST)

        unbounded = builder.fcmp_unordered(">", largest, vector.load(work, at.BOUND))
        unbounded = builder.and_(unbounded, accepted)
        smallest = vector.multiply(
            vector.constant(SMALLEST_STEP * EPSILON),
            vector.maximum(
                time,
                vector.multiply(vector.constant(EPSILON), vector.minimum(end, vector.constant(FAR_END))),
            ),
        )
        stuck = builder.fcmp_unordered("<=", next_step, smallest)
        # The last step may be of any length.
        stuck = builder.and_(stuck, builder.not_(builder.and_(accepted, final)))
        vector.store(vector.select(stuck, one, zero), work, at.STUCK)
        attention = builder.or_(unbounded, stuck)
        attention = builder.or_(attention, builder.and_(accepted, final))
        due = builder.fcmp_ordered("<=", vector.load(work, at.NEXT_OUTPUT), new_time)
        due = builder.and_(due, accepted)
        if watch:
            self.call_program(vector, self.loss, work, layout.new_state_at, at.NEW_LOSS)
            threshold = vector.load(work, at.THRESHOLD)
            crossed = builder.fcmp_ordered("<=", vector.load(work, at.NEW_LOSS), threshold)
            crossed = builder.and_(crossed, accepted)
            vector.store(vector.select(crossed, one, zero), work, at.CROSSED)
            attention = builder.or_(attention, crossed)
            # The time of the event is not known yet, and neither is which outputs come before it.
            due = builder.and_(due, builder.not_(crossed))
        attention = builder.or_(attention, self._write_due(vector, work, due, new_time))
        return builder.and_(attention, live)

    def _squared_error(
        self,
        vector: VectorFunction,
        work: Any,
        h: Any,
        estimates: Sequence[tuple[Array, Any]],
        base_y: Any,
        base_new: Any,
    ) -> tuple[Any, Any]:
        """The square of the attempted step's error in units of the tolerance, and the largest |y| after it.

        `estimates` are the weights of each estimate, and where all of it but its last term waits.
        """
        builder, layout, zero = vector.builder, self.layout, vector.constant(0.0)
        last_slope = vector.address(work, layout.slope_at(layout.stage_count))

        rtol, atol = vector.load(work, at.RTOL), vector.load(work, at.ATOL)

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
        outside = vector.flag(work, at.EXACT)
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
        vector.store(vector.select(due, new_time, vector.constant(-1.0)), work, at.LIMIT)
        writer = builder.load(vector.address(work, at.WRITER), align=vector.alignment, typ=INT64)
        writes = builder.icmp_signed("!=", writer, integer(at.NOTHING))
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
        """How much larger the next step may be, by the controller of `stepper`, for all lanes."""
        builder = vector.builder
        exponent = 1.0 / (self.tableau.error_order + 1)
        smallest, largest = vector.constant(SMALLEST_ERROR**2), vector.constant(1e30)
        finite = builder.fcmp_ordered("<", square, vector.constant(float("inf")))
        clamped = vector.minimum(vector.maximum(square, smallest), largest)
        log_error = vector.multiply(vector.constant(0.5), self._log2(vector, clamped))
        log_last = vector.load(work, at.LAST_LOG_ERROR)
        grown = vector.multiply(vector.constant(-PROPORTIONAL * exponent), log_error)
        grown = vector.fma(vector.constant(INTEGRAL * exponent), log_last, grown)
        reduced = vector.multiply(vector.constant(-exponent), log_error)
        power = self._exp2(vector, vector.select(accepted, grown, reduced))
        factor = vector.multiply(vector.constant(SAFETY), power)
        factor = vector.maximum(factor, vector.constant(SHRINK))
        failed = vector.flag(work, at.FAILED_BEFORE)
        most = vector.select(failed, vector.constant(1.0), vector.constant(GROW))
        factor = vector.minimum(factor, most)
        factor = vector.select(finite, factor, vector.constant(SHRINK_NOT_FINITE))
        zero, one = vector.constant(0.0), vector.constant(1.0)
        vector.store(vector.select(finite, zero, one), work, at.NOT_FINITE)
        vector.store(vector.select(accepted, log_error, log_last), work, at.LOG_ERROR)
        return factor

    def _log2(self, vector: VectorFunction, x: Any) -> Any:
        """log₂ of positive normal numbers, to about 1e-6."""
        builder = vector.builder
        words = vector.words
        bits = builder.bitcast(x, vector.word_type)
        exponent = builder.sub(builder.lshr(bits, words(_MANTISSA_BITS)), words(_EXPONENT_BIAS))
        fraction = builder.and_(bits, words((1 << _MANTISSA_BITS) - 1))
        mantissa = builder.or_(fraction, words(_EXPONENT_BIAS << _MANTISSA_BITS))
        m = builder.bitcast(mantissa, vector.type)
        whole = builder.sitofp(builder.trunc(exponent, ir.VectorType(INT32, vector.lanes)), vector.type)
        return vector.add(whole, vector.polynomial(_LOG2, vector.subtract(m, vector.constant(1.5))))

    def _exp2(self, vector: VectorFunction, x: Any) -> Any:
        """2ˣ for −60 ≤ x ≤ 60, to about 1e-6; clamped outside."""
        builder = vector.builder
        x = vector.minimum(vector.maximum(x, vector.constant(-60.0)), vector.constant(60.0))
        whole = vector.unary("floor", x)
        small = builder.fptosi(whole, ir.VectorType(INT32, vector.lanes))
        exponent = builder.add(builder.sext(small, vector.word_type), vector.words(_EXPONENT_BIAS))
        power = builder.shl(exponent, vector.words(_MANTISSA_BITS))
        scale = builder.bitcast(power, vector.type)
        rest = vector.subtract(vector.subtract(x, whole), vector.constant(0.5))
        return vector.multiply(scale, vector.polynomial(_EXP2, rest))

    def _commit(self, vector: VectorFunction, work: Any) -> None:
        builder, layout = vector.builder, self.layout
        one = vector.constant(1.0)
        taken = vector.load(work, at.ACCEPTED)
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
        vector.store(vector.load(work, at.NEW_TIME), work, at.TIME)
        vector.store(vector.load(work, at.NEXT_STEP), work, at.STEP)
        vector.store(vector.load(work, at.LOG_ERROR), work, at.LAST_LOG_ERROR)
        rejected = vector.subtract(one, taken)
        vector.store(rejected, work, at.FAILED_BEFORE)
        for control, change in ((at.ATTEMPTS, one), (at.REJECTIONS, rejected)):
            vector.store(vector.add(vector.load(work, control), change), work, control)

    def emit_commit(self) -> None:
        vector = self.new_function("commit")
        self._commit(vector, vector.arguments[0])
        vector.builder.ret(integer(0))
