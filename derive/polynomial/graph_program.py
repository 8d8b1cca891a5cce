"""Writes the equations of any polynomial activation, given as graphs, as statements on matrices.

With the weights d_m of units in the error e = Σ d_m g_m(z_m) − √Δ ξ (a vᵢ of students, −b v*ᵣ of teachers)
the drift needs

    M_ij = E[e σ'(λᵢ) λⱼ],  G_ir = E[e σ'(λᵢ) λ*ᵣ],  N_ij = E[e² σ'(λᵢ) σ'(λⱼ)]

and, if v is trained, E[e σ(λᵢ)]. By Stein's lemma

    E[e σ'(λᵢ) z_j] = Σ_m d_m (E[g'_m σ'ᵢ] C_mj + E[g_m σ''ᵢ] C_ij),

whose graphs have two factors. Each graph of N has the factors m and n, which are summed over, i and j. It
is evaluated by one of three rules (docs/theory.md):

- no edge joins m and n: both sums are independent, and their values are multiplied for each pair i, j;
- m has no edge to i or none to j, or n has none: the sum over this unit is a product of matrices, and so is
  the sum over the other one, with a product of entries between them;
- all edges are there: for each pair i ≤ j a vector is multiplied with a matrix and a vector.

Factors of these products are powers of the entries of C, and the moments E[g^(degree)] of each factor.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    T,
    program_of,
    sphere_statements,
    weight_statements,
)
from derive.polynomial.graph_rules import GraphRules, PairValue
from derive.polynomial.noise_graphs import IN_I, IN_J, noise_terms
from derive.polynomial.unit_sums import entry_term
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    Operand,
    Program,
    ScalarStatement,
    Statement,
    Term,
    Vector,
    VectorStatement,
)
from derive.scalar_polynomials import ScalarPolynomial

# E[e σ'(λᵢ) λⱼ] is not symmetric, unless σ' is linear.
MEAN_SS = Matrix("M", "p", "p")
# Σ_m d_m E[g_m σ''ᵢ], with which Stein's lemma multiplies C_ij.
BEND = Vector("bend", "p")


def _add_noise(rules: GraphRules) -> None:
    """The statements of N = E[e² σ'(λᵢ) σ'(λⱼ)], label noise included."""
    student, teacher = rules.student, rules.teacher
    terms: list[EntryTerm] = []
    for noise_term in noise_terms(max(student.degree, teacher.degree), student.degree):
        graph = noise_term.graph
        for each in (graph,) if noise_term.symmetric else (graph, graph.mirrored):
            left, right = (rules.student_moments(each.degree(k) + 1) for k in (IN_I, IN_J))
            value = None if left is None or right is None else rules.value(each)
            if value is None or left is None or right is None:
                continue
            edges = each.between(IN_I, IN_J)
            powers = (Operand(rules.power(Q, edges)),) if edges else ()
            whole = value * PairValue(rows=(left,), columns=(right,), operands=powers)
            terms.append(whole.term(noise_term.multiplicity * each.symmetry_factor))
    for k in range(student.degree):
        moment = rules.student_moments(k + 1)
        if moment is not None:
            powers = (Operand(rules.power(Q, k)),) if k else ()
            label_noise = PairValue((NOISE,), (moment,), (moment,), powers)
            terms.append(label_noise.term(Fraction(1, factorial(k))))
    rules.add(EntryStatement(NOISE_SS, tuple(terms), "N_ij = E[e^2 sigma'_i sigma'_j]"))


def _mean_terms(rules: GraphRules) -> tuple[dict[str, list[EntryTerm]], list[EntryTerm]]:
    """The terms of F_im = d_m E[g'_m σ'ᵢ] by the axis of m, and of Σ_m d_m E[g_m σ''ᵢ]."""
    first: dict[str, list[EntryTerm]] = {"p": [], "pstar": []}
    second: list[EntryTerm] = []
    for k in range(max(rules.student.degree, rules.teacher.degree)):
        share = Fraction(1, factorial(k))
        slope, curvature = rules.student_moments(k + 1), rules.student_moments(k + 2)
        if slope is not None:
            for weights, base in zip(rules.moments(k + 1), (Q, R), strict=True):
                if weights is not None:
                    powers = (rules.power(base, k),) if k else ()
                    term = entry_term(share, *powers, rows=(slope,), columns=(weights,))
                    first[base.columns].append(term)
        if curvature is not None:
            value = rules.joined(str(k), rules.moments(k), k, 0)
            if value is not None:
                factors = {"scalars": value.scalars, "rows": (curvature, *value.rows)}
                second.append(entry_term(share, **factors))
    return first, second


def _add_means(rules: GraphRules) -> None:
    """The statements of M = E[e σ'(λᵢ) λⱼ] and G = E[e σ'(λᵢ) λ*ᵣ]."""
    first, second = _mean_terms(rules)
    to_students: list[Term] = []
    to_teachers: list[Term] = []
    note = "F_im = d_m E[g'_m sigma'_i] for students m, then for teachers"
    if first["p"]:
        F = Matrix("Fs", "p", "p")
        rules.add(EntryStatement(F, tuple(first["p"]), note))
        to_students.append(Term.of(F, Q))
        to_teachers.append(Term.of(F, R))
    if first["pstar"]:
        F = Matrix("Ft", "p", "pstar")
        rules.add(EntryStatement(F, tuple(first["pstar"])))
        to_students.append(Term.of(F, R.T))
        to_teachers.append(Term.of(F, *([T] if rules.general else [])))
    if second:
        rules.add(VectorStatement(BEND, tuple(second), "bend_i = sum_m d_m E[g_m sigma''_i]"))
    for target, terms, overlap in ((MEAN_SS, to_students, Q), (MEAN_ST, to_teachers, R)):
        if not second:
            rules.add(MatrixStatement(target, tuple(terms), f"{target.name} = F C"))
            continue
        product = Matrix(f"F{target.name}", target.rows, target.columns)
        rules.add(MatrixStatement(product, tuple(terms), f"{target.name} = F C + diag(bend) C"))
        bent = entry_term(1, overlap, rows=(BEND,))
        rules.add(EntryStatement(target, (entry_term(1, product), bent)))


def _second_layer(rules: GraphRules) -> VectorStatement:
    """The statement of dv_i/dα = −η_v a E[e σ(λᵢ)]."""
    terms = []
    for k in range(rules.student.degree + 1):
        moment = rules.student_moments(k)
        value = rules.joined(str(k), rules.moments(k), k, 0)
        if moment is not None and value is not None:
            scalars = (SECOND_RATE, READOUT_STUDENT, *value.scalars)
            rows = (moment, *value.rows)
            terms.append(entry_term(Fraction(-1, factorial(k)), scalars=scalars, rows=rows))
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
        step = entry_term(1, scalars=(LEARNING_RATE,), rows=(WEIGHTS,))
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
    decayed = entry_term(-1, R, scalars=(DECAY,))
    note = f"{dR.name}_ir = -{words[0]} G_ir - decay R_ir"
    yield EntryStatement(dR, (entry_term(-1, MEAN_ST, **left), decayed), note)
    terms = [
        entry_term(-1, MEAN_SS, **left),
        entry_term(-1, MEAN_SS.T, **right),
        entry_term(-2, Q, scalars=(DECAY,)),
    ]
    note = f"{dQ.name}_ij = -{words[0]} M_ij - {words[1]} M_ji - 2 decay Q_ij"
    if model.flow == "sgd":
        terms.append(entry_term(1, NOISE_SS, **both))
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
