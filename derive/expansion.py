"""Expands the statements of a program entry by entry, counts their operations and evaluates them.

The printers write this expansion as one line per entry, and the proof evaluates it in exact arithmetic, so
what is proved is what is printed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

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
    Vector,
    VectorStatement,
)

Factors = tuple[str, ...]
ONE = Fraction(1)
HALF = Fraction(1, 2)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """target = Σ coefficient · Π factors, or 1 / factor where `reciprocal` is set."""

    target: str
    terms: tuple[tuple[Fraction, Factors], ...]
    reciprocal: bool = False

    @property
    def operations(self) -> int:
        """The number of floating-point operations: multiplications, additions and divisions."""
        if self.reciprocal:
            return 1
        count = max(len(self.terms) - 1, 0)
        for coefficient, factors in self.terms:
            scaled = len(factors) + (abs(coefficient) != 1)
            count += max(scaled - 1, 0)
        return count


def entry(matrix: Matrix, i: int, j: int) -> str:
    """The name of an entry; both halves of a symmetric matrix have the names of the upper one."""
    if matrix.symmetric and j < i:
        i, j = j, i
    return f"{matrix.name}_{i}_{j}"


def vector_entry(vector: Vector, i: int) -> str:
    """The name of an entry of a vector."""
    return f"{vector.name}_{i}"


def entry_names(program: Program, part: Matrix | Vector) -> Iterator[str]:
    """The names of the independent entries, in their packed order."""
    if isinstance(part, Vector):
        yield from (vector_entry(part, i) for i in range(1, program.size(part.rows) + 1))
    else:
        yield from (entry(part, i, j) for i, j in program.entries(part))


def operand_entry(operand: Operand, i: int, j: int) -> str:
    """The name of an entry of a matrix or of its transpose."""
    return entry(operand.matrix, j, i) if operand.transposed else entry(operand.matrix, i, j)


def _scalar(program: Program, statement: ScalarStatement) -> Iterator[Assignment]:
    """An assignment for each contraction, then the one that adds them to the polynomial."""
    terms: list[tuple[Fraction, Factors]] = []
    parts: list[Assignment] = []
    for number, contraction in enumerate(statement.contractions, start=1):
        parts.append(Assignment(f"{statement.target}_{number}", tuple(_contraction(program, contraction))))
        for monomial, value in contraction.coefficient.sorted_terms():
            terms.append((value, (*monomial, f"{statement.target}_{number}")))
    terms += [(value, monomial) for monomial, value in statement.polynomial.sorted_terms()]
    yield from parts
    yield Assignment(statement.target, tuple(terms))


def _contraction(program: Program, contraction: Contraction) -> Iterator[tuple[Fraction, Factors]]:
    left, right, rows, columns = contraction.left, contraction.right, contraction.rows, contraction.columns

    def weights(i: int, j: int) -> Factors:
        return (
            *(vector_entry(vector, i) for vector in rows),
            *(vector_entry(vector, j) for vector in columns),
        )

    if left is None or right is None:
        for i in range(1, program.size((left or rows[0]).rows) + 1):
            yield ONE, (*weights(i, i), *([entry(left, i, i)] if left else []))
        return
    # In ⟨A, B⟩ of two symmetric matrices each entry i < j occurs twice if both sides have the same weights.
    both = left.symmetric and right.symmetric and rows == columns
    for i in range(1, program.size(left.rows) + 1):
        for j in range(i if both else 1, program.size(left.columns) + 1):
            weight = Fraction(2) if both and j != i else ONE
            yield weight, (*weights(i, j), entry(left, i, j), entry(right, i, j))


def _matrix_terms(
    program: Program, statement: MatrixStatement, i: int, j: int
) -> Iterator[tuple[Fraction, Factors]]:
    for term in statement.terms:
        sign = Fraction(term.sign)
        scalar: Factors = (term.scalar,) if term.scalar else ()
        match term.operands:
            case ():
                if i == j:
                    yield sign, scalar
            case (single,):
                yield sign, (*scalar, operand_entry(single, i, j))
            case (left, right):
                inner = left.matrix.rows if left.transposed else left.matrix.columns
                for k in range(1, program.size(inner) + 1):
                    yield sign, (*scalar, operand_entry(left, i, k), operand_entry(right, k, j))


def pair_number(p: int, i: int, j: int) -> int:
    """The number, from 1, of the pair of students {i, j} in the order (1, 1), (1, 2) … (2, 2) …"""
    i, j = min(i, j), max(i, j)
    return (i - 1) * (2 * p - i) // 2 + j


def _entry_terms(
    program: Program, terms: Iterable[EntryTerm], i: int, j: int
) -> Iterator[tuple[Fraction, Factors]]:
    for term in terms:
        vectors = (
            *(vector_entry(vector, i) for vector in term.rows),
            *(vector_entry(vector, j) for vector in term.columns),
        )
        entries = (operand_entry(operand, i, j) for operand in term.operands)
        pairs = (vector_entry(vector, pair_number(program.p, i, j)) for vector in term.pairs)
        yield term.coefficient, (*term.scalars, *vectors, *entries, *pairs)


def _row_sum(program: Program, terms: Iterable[EntryTerm], i: int) -> Iterator[tuple[Fraction, Factors]]:
    for term in terms:
        operand = term.operands[0]
        inner = operand.matrix.rows if operand.transposed else operand.matrix.columns
        for j in range(1, program.size(inner) + 1):
            yield from _entry_terms(program, (term,), i, j)


def expand(program: Program, statement: Statement) -> Iterator[Assignment]:
    """The statement entry by entry."""
    match statement:
        case ScalarStatement():
            yield from _scalar(program, statement)
        case MatrixStatement():
            for i, j in program.entries(statement.target):
                terms = tuple(_matrix_terms(program, statement, i, j))
                yield Assignment(entry(statement.target, i, j), terms)
        case EntryStatement(target, terms):
            for i, j in program.entries(target):
                yield Assignment(entry(target, i, j), tuple(_entry_terms(program, terms, i, j)))
        case VectorStatement(vector, terms):
            for i in range(1, program.size(vector.rows) + 1):
                yield Assignment(vector_entry(vector, i), tuple(_entry_terms(program, terms, i, i)))
        case RowSum(vector, terms):
            for i in range(1, program.size(vector.rows) + 1):
                yield Assignment(vector_entry(vector, i), tuple(_row_sum(program, terms, i)))
        case PairProducts(target, left, right):
            for i, j in itertools.combinations_with_replacement(range(1, program.p + 1), 2):
                number = pair_number(program.p, i, j)
                for m in range(1, program.size(target.columns) + 1):
                    product = (entry(left, i, m), entry(right, j, m))
                    yield Assignment(entry(target, number, m), ((ONE, product),))
        case NormRates(target, reciprocal, drift, overlap):
            for i in range(1, program.p + 1):
                inverse = f"{reciprocal}_{i}"
                yield Assignment(inverse, ((ONE, (entry(overlap, i, i),)),), reciprocal=True)
                yield Assignment(f"{target}_{i}", ((HALF, (entry(drift, i, i), inverse)),))
        case NormRatesTangent(target, reciprocal, drift, _, removed):
            for i in range(1, program.p + 1):
                inverse = f"{reciprocal}_{i}"
                change = (HALF, (entry(drift, i, i), inverse))
                rest = ((-ONE, (f"{rates}_{i}", entry(matrix, i, i), inverse)) for rates, matrix in removed)
                yield Assignment(f"{target}_{i}", (change, *rest))
        case Projection() | ProjectionTangent():
            yield from _projection(program, statement)


def _projection(program: Program, statement: Projection | ProjectionTangent) -> Iterator[Assignment]:
    for i, j in program.entries(statement.target):
        if statement.sides == 2 and i == j:
            yield Assignment(entry(statement.target, i, j), ())
            continue
        terms: list[tuple[Fraction, Factors]] = [(ONE, (entry(statement.drift, i, j),))]
        for index in (i, j)[: statement.sides]:
            for rates, matrix in statement.removed:
                terms.append((-ONE, (f"{rates}_{index}", entry(matrix, i, j))))
        yield Assignment(entry(statement.target, i, j), tuple(terms))


def operation_count(program: Program) -> int:
    """The number of floating-point operations of one evaluation; symmetric halves are computed once."""
    return sum(_statement_operations(program, statement) for statement in program.statements)


def _statement_operations(program: Program, statement: Statement) -> int:
    if isinstance(statement, (EntryStatement, VectorStatement, RowSum, PairProducts)):
        # All entries cost the same.
        return program.size_of(statement.target) * next(expand(program, statement)).operations
    if not isinstance(statement, MatrixStatement):
        return sum(assignment.operations for assignment in expand(program, statement))
    # All diagonal entries cost the same, and so do all others, so that one of each is expanded.
    indices = list(program.entries(statement.target))
    square = statement.target.rows == statement.target.columns
    on_diagonal = sum(1 for i, j in indices if i == j) if square else 0
    count = 0
    for number, (i, j) in ((on_diagonal, (1, 1)), (len(indices) - on_diagonal, (1, 2))):
        if number:
            terms = tuple(_matrix_terms(program, statement, i, j))
            count += number * Assignment("", terms).operations
    return count


def evaluate(
    program: Program,
    values: Mapping[str, Any],
    combine: Callable[[Iterable[tuple[Fraction, Sequence[Any]]]], Any],
    reciprocal: Callable[[Any], Any],
) -> dict[str, Any]:
    """Run the expansion in any commutative ring; returns the outputs by the name of the entry.

    values
        The scalar inputs and the entries of the input matrices by name.
    combine
        Sums terms (coefficient, factors).
    reciprocal
        Inverts a value.
    """
    known: dict[str, Any] = dict(values)
    for statement in program.statements:
        for assignment in expand(program, statement):
            if assignment.reciprocal:
                known[assignment.target] = reciprocal(known[assignment.terms[0][1][0]])
            else:
                known[assignment.target] = combine(
                    (coefficient, [known[factor] for factor in factors])
                    for coefficient, factors in assignment.terms
                )
    result: dict[str, Any] = {}
    for output in program.outputs:
        if isinstance(output, str):
            result[output] = known[output]
        else:
            for name in entry_names(program, output):
                result[name] = known[name]
    return result
