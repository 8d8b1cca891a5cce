"""Writes the equations of any polynomial activation, given as graphs, as statements on matrices.

With weights d_m of the error e = Σ d_m g_m(z_m) − √Δ ξ (students a vᵢ, teachers −b v*ᵣ), the drift needs

    M_ij = E[e σ'(λᵢ) λⱼ], G_ir = E[e σ'(λᵢ) λ*ᵣ], N_ij = E[e² σ'(λᵢ) σ'(λⱼ)] and, if v is trained, E[e σ(λᵢ)].

By Stein's lemma the first two are Σ_m d_m (E[g'_m σ'ᵢ] C_mj + E[g_m σ''ᵢ] C_ij), whose graphs have two factors.
Each graph of N is evaluated by one of three rules, m being the factor with fewer edges (docs/theory.md):

- no edge mn: the sums over m and over n are independent, and their values are multiplied entry by entry;
- m has no edge to i, or none to j: the sum over m is a product of matrices, and so is that over n, with a
  product of entries between the two;
- all edges are there: for each pair i ≤ j a vector is multiplied with a matrix.

In these sums the x of factors are powers of entries of C, and every factor has its moment, a vector.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import factorial
from typing import Any

from derive.activation import Activation
from derive.equations import (
    DECAY,
    INVERSE_BATCH,
    LEARNING_RATE,
    NOISE,
    READOUT_STUDENT,
    READOUT_TEACHER,
    SECOND_RATE,
    STEP,
    WEIGHT_DECAY,
)
from derive.graphs import I, J, M, N, NoiseGraph, noise_terms
from derive.model import Model
from derive.overlap_program import (
    DQ,
    DR,
    DV,
    FREE_DQ,
    FREE_DR,
    LOSS,
    SECOND,
    SECOND_TEACHER,
    STEPS,
    WEIGHTS,
    WEIGHTS_TEACHER,
    Q,
    R,
    T,
)
from derive.parameters import NUMBERS
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    Operand,
    PairProducts,
    Program,
    RowSum,
    ScalarStatement,
    Statement,
    Term,
    Vector,
    VectorStatement,
    sources,
)
from derive.scalar_polynomials import ScalarPolynomial

ONE = Fraction(1)
MEAN_SS = Matrix("M", "p", "p")
MEAN_ST = Matrix("G", "p", "pstar")
NOISE_SS = Matrix("N", "p", "p", symmetric=True)


def _term(value: Fraction | int, *factors: Matrix | Operand, **more: Any) -> EntryTerm:
    operands = tuple(f if isinstance(f, Operand) else Operand(f) for f in factors)
    return EntryTerm(Fraction(value), operands=operands, **more)


@dataclasses.dataclass(frozen=True)
class Value:
    """A quantity with the indices i and j, as a product of factors."""

    scalars: tuple[str, ...] = ()
    rows: tuple[Vector, ...] = ()
    columns: tuple[Vector, ...] = ()
    operands: tuple[Operand, ...] = ()
    pairs: tuple[Vector, ...] = ()

    @property
    def mirrored(self) -> Value:
        """The quantity with i and j exchanged."""
        operands = tuple(
            dataclasses.replace(o, transposed=not o.transposed and not o.matrix.symmetric)
            for o in self.operands
        )
        return Value(self.scalars, self.columns, self.rows, operands, self.pairs)

    def times(self, other: Value) -> Value:
        """The product of both."""
        return Value(
            self.scalars + other.scalars,
            self.rows + other.rows,
            self.columns + other.columns,
            self.operands + other.operands,
            self.pairs + other.pairs,
        )

    def term(self, coefficient: Fraction) -> EntryTerm:
        return EntryTerm(coefficient, self.scalars, self.rows, self.columns, self.operands, self.pairs)


@dataclasses.dataclass(frozen=True)
class Units:
    """A quantity of all units: a vector or a matrix for students and one for teachers; None is zero."""

    students: Any
    teachers: Any

    def __iter__(self) -> Any:
        return iter((self.students, self.teachers))

    def __bool__(self) -> bool:
        return self.students is not None or self.teachers is not None


class ActivationLowering:
    """Collects the statements of one model; each quantity is computed once."""

    def __init__(self, model: Model, student: Activation, teacher: Activation) -> None:
        self.model, self.student, self.teacher = model, student, teacher
        self.general = model.teacher == "general"
        self.statements: list[Statement] = []
        self._known: dict[Any, Any] = {}
        self._names: set[str] = set()

    def _once(self, key: Any, make: Any) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def _named(self, name: str) -> str:
        """A name that no other quantity has."""
        assert name not in self._names, name
        self._names.add(name)
        return name

    def add(self, statement: Statement) -> None:
        self.statements.append(statement)

    # --- moments -------------------------------------------------------------------------

    def weighted_moments(self, order: int) -> Units:
        """d_m E[g_m^(order)] of all units: x of students, y of teachers."""

        def make() -> Units:
            weights = (WEIGHTS, WEIGHTS_TEACHER) if self.model.weighted else (None, None)
            return Units(
                self._moment(f"x{order}", self.student, order, Q, READOUT_STUDENT, weights[0], 1),
                self._moment(f"y{order}", self.teacher, order, T, READOUT_TEACHER, weights[1], -1),
            )

        return self._once(("x", order), make)

    def student_moments(self, order: int) -> Vector | None:
        """E[σ^(order)(λᵢ)] of the students."""
        return self._once(
            ("h", order), lambda: self._moment(f"h{order}", self.student, order, Q, None, None, 1)
        )

    def _moment(
        self,
        name: str,
        activation: Activation,
        order: int,
        norms: Matrix,
        readout: str | None,
        weights: Vector | None,
        sign: int,
    ) -> Vector | None:
        powers = activation.moment(order)
        if not powers:
            return None
        vector = Vector(self._named(name), norms.rows)
        # For T = 1 the variance of each teacher is 1.
        if norms is T and not self.general:
            powers = {0: sum(powers.values(), start=Fraction(0))}
            if not powers[0]:
                return None
        rows = () if weights is None else (weights,)
        scalars = (readout,) if readout and weights is None else ()
        terms = tuple(
            EntryTerm(sign * c, scalars=scalars, rows=rows, operands=(Operand(norms),) * power)
            for power, c in sorted(powers.items())
        )
        what = "E[sigma" + "'" * order + "]" if order < 4 else f"E[sigma^({order})]"
        note = f"{name}: {what}" + (" times the weight of the unit in e" if readout else "")
        self.add(VectorStatement(vector, terms, note))
        return vector

    # --- powers of covariances -----------------------------------------------------------

    def power(self, base: Matrix, exponent: int) -> Matrix:
        """Entries to a power: Q2 has the squares of Q."""
        if exponent == 1:
            return base

        def make() -> Matrix:
            name = f"{base.name}{exponent}"
            target = dataclasses.replace(base, name=self._named(name))
            lower = self.power(base, exponent - 1)
            self.add(
                EntryStatement(target, (_term(1, lower, base),), f"{name}_ij = {base.name}_ij^{exponent}")
            )
            return target

        return self._once(("power", base.name, exponent), make)

    def scaled(self, order: int, exponent: int) -> Units:
        """C_im^exponent d_m E[g_m^(order)] for students i and all units m."""

        def make() -> Units:
            blocks = []
            for weights, base, letter in zip(
                self.weighted_moments(order), (Q, R), ("x", "y"), strict=True
            ):
                if weights is None:
                    blocks.append(None)
                    continue
                name = f"{base.name}{exponent}{letter}{order}"
                target = Matrix(self._named(name), "p", base.columns)
                power = self.power(base, exponent)
                self.add(EntryStatement(target, (_term(1, power, columns=(weights,)),)))
                blocks.append(target)
            return Units(*blocks)

        return self._once(("scaled", order, exponent), make)

    # --- sums over a unit m ---------------------------------------------------------------

    def total(self, weights: Units, name: str) -> str | None:
        """Σ_m weights_m, a scalar."""
        if not weights:
            return None

        def make() -> str:
            contractions = tuple(
                Contraction(ScalarPolynomial.constant(1), None, None, rows=(vector,))
                for vector in weights
                if vector is not None
            )
            self.add(ScalarStatement(self._named(name), ScalarPolynomial(), contractions))
            return name

        return self._once(("total", name), make)

    def row_sum(self, weights: Units, exponent: int, name: str) -> Vector | None:
        """Σ_m C_im^exponent weights_m for students i."""
        if not weights:
            return None

        def make() -> Vector:
            terms = tuple(
                _term(1, self.power(base, exponent), columns=(vector,))
                for vector, base in zip(weights, (Q, R), strict=True)
                if vector is not None
            )
            target = Vector(self._named(name), "p")
            self.add(RowSum(target, terms))
            return target

        return self._once(("row sum", name), make)

    def teacher_row_sum(self, weights: Units, exponent: int, name: str) -> Vector | None:
        """Σ_m C_rm^exponent weights_m for teachers r."""
        if not weights:
            return None

        def make() -> Vector:
            target = Vector(self._named(name), "pstar")
            x, y = weights
            terms = []
            if x is not None:
                terms.append(_term(1, self.power(R, exponent).T, columns=(x,)))
            if y is not None and self.general:
                terms.append(_term(1, self.power(T, exponent), columns=(y,)))
            if y is None or self.general:
                self.add(RowSum(target, tuple(terms)))
                return target
            # T = 1, and its powers too.
            if not terms:
                return y
            part = Vector(self._named(f"{name}s"), "pstar")
            self.add(RowSum(part, tuple(terms)))
            self.add(VectorStatement(target, (_term(1, rows=(part,)), _term(1, rows=(y,)))))
            return target

        return self._once(("teacher row sum", name), make)

    def product(self, order: int, first: int, second: int) -> Operand | None:
        """Σ_m C_im^first d_m E[g_m^(order)] C_jm^second for students i and j."""
        if first < second:
            found = self.product(order, second, first)
            return None if found is None else found.matrix.T

        def make() -> Matrix | None:
            terms = [
                Term.of(block, self.power(base, second).T)
                for block, base in zip(self.scaled(order, first), (Q, R), strict=True)
                if block is not None
            ]
            if not terms:
                return None
            name = self._named(f"A{order}_{first}{second}".replace("_", "e"))
            target = Matrix(name, "p", "p", symmetric=first == second)
            self.add(MatrixStatement(target, tuple(terms)))
            return target

        found = self._once(("A", order, first, second), make)
        return None if found is None else Operand(found)

    def product_with_teachers(self, order: int, first: int, second: int) -> Matrix | None:
        """Σ_m C_im^first d_m E[g_m^(order)] C_mr^second for students i and teachers r."""

        def make() -> Matrix | None:
            x, y = self.scaled(order, first)
            terms = [] if x is None else [Term.of(x, self.power(R, second))]
            if y is not None:
                terms.append(Term.of(y, self.power(T, second)) if self.general else Term.of(y))
            if not terms:
                return None
            target = Matrix(self._named(f"B{order}e{first}{second}"), "p", "pstar")
            self.add(MatrixStatement(target, tuple(terms)))
            return target

        return self._once(("B", order, first, second), make)

    # --- the rules ------------------------------------------------------------------------

    def around(self, weights: Units, name: str, to_i: int, to_j: int) -> Value | None:
        """Σ_m C_im^to_i C_jm^to_j weights_m, where one exponent at least is 0."""
        if not to_i and not to_j:
            total = self.total(weights, f"s{name}")
            return None if total is None else Value(scalars=(total,))
        vector = self.row_sum(weights, to_i or to_j, f"u{name}e{to_i or to_j}")
        if vector is None:
            return None
        return Value(rows=(vector,)) if to_i else Value(columns=(vector,))

    def alone(self, graph: NoiseGraph, unit: int) -> Value | None:
        """The sum over a unit that has no edge to the other one."""
        order, to_i, to_j = graph.degree(unit), graph.between(unit, I), graph.between(unit, J)
        if to_i and to_j:
            operand = self.product(order, to_i, to_j)
            return None if operand is None else Value(operands=(operand,))
        return self.around(self.weighted_moments(order), str(order), to_i, to_j)

    def value(self, graph: NoiseGraph) -> Value | None:
        """Σ_mn of the graph, without the moments of i and j and the edges between them; None is zero."""
        if not (self.weighted_moments(graph.degree(M)) and self.weighted_moments(graph.degree(N))):
            return None
        if not graph.between(M, N):
            left, right = self.alone(graph, M), self.alone(graph, N)
            return None if left is None or right is None else left.times(right)
        for unit, other in ((M, N), (N, M)):
            if not graph.between(unit, I) and not graph.between(unit, J):
                return self._hanging_on_one(graph, unit, other)
        for unit, other in ((M, N), (N, M)):
            if not graph.between(unit, J):
                return self._chain(graph, unit, other, I, J)
            if not graph.between(unit, I):
                found = self._chain(graph, unit, other, J, I)
                return None if found is None else found.mirrored
        return self._complete(graph)

    def _hanging_on_one(self, graph: NoiseGraph, unit: int, other: int) -> Value | None:
        """`unit` has edges to the other unit alone: its sum is a factor of that unit's weight."""
        between, order, outer = graph.between(M, N), graph.degree(unit), graph.degree(other)
        moments = self.weighted_moments(order)
        inner = Units(
            self.row_sum(moments, between, f"u{order}e{between}"),
            self.teacher_row_sum(moments, between, f"w{order}e{between}"),
        )
        name = f"{outer}u{order}e{between}"

        def make() -> Units:
            found = []
            for weights, factor, letter in zip(
                self.weighted_moments(outer), inner, ("x", "y"), strict=True
            ):
                if weights is None or factor is None:
                    found.append(None)
                    continue
                target = Vector(self._named(f"{letter}{name}"), weights.rows)
                self.add(VectorStatement(target, (_term(1, rows=(weights, factor)),)))
                found.append(target)
            return Units(*found)

        weights = self._once(("hanging", name), make)
        to_i, to_j = graph.between(other, I), graph.between(other, J)
        if not (to_i and to_j):
            return self.around(weights, name, to_i, to_j)
        terms = []
        for vector, base in zip(weights, (Q, R), strict=True):
            if vector is None:
                continue
            left = self._once(
                ("hanging scaled", vector.name, to_i),
                lambda vector=vector, base=base: self._columns_scaled(base, to_i, vector),
            )
            terms.append(Term.of(left, self.power(base, to_j).T))
        if not terms:
            return None

        def product() -> Matrix:
            target = Matrix(self._named(f"H{name}e{to_i}{to_j}"), "p", "p", symmetric=to_i == to_j)
            self.add(MatrixStatement(target, tuple(terms)))
            return target

        return Value(operands=(Operand(self._once(("H", name, to_i, to_j), product)),))

    def _columns_scaled(self, base: Matrix, exponent: int, vector: Vector) -> Matrix:
        target = Matrix(self._named(f"{base.name}{exponent}{vector.name}"), "p", base.columns)
        self.add(EntryStatement(target, (_term(1, self.power(base, exponent), columns=(vector,)),)))
        return target

    def _chain(self, graph: NoiseGraph, unit: int, other: int, near: int, far: int) -> Value | None:
        """`unit` has edges to `near` and to the other unit: two products with a product of entries between."""
        order, outer = graph.degree(unit), graph.degree(other)
        to_near, between = graph.between(unit, near), graph.between(M, N)
        other_near, other_far = graph.between(other, near), graph.between(other, far)
        key = ("chain", order, to_near, between, outer, other_near, other_far)
        name = f"{order}e{to_near}{between}e{outer}e{other_near}{other_far}"

        def make() -> Value | None:
            inner = (
                self.product(order, to_near, between),
                self.product_with_teachers(order, to_near, between),
            )
            blocks = []
            for factor, weights, base in zip(inner, self.weighted_moments(outer), (Q, R), strict=True):
                if factor is None or weights is None:
                    continue
                factors: list[Matrix | Operand] = [factor]
                if other_near:
                    factors.append(self.power(base, other_near))
                target = Matrix(self._named(f"{base.name}K{name}"), "p", base.columns)
                self.add(EntryStatement(target, (_term(1, *factors, columns=(weights,)),)))
                blocks.append((target, base))
            if not blocks:
                return None
            if not other_far:
                vector = Vector(self._named(f"k{name}"), "p")
                self.add(RowSum(vector, tuple(_term(1, block) for block, _ in blocks)))
                return Value(rows=(vector,))
            result = Matrix(self._named(f"L{name}"), "p", "p")
            terms = tuple(Term.of(block, self.power(base, other_far).T) for block, base in blocks)
            self.add(MatrixStatement(result, terms))
            return Value(operands=(Operand(result),))

        return self._once(key, make)

    def _complete(self, graph: NoiseGraph) -> Value | None:
        """All of m, n, i and j are joined: a vector times a matrix for each pair i ≤ j."""

        def make() -> Value | None:
            products = self._pairs_between(graph)
            right = self._pair_products(graph, N)
            terms = [
                _term(1, left, factor)
                for left, factor in zip(products, right, strict=True)
                if left is not None and factor is not None
            ]
            if not terms:
                return None
            vector = Vector(self._named(f"c{''.join(map(str, graph.edges[:5]))}"), "pairs")
            self.add(RowSum(vector, tuple(terms)))
            return Value(pairs=(vector,))

        return self._once(("complete", graph.edges[:5]), make)

    def _pairs_between(self, graph: NoiseGraph) -> Units:
        """Σ_m C_im^a C_jm^b d_m E[g_m^(order)] C_mn^c for pairs i ≤ j and all units n."""
        order, to_i, to_j = graph.degree(M), graph.between(M, I), graph.between(M, J)
        between = graph.between(M, N)

        def make() -> Units:
            students, teachers = self._pair_products(graph, M)
            R_power = self.power(R, between)
            to_students, to_teachers = [], []
            if students is not None:
                to_students.append(Term.of(students, self.power(Q, between)))
                to_teachers.append(Term.of(students, R_power))
            if teachers is not None:
                to_students.append(Term.of(teachers, R_power.T))
                across = (self.power(T, between),) if self.general else ()
                to_teachers.append(Term.of(teachers, *across))
            blocks = []
            for terms, base in ((to_students, Q), (to_teachers, R)):
                target = Matrix(
                    self._named(f"P{order}e{to_i}{to_j}{between}{base.name}"), "pairs", base.columns
                )
                self.add(MatrixStatement(target, tuple(terms)))
                blocks.append(target)
            return Units(*blocks)

        return self._once(("P", order, to_i, to_j, between), make)

    def _pair_products(self, graph: NoiseGraph, unit: int) -> Units:
        """C_im^a C_jm^b d_m E[g_m^(order)] for pairs i ≤ j and all units m."""
        order, to_i, to_j = graph.degree(unit), graph.between(unit, I), graph.between(unit, J)

        def make() -> Units:
            found = []
            for block, base in zip(self.scaled(order, to_i), (Q, R), strict=True):
                if block is None:
                    found.append(None)
                    continue
                target = Matrix(self._named(f"U{order}e{to_i}{to_j}{base.name}"), "pairs", base.columns)
                self.add(PairProducts(target, block, self.power(base, to_j)))
                found.append(target)
            return Units(*found)

        return self._once(("U", order, to_i, to_j), make)

    # --- the moments of the drift ----------------------------------------------------------

    def noise(self) -> None:
        """The statements of N = E[e² σ'(λᵢ) σ'(λⱼ)], label noise included."""
        terms: list[EntryTerm] = []
        degree = max(self.student.degree, self.teacher.degree)
        for noise_term in noise_terms(degree, self.student.degree):
            graph = noise_term.graph
            ends = [self.student_moments(graph.degree(k) + 1) for k in (I, J)]
            if None in ends:
                continue
            value = self.value(graph)
            if value is None:
                continue
            edges = graph.between(I, J)
            whole = value.times(
                Value(
                    rows=(ends[0],),
                    columns=(ends[1],),
                    operands=(Operand(self.power(Q, edges)),) if edges else (),
                )
            )
            coefficient = noise_term.multiplicity * graph.symmetry_factor
            terms.append(whole.term(coefficient))
            if not noise_term.symmetric:
                terms.append(whole.mirrored.term(coefficient))
        for k in range(self.student.degree):
            moment = self.student_moments(k + 1)
            if moment is not None:
                powers = (Operand(self.power(Q, k)),) if k else ()
                noisy = Value((NOISE,), (moment,), (moment,), powers)
                terms.append(noisy.term(Fraction(1, factorial(k))))
        self.add(EntryStatement(NOISE_SS, tuple(terms), "N_ij = E[e^2 sigma'_i sigma'_j]"))

    def mean(self) -> None:
        """The statements of M = E[e σ'(λᵢ) λⱼ] and G = E[e σ'(λᵢ) λ*ᵣ]."""
        first: dict[str, list[EntryTerm]] = {"p": [], "pstar": []}
        second: list[EntryTerm] = []
        degree = max(self.student.degree, self.teacher.degree)
        for k in range(max(degree, self.student.degree)):
            outer = self.student_moments(k + 1)
            share = Fraction(1, factorial(k))
            if outer is not None:
                for weights, base in zip(self.weighted_moments(k + 1), (Q, R), strict=True):
                    if weights is None:
                        continue
                    powers = (self.power(base, k),) if k else ()
                    term = _term(share, *powers, rows=(outer,), columns=(weights,))
                    first[base.columns].append(term)
            bent = self.student_moments(k + 2)
            if bent is None:
                continue
            value = self.around(self.weighted_moments(k), str(k), k, 0)
            if value is not None:
                second.append(_term(share, scalars=value.scalars, rows=(bent, *value.rows)))
        blocks = {}
        for axis, terms in first.items():
            if terms:
                target = Matrix(self._named("Fs" if axis == "p" else "Ft"), "p", axis)
                note = "F_im = d_m E[g'_m sigma'_i]"
                self.add(EntryStatement(target, tuple(terms), note if axis == "p" else ""))
                blocks[axis] = target
        self._means(blocks, second)

    def _means(self, blocks: Mapping[str, Matrix], second: list[EntryTerm]) -> None:
        to_students, to_teachers = [], []
        if "p" in blocks:
            to_students.append(Term.of(blocks["p"], Q))
            to_teachers.append(Term.of(blocks["p"], R))
        if "pstar" in blocks:
            to_students.append(Term.of(blocks["pstar"], R.T))
            teacher = Term.of(blocks["pstar"], T) if self.general else Term.of(blocks["pstar"])
            to_teachers.append(teacher)
        curvature = None
        if second:
            curvature = Vector(self._named("bend"), "p")
            self.add(VectorStatement(curvature, tuple(second), "bend_i = sum_m d_m E[g_m sigma''_i]"))
        for target, terms, overlap in ((MEAN_SS, to_students, Q), (MEAN_ST, to_teachers, R)):
            part = target if curvature is None else dataclasses.replace(target, name=f"F{target.name}")
            note = f"{target.name} = F C" + ("" if curvature is None else " + bend C")
            self.add(MatrixStatement(part, tuple(terms), note))
            if curvature is not None:
                bent = _term(1, overlap, rows=(curvature,))
                self.add(EntryStatement(target, (_term(1, part), bent)))

    def second_layer(self) -> None:
        """The statement of dv_i/dα = −η_v a E[e σ(λᵢ)]."""
        terms = []
        for k in range(self.student.degree + 1):
            moment = self.student_moments(k)
            value = self.around(self.weighted_moments(k), str(k), k, 0)
            if moment is None or value is None:
                continue
            scalars = (SECOND_RATE, READOUT_STUDENT, *value.scalars)
            terms.append(_term(Fraction(-1, factorial(k)), scalars=scalars, rows=(moment, *value.rows)))
        self.add(VectorStatement(DV, tuple(terms), "dv_i = -eta_second a E[e sigma_i]"))

    def loss(self) -> None:
        """The statement of ε = ½ Σ_mn d_m d_n E[g_m g_n]."""
        polynomial = ScalarPolynomial()
        contractions: list[Contraction] = []
        for k in range(max(self.student.degree, self.teacher.degree) + 1):
            moments = self.weighted_moments(k)
            share = Fraction(1, 2 * factorial(k))
            if not k:
                total = self.total(moments, "s0")
                if total is not None:
                    polynomial = share * ScalarPolynomial.name(total) * ScalarPolynomial.name(total)
                continue
            x, y = moments
            for vector, sums in (
                (x, self.row_sum(moments, k, f"u{k}e{k}")),
                (y, self.teacher_row_sum(moments, k, f"w{k}e{k}")),
            ):
                if vector is not None and sums is not None:
                    coefficient = ScalarPolynomial.constant(share)
                    contractions.append(Contraction(coefficient, None, None, rows=(vector, sums)))
        note = "loss = sum_mn d_m d_n E[g_m g_n] / 2"
        self.add(ScalarStatement(LOSS, polynomial, tuple(contractions), note))


def _drift(model: Model, dQ: Matrix, dR: Matrix) -> Iterable[Statement]:
    """The statements of the free drift, in M, G and N."""
    decay = ScalarPolynomial.name(LEARNING_RATE) * ScalarPolynomial.name(WEIGHT_DECAY)
    yield ScalarStatement(DECAY, decay, note="decay = eta weight_decay")
    i: dict[str, Any] = {}
    j: dict[str, Any] = {}
    both: dict[str, Any] = {}
    if model.weighted:
        step = EntryTerm(ONE, scalars=(LEARNING_RATE,), rows=(WEIGHTS,))
        yield VectorStatement(STEPS, (step,), "kappa_i = eta d_i")
        i, j = {"rows": (STEPS,)}, {"columns": (STEPS,)}
        both = {"rows": (STEPS,), "columns": (STEPS,), "scalars": (INVERSE_BATCH,)}
        names = ("kappa_i ", "kappa_j ", "kappa_i kappa_j ")
    else:
        kappa = ScalarPolynomial.name(READOUT_STUDENT) * ScalarPolynomial.name(LEARNING_RATE)
        yield ScalarStatement(STEP, kappa, note="kappa = a eta")
        i = j = {"scalars": (STEP,)}
        both = {"scalars": (STEP, STEP, INVERSE_BATCH)}
        names = ("kappa ", "kappa ", "kappa^2 ")
    yield EntryStatement(
        dR,
        (_term(-1, MEAN_ST, **i), _term(-1, R, scalars=(DECAY,))),
        f"{dR.name}_ir = -{names[0]}G_ir - decay R_ir",
    )
    terms = [_term(-1, MEAN_SS, **i), _term(-1, MEAN_SS.T, **j), _term(-2, Q, scalars=(DECAY,))]
    note = f"{dQ.name}_ij = -{names[0]}M_ij - {names[1]}M_ji - 2 decay Q_ij"
    if model.flow == "sgd":
        terms.append(_term(1, NOISE_SS, **both))
        note += f" + {names[2]}N_ij / batch"
    yield EntryStatement(dQ, tuple(terms), note)


def activation_program(model: Model, student: Activation, teacher: Activation) -> Program:
    """The program that computes the drift of the order parameters and the loss."""
    from derive.overlap_program import _inputs, _sphere, _weights, drift_of

    lowering = ActivationLowering(model, student, teacher)
    lowering.mean()
    if model.flow == "sgd":
        lowering.noise()
    dQ, dR = (FREE_DQ, FREE_DR) if model.constraint == "sphere" else (DQ, DR)
    lowering.statements += _drift(model, dQ, dR)
    if model.trained:
        lowering.second_layer()
    if model.constraint == "sphere":
        lowering.statements += _sphere()
    lowering.loss()
    statements = [*_weights(model), *lowering.statements]
    used = {name for statement in statements for name in sources(statement)}
    parameters = [parameter.code for parameter in NUMBERS if parameter.code in used]
    return Program(
        p=model.p,
        pstar=model.pstar,
        inputs=_inputs(model),
        scalars=(READOUT_STUDENT, READOUT_TEACHER, *parameters),
        statements=tuple(statements),
        outputs=(*drift_of(model), LOSS),
    )
