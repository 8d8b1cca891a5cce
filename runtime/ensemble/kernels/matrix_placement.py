"""Decides where in memory vector code keeps the matrices and vectors of the equations, and which never.

Memory, not arithmetic, limits loops over tiles, so as little as possible is written: inputs are read
where they are, results are written where they belong, and a multiple of another matrix, such as
V = q₁ 1 + q₂ a Q, is substituted into the products that use it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from derive.expansion import entry_names
from derive.program import (
    EntryStatement,
    Matrix,
    MatrixStatement,
    NormRates,
    Operand,
    PairProducts,
    Program,
    Projection,
    RowSum,
    ScalarStatement,
    Statement,
    Vector,
    VectorStatement,
    sources,
)

# Statements whose targets are matrices or vectors.
_COMPUTING = (MatrixStatement, EntryStatement, VectorStatement, RowSum, PairProducts, Projection)
# Matrices over pairs of students are kept for a block of pairs at a time: those of two students with two.
# Matrices of more than this many entries would crowd the first cache, so their blocks are single pairs.
_PAIR_ENTRIES = 400
_LARGEST_PAIR_SIDE = 2


def over_pairs(statement: Statement) -> bool:
    """Whether the target has an entry or a row for each pair of students."""
    return isinstance(statement, _COMPUTING) and statement.target.rows == "pairs"


@dataclasses.dataclass(frozen=True)
class Part:
    """sign · (product of scalars) · (product of at most two operands, or the identity if there is none)."""

    sign: int
    scalars: tuple[str, ...]
    operands: tuple[Operand, ...]


class MatrixPlacement:
    """The places of a program's matrices and vectors, by name: the component at which each starts.

    `parameters` are the names of the packed run-time parameters. With `packed`, symmetric matrices are kept
    as their independent entries.

    matrices, vectors
        All of the program.
    given
        The names of inputs that are run-time parameters, such as T.
    inputs
        All inputs; those that are given are counted in the parameters, the others in the state.
    state, parameters
        Inputs that are read in place.
    result
        Outputs that nothing reads, with packed entries.
    scratch
        All others, matrices whole unless `packed`, and the p growth rates of the norms; `components`
        vectors in all.
    multiples
        Matrices that are linear in one other matrix, and occur only as factors or terms of others.
    inlined
        Statements of matrices that one statement reads, entry by entry: their tiles are computed there.
    pair_side
        Matrices over pairs of students are kept for the pairs of at most so many students with as many.
    pair_statements
        The statements over pairs, in order; all are computed for one block of pairs after another.
    """

    def __init__(self, program: Program, parameters: Sequence[str], packed: bool = False) -> None:
        self.program, self.packed = program, packed
        parts = [*program.inputs]
        parts += [statement.target for statement in program.statements if isinstance(statement, _COMPUTING)]
        self.pair_statements = tuple(filter(over_pairs, program.statements))
        width = program.p + program.pstar
        self.pair_side = min(_LARGEST_PAIR_SIDE, max(1, math.isqrt(_PAIR_ENTRIES // width)))
        self.matrices = {part.name: part for part in parts if isinstance(part, Matrix)}
        self.vectors = {part.name: part for part in parts if isinstance(part, Vector)}
        self.multiples: dict[str, tuple[Part, ...]] = {}
        self._find_multiples()
        self.inlined = self._read_by_entries_once()
        self.given: set[str] = set()
        self.inputs: dict[str, int] = {}
        self.state: dict[str, int] = {}
        self.parameters: dict[str, int] = {}
        self.result: dict[str, int] = {}
        self.scratch: dict[str, int] = {}
        self.components = 0
        self._place_inputs(parameters)
        self._place_results()
        for part in parts:
            if not any(
                part.name in places
                for places in (self.state, self.parameters, self.result, self.multiples, self.inlined)
            ):
                self._reserve(part.name, self._kept_size(part))
        for statement in program.statements:
            if isinstance(statement, NormRates):
                # Reciprocals of norms have no room, since only tangents read them.
                self._reserve(statement.target, program.p)

        for statement in self.pair_statements:
            if isinstance(statement, RowSum):
                self._reserve(self.block_name(statement.target), self.pair_side**2)

    @staticmethod
    def block_name(vector: Vector) -> str:
        """The place of the entries of a vector over pairs for one block of them."""
        return f"{vector.name} of a block"

    def _reserve(self, name: str, components: int) -> None:
        self.scratch[name] = self.components
        self.components += components

    def rows(self, matrix: Matrix) -> int:
        return self.program.size(matrix.rows)

    def columns(self, matrix: Matrix) -> int:
        return self.program.size(matrix.columns)

    def _kept_size(self, part: Matrix | Vector) -> int:
        """The number of entries of a matrix or vector in the scratch memory."""
        if isinstance(part, Matrix) and part.rows == "pairs":
            return self.pair_side**2 * self.columns(part)
        if isinstance(part, Vector) or self.packed:
            return self.program.size_of(part)
        return self.rows(part) * self.columns(part)

    def _place_inputs(self, parameters: Sequence[str]) -> None:
        offset = 0
        for part in self.program.inputs:
            first = next(entry_names(self.program, part))
            given = first in parameters
            self.inputs[part.name] = parameters.index(first) if given else offset
            if given:
                self.given.add(part.name)
            else:
                offset += self.program.size_of(part)
            if self.packed or isinstance(part, Vector) or not part.symmetric:
                places = self.parameters if given else self.state
                places[part.name] = self.inputs[part.name]

    def _place_results(self) -> None:
        offset, read = 0, self._read_whole() | self._read_as_terms()
        for output in self.program.outputs:
            if isinstance(output, str):
                offset += 1
                continue
            if output.name not in read:
                self.result[output.name] = offset
            offset += self.program.size_of(output)

    def _read_whole(self) -> set[str]:
        """What anything but the terms of a matrix statement reads."""
        names: set[str] = set()
        for statement in self.program.statements:
            match statement:
                case ScalarStatement():
                    for contraction in statement.contractions:
                        names |= set(contraction.names)
                case EntryStatement() | VectorStatement() | RowSum():
                    for term in statement.terms:
                        names |= set(term.names)
                case PairProducts():
                    names |= {statement.left.name, statement.right.name}
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
            output.name for output in self.program.outputs if not isinstance(output, str)
        }
        for statement in self.program.statements:
            if not isinstance(statement, MatrixStatement) or statement.target.name in kept:
                continue
            parts = tuple(self.parts(statement))
            bases = {part.operands for part in parts if part.operands}
            if len(bases) <= 1 and all(len(part.operands) < 2 for part in parts):
                self.multiples[statement.target.name] = parts

    def _read_by_entries_once(self) -> dict[str, MatrixStatement]:
        readers: dict[str, list[Statement]] = {}
        for statement in self.program.statements:
            for name in sources(statement):
                readers.setdefault(name, []).append(statement)
        return {
            statement.target.name: statement
            for statement in self.program.statements
            if isinstance(statement, MatrixStatement)
            and statement.target not in self.program.outputs
            and self._is_read_once(statement, readers.get(statement.target.name, []))
        }

    def _is_read_once(self, statement: MatrixStatement, readers: Sequence[Statement]) -> bool:
        """Whether one statement reads the target in place, and others at most the diagonal of a sum."""
        target = statement.target
        diagonal = [reader for reader in readers if isinstance(reader, VectorStatement)]
        match [reader for reader in readers if reader not in diagonal]:
            case [EntryStatement(reading, terms)]:
                alike = dataclasses.replace(reading, name=target.name) == target
                turned = Operand(target, transposed=True)
                in_place = alike and all(turned not in term.operands for term in terms)
                products = any(len(part.operands) == 2 for part in self.parts(statement))
                return in_place and not (diagonal and products)
            case [RowSum(vector, terms)]:
                turned = Operand(target, transposed=True)
                alike = vector.rows == target.rows and not target.symmetric
                return alike and not diagonal and all(turned not in term.operands for term in terms)
        return False

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
