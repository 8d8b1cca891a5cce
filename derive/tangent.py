"""Differentiates a program: the change of its outputs along changes of its inputs, in forward mode.

The columns of the Jacobian are the changes along the unit vectors of the state. T and the parameters do
not change, so the product rule and derivatives of the scalar coefficients suffice.
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

# The change of X has the name t_X.
PREFIX = "t_"


Part = TypeVar("Part", bound=Matrix | Vector)


def tangent_of(part: Part) -> Part:
    """The matrix or vector that holds the change of another."""
    return dataclasses.replace(part, name=PREFIX + part.name)


def _replaced(parts: tuple[Any, ...], k: int, changed: Any) -> tuple[Any, ...]:
    return (*parts[:k], changed, *parts[k + 1 :])


class _Differentiator:
    """Differentiates one statement after the other; only names that change get a tangent."""

    def __init__(self, inputs: tuple[Matrix | Vector, ...]) -> None:
        self._changing = {part.name for part in inputs}

    def scalar(self, statement: ScalarStatement) -> ScalarStatement | None:
        polynomial = ScalarPolynomial()
        for name in statement.polynomial.names:
            if name in self._changing:
                derivative = statement.polynomial.derivative(name)
                polynomial = polynomial + derivative * ScalarPolynomial.name(PREFIX + name)
        contractions: list[Contraction] = []
        for contraction in statement.contractions:
            if self._changing & set(contraction.coefficient.names):
                raise NotImplementedError("a contraction with a changing coefficient")
            contractions += self._contraction(contraction)
        if not polynomial and not contractions:
            return None
        self._changing.add(statement.target)
        return ScalarStatement(PREFIX + statement.target, polynomial, tuple(contractions), statement.note)

    def _contraction(self, contraction: Contraction) -> Iterator[Contraction]:
        """The product rule under the sum, where two matrices are the same one and give equal parts."""
        left, right = contraction.left, contraction.right
        rows, columns = contraction.rows, contraction.columns
        if left is not None and left.name in self._changing:
            if right not in (None, left):
                raise NotImplementedError("a contraction of two different matrices")
            coefficient = contraction.coefficient if right is None else 2 * contraction.coefficient
            yield dataclasses.replace(contraction, coefficient=coefficient, left=tangent_of(left))
        for field, vectors in (("rows", rows), ("columns", columns)):
            for k, vector in enumerate(vectors):
                if vector.name in self._changing:
                    changed: Any = {field: _replaced(vectors, k, tangent_of(vector))}
                    yield dataclasses.replace(contraction, **changed)

    def entries(self, terms: tuple[EntryTerm, ...]) -> tuple[EntryTerm, ...]:
        """The product rule for entries."""
        found: list[EntryTerm] = []
        for term in terms:
            for k, name in enumerate(term.scalars):
                if name in self._changing:
                    found.append(
                        dataclasses.replace(term, scalars=_replaced(term.scalars, k, PREFIX + name))
                    )
            for field in ("rows", "columns", "pairs"):
                vectors: tuple[Vector, ...] = getattr(term, field)
                for k, vector in enumerate(vectors):
                    if vector.name in self._changing:
                        changed: Any = {field: _replaced(vectors, k, tangent_of(vector))}
                        found.append(dataclasses.replace(term, **changed))
            for k, operand in enumerate(term.operands):
                if operand.matrix.name in self._changing:
                    moved = Operand(tangent_of(operand.matrix), operand.transposed)
                    found.append(dataclasses.replace(term, operands=_replaced(term.operands, k, moved)))
        return tuple(found)

    def entrywise(self, statement: EntryStatement | VectorStatement | RowSum) -> Statement | None:
        terms = self.entries(statement.terms)
        if not terms:
            return None
        self._changing.add(statement.target.name)
        changed: Any = {"target": tangent_of(statement.target), "terms": terms}
        return dataclasses.replace(statement, **changed)

    def pairs(self, statement: PairProducts) -> list[Statement]:
        """The product rule: the change is the sum of two products, each under a name of its own."""
        target = tangent_of(statement.target)
        parts: list[Statement] = []
        for k, name in enumerate(("left", "right"), start=1):
            matrix = getattr(statement, name)
            if matrix.name in self._changing:
                part = dataclasses.replace(target, name=f"{target.name}x{k}")
                moved: Any = {"target": part, name: tangent_of(matrix)}
                parts.append(dataclasses.replace(statement, **moved))
        if parts:
            self._changing.add(statement.target.name)
            terms = tuple(Term.of(part.target) for part in parts if isinstance(part, PairProducts))
            parts.append(MatrixStatement(target, terms))
        return parts

    def matrix(self, statement: MatrixStatement) -> MatrixStatement:
        terms: list[Term] = []
        for term in statement.terms:
            if term.scalar in self._changing:
                terms.append(dataclasses.replace(term, scalar=f"{PREFIX}{term.scalar}"))
            for k, operand in enumerate(term.operands):
                if operand.matrix.name in self._changing:
                    changed = Operand(tangent_of(operand.matrix), operand.transposed)
                    operands = (*term.operands[:k], changed, *term.operands[k + 1 :])
                    terms.append(dataclasses.replace(term, operands=operands))
        self._changing.add(statement.target.name)
        return MatrixStatement(tangent_of(statement.target), tuple(terms), statement.note)

    def statement(self, statement: Statement) -> Statement | None:
        match statement:
            case ScalarStatement():
                return self.scalar(statement)
            case MatrixStatement():
                return self.matrix(statement)
            case EntryStatement() | VectorStatement() | RowSum():
                return self.entrywise(statement)
            case NormRates(target, reciprocal, drift, overlap):
                return NormRatesTangent(
                    PREFIX + target, target, reciprocal, tangent_of(drift), tangent_of(overlap)
                )
            case Projection(target, drift, overlap, rates, sides):
                return ProjectionTangent(
                    tangent_of(target),
                    tangent_of(drift),
                    overlap,
                    tangent_of(overlap),
                    rates,
                    PREFIX + rates,
                    sides,
                )
            case _:
                raise NotImplementedError(f"no derivative of {type(statement).__name__}")


def differentiate(program: Program, along: tuple[Matrix | Vector, ...]) -> Program:
    """The program that computes the tangents of the outputs along changes of the inputs `along`.

    Its inputs are those of `program` and the tangents of `along`. Statements that only the original
    outputs need are left out.
    """
    differentiator = _Differentiator(along)
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
        PREFIX + output if isinstance(output, str) else tangent_of(output) for output in program.outputs
    )
    combined = dataclasses.replace(
        program,
        inputs=(*program.inputs, *(tangent_of(part) for part in along)),
        statements=tuple(statements),
    )
    return combined.restricted_to(outputs)
