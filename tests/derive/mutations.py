"""Wrong programs: every statement of a program changed in many ways."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from derive.program import (
    EntryStatement,
    Matrix,
    MatrixStatement,
    NormRates,
    Operand,
    PairProducts,
    Projection,
    RowSum,
    ScalarStatement,
    VectorStatement,
)
from derive.scalar_polynomials import ScalarPolynomial

# A matrix in a product is replaced by the inputs, and by so many of those computed just before.
RECENT = 4


def _polynomials(polynomial):
    """A coefficient changed, a sign changed, a term dropped, a power changed."""
    for monomial, coefficient in polynomial.sorted_terms():
        for changed in (2 * coefficient, 3 * coefficient, -coefficient, Fraction(0)):
            yield f"{coefficient}{monomial} -> {changed}", _with(polynomial, monomial, changed)
        if monomial:
            doubled = _with(polynomial, monomial, Fraction(0)) + ScalarPolynomial(
                {tuple(sorted((*monomial, monomial[-1]))): coefficient}
            )
            yield f"{monomial[-1]} squared in {monomial}", doubled


def _with(polynomial, monomial, coefficient):
    return ScalarPolynomial({**polynomial.terms, monomial: coefficient})


def _scalar_statements(statement):
    for what, changed in _polynomials(statement.polynomial):
        yield what, dataclasses.replace(statement, polynomial=changed)
    for k, contraction in enumerate(statement.contractions):
        before, after = statement.contractions[:k], statement.contractions[k + 1 :]
        yield f"no contraction {k}", dataclasses.replace(statement, contractions=before + after)
        for what, changed in _polynomials(contraction.coefficient):
            coefficient = dataclasses.replace(contraction, coefficient=changed)
            yield (
                f"contraction {k}: {what}",
                dataclasses.replace(statement, contractions=(*before, coefficient, *after)),
            )
        if contraction.right is not None and contraction.left.rows == contraction.left.columns:
            trace = dataclasses.replace(contraction, right=None)
            yield (
                f"contraction {k}: tr M for tr MM",
                dataclasses.replace(statement, contractions=(*before, trace, *after)),
            )
        for field in ("rows", "columns"):
            weights = getattr(contraction, field)
            if weights and (contraction.left is not None or len(weights) > 1):
                fewer = dataclasses.replace(contraction, **{field: weights[1:]})
                yield (
                    f"contraction {k}: no {weights[0].name} of {field}",
                    dataclasses.replace(statement, contractions=(*before, fewer, *after)),
                )


def _matrix_statements(statement, matrices):
    for k, term in enumerate(statement.terms):
        before, after = statement.terms[:k], statement.terms[k + 1 :]

        def with_term(*terms, before=before, after=after):
            return dataclasses.replace(statement, terms=(*before, *terms, *after))

        yield f"sign of term {k}", with_term(dataclasses.replace(term, sign=-term.sign))
        yield f"no term {k}", with_term()
        yield f"term {k} twice", with_term(term, term)
        if term.scalar:
            yield f"no {term.scalar} in term {k}", with_term(dataclasses.replace(term, scalar=None))
        for position, operand in enumerate(term.operands):
            for matrix in matrices:
                shape = (operand.matrix.rows, operand.matrix.columns)
                if matrix == operand.matrix or (matrix.rows, matrix.columns) != shape:
                    continue
                operands = list(term.operands)
                operands[position] = Operand(matrix, operand.transposed)
                yield (
                    f"{matrix.name} for {operand.matrix.name} in term {k}",
                    with_term(dataclasses.replace(term, operands=tuple(operands))),
                )


def _entry_statements(statement):
    """A term changed, dropped, or without one of its factors; κ_i² for κ_i κ_j."""
    for k, term in enumerate(statement.terms):
        before, after = statement.terms[:k], statement.terms[k + 1 :]

        def with_term(*terms, before=before, after=after):
            return dataclasses.replace(statement, terms=(*before, *terms, *after))

        yield f"no term {k}", with_term()
        yield f"term {k} twice", with_term(term, term)
        yield f"sign of term {k}", with_term(dataclasses.replace(term, coefficient=-term.coefficient))
        for field in ("scalars", "rows", "columns", "operands", "pairs"):
            factors = getattr(term, field)
            # A sum over rows needs a matrix.
            if factors and not (isinstance(statement, RowSum) and field == "operands"):
                name = getattr(factors[0], "name", factors[0])
                yield f"no {name} in term {k}", with_term(dataclasses.replace(term, **{field: factors[1:]}))
        if term.rows and term.columns:
            both = (*term.rows, *term.columns)
            yield f"i for j in term {k}", with_term(dataclasses.replace(term, rows=both, columns=()))
            yield f"j for i in term {k}", with_term(dataclasses.replace(term, rows=(), columns=both))
        for position, operand in enumerate(term.operands):
            matrix = operand.matrix
            if matrix.rows == matrix.columns and not matrix.symmetric and operand.transposed:
                operands = list(term.operands)
                operands[position] = Operand(matrix)
                turned = dataclasses.replace(term, operands=tuple(operands))
                yield f"{matrix.name} not transposed in term {k}", with_term(turned)


def _sphere_statements(statement, program):
    free = {
        m.target.name: m.target
        for m in program.statements
        if isinstance(m, MatrixStatement | EntryStatement)
    }
    students, teachers = (free.get(x, free.get(m)) for x, m in (("X", "M"), ("Y", "G")))
    if isinstance(statement, NormRates):
        yield "growth of X, not of fQ", dataclasses.replace(statement, drift=students)
        return
    yield "no division by two norms", dataclasses.replace(statement, rates="inverse")
    if statement.sides == 2:
        yield "one side", dataclasses.replace(statement, sides=1)
        yield "X removed, not Q", dataclasses.replace(statement, overlap=students)
        yield "the projection of X", dataclasses.replace(statement, drift=students)
        yield "fQ removed, not Q", dataclasses.replace(statement, overlap=free["fQ"])
    else:
        yield "no side", dataclasses.replace(statement, sides=0)
        yield "Y removed, not R", dataclasses.replace(statement, overlap=teachers)
        yield "the projection of Y", dataclasses.replace(statement, drift=teachers)
        yield "fR removed, not R", dataclasses.replace(statement, overlap=free["fR"])


def mutations(program):
    """(what, wrong program) for every change above of every statement."""
    inputs = [part for part in program.inputs if isinstance(part, Matrix)]
    matrices = []
    for position, statement in enumerate(program.statements):
        match statement:
            case ScalarStatement():
                changed = _scalar_statements(statement)
            case MatrixStatement():
                changed = _matrix_statements(statement, (*inputs, *matrices[-RECENT:]))
                matrices.append(statement.target)
            case EntryStatement():
                changed = _entry_statements(statement)
                matrices.append(statement.target)
            case VectorStatement() | RowSum():
                changed = _entry_statements(statement)
            case PairProducts(_, left, right):
                changed = [
                    ("left twice", dataclasses.replace(statement, right=left)),
                    ("right twice", dataclasses.replace(statement, left=right)),
                ]
                matrices.append(statement.target)
            case NormRates() | Projection():
                changed = _sphere_statements(statement, program)
        for what, wrong in changed:
            before, after = program.statements[:position], program.statements[position + 1 :]
            name = getattr(statement.target, "name", statement.target)
            yield f"{name}: {what}", dataclasses.replace(program, statements=(*before, wrong, *after))
