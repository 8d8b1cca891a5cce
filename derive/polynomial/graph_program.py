"""Writes the equations of any polynomial activation, given as graphs, as statements on matrices.

With the weights d_m of units in the error e = Σ d_m g_m(z_m) − √Δ ξ (a vᵢ of students, −b v*ᵣ of teachers)
the drift needs

    M_ij = E[e σ'(λᵢ) λⱼ],  G_ir = E[e σ'(λᵢ) λ*ᵣ],  N_ij = E[e² σ'(λᵢ) σ'(λⱼ)]

and, if v is trained, E[e σ(λᵢ)]. By Stein's lemma

    E[e σ'(λᵢ) z_j] = Σ_m d_m (E[g'_m σ'ᵢ] C_mj + E[g_m σ''ᵢ] C_ij),

whose graphs have two factors; the products of E[g'_m σ'ᵢ] with C occur in N too. Each graph of N has the
factors m and n, which are summed over, i and j. It is evaluated by one of three rules (docs/theory.md):

- no edge joins m and n: both sums are independent, and their values are multiplied for each pair i, j;
- m has no edge to i or none to j, or n has none: the sum over this unit is a product of matrices, and so is
  the sum over the other one, with a product of entries between them;
- all edges are there: for each pair i ≤ j a vector is multiplied with a matrix and a vector.

Factors of these products are powers of the entries of C, and the moments E[g^(degree)] of each factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import factorial
from typing import Any

from derive.equations import (
    DECAY,
    INVERSE_BATCH,
    LEARNING_RATE,
    NOISE,
    READOUT_STUDENT,
    SECOND_RATE,
    STEP,
    WEIGHT_DECAY,
)
from derive.model import Model
from derive.overlap_program import (
    DQ,
    DR,
    DV,
    FREE_DQ,
    FREE_DR,
    LOSS,
    MEAN_ST,
    NOISE_SS,
    STEPS,
    WEIGHTS,
    Q,
    R,
    program_of,
    sphere_statements,
    weight_statements,
)
from derive.polynomial.graph_rules import GraphRules, PairValue
from derive.polynomial.noise_graphs import IN_I, IN_J, noise_terms
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    Operand,
    Program,
    ScalarStatement,
    Statement,
    Vector,
    VectorStatement,
)
from derive.scalar_polynomials import ScalarPolynomial

# E[e σ'(λᵢ) λⱼ] is not symmetric, unless σ' is linear.
MEAN_SS = Matrix("M", "p", "p")
# Σ_m d_m E[g_m σ''ᵢ], with which Stein's lemma multiplies C_ij.
BEND = Vector("bend", "p")
MEAN_NOTES = {
    MEAN_SS.name: "M_ij = E[e sigma'_i lambda_j]",
    MEAN_ST.name: "G_ir = E[e sigma'_i lambda*_r]",
}


def _joints(rules: GraphRules, ends: tuple[int, int]) -> Iterator[EntryTerm]:
    """The factors of graphs with so many edges from m and n to i and to j: moments and edges ij."""
    for k in range(rules.student.degree - max(ends)):
        left, right = (rules.student_moments(end + k + 1) for end in ends)
        if left is not None and right is not None:
            powers = (Operand(rules.power(Q, k)),) if k else ()
            yield PairValue(rows=(left,), columns=(right,), operands=powers).term(Fraction(1, factorial(k)))


def _summed(
    rules: GraphRules, ends: tuple[int, int], values: list[tuple[Fraction, PairValue]]
) -> tuple[Fraction, PairValue]:
    """The sum of values that have the same factors besides, as a number times one value."""
    if len(values) == 1:
        return values[0]
    name = "V{}{}".format(*ends)
    note = f"{name}: graphs in which the number of edges from m and n is {ends[0]} to i and {ends[1]} to j"
    if all(value == PairValue(value.scalars) for _, value in values):
        total = ScalarPolynomial()
        for number, value in values:
            product = ScalarPolynomial.constant(number)
            for scalar in value.scalars:
                product = product * ScalarPolynomial.name(scalar)
            total = total + product
        rules.add(ScalarStatement(name, total, note=note))
        return Fraction(1), PairValue(scalars=(name,))
    terms = tuple(value.term(number) for number, value in values)
    if all(value == PairValue(value.scalars, value.rows) for _, value in values):
        vector = Vector(name, "p")
        rules.add(VectorStatement(vector, terms, note))
        return Fraction(1), PairValue(rows=(vector,))
    matrix = Matrix(name, "p", "p", symmetric=ends[0] == ends[1])
    rules.add(EntryStatement(matrix, terms, note))
    return Fraction(1), PairValue(operands=(Operand(matrix),))


def _add_noise(rules: GraphRules) -> None:
    """The statements of N = E[e² σ'(λᵢ) σ'(λⱼ)], label noise included.

    Graphs that differ in the edges ij alone have the same sum over m and n, which is made once.
    """
    student, teacher = rules.student, rules.teacher
    sums: dict[tuple[int, int], list[tuple[Fraction, PairValue]]] = {}
    terms: list[EntryTerm] = []

    def add(ends: tuple[int, int], number: Fraction, value: PairValue) -> None:
        for joint in _joints(rules, ends):
            factors = PairValue(joint.scalars, joint.rows, joint.columns, joint.operands)
            terms.append((value * factors).term(number * joint.coefficient))

    for noise_term in noise_terms(max(student.degree, teacher.degree), student.degree):
        graph = noise_term.graph
        if graph.between(IN_I, IN_J):
            continue
        for each in (graph,) if noise_term.symmetric else (graph, graph.mirrored):
            ends = each.degree(IN_I), each.degree(IN_J)
            value = rules.value(each) if any(True for _ in _joints(rules, ends)) else None
            if value is None:
                continue
            number = noise_term.multiplicity * each.symmetry_factor
            if value.pairs and ends[0] != ends[1]:
                # Values for i ≤ j alone are no part of a matrix that is not symmetric.
                add(ends, number, value)
            elif ends[0] >= ends[1]:
                # The others are transposes of these.
                sums.setdefault(ends, []).append((number, value))
    sums.setdefault((0, 0), []).append((Fraction(1), PairValue((NOISE,))))
    for ends, values in sums.items():
        number, value = _summed(rules, ends, values)
        add(ends, number, value)
        if ends[0] != ends[1]:
            add((ends[1], ends[0]), number, value.transposed)
    rules.add(EntryStatement(NOISE_SS, tuple(terms), "N_ij = E[e^2 sigma'_i sigma'_j]"))


def _add_means(rules: GraphRules) -> None:
    """The statements of M = E[e σ'(λᵢ) λⱼ] and G = E[e σ'(λᵢ) λ*ᵣ]."""
    to_students: list[EntryTerm] = []
    to_teachers: list[EntryTerm] = []
    bend: list[EntryTerm] = []
    for k in range(max(rules.student.degree, rules.teacher.degree)):
        share, weights = Fraction(1, factorial(k)), rules.moments(k + 1)
        slope, curvature = rules.student_moments(k + 1), rules.student_moments(k + 2)
        if slope is not None and weights:
            near, far = rules.joined(str(k + 1), weights, k, 1), rules.joined_teachers(k + 1, k)
            for terms, value in ((to_students, near), (to_teachers, far)):
                if value is not None:
                    terms.append((value * PairValue(rows=(slope,))).term(share))
        if curvature is not None:
            value = rules.joined(str(k), rules.moments(k), k, 0)
            if value is not None:
                bend.append((value * PairValue(rows=(curvature,))).term(share))
    if bend:
        rules.add(VectorStatement(BEND, tuple(bend), "bend_i = sum_m d_m E[g_m sigma''_i]"))
    for target, terms, overlap in ((MEAN_SS, to_students, Q), (MEAN_ST, to_teachers, R)):
        if bend:
            terms.append(EntryTerm.of(1, overlap, rows=(BEND,)))
        rules.add(EntryStatement(target, tuple(terms), MEAN_NOTES[target.name]))


def _second_layer(rules: GraphRules) -> VectorStatement:
    """The statement of dv_i/dα = −η_v a E[e σ(λᵢ)]."""
    terms = []
    for k in range(rules.student.degree + 1):
        moment = rules.student_moments(k)
        value = rules.joined(str(k), rules.moments(k), k, 0)
        if moment is not None and value is not None:
            scalars = (SECOND_RATE, READOUT_STUDENT, *value.scalars)
            rows = (moment, *value.rows)
            terms.append(EntryTerm.of(Fraction(-1, factorial(k)), scalars=scalars, rows=rows))
    return VectorStatement(DV, tuple(terms), "dv_i = -eta_second a E[e sigma_i]")


def _loss(rules: GraphRules) -> ScalarStatement:
    """The statement of ε = ½ Σ_mn d_m d_n E[g_m g_n]."""
    polynomial = ScalarPolynomial()
    contractions: list[Contraction] = []
    for k in range(max(rules.student.degree, rules.teacher.degree) + 1):
        moments, share = rules.moments(k), Fraction(1, 2 * factorial(k))
        if not k:
            total = rules.total("0", moments)
            if total is not None:
                polynomial = share * ScalarPolynomial.name(total) * ScalarPolynomial.name(total)
            continue
        sums = (rules.row_sums(str(k), moments, k), rules.teacher_row_sums(str(k), moments, k))
        for vector, summed in zip(moments, sums, strict=True):
            if vector is not None and summed is not None:
                coefficient = ScalarPolynomial.constant(share)
                contractions.append(Contraction(coefficient, None, None, rows=(vector, summed)))
    note = "loss = sum_mn d_m d_n E[g_m g_n] / 2"
    return ScalarStatement(LOSS, polynomial, tuple(contractions), note)


def _free_drift(model: Model, dQ: Matrix, dR: Matrix) -> Iterable[Statement]:
    """The statements of the free drift of Q and R, in M, G and N."""
    name = ScalarPolynomial.name
    yield ScalarStatement(DECAY, name(LEARNING_RATE) * name(WEIGHT_DECAY), note="decay = eta weight_decay")
    left: dict[str, Any]
    right: dict[str, Any]
    both: dict[str, Any]
    if model.weighted:
        step = EntryTerm.of(1, scalars=(LEARNING_RATE,), rows=(WEIGHTS,))
        yield VectorStatement(STEPS, (step,), "kappa_i = eta d_i")
        left, right = {"rows": (STEPS,)}, {"columns": (STEPS,)}
        both = {**left, **right, "scalars": (INVERSE_BATCH,)}
        words = ("kappa_i", "kappa_j", "kappa_i kappa_j")
    else:
        step_size = name(READOUT_STUDENT) * name(LEARNING_RATE)
        yield ScalarStatement(STEP, step_size, note="kappa = a eta")
        left = right = {"scalars": (STEP,)}
        both = {"scalars": (STEP, STEP, INVERSE_BATCH)}
        words = ("kappa", "kappa", "kappa^2")
    decayed = EntryTerm.of(-1, R, scalars=(DECAY,))
    note = f"{dR.name}_ir = -{words[0]} G_ir - decay R_ir"
    yield EntryStatement(dR, (EntryTerm.of(-1, MEAN_ST, **left), decayed), note)
    terms = [
        EntryTerm.of(-1, MEAN_SS, **left),
        EntryTerm.of(-1, MEAN_SS.T, **right),
        EntryTerm.of(-2, Q, scalars=(DECAY,)),
    ]
    note = f"{dQ.name}_ij = -{words[0]} M_ij - {words[1]} M_ji - 2 decay Q_ij"
    if model.flow == "sgd":
        terms.append(EntryTerm.of(1, NOISE_SS, **both))
        note += f" + {words[2]} N_ij / batch"
    yield EntryStatement(dQ, tuple(terms), note)


def graph_program(model: Model) -> Program:
    """The program that computes the drift of the order parameters and the loss of `model`."""
    rules = GraphRules(model)
    _add_means(rules)
    if model.flow == "sgd":
        _add_noise(rules)
    dQ, dR = (FREE_DQ, FREE_DR) if model.constraint == "sphere" else (DQ, DR)
    for statement in _free_drift(model, dQ, dR):
        rules.add(statement)
    if model.trained:
        rules.add(_second_layer(rules))
    if model.constraint == "sphere":
        rules.statements += sphere_statements()
    rules.add(_loss(rules))
    program = program_of(model, [*weight_statements(model), *rules.statements])
    # Moments that are made for a sum are not needed where all other factors of it vanish.
    return program.restricted_to(program.outputs)
