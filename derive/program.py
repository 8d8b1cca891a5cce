"""Programs: lists of statements on named matrices and scalars, and their expansion entry by entry.

Matrices are p × p, p × p* or p* × p*. Printers turn the statements into loops, or their expansion into one
line per entry. The proof evaluates the same expansion in exact arithmetic, so what is proved is what is
printed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from derive.scalar_polynomials import ScalarPolynomial

Factors = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A named matrix; `rows` and `columns` are "p" or "pstar"."""

    name: str
    rows: str
    columns: str
    symmetric: bool = False

    @property
    def T(self) -> Operand:
        return Operand(self, transposed=not self.symmetric)


@dataclasses.dataclass(frozen=True)
class Operand:
    """A matrix, possibly transposed, as a factor of a product."""

    matrix: Matrix
    transposed: bool = False


@dataclasses.dataclass(frozen=True)
class Term:
    """± scalar · (product of at most two operands); no operand means the identity."""

    sign: int
    scalar: str | None
    operands: tuple[Operand, ...]


@dataclasses.dataclass(frozen=True)
class Contraction:
    """coefficient · tr(left), or coefficient · ⟨left, right⟩ = Σ left_ij right_ij."""

    coefficient: ScalarPolynomial
    left: Matrix
    right: Matrix | None


@dataclasses.dataclass(frozen=True)
class ScalarStatement:
    """target = polynomial + Σ contractions."""

    target: str
    polynomial: ScalarPolynomial
    contractions: tuple[Contraction, ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class MatrixStatement:
    """target = Σ terms; only the upper triangle of a symmetric target is computed."""

    target: Matrix
    terms: tuple[Term, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class NormRates:
    """target_i = ½ drift_ii / overlap_ii, the relative growth of |wᵢ|; reciprocal_i = 1 / overlap_ii."""

    target: str
    reciprocal: str
    drift: Matrix
    overlap: Matrix
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Projection:
    """target_ij = drift_ij − (g_i + g_j) overlap_ij with g = `rates`: the sphere's drift (docs/theory.md).

    `sides` is 2 for the student-student block, where both indices are rescaled and the diagonal is exactly
    zero. It is 1 for the student-teacher block, which has no g_j.
    """

    target: Matrix
    drift: Matrix
    overlap: Matrix
    rates: str
    sides: int
    note: str = ""

    @property
    def removed(self) -> tuple[tuple[str, Matrix], ...]:
        """The pairs (rates, matrix) whose products are subtracted from the drift."""
        return ((self.rates, self.overlap),)


@dataclasses.dataclass(frozen=True)
class NormRatesTangent:
    """target_i = (½ drift_ii − rates_i overlap_ii) · reciprocal_i with tangents as drift and overlap.

    It is the derivative of NormRates.
    """

    target: str
    rates: str
    reciprocal: str
    drift: Matrix
    overlap: Matrix
    note: str = ""


@dataclasses.dataclass(frozen=True)
class ProjectionTangent:
    """The derivative of Projection: drift_ij − (δg_i + δg_j) overlap_ij − (g_i + g_j) δoverlap_ij.

    `drift` is the tangent of the drift, and `sides` is as there.
    """

    target: Matrix
    drift: Matrix
    overlap: Matrix
    overlap_tangent: Matrix
    rates: str
    rates_tangent: str
    sides: int
    note: str = ""

    @property
    def removed(self) -> tuple[tuple[str, Matrix], ...]:
        """The pairs (rates, matrix) whose products are subtracted from the drift."""
        return ((self.rates_tangent, self.overlap), (self.rates, self.overlap_tangent))


Statement = (
    ScalarStatement | MatrixStatement | NormRates | Projection | NormRatesTangent | ProjectionTangent
)


@dataclasses.dataclass(frozen=True)
class Program:
    """Statements in order, with their inputs and outputs.

    inputs, scalars
        The matrices and the names of the scalars (a, b, η, …) that the statements start from.
    outputs
        The matrices and the names of scalars that they compute.
    """

    p: int
    pstar: int
    inputs: tuple[Matrix, ...]
    scalars: tuple[str, ...]
    statements: tuple[Statement, ...]
    outputs: tuple[Matrix | str, ...]

    def size(self, axis: str) -> int:
        return self.p if axis == "p" else self.pstar

    def entries(self, matrix: Matrix) -> Iterator[tuple[int, int]]:
        """The pairs of indices, from 1, of the independent entries, row by row."""
        for i in range(1, self.size(matrix.rows) + 1):
            first = i if matrix.symmetric else 1
            for j in range(first, self.size(matrix.columns) + 1):
                yield i, j

    def restricted_to(self, outputs: Iterable[Matrix | str]) -> Program:
        """The part of the program that the given outputs need."""
        outputs = tuple(outputs)
        needed = {_name(output) for output in outputs}
        kept: list[Statement] = []
        for statement in reversed(self.statements):
            if needed & set(targets(statement)):
                kept.append(statement)
                needed |= sources(statement)
        return dataclasses.replace(self, statements=tuple(reversed(kept)), outputs=outputs)


def _name(output: Matrix | str) -> str:
    return output if isinstance(output, str) else output.name


def targets(statement: Statement) -> tuple[str, ...]:
    """The names that the statement defines."""
    match statement:
        case NormRates():
            return (statement.target, statement.reciprocal)
        case _:
            return (_name(statement.target),)


def sources(statement: Statement) -> set[str]:
    """The names that the statement reads."""
    match statement:
        case ScalarStatement():
            names = set(statement.polynomial.names)
            for contraction in statement.contractions:
                names |= {*contraction.coefficient.names, contraction.left.name}
                if contraction.right is not None:
                    names.add(contraction.right.name)
            return names
        case MatrixStatement():
            names = {operand.matrix.name for term in statement.terms for operand in term.operands}
            return names | {term.scalar for term in statement.terms if term.scalar}
        case NormRates():
            return {statement.drift.name, statement.overlap.name}
        case NormRatesTangent():
            return {
                statement.rates,
                statement.reciprocal,
                statement.drift.name,
                statement.overlap.name,
            }
        case Projection() | ProjectionTangent():
            names = {statement.drift.name}
            for rates, matrix in statement.removed:
                names |= {rates, matrix.name}
            return names


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


ONE = Fraction(1)
HALF = Fraction(1, 2)


def entry(matrix: Matrix, i: int, j: int) -> str:
    """The name of an entry; both halves of a symmetric matrix have the names of the upper one."""
    if matrix.symmetric and j < i:
        i, j = j, i
    return f"{matrix.name}_{i}_{j}"


def operand_entry(operand: Operand, i: int, j: int) -> str:
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
    left, right = contraction.left, contraction.right
    if right is None:
        for i in range(1, program.size(left.rows) + 1):
            yield ONE, (entry(left, i, i),)
        return
    # In ⟨A, B⟩ of two symmetric matrices each entry i < j occurs twice.
    both = left.symmetric and right.symmetric
    for i in range(1, program.size(left.rows) + 1):
        for j in range(i if both else 1, program.size(left.columns) + 1):
            weight = Fraction(2) if both and j != i else ONE
            yield weight, (entry(left, i, j), entry(right, i, j))


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


def expand(program: Program, statement: Statement) -> Iterator[Assignment]:
    """The statement entry by entry."""
    match statement:
        case ScalarStatement():
            yield from _scalar(program, statement)
        case MatrixStatement():
            for i, j in program.entries(statement.target):
                terms = tuple(_matrix_terms(program, statement, i, j))
                yield Assignment(entry(statement.target, i, j), terms)
        case NormRates(target, reciprocal, drift, overlap):
            for i in range(1, program.p + 1):
                inverse = f"{reciprocal}_{i}"
                yield Assignment(inverse, ((ONE, (entry(overlap, i, i),)),), reciprocal=True)
                yield Assignment(f"{target}_{i}", ((HALF, (entry(drift, i, i), inverse)),))
        case NormRatesTangent(target, rates, reciprocal, drift, overlap):
            for i in range(1, program.p + 1):
                inverse = f"{reciprocal}_{i}"
                change = (HALF, (entry(drift, i, i), inverse))
                removed = (-ONE, (f"{rates}_{i}", entry(overlap, i, i), inverse))
                yield Assignment(f"{target}_{i}", (change, removed))
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
            for i, j in program.entries(output):
                result[entry(output, i, j)] = known[entry(output, i, j)]
    return result
