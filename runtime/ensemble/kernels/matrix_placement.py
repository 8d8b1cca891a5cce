"""Decides where in memory vector code keeps each matrix of the equations, and which ones it never writes.

Memory, not arithmetic, limits loops over tiles, so as little as possible is written: inputs are read
where they are, results are written where they belong, and a multiple of another matrix, such as
V = q₁ 1 + q₂ a Q, is substituted into the products that use it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from derive.parameters import PARAMETERS
from derive.program import (
    Matrix,
    MatrixStatement,
    NormRates,
    Operand,
    Program,
    Projection,
    ScalarStatement,
)


@dataclasses.dataclass(frozen=True)
class Part:
    """sign · (product of scalars) · (product of at most two operands, or the identity if there is none)."""

    sign: int
    scalars: tuple[str, ...]
    operands: tuple[Operand, ...]


class MatrixPlacement:
    """The places of a program's matrices, by name: the component at which each starts.

    `parameters` are the names of the packed run-time parameters. With `packed`, symmetric matrices are kept
    as their independent entries.

    inputs
        All input matrices; those that are run-time parameters (T) are counted in these, the others in the
        state.
    state, parameters
        Input matrices that are read in place.
    result
        Output matrices that nothing reads, with packed entries.
    scratch
        All other matrices, whole unless `packed`, and the p growth rates of the norms; `components`
        vectors in all.
    multiples
        Matrices that are linear in one other matrix, and occur only as factors or terms of others.
    """

    def __init__(self, program: Program, parameters: Sequence[str], packed: bool = False) -> None:
        self.program, self.packed = program, packed
        self.matrices: dict[str, Matrix] = {
            matrix.name: matrix for matrix in program.inputs if isinstance(matrix, Matrix)
        }
        for statement in program.statements:
            if isinstance(statement, (MatrixStatement, Projection)):
                self.matrices[statement.target.name] = statement.target
        self.multiples: dict[str, tuple[Part, ...]] = {}
        self._find_multiples()
        self.inputs: dict[str, int] = {}
        self.state: dict[str, int] = {}
        self.parameters: dict[str, int] = {}
        self.result: dict[str, int] = {}
        self.scratch: dict[str, int] = {}
        self.components = 0
        self._place_inputs(parameters)
        self._place_results()
        for name, matrix in self.matrices.items():
            if not any(
                name in places for places in (self.state, self.parameters, self.result, self.multiples)
            ):
                whole = self.rows(matrix) * self.columns(matrix)
                self._reserve(name, self.packed_size(matrix) if packed else whole)
        for statement in program.statements:
            if isinstance(statement, NormRates):
                # Reciprocals of norms have no room, since only tangents read them.
                self._reserve(statement.target, program.p)

    def _reserve(self, name: str, components: int) -> None:
        self.scratch[name] = self.components
        self.components += components

    def rows(self, matrix: Matrix) -> int:
        return self.program.size(matrix.rows)

    def columns(self, matrix: Matrix) -> int:
        return self.program.size(matrix.columns)

    def packed_size(self, matrix: Matrix) -> int:
        """Number of the independent entries."""
        rows, columns = self.rows(matrix), self.columns(matrix)
        return rows * (rows + 1) // 2 if matrix.symmetric else rows * columns

    def _place_inputs(self, parameters: Sequence[str]) -> None:
        offset = 0
        for matrix in self.program.inputs:
            assert isinstance(matrix, Matrix)
            given = matrix.name in PARAMETERS
            self.inputs[matrix.name] = parameters.index(f"{matrix.name}_1_1") if given else offset
            if self.packed or not matrix.symmetric:
                places = self.parameters if given else self.state
                places[matrix.name] = self.inputs[matrix.name]
            if not given:
                offset += self.packed_size(matrix)

    def _place_results(self) -> None:
        offset = 0
        for output in self.program.outputs:
            if isinstance(output, str):
                offset += 1
                continue
            assert isinstance(output, Matrix)
            if output.name not in self._read_whole() | self._read_as_terms():
                self.result[output.name] = offset
            offset += self.packed_size(output)

    def _read_whole(self) -> set[str]:
        """Matrices that anything but the terms of a matrix statement reads."""
        names: set[str] = set()
        for statement in self.program.statements:
            match statement:
                case ScalarStatement():
                    for contraction in statement.contractions:
                        names |= set(contraction.names)
                case NormRates() | Projection():
                    names |= {statement.drift.name, statement.overlap.name}
        return names

    def _read_as_terms(self) -> set[str]:
        return {
            operand.matrix.name
            for statement in self.program.statements
            if isinstance(statement, MatrixStatement)
            for term in statement.terms
            for operand in term.operands
        }

    def _find_multiples(self) -> None:
        kept = self._read_whole() | {
            output.name for output in self.program.outputs if isinstance(output, Matrix)
        }
        for statement in self.program.statements:
            if not isinstance(statement, MatrixStatement) or statement.target.name in kept:
                continue
            parts = tuple(self.parts(statement))
            bases = {part.operands for part in parts if part.operands}
            if len(bases) <= 1 and all(len(part.operands) < 2 for part in parts):
                self.multiples[statement.target.name] = parts

    def parts(self, statement: MatrixStatement) -> Iterator[Part]:
        """The terms of a statement with all multiples substituted."""
        for term in statement.terms:
            found = [Part(term.sign, (term.scalar,) if term.scalar else (), ())]
            for operand in term.operands:
                found = [
                    Part(
                        done.sign * factor.sign,
                        done.scalars + factor.scalars,
                        done.operands + factor.operands,
                    )
                    for done in found
                    for factor in self._factors(operand)
                ]
            yield from found

    def _factors(self, operand: Operand) -> tuple[Part, ...]:
        parts = self.multiples.get(operand.matrix.name)
        if parts is None:
            return (Part(1, (), (operand,)),)
        if not operand.transposed:
            return parts
        return tuple(
            dataclasses.replace(
                part,
                operands=tuple(
                    Operand(inner.matrix, inner.transposed != (not inner.matrix.symmetric))
                    for inner in part.operands
                ),
            )
            for part in parts
        )
