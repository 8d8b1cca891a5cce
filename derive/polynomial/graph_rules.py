"""The three rules by which graphs of the noise become matrix products with products of entries between.

`derive.polynomial.graph_program` says which is for which graph.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from derive.overlap_program import Q, R, T
from derive.polynomial.noise_graphs import IN_I, IN_J, IN_M, IN_N, NoiseGraph
from derive.polynomial.unit_sums import Blocks, UnitSums, powers_text, weight_names
from derive.program import (
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    Operand,
    PairProducts,
    RowSum,
    Term,
    Vector,
    VectorStatement,
)


@dataclasses.dataclass(frozen=True)
class PairValue:
    """A number for each pair of students i and j, as a product of factors as in `EntryTerm`."""

    scalars: tuple[str, ...] = ()
    rows: tuple[Vector, ...] = ()
    columns: tuple[Vector, ...] = ()
    operands: tuple[Operand, ...] = ()
    pairs: tuple[Vector, ...] = ()

    @property
    def transposed(self) -> PairValue:
        """The value with i and j exchanged; NotImplementedError where it is kept for i ≤ j alone."""
        if self.pairs:
            raise NotImplementedError("values for pairs i ≤ j have no transpose")
        operands = tuple(
            dataclasses.replace(o, transposed=not o.transposed and not o.matrix.symmetric)
            for o in self.operands
        )
        return PairValue(self.scalars, self.columns, self.rows, operands)

    def __mul__(self, other: PairValue) -> PairValue:
        return PairValue(
            self.scalars + other.scalars,
            self.rows + other.rows,
            self.columns + other.columns,
            self.operands + other.operands,
            self.pairs + other.pairs,
        )

    def term(self, coefficient: Fraction) -> EntryTerm:
        """The term of an entry with this coefficient."""
        return EntryTerm(coefficient, self.scalars, self.rows, self.columns, self.operands, self.pairs)


class GraphRules(UnitSums):
    """Evaluates graphs of the noise; what they share is computed once."""

    def value(self, graph: NoiseGraph) -> PairValue | None:
        """The sum over m and n, without the moments of i and j and the edges between them; None is zero."""
        if not (self.moments(graph.degree(IN_M)) and self.moments(graph.degree(IN_N))):
            return None
        if not graph.between(IN_M, IN_N):
            left, right = self._apart(graph, IN_M), self._apart(graph, IN_N)
            return None if left is None or right is None else left * right
        for unit, other in ((IN_M, IN_N), (IN_N, IN_M)):
            if not graph.between(unit, IN_I) and not graph.between(unit, IN_J):
                return self._pendant(graph, unit, other)
        for unit, other in ((IN_M, IN_N), (IN_N, IN_M)):
            if not graph.between(unit, IN_J):
                return self._chain(graph, unit, other, IN_I, IN_J)
            if not graph.between(unit, IN_I):
                found = self._chain(graph, unit, other, IN_J, IN_I)
                return None if found is None else found.transposed
        return self._complete(graph)

    def joined(self, name: str, weights: Blocks[Vector], to_i: int, to_j: int) -> PairValue | None:
        """Σ_m C_im^to_i C_jm^to_j weights_m; `name` is that of the weights."""
        if to_i and to_j:
            operand = self.product(name, weights, to_i, to_j)
            return None if operand is None else PairValue(operands=(operand,))
        if not to_i and not to_j:
            total = self.total(name, weights)
            return None if total is None else PairValue(scalars=(total,))
        vector = self.row_sums(name, weights, to_i or to_j)
        if vector is None:
            return None
        return PairValue(rows=(vector,)) if to_i else PairValue(columns=(vector,))

    def joined_teachers(self, order: int, to_i: int) -> PairValue | None:
        """Σ_m C_im^to_i C_rm weights_m for students i and teachers r, with the moments of this order."""
        weights = self.moments(order)
        if to_i:
            operand = self.product_with_teachers(str(order), weights, to_i, 1)
            return None if operand is None else PairValue(operands=(operand,))
        vector = self.teacher_row_sums(str(order), weights, 1)
        return None if vector is None else PairValue(columns=(vector,))

    def _apart(self, graph: NoiseGraph, unit: int) -> PairValue | None:
        """The sum over a unit that has no edge to the other one."""
        order = graph.degree(unit)
        edges = graph.between(unit, IN_I), graph.between(unit, IN_J)
        return self.joined(str(order), self.moments(order), *edges)

    def _pendant(self, graph: NoiseGraph, unit: int, other: int) -> PairValue | None:
        """`unit` has edges to the other unit alone: its sum is a factor of that unit's weight."""
        between, order, outer = graph.between(IN_M, IN_N), graph.degree(unit), graph.degree(other)
        name = f"{outer}w{order}e{between}"

        def make() -> Blocks[Vector]:
            moments = self.moments(order)
            sums = (
                self.row_sums(str(order), moments, between),
                self.teacher_row_sums(str(order), moments, between),
            )
            found: list[Vector | None] = []
            for weights, factor in zip(self.moments(outer), sums, strict=True):
                if weights is None or factor is None:
                    found.append(None)
                    continue
                target = Vector(f"{weights.name}{factor.name}", weights.rows)
                self.add(VectorStatement(target, (EntryTerm.of(1, rows=(weights, factor)),)))
                found.append(target)
            return Blocks(*found)

        weights = self.once(("pendant", name), make)
        return self.joined(name, weights, graph.between(other, IN_I), graph.between(other, IN_J))

    def _chain(self, graph: NoiseGraph, unit: int, other: int, near: int, far: int) -> PairValue | None:
        """`unit` has edges to `near` and to the other unit, which may have edges to all.

        Two products of matrices, with a product of entries between them.
        """
        order, outer = graph.degree(unit), graph.degree(other)
        to_near, between = graph.between(unit, near), graph.between(IN_M, IN_N)
        other_near, other_far = graph.between(other, near), graph.between(other, far)
        name = f"{order}e{to_near}{between}x{outer}e{other_near}{other_far}"

        def make() -> PairValue | None:
            inner = (
                self.product(str(order), self.moments(order), to_near, between),
                self.product_with_teachers(str(order), self.moments(order), to_near, between),
            )
            found = [
                (factor, weights, base)
                for factor, weights, base in zip(inner, self.moments(outer), (Q, R), strict=True)
                if factor is not None and weights is not None
            ]
            if not found:
                return None
            names = (weight_names(self.moments(k)) for k in (order, outer))
            powers = powers_text(mn=between, im=to_near, **{"in": other_near}, jn=other_far)
            what = "sum_mn {}_m {}_n {}".format(*names, powers)
            if not other_far:
                vector = Vector(f"k{name}", "p")
                summed = (
                    EntryTerm.of(1, factor, *self._powers(base, other_near), columns=(weights,))
                    for factor, weights, base in found
                )
                self.add(RowSum(vector, tuple(summed), f"{vector.name}_i = {what}"))
                return PairValue(rows=(vector,))
            terms = []
            for factor, weights, base in found:
                if other_near:
                    block = Matrix(f"K{name}{base.name}", "p", base.columns)
                    weighted = EntryTerm.of(1, factor, self.power(base, other_near), columns=(weights,))
                    self.add(EntryStatement(block, (weighted,)))
                    terms.append(Term.of(block, self.power(base, other_far).T))
                else:
                    terms.append(Term.of(factor, self.columns_scaled(base, other_far, weights).T))
            # The graph is its own mirror image if m and i are to it what n and j are.
            alike = (order, to_near, other_near) == (outer, other_far, 0)
            result = Matrix(f"L{name}", "p", "p", symmetric=alike)
            self.add(MatrixStatement(result, tuple(terms), f"{result.name}_ij = {what}"))
            return PairValue(operands=(Operand(result),))

        return self.once(("chain", name), make)

    def _complete(self, graph: NoiseGraph) -> PairValue | None:
        """m, n, i and j are all joined: for each pair i ≤ j a vector times a matrix times a vector."""

        def make() -> PairValue | None:
            terms = self._same_sides(graph) if graph.exchanged == graph else self._sides(graph)
            if not terms:
                return None
            vector = Vector(f"c{''.join(map(str, graph.edges[:5]))}", "pairs")
            weights = (weight_names(self.moments(graph.degree(unit))) for unit in (IN_M, IN_N))
            names = ("mn", "im", "jm", "in", "jn")
            powers = powers_text(**dict(zip(names, graph.edges[:5], strict=True)))
            note = "{}_ij = sum_mn {}_m {}_n {} for i <= j".format(vector.name, *weights, powers)
            self.add(RowSum(vector, terms, note))
            return PairValue(pairs=(vector,))

        return self.once(("complete", graph.edges[:5]), make)

    def _sides(self, graph: NoiseGraph) -> tuple[EntryTerm, ...]:
        """The sum over m, times what belongs to n."""
        left, right = self._pairs_across(graph), self._pair_products(graph, IN_N)
        return tuple(
            EntryTerm.of(1, block, factor)
            for block, factor in zip(left, right, strict=True)
            if block is not None and factor is not None
        )

    def _same_sides(self, graph: NoiseGraph) -> tuple[EntryTerm, ...]:
        """If m and n have the same edges: u'(Qu + 2Rw) + w'Tw for u of students and w of teachers."""
        to_i, to_j, between = (graph.between(*edge) for edge in ((IN_M, IN_I), (IN_M, IN_J), (IN_M, IN_N)))
        order, terms = graph.degree(IN_M), []
        name = f"{order}e{to_i}{to_j}e{between}"
        students, teachers = self._pair_products(graph, IN_M)
        if students is not None:
            factors = [Term.of(students, self.power(Q, between))]
            if teachers is not None:
                doubled = self._doubled_products(order, to_i, to_j)
                factors.append(Term.of(doubled, self.power(R, between).T))
            product = Matrix(f"S{name}Q", "pairs", "p")
            self.add(MatrixStatement(product, tuple(factors)))
            terms.append(EntryTerm.of(1, product, students))
        if teachers is not None:
            product = teachers
            if self.general:
                product = Matrix(f"S{name}T", "pairs", "pstar")
                self.add(MatrixStatement(product, (Term.of(teachers, self.power(T, between)),)))
            terms.append(EntryTerm.of(1, product, teachers))
        return tuple(terms)

    def _doubled_products(self, order: int, to_i: int, to_j: int) -> Matrix:
        """2 C_ir^a C_jr^b weights_r for pairs i ≤ j and teachers r."""
        weights = self.moments(order).teachers
        assert weights is not None
        scaled = self.columns_scaled(R, to_i, weights)
        twice = Matrix(f"D{order}e{to_i}", "p", "pstar")
        target = Matrix(f"D{order}e{to_i}{to_j}", "pairs", "pstar")
        statement = EntryStatement(twice, (EntryTerm.of(2, scaled),), f"{twice.name} = 2 {scaled.name}")
        self.once(("doubled", twice), lambda: self.add(statement))
        self.once(("doubled", target), lambda: self.add(PairProducts(target, twice, self.power(R, to_j))))
        return target

    def _pairs_across(self, graph: NoiseGraph) -> Blocks[Matrix]:
        """Σ_m C_im^a C_jm^b weights_m C_mn^c for pairs i ≤ j and all units n."""
        order, to_i, to_j = graph.degree(IN_M), graph.between(IN_M, IN_I), graph.between(IN_M, IN_J)
        between = graph.between(IN_M, IN_N)

        def make() -> Blocks[Matrix]:
            students, teachers = self._pair_products(graph, IN_M)
            to_students: list[Term] = []
            to_teachers: list[Term] = []
            if students is not None:
                to_students.append(Term.of(students, self.power(Q, between)))
                to_teachers.append(Term.of(students, self.power(R, between)))
            if teachers is not None:
                to_students.append(Term.of(teachers, self.power(R, between).T))
                to_teachers.append(Term.of(teachers, *([self.power(T, between)] if self.general else [])))
            blocks: list[Matrix] = []
            for terms, base in ((to_students, Q), (to_teachers, R)):
                name = f"P{order}e{to_i}{to_j}e{between}{base.name}"
                target = Matrix(name, "pairs", base.columns)
                self.add(MatrixStatement(target, tuple(terms)))
                blocks.append(target)
            return Blocks(*blocks)

        return self.once(("pairs across", order, to_i, to_j, between), make)

    def _powers(self, base: Matrix, exponent: int) -> tuple[Matrix, ...]:
        return (self.power(base, exponent),) if exponent else ()

    def _pair_products(self, graph: NoiseGraph, unit: int) -> Blocks[Matrix]:
        """C_im^a C_jm^b weights_m for pairs i ≤ j and all units m."""
        order, to_i, to_j = graph.degree(unit), graph.between(unit, IN_I), graph.between(unit, IN_J)

        def make() -> Blocks[Matrix]:
            found: list[Matrix | None] = []
            for block, base in zip(self.scaled(self.moments(order), to_i), (Q, R), strict=True):
                if block is None:
                    found.append(None)
                    continue
                target = Matrix(f"U{order}e{to_i}{to_j}{base.name}", "pairs", base.columns)
                self.add(PairProducts(target, block, self.power(base, to_j)))
                found.append(target)
            return Blocks(*found)

        return self.once(("pair products", order, to_i, to_j), make)
