"""Differentiates a program: the change of its outputs along changes of its inputs, in forward mode.

The columns of the Jacobian are the changes along the unit vectors of the state. T and the parameters do
not change, so the product rule and derivatives of the scalar coefficients suffice. The derivative of a
program is a program, and so the second derivative along two directions is that of a derivative.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    NormRates,
    NormRatesTangent,
    Operand,
    PairProducts,
    Program,
    Projection,
    ProjectionTangent,
    RowSum,
    ScalarStatement,
    Statement,
    Term,
    Vector,
    VectorStatement,
)
from derive.scalar_polynomials import ScalarPolynomial

# The change of X has the name t_X; that along a second direction is u_X, and that of t_X along it u_t_X.
PREFIX, SECOND_PREFIX = "t_", "u_"


Part = TypeVar("Part", bound=Matrix | Vector)


def tangent_of(part: Part, prefix: str = PREFIX) -> Part:
    """The matrix or vector that holds the change of another."""
    return dataclasses.replace(part, name=prefix + part.name)


def _replaced(parts: tuple[Any, ...], k: int, changed: Any) -> tuple[Any, ...]:
    return (*parts[:k], changed, *parts[k + 1 :])


class _Differentiator:
    """Differentiates one statement after the other; only names that change get a tangent."""

    def __init__(self, inputs: tuple[Matrix | Vector, ...], prefix: str) -> None:
        self._changing = {part.name for part in inputs}
        self._prefix = prefix

    def _tangent(self, part: Part) -> Part:
        return tangent_of(part, self._prefix)

    def scalar(self, statement: ScalarStatement) -> ScalarStatement | None:
        polynomial = ScalarPolynomial()
        for name in statement.polynomial.names:
            if name in self._changing:
                derivative = statement.polynomial.derivative(name)
                polynomial = polynomial + derivative * ScalarPolynomial.name(self._prefix + name)
        contractions: list[Contraction] = []
        for contraction in statement.contractions:
            if self._changing & set(contraction.coefficient.names):
                raise NotImplementedError("a contraction with a changing coefficient")
            contractions += self._contraction(contraction)
        if not polynomial and not contractions:
            return None
        self._changing.add(statement.target)
        target = self._prefix + statement.target
        return ScalarStatement(target, polynomial, tuple(contractions), statement.note)

    def _contraction(self, contraction: Contraction) -> Iterator[Contraction]:
        """The product rule under the sum; two matrices that are the same one give equal parts."""
        left, right = contraction.left, contraction.right
        rows, columns = contraction.rows, contraction.columns
        twice = left is not None and left == right
        if left is not None and left.name in self._changing:
            coefficient = 2 * contraction.coefficient if twice else contraction.coefficient
            yield dataclasses.replace(contraction, coefficient=coefficient, left=self._tangent(left))
        if right is not None and not twice and right.name in self._changing:
            yield dataclasses.replace(contraction, right=self._tangent(right))
        for field, vectors in (("rows", rows), ("columns", columns)):
            for k, vector in enumerate(vectors):
                if vector.name in self._changing:
                    changed: Any = {field: _replaced(vectors, k, self._tangent(vector))}
                    yield dataclasses.replace(contraction, **changed)

    def entries(self, terms: tuple[EntryTerm, ...]) -> tuple[EntryTerm, ...]:
        """The product rule for entries."""
        found: list[EntryTerm] = []
        for term in terms:
            for k, name in enumerate(term.scalars):
                if name in self._changing:
                    found.append(
                        dataclasses.replace(term, scalars=_replaced(term.scalars, k, self._prefix + name))
                    )
            for field in ("rows", "columns", "pairs"):
                vectors: tuple[Vector, ...] = getattr(term, field)
                for k, vector in enumerate(vectors):
                    if vector.name in self._changing:
                        changed: Any = {field: _replaced(vectors, k, self._tangent(vector))}
                        found.append(dataclasses.replace(term, **changed))
            for k, operand in enumerate(term.operands):
                if operand.matrix.name in self._changing:
                    moved = Operand(self._tangent(operand.matrix), operand.transposed)
                    found.append(dataclasses.replace(term, operands=_replaced(term.operands, k, moved)))
        return tuple(found)

    def entrywise(self, statement: EntryStatement | VectorStatement | RowSum) -> Statement | None:
        terms = self.entries(statement.terms)
        if not terms:
            return None
        self._changing.add(statement.target.name)
        changed: Any = {"target": self._tangent(statement.target), "terms": terms}
        return dataclasses.replace(statement, **changed)

    def pairs(self, statement: PairProducts) -> list[Statement]:
        """The product rule: the change is the sum of two products, each under a name of its own."""
        target = self._tangent(statement.target)
        parts: list[Statement] = []
        for k, name in enumerate(("left", "right"), start=1):
            matrix = getattr(statement, name)
            if matrix.name in self._changing:
                part = dataclasses.replace(target, name=f"{target.name}x{k}")
                moved: Any = {"target": part, name: self._tangent(matrix)}
                parts.append(dataclasses.replace(statement, **moved))
        if parts:
            self._changing.add(statement.target.name)
            terms = tuple(Term.of(part.target) for part in parts if isinstance(part, PairProducts))
            parts.append(MatrixStatement(target, terms))
        return parts

    def matrix(self, statement: MatrixStatement) -> MatrixStatement | None:
        terms: list[Term] = []
        for term in statement.terms:
            if term.scalar in self._changing:
                terms.append(dataclasses.replace(term, scalar=f"{self._prefix}{term.scalar}"))
            for k, operand in enumerate(term.operands):
                if operand.matrix.name in self._changing:
                    changed = Operand(self._tangent(operand.matrix), operand.transposed)
                    operands = (*term.operands[:k], changed, *term.operands[k + 1 :])
                    terms.append(dataclasses.replace(term, operands=operands))
        if not terms:
            return None
        self._changing.add(statement.target.name)
        return MatrixStatement(self._tangent(statement.target), tuple(terms), statement.note)

    def removed(self, removed: tuple[tuple[str, Matrix], ...]) -> Iterator[tuple[str, Matrix]]:
        """The product rule for pairs (rates, matrix)."""
        for rates, matrix in removed:
            if rates in self._changing:
                yield self._prefix + rates, matrix
            if matrix.name in self._changing:
                yield rates, self._tangent(matrix)

    def rates(self, statement: NormRates | NormRatesTangent) -> NormRatesTangent:
        """From target · overlap_ii = ½ drift_ii − Σ removed."""
        target, overlap = statement.target, statement.overlap
        given = statement.removed if isinstance(statement, NormRatesTangent) else ()
        removed = [*self.removed(given)]
        if overlap.name in self._changing:
            removed.append((target, self._tangent(overlap)))
        self._changing.add(target)
        return NormRatesTangent(
            self._prefix + target,
            statement.reciprocal,
            self._changed(statement.drift),
            overlap,
            tuple(removed),
        )

    def projection(self, statement: Projection | ProjectionTangent) -> ProjectionTangent:
        target, drift = self._tangent(statement.target), self._changed(statement.drift)
        removed = tuple(self.removed(statement.removed))
        self._changing.add(statement.target.name)
        return ProjectionTangent(target, drift, removed, statement.sides)

    def _changed(self, matrix: Matrix) -> Matrix:
        """The change of a matrix that has to change."""
        if matrix.name not in self._changing:
            raise NotImplementedError(f"the change of {matrix.name}, which does not change")
        return self._tangent(matrix)

    def statement(self, statement: Statement) -> Statement | None:
        match statement:
            case ScalarStatement():
                return self.scalar(statement)
            case MatrixStatement():
                return self.matrix(statement)
            case EntryStatement() | VectorStatement() | RowSum():
                return self.entrywise(statement)
            case NormRates() | NormRatesTangent():
                return self.rates(statement)
            case Projection() | ProjectionTangent():
                return self.projection(statement)
            case _:
                raise NotImplementedError(f"no derivative of {type(statement).__name__}")


def differentiate(program: Program, along: tuple[Matrix | Vector, ...], prefix: str = PREFIX) -> Program:
    """The program that computes the tangents of the outputs along changes of the inputs `along`.

    Its inputs are those of `program` and the tangents of `along`, which have their names with the `prefix`,
    as all tangents. Statements that only the original outputs need are left out.
    """
    differentiator = _Differentiator(along, prefix)
    statements: list[Statement] = []
    for statement in program.statements:
        statements.append(statement)
        if isinstance(statement, PairProducts):
            statements += differentiator.pairs(statement)
            continue
        derivative = differentiator.statement(statement)
        if derivative is not None:
            statements.append(derivative)
    outputs = tuple(
        prefix + output if isinstance(output, str) else tangent_of(output, prefix)
        for output in program.outputs
    )
    combined = dataclasses.replace(
        program,
        inputs=(*program.inputs, *(tangent_of(part, prefix) for part in along)),
        statements=tuple(statements),
    )
    return combined.restricted_to(outputs)
