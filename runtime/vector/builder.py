"""Builds LLVM functions on vectors: each operation acts on L lanes at once, one trajectory per lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

DOUBLE = ir.DoubleType()
INT64 = ir.IntType(64)
INT32 = ir.IntType(32)
BIT = ir.IntType(1)
POINTER = ir.PointerType()
BYTES = 8
# Every array of lanes starts at a multiple of this: a cache line, and the largest vector.
ALIGNMENT = 64


def integer(value: int) -> ir.Constant:
    return ir.Constant(INT64, value)


class VectorFunction:
    """A function under construction; values are vectors of `lanes` doubles unless stated otherwise.

    Arrays are structures of lanes: component k of all lanes starts at double k · lanes. Every
    load and store is a whole vector, aligned to its size.
    """

    def __init__(self, module: ir.Module, name: str, lanes: int, fma: bool, arguments: int) -> None:
        kind = ir.FunctionType(INT64, [POINTER] * arguments)
        self.function = ir.Function(module, kind, name)
        # Without this, spilled vectors straddle cache lines, which halves the speed.
        self.function.attributes.alignstack = ALIGNMENT
        self.lanes = lanes
        self.alignment = min(lanes * BYTES, ALIGNMENT)
        self.fused = fma
        self.type = ir.VectorType(DOUBLE, lanes)
        self.mask_type = ir.VectorType(BIT, lanes)
        self.word_type = ir.VectorType(INT64, lanes)
        self.builder = ir.IRBuilder(self.block("entry"))
        self._module = module

    @property
    def arguments(self) -> tuple[Any, ...]:
        return tuple(self.function.args)

    def intrinsic(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        kind = ir.FunctionType(result, list(arguments))
        known = self._module.globals.get(name)
        return known if known is not None else ir.Function(self._module, kind, name)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.type, [float(value)] * self.lanes)

    def words(self, value: int) -> Any:
        """The same 64-bit integer in every lane."""
        return ir.Constant(self.word_type, [value] * self.lanes)

    def address(self, base: Any, component: Any) -> Any:
        """Address of a component (an int or an INT64 value) of the array at `base`."""
        if isinstance(component, int):
            offset = integer(component * self.lanes)
        else:
            offset = self.builder.mul(component, integer(self.lanes))
        return self.builder.gep(base, [offset], inbounds=True, source_etype=DOUBLE)

    def plus(self, x: Any, y: Any) -> Any:
        """The sum of two indices; a number if both are numbers."""
        if isinstance(x, int) and isinstance(y, int):
            return x + y
        return self.builder.add(*(integer(z) if isinstance(z, int) else z for z in (x, y)))

    def times(self, index: Any, factor: int) -> Any:
        """An index times a number."""
        return index * factor if isinstance(index, int) else self.builder.mul(index, integer(factor))

    def element(self, base: Any, component: int, lane: int) -> Any:
        """Address of one lane of a component."""
        offset = integer(component * self.lanes + lane)
        return self.builder.gep(base, [offset], inbounds=True, source_etype=DOUBLE)

    def load(self, base: Any, component: Any = 0) -> Any:
        return self.builder.load(self.address(base, component), align=self.alignment, typ=self.type)

    def store(self, value: Any, base: Any, component: Any = 0) -> None:
        self.builder.store(value, self.address(base, component), align=self.alignment)

    def flag(self, base: Any, component: Any) -> Any:
        """The mask of lanes whose component is 1 and not 0."""
        return self.builder.fcmp_ordered(">", self.load(base, component), self.constant(0.5))

    def fence(self) -> None:
        """Keep loads and stores from moving across this place; it emits no instruction.

        In long straight-line code LLVM would load values far ahead of their use, and spill them.
        """
        self.builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)

    def add(self, x: Any, y: Any) -> Any:
        return self.builder.fadd(x, y)

    def subtract(self, x: Any, y: Any) -> Any:
        return self.builder.fsub(x, y)

    def multiply(self, x: Any, y: Any) -> Any:
        return self.builder.fmul(x, y)

    def divide(self, x: Any, y: Any) -> Any:
        return self.builder.fdiv(x, y)

    def rough_quotient(self, x: Any, y: Any) -> Any:
        """x / y to single precision, which is several times faster."""
        single = ir.VectorType(ir.FloatType(), self.lanes)
        shorter = self.builder.fdiv(self.builder.fptrunc(x, single), self.builder.fptrunc(y, single))
        return self.builder.fpext(shorter, self.type)

    def negate(self, x: Any) -> Any:
        return self.builder.fneg(x)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x y + z; with one rounding where the processor has the instruction."""
        if not self.fused:
            # Without the instruction, llvm.fma is a library call for each lane.
            return self.builder.fadd(self.builder.fmul(x, y), z)
        function = self.intrinsic(f"llvm.fma.v{self.lanes}f64", self.type, [self.type] * 3)
        return self.builder.call(function, [x, y, z])

    def polynomial(self, coefficients: Sequence[float], x: Any) -> Any:
        """Σ coefficients_k xᵏ."""
        value = self.constant(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            value = self.fma(value, x, self.constant(coefficient))
        return value

    def unary(self, name: str, x: Any) -> Any:
        function = self.intrinsic(f"llvm.{name}.v{self.lanes}f64", self.type, [self.type])
        return self.builder.call(function, [x])

    def maximum(self, x: Any, y: Any) -> Any:
        """The larger number; y if one of them is NaN."""
        return self.select(self.builder.fcmp_ordered(">", x, y), x, y)

    def minimum(self, x: Any, y: Any) -> Any:
        """The smaller number; y if one of them is NaN."""
        return self.select(self.builder.fcmp_ordered("<", x, y), x, y)

    def select(self, mask: Any, x: Any, y: Any) -> Any:
        return self.builder.select(mask, x, y)

    def bits(self, mask: Any) -> Any:
        """A mask as an INT64 with lane k in bit k."""
        return self.builder.zext(self.builder.bitcast(mask, ir.IntType(self.lanes)), INT64)

    def any_lane(self, mask: Any) -> Any:
        return self.builder.icmp_unsigned("!=", self.bits(mask), integer(0))

    def all_lanes(self, mask: Any) -> Any:
        return self.builder.icmp_unsigned("==", self.bits(mask), integer((1 << self.lanes) - 1))

    def block(self, name: str) -> Any:
        """A new block of instructions, which branches may lead to."""
        return self.function.append_basic_block(name)

    def merged(self, *ways: tuple[Any, Any]) -> Any:
        """The value that comes with the block from which this one is entered, given as (value, block)."""
        phi = self.builder.phi(ways[0][0].type)
        for value, block in ways:
            phi.add_incoming(value, block)
        return phi

    def shuffle(self, x: Any, y: Any, picks: Sequence[int]) -> Any:
        """Lanes of x (0 … n−1) and y (n …) in the order of `picks`."""
        return self.builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT32, len(picks)), list(picks)))

    def transpose(self, rows: Sequence[Any]) -> list[Any]:
        """Transpose each square block of 2ᵏ rows whose number of lanes is a multiple of 2ᵏ."""
        count = len(rows)
        rows = list(rows)
        stride = 1
        while stride < count:
            following: list[Any] = [None] * count
            for k in range(count):
                if k & stride:
                    continue
                upper, lower = rows[k], rows[k | stride]
                lanes = range(self.lanes)
                first = [j if not j & stride else self.lanes + (j & ~stride) for j in lanes]
                second = [(j | stride) if not j & stride else self.lanes + j for j in lanes]
                following[k] = self.shuffle(upper, lower, first)
                following[k | stride] = self.shuffle(upper, lower, second)
            rows = following
            stride *= 2
        return rows

    def loop(
        self,
        count: Any,
        body: Callable[[Any, list[Any]], Sequence[Any] | None],
        carried: Sequence[Any] = (),
        start: Any = 0,
    ) -> list[Any]:
        """for index in range(start, count): carried = body(index, carried); at least one turn."""
        builder = self.builder
        before = builder.block
        head, after = self.block("loop"), self.block("after")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INT64)
        index.add_incoming(integer(start) if isinstance(start, int) else start, before)
        values = [self.merged((value, before)) for value in carried]
        results = list(body(index, list(values)) or [])
        following = builder.add(index, integer(1))
        index.add_incoming(following, builder.block)
        for phi, value in zip(values, results, strict=True):
            phi.add_incoming(value, builder.block)
        end = integer(count) if isinstance(count, int) else count
        builder.cbranch(builder.icmp_signed("<", following, end), head, after)
        builder.position_at_end(after)
        return results
