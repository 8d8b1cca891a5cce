"""Differentiates a program: the change of its outputs along changes of its inputs, in forward mode.

The columns of the Jacobian are the changes along the unit vectors of the state. T and the parameters do
not change, so the product rule and derivatives of the scalar coefficients suffice.
"""

from __future__ import annotations

import dataclasses

from derive.program import (
    Contraction,
    Matrix,
    MatrixStatement,
    NormRates,
    NormRatesTangent,
    Operand,
    Program,
    Projection,
    ProjectionTangent,
    ScalarStatement,
    Statement,
    Term,
)
from derive.scalar_polynomials import ScalarPolynomial

# The change of X has the name t_X.
PREFIX = "t_"


def tangent_matrix(matrix: Matrix) -> Matrix:
    """The matrix that holds the change of `matrix`."""
    return dataclasses.replace(matrix, name=PREFIX + matrix.name)


class _Differentiator:
    """Differentiates one statement after the other; only names that change get a tangent."""

    def __init__(self, inputs: tuple[Matrix, ...]) -> None:
        self._changing = {matrix.name for matrix in inputs}

    def scalar(self, statement: ScalarStatement) -> ScalarStatement | None:
        polynomial = ScalarPolynomial()
        for name in statement.polynomial.names:
            if name in self._changing:
                derivative = statement.polynomial.derivative(name)
                polynomial = polynomial + derivative * ScalarPolynomial.name(PREFIX + name)
        contractions = []
        for contraction in statement.contractions:
            if self._changing & set(contraction.coefficient.names):
                raise NotImplementedError("a contraction with a changing coefficient")
            if contraction.left.name not in self._changing:
                continue
            left = tangent_matrix(contraction.left)
            if contraction.right is None:
                contractions.append(Contraction(contraction.coefficient, left, None))
            elif contraction.left == contraction.right:
                contractions.append(Contraction(2 * contraction.coefficient, left, contraction.right))
            else:
                raise NotImplementedError("a contraction of two different matrices")
        if not polynomial and not contractions:
            return None
        self._changing.add(statement.target)
        return ScalarStatement(PREFIX + statement.target, polynomial, tuple(contractions), statement.note)

    def matrix(self, statement: MatrixStatement) -> MatrixStatement:
        terms: list[Term] = []
        for term in statement.terms:
            if term.scalar in self._changing:
                terms.append(dataclasses.replace(term, scalar=f"{PREFIX}{term.scalar}"))
            for k, operand in enumerate(term.operands):
                if operand.matrix.name in self._changing:
                    changed = Operand(tangent_matrix(operand.matrix), operand.transposed)
                    operands = (*term.operands[:k], changed, *term.operands[k + 1 :])
                    terms.append(dataclasses.replace(term, operands=operands))
        self._changing.add(statement.target.name)
        return MatrixStatement(tangent_matrix(statement.target), tuple(terms), statement.note)

    def statement(self, statement: Statement) -> Statement | None:
        match statement:
            case ScalarStatement():
                return self.scalar(statement)
            case MatrixStatement():
                return self.matrix(statement)
            case NormRates(target, reciprocal, drift, overlap):
                return NormRatesTangent(
                    PREFIX + target, target, reciprocal, tangent_matrix(drift), tangent_matrix(overlap)
                )
            case Projection(target, drift, overlap, rates, sides):
                return ProjectionTangent(
                    tangent_matrix(target),
                    tangent_matrix(drift),
                    overlap,
                    tangent_matrix(overlap),
                    rates,
                    PREFIX + rates,
                    sides,
                )
            case _:
                raise NotImplementedError(f"no derivative of {type(statement).__name__}")


def differentiate(program: Program, along: tuple[Matrix, ...]) -> Program:
    """The program that computes the tangents of the outputs along changes of the matrices `along`.

    Its inputs are those of `program` and the tangents of `along`. Statements that only the original
    outputs need are left out.
    """
    differentiator = _Differentiator(along)
    statements: list[Statement] = []
    for statement in program.statements:
        statements.append(statement)
        derivative = differentiator.statement(statement)
        if derivative is not None:
            statements.append(derivative)
    outputs = tuple(
        PREFIX + output if isinstance(output, str) else tangent_matrix(output) for output in program.outputs
    )
    combined = dataclasses.replace(
        program,
        inputs=(*program.inputs, *(tangent_matrix(matrix) for matrix in along)),
        statements=tuple(statements),
    )
    return combined.restricted_to(outputs)
