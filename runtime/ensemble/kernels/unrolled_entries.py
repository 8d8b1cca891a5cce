"""Vector code for small systems of equations: every entry of every matrix is a value in a register.

The statements are those that are proved and printed as Numba code, here emitted for L trajectories at
once. Parameters are vectors too, so every lane has its own η and Δ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, ClassVar

from derive import readout
from derive.expansion import Assignment, entry_names, expand
from derive.model import Model
from derive.program import Program, sources
from runtime.ensemble.kernels.program_form import ProgramAddresses
from runtime.vector.builder import VectorFunction

# Independent partial sums of a long contraction, to hide the latency of fused multiply-adds.
_PARTIAL_SUMS = 4
_PARTIAL_FROM = 8


@dataclasses.dataclass(frozen=True)
class UnrolledEntries:
    """A program as straight-line code, without tiles and scratch."""

    model: Model
    program: Program

    distinct: ClassVar[bool] = True
    scratch_components: ClassVar[int] = 0

    def emit(self, vector: VectorFunction, addresses: ProgramAddresses) -> None:
        entries = _EntryValues(vector, self._inputs(vector, addresses))
        for statement in self.program.statements:
            for assignment in expand(self.program, statement):
                entries.assign(assignment)
        for k, name in enumerate(self._outputs()):
            vector.store(entries.known[name], addresses.result, k)

    def _inputs(self, vector: VectorFunction, addresses: ProgramAddresses) -> dict[str, Any]:
        """The readout, and the order parameters and run-time parameters that the program uses."""
        weights = zip("ab", readout.weights(self.model), strict=True)
        known = {name: vector.constant(value) for name, value in weights}
        used = {name for statement in self.program.statements for name in sources(statement)}
        for names, address in (
            (self.model.state, addresses.state),
            (self.model.parameters, addresses.parameters),
        ):
            for k, name in enumerate(names):
                # Entries have the names of their matrices before their indices.
                if name in used or name.split("_")[0] in used:
                    known[name] = vector.load(address, k)
        return known

    def _outputs(self) -> Iterator[str]:
        """The names of the entries of the outputs, in the order of the state."""
        for output in self.program.outputs:
            if isinstance(output, str):
                yield output
            else:
                yield from entry_names(self.program, output)


class _EntryValues:
    """The values of entries and scalars that are `known` so far, by name."""

    def __init__(self, vector: VectorFunction, known: dict[str, Any]) -> None:
        self.vector, self.known = vector, known

    def assign(self, assignment: Assignment) -> None:
        """Emit one assignment."""
        self.known[assignment.target] = self._value(assignment)

    def _value(self, assignment: Assignment) -> Any:
        vector = self.vector
        if assignment.reciprocal:
            return vector.divide(vector.constant(1.0), self.known[assignment.terms[0][1][0]])
        # Terms with the same coefficient are summed first, so that most products need no scaling.
        groups: dict[Fraction, list[tuple[str, ...]]] = {}
        for coefficient, factors in assignment.terms:
            groups.setdefault(coefficient, []).append(factors)
        total: Any = None
        for coefficient, products in sorted(groups.items(), key=lambda item: abs(item[0]) != 1):
            if abs(coefficient) == 1:
                total = self._sum(products, total, negative=coefficient < 0)
            else:
                part = self._sum(products, None, negative=False)
                scale = vector.constant(float(coefficient))
                total = vector.multiply(scale, part) if total is None else vector.fma(scale, part, total)
        return vector.constant(0.0) if total is None else total

    def _sum(self, products: list[tuple[str, ...]], total: Any, negative: bool) -> Any:
        vector = self.vector
        if len(products) > _PARTIAL_FROM and total is None:
            parts = [self._sum(products[k::_PARTIAL_SUMS], None, negative) for k in range(_PARTIAL_SUMS)]
            while len(parts) > 1:
                parts = [vector.add(x, y) for x, y in zip(parts[::2], parts[1::2], strict=True)]
            return parts[0]
        for factors in products:
            values = [self.known[factor] for factor in factors] or [vector.constant(1.0)]
            head = values[0]
            for value in values[1:-1]:
                head = vector.multiply(head, value)
            if len(values) == 1:
                if total is None:
                    total = vector.negate(head) if negative else head
                else:
                    total = vector.subtract(total, head) if negative else vector.add(total, head)
                continue
            if negative:
                head = vector.negate(head)
            if total is None:
                total = vector.multiply(head, values[-1])
            else:
                total = vector.fma(head, values[-1], total)
        return total
