"""Programs: lists of statements on named matrices and scalars, which compute a drift or a loss.

Matrices are p × p, p × p* or p* × p*. Printers turn the statements into loops over matrices, and
`derive.expansion` into one assignment per entry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from derive.scalar_polynomials import ScalarPolynomial


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A named matrix; `rows` and `columns` are "p", "pstar", "pairs" for the pairs i ≤ j of students, or
    "units" for all students and then all teachers.
    """

    name: str
    rows: str
    columns: str
    symmetric: bool = False

    @property
    def T(self) -> Operand:
        return Operand(self, transposed=not self.symmetric)


@dataclasses.dataclass(frozen=True)
class Vector:
    """A named vector; `rows` is as in `Matrix`."""

    name: str
    rows: str


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

    @classmethod
    def of(cls, *factors: Matrix | Operand, sign: int = 1, scalar: str | None = None) -> Term:
        """The term with these factors; a matrix stands for itself, not transposed."""
        operands = tuple(f if isinstance(f, Operand) else Operand(f) for f in factors)
        return cls(sign, scalar, operands)


@dataclasses.dataclass(frozen=True)
class Contraction:
    """coefficient · tr(left), or coefficient · ⟨left, right⟩ = Σ left_ij right_ij, or a weighted sum.

    Vectors weight the summands: those in `rows` by their entry i, those in `columns` by their entry j.
    Without a matrix the sum is that of the products of the row vectors.
    """

    coefficient: ScalarPolynomial
    left: Matrix | None
    right: Matrix | None
    rows: tuple[Vector, ...] = ()
    columns: tuple[Vector, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the matrices and vectors under the sum."""
        matrices = (self.left, self.right)
        return tuple(part.name for part in (*matrices, *self.rows, *self.columns) if part is not None)


@dataclasses.dataclass(frozen=True)
class EntryTerm:
    """coefficient · Π scalars · Π rows_i · Π columns_j · Π operands_ij · Π pairs_ij, a term of one entry.

    In a vector, where there is no j, matrices stand for their diagonal. A vector over pairs of students has
    an entry for each i ≤ j.
    """

    coefficient: Fraction
    scalars: tuple[str, ...] = ()
    rows: tuple[Vector, ...] = ()
    columns: tuple[Vector, ...] = ()
    operands: tuple[Operand, ...] = ()
    pairs: tuple[Vector, ...] = ()

    @classmethod
    def of(cls, coefficient: Fraction | int, *factors: Matrix | Operand, **more: Any) -> EntryTerm:
        """The term with these matrices, which stand for themselves, not transposed; more fields by name."""
        operands = tuple(f if isinstance(f, Operand) else Operand(f) for f in factors)
        return cls(Fraction(coefficient), operands=operands, **more)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all factors."""
        vectors = (vector.name for vector in (*self.rows, *self.columns, *self.pairs))
        return (*self.scalars, *vectors, *(operand.matrix.name for operand in self.operands))


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
class EntryStatement:
    """target_ij = Σ terms, entry by entry; only the upper triangle of a symmetric target is computed."""

    target: Matrix
    terms: tuple[EntryTerm, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class VectorStatement:
    """target_i = Σ terms, entry by entry."""

    target: Vector
    terms: tuple[EntryTerm, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class RowSum:
    """target_i = Σ_j Σ terms, where j runs over the columns of the operands of each term."""

    target: Vector
    terms: tuple[EntryTerm, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class PairProducts:
    """target_(ij),m = left_im right_jm for all pairs i ≤ j of students."""

    target: Matrix
    left: Matrix
    right: Matrix
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
    """target_i = (½ drift_ii − Σ rates_i removed_ii) · reciprocal_i, a derivative of NormRates.

    drift
        The same derivative of the drift, of any order.
    overlap
        The matrix of whose diagonal `reciprocal` is the inverse, as in NormRates.
    removed
        The pairs (rates, matrix) whose products are subtracted.
    """

    target: str
    reciprocal: str
    drift: Matrix
    overlap: Matrix
    removed: tuple[tuple[str, Matrix], ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class ProjectionTangent:
    """target_ij = drift_ij − Σ (rates_i + rates_j) removed_ij, a derivative of Projection.

    `drift` is the same derivative of the drift, of any order; `removed` has the pairs (rates, matrix), and
    `sides` is as in Projection.
    """

    target: Matrix
    drift: Matrix
    removed: tuple[tuple[str, Matrix], ...]
    sides: int
    note: str = ""


Statement = (
    ScalarStatement
    | MatrixStatement
    | EntryStatement
    | VectorStatement
    | RowSum
    | PairProducts
    | NormRates
    | Projection
    | NormRatesTangent
    | ProjectionTangent
)


@dataclasses.dataclass(frozen=True)
class Program:
    """Statements in order, with their inputs and outputs.

    inputs, scalars
        The matrices and vectors, and the names of the scalars (a, b, η, …), that the statements start from.
    outputs
        The matrices, the vectors and the names of scalars that they compute.
    """

    p: int
    pstar: int
    inputs: tuple[Matrix | Vector, ...]
    scalars: tuple[str, ...]
    statements: tuple[Statement, ...]
    outputs: tuple[Matrix | Vector | str, ...]

    def size(self, axis: str) -> int:
        sizes = {"p": self.p, "pstar": self.pstar, "pairs": self.p * (self.p + 1) // 2}
        return self.p + self.pstar if axis == "units" else sizes[axis]

    def entries(self, matrix: Matrix) -> Iterator[tuple[int, int]]:
        """The pairs of indices, from 1, of the independent entries, row by row."""
        for i in range(1, self.size(matrix.rows) + 1):
            first = i if matrix.symmetric else 1
            for j in range(first, self.size(matrix.columns) + 1):
                yield i, j

    def size_of(self, part: Matrix | Vector) -> int:
        """The number of independent entries."""
        rows = self.size(part.rows)
        if isinstance(part, Vector):
            return rows
        return rows * (rows + 1) // 2 if part.symmetric else rows * self.size(part.columns)

    def restricted_to(self, outputs: Iterable[Matrix | Vector | str]) -> Program:
        """The part of the program that the given outputs need."""
        outputs = tuple(outputs)
        needed = {_name(output) for output in outputs}
        kept: list[Statement] = []
        for statement in reversed(self.statements):
            if needed & set(targets(statement)):
                kept.append(statement)
                needed |= sources(statement)
        return dataclasses.replace(self, statements=tuple(reversed(kept)), outputs=outputs)


def _name(output: Matrix | Vector | str) -> str:
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
                names |= {*contraction.coefficient.names, *contraction.names}
            return names
        case PairProducts():
            return {statement.left.name, statement.right.name}
        case EntryStatement() | VectorStatement() | RowSum():
            return {name for term in statement.terms for name in term.names}
        case MatrixStatement():
            names = {operand.matrix.name for term in statement.terms for operand in term.operands}
            return names | {term.scalar for term in statement.terms if term.scalar}
        case NormRates():
            return {statement.drift.name, statement.overlap.name}
        case NormRatesTangent() | Projection() | ProjectionTangent():
            names = {statement.drift.name}
            if isinstance(statement, NormRatesTangent):
                names.add(statement.reciprocal)
            for rates, matrix in statement.removed:
                names |= {rates, matrix.name}
            return names
