"""Sums over one unit: moments of activations, powers of covariances, and products of matrices with both.

Each of them has a block of students and one of teachers. A quantity that is zero is None, so that nothing
is computed for moments that vanish, as many of odd activations do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Generic, TypeVar, cast

from derive.activation import Activation
from derive.equations import READOUT_STUDENT, READOUT_TEACHER
from derive.model import Model
from derive.overlap_program import WEIGHTS, WEIGHTS_TEACHER, Q, R, T
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    Operand,
    RowSum,
    ScalarStatement,
    Statement,
    Term,
    Vector,
    VectorStatement,
)
from derive.scalar_polynomials import ScalarPolynomial

Quantity = TypeVar("Quantity")
Made = TypeVar("Made")


def powers_text(**exponents: int) -> str:
    """Powers of entries of C in words, as in C_im^2 C_jm; the keywords are the indices."""
    entries = (f"C_{indices}" + (f"^{k}" if k > 1 else "") for indices, k in exponents.items() if k)
    return " ".join(entries)


def weight_names(weights: Blocks[Vector]) -> str:
    """The names of the vectors of students and of teachers, as in (x3, y3)."""
    names = [vector.name for vector in weights if vector is not None]
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


@dataclasses.dataclass(frozen=True)
class Blocks(Generic[Quantity]):
    """A quantity of all units m: its block of students and that of teachers; None where it is zero."""

    students: Quantity | None
    teachers: Quantity | None

    def __bool__(self) -> bool:
        return self.students is not None or self.teachers is not None

    def __iter__(self) -> Iterator[Quantity | None]:
        return iter((self.students, self.teachers))


class UnitSums:
    """Collects the statements of one model; each quantity is computed once.

    Names say what a quantity is made of: x2 and y2 are moments of the second derivatives of students and
    teachers, Q3 has the third powers of the entries of Q, and Q3x2 is Q3 diag(x2).
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.student, self.teacher = model.activations
        self.general = model.teacher == "general"
        self.statements: list[Statement] = []
        self._known: dict[tuple[Any, ...], Any] = {}

    def once(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What `make` returns; it is called once for each key."""
        if key not in self._known:
            self._known[key] = make()
        return cast(Made, self._known[key])

    def add(self, statement: Statement) -> None:
        self.statements.append(statement)

    # --- moments -------------------------------------------------------------------------

    def moments(self, order: int) -> Blocks[Vector]:
        """d_m E[g_m^(order)(z_m)] of all units: x of students, y of teachers."""

        def make() -> Blocks[Vector]:
            weights = (WEIGHTS, WEIGHTS_TEACHER) if self.model.weighted else (None, None)
            student, teacher = (
                {"scalars": (readout,)} if vector is None else {"rows": (vector,)}
                for readout, vector in zip((READOUT_STUDENT, READOUT_TEACHER), weights, strict=True)
            )
            return Blocks(
                self._moment(Vector(f"x{order}", "p"), self.student, order, 1, student),
                self._moment(Vector(f"y{order}", "pstar"), self.teacher, order, -1, teacher),
            )

        return self.once(("moments", order), make)

    def student_moments(self, order: int) -> Vector | None:
        """E[σ^(order)(λᵢ)] of students."""
        return self.once(
            ("student moments", order),
            lambda: self._moment(Vector(f"h{order}", "p"), self.student, order, 1, {}),
        )

    def _moment(
        self, target: Vector, activation: Activation, order: int, sign: int, weight: dict[str, Any]
    ) -> Vector | None:
        powers, norms = activation.moment(order), Q if target.rows == "p" else T
        # For T = 1 the variance of each teacher is 1.
        if norms is T and not self.general:
            total = sum(powers.values(), start=Fraction(0))
            powers = {0: total} if total else {}
        if not powers:
            return None
        terms = tuple(
            EntryTerm.of(sign * value, *[norms] * power, **weight)
            for power, value in sorted(powers.items())
        )
        primes = "'" * order
        whose = "of students" if target.rows == "p" else "of teachers"
        what = f"E[sigma{primes}] {whose}" + (", times their weights in e" if weight else "")
        self.add(VectorStatement(target, terms, f"{target.name}: {what}"))
        return target

    # --- matrices ------------------------------------------------------------------------

    def power(self, base: Matrix, exponent: int) -> Matrix:
        """The entries of Q, R or T to a power of at least 1."""
        if exponent == 1:
            return base

        def make() -> Matrix:
            target = dataclasses.replace(base, name=f"{base.name}{exponent}")
            note = f"{target.name}_ij = {base.name}_ij^{exponent}"
            self.add(EntryStatement(target, (EntryTerm.of(1, self.power(base, exponent - 1), base),), note))
            return target

        return self.once(("power", base.name, exponent), make)

    def scaled(self, weights: Blocks[Vector], exponent: int) -> Blocks[Matrix]:
        """C_im^exponent weights_m for students i."""

        def block(vector: Vector | None, base: Matrix) -> Matrix | None:
            return None if vector is None else self.columns_scaled(base, exponent, vector)

        return Blocks(block(weights.students, Q), block(weights.teachers, R))

    def columns_scaled(self, base: Matrix, exponent: int, vector: Vector) -> Matrix:
        """C_im^exponent vector_m for students i and the units m of a block."""

        def make() -> Matrix:
            power = self.power(base, exponent)
            target = Matrix(f"{power.name}{vector.name}", "p", base.columns)
            self.add(EntryStatement(target, (EntryTerm.of(1, power, columns=(vector,)),)))
            return target

        return self.once(("scaled", base.name, exponent, vector.name), make)

    def product(self, name: str, weights: Blocks[Vector], first: int, second: int) -> Operand | None:
        """Σ_m C_im^first weights_m C_jm^second for students i and j; `name` is that of the weights."""
        if first < second:
            found = self.product(name, weights, second, first)
            return None if found is None else found.matrix.T

        def make() -> Matrix | None:
            terms = tuple(
                Term.of(block, self.power(base, second).T)
                for block, base in zip(self.scaled(weights, first), (Q, R), strict=True)
                if block is not None
            )
            if not terms:
                return None
            target = Matrix(f"A{name}e{first}{second}", "p", "p", symmetric=first == second)
            powers = powers_text(im=first, jm=second)
            self.add(
                MatrixStatement(
                    target, terms, f"{target.name}_ij = sum_m {weight_names(weights)}_m {powers}"
                )
            )
            return target

        matrix = self.once(("product", name, first, second), make)
        return None if matrix is None else Operand(matrix)

    def product_with_teachers(
        self, name: str, weights: Blocks[Vector], first: int, second: int
    ) -> Operand | None:
        """Σ_m C_im^first weights_m C_rm^second for students i and teachers r."""

        def make() -> Matrix | None:
            students, teachers = self.scaled(weights, first)
            terms = [] if students is None else [Term.of(students, self.power(R, second))]
            if teachers is not None:
                terms.append(Term.of(teachers, *([self.power(T, second)] if self.general else [])))
            if not terms:
                return None
            target = Matrix(f"B{name}e{first}{second}", "p", "pstar")
            self.add(MatrixStatement(target, tuple(terms)))
            return target

        matrix = self.once(("product with teachers", name, first, second), make)
        return None if matrix is None else Operand(matrix)

    # --- vectors and scalars --------------------------------------------------------------

    def total(self, name: str, weights: Blocks[Vector]) -> str | None:
        """Σ_m weights_m."""

        def make() -> str | None:
            one = ScalarPolynomial.constant(1)
            parts = tuple(
                Contraction(one, None, None, (vector,)) for vector in weights if vector is not None
            )
            if not parts:
                return None
            self.add(ScalarStatement(f"s{name}", ScalarPolynomial(), parts))
            return f"s{name}"

        return self.once(("total", name), make)

    def row_sums(self, name: str, weights: Blocks[Vector], exponent: int) -> Vector | None:
        """Σ_m C_im^exponent weights_m for students i."""

        def make() -> Vector | None:
            terms = tuple(
                EntryTerm.of(1, self.power(base, exponent), columns=(vector,))
                for vector, base in zip(weights, (Q, R), strict=True)
                if vector is not None
            )
            if not terms:
                return None
            target = Vector(f"u{name}e{exponent}", "p")
            self.add(RowSum(target, terms))
            return target

        return self.once(("row sums", name, exponent), make)

    def teacher_row_sums(self, name: str, weights: Blocks[Vector], exponent: int) -> Vector | None:
        """Σ_m C_rm^exponent weights_m for teachers r."""

        def make() -> Vector | None:
            students, teachers = weights
            terms = []
            if students is not None:
                terms.append(EntryTerm.of(1, self.power(R, exponent).T, columns=(students,)))
            if teachers is not None and self.general:
                terms.append(EntryTerm.of(1, self.power(T, exponent), columns=(teachers,)))
            # The powers of T = 1 are 1.
            alone = teachers if not self.general else None
            if not terms:
                return alone
            target = Vector(f"w{name}e{exponent}", "pstar")
            if alone is None:
                self.add(RowSum(target, tuple(terms)))
                return target
            part = Vector(f"{target.name}s", "pstar")
            self.add(RowSum(part, tuple(terms)))
            self.add(
                VectorStatement(target, (EntryTerm.of(1, rows=(part,)), EntryTerm.of(1, rows=(alone,))))
            )
            return target

        return self.once(("teacher row sums", name, exponent), make)
