"""Writes the equations, given as Wick diagrams, as statements on matrices that share their products.

C = [[Q, R], [Rᵀ, T]] and D = diag(d, −f) with d = a v and f = b v* are split into student and teacher
blocks. Chains grow as C(DC)ᵐ = CD·C(DC)ᵐ⁻¹, for which only the student rows [Q diag d, −R diag f] of CD are
needed. They are called aQ and −bR. So with X = (CDC)_SS = aQ·Q − bR·Rᵀ and Y = (CDC)_ST = aQ·R − bR·T
(docs/theory.md), where all second-layer weights are 1,

    dR = r₀ R + r₁ Y,    dQ = q₀ Q + q₁ X + q₂ (aQ·X − bR·Yᵀ) = q₀ Q + V X − W Yᵀ,

where V = q₁ + q₂ aQ and W = q₂ bR save a product by Horner's rule. The coefficients rₘ and qₘ are
polynomials in κ, ηγ, Δ and the closed loops s = tr(DC) and t = tr(DCDC) = Σ d_k d_l C_kl². Where weights
differ, each student has its own κᵢ. Then the moments M = E[e λλᵀ], G = E[e λλ*ᵀ] and N = E[e² λλᵀ]/B are
computed in this way, and the drift is made of them entry by entry (`derive.equations`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from derive.equations import (
    DECAY,
    INVERSE_BATCH,
    LEARNING_RATE,
    NOISE_STEP,
    READOUT_STUDENT,
    READOUT_TEACHER,
    SECOND_RATE,
    STEP,
    OverlapEquations,
)
from derive.model import Model
from derive.parameters import NUMBERS
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    NormRates,
    Program,
    Projection,
    ScalarStatement,
    Statement,
    Term,
    Vector,
    VectorStatement,
    sources,
)
from derive.scalar_polynomials import ScalarPolynomial

Q = Matrix("Q", "p", "p", symmetric=True)
R = Matrix("R", "p", "pstar")
T = Matrix("T", "pstar", "pstar", symmetric=True)
# The student rows of CD are [AQ, −BR]; the sign of BR stands in the statements that use it.
AQ = Matrix("aQ", "p", "p", symmetric=True)
BR = Matrix("bR", "p", "pstar")
X = Matrix("X", "p", "p", symmetric=True)
Y = Matrix("Y", "p", "pstar")
V = Matrix("V", "p", "p", symmetric=True)
W = Matrix("W", "p", "pstar")
DQ = Matrix("dQ", "p", "p", symmetric=True)
DR = Matrix("dR", "p", "pstar")
# Second-layer weights, and with them the weights d and −f of D, κ of each student and the drift of v.
SECOND, SECOND_TEACHER = Vector("v", "p"), Vector("vstar", "pstar")
WEIGHTS, WEIGHTS_TEACHER = Vector("d", "p"), Vector("f", "pstar")
STEPS = Vector("kappa", "p")
DV = Vector("dv", "p")
# With weights that differ, aQ = Q diag(d) is not symmetric; V = n1 1 + n2 aQ neither.
WEIGHTED_AQ = Matrix("aQ", "p", "p")
WEIGHTED_V = Matrix("V", "p", "p")
# The moments E[e λλᵀ], E[e λλ*ᵀ] and E[e² λλᵀ]/B.
MEAN_SS = Matrix("M", "p", "p", symmetric=True)
MEAN_ST = Matrix("G", "p", "pstar")
NOISE_SS = Matrix("N", "p", "p", symmetric=True)
# The drift before the sphere's projection has its own names.
FREE_DQ = Matrix("fQ", "p", "p", symmetric=True)
FREE_DR = Matrix("fR", "p", "pstar")
LOSS = "loss"
# The student-student and student-teacher blocks of C(DC)ᵐ by m, under the names that all texts give them.
# The program needs no Z = (CDCDC)_SS = aQ·X − bR·Yᵀ of its own.
Z = Matrix("Z", "p", "p", symmetric=True)
CHAINS_SS = {0: Q, 1: X, 2: Z}
CHAINS_ST = {0: R, 1: Y}

_name, _term = ScalarPolynomial.name, Term.of
_ONE, _TWO = ScalarPolynomial.constant(1), ScalarPolynomial.constant(2)


def closed_loops(model: Model) -> list[ScalarStatement]:
    """The statements of s = tr(DC) and t = tr(DCDC)."""
    s_constant = t_constant = ScalarPolynomial()
    general = model.teacher == "general"
    if model.weighted:
        d, f = (WEIGHTS,), (WEIGHTS_TEACHER,)
        s_contractions = [Contraction(_ONE, Q, None, rows=d)]
        t_contractions = [Contraction(_ONE, Q, Q, d, d), Contraction(-1 * _TWO, R, R, d, f)]
        if general:
            s_contractions.append(Contraction(-1 * _ONE, T, None, rows=f))
            t_contractions.append(Contraction(_ONE, T, T, f, f))
        else:
            s_contractions.append(Contraction(-1 * _ONE, None, None, rows=f))
            t_contractions.append(Contraction(_ONE, None, None, rows=(*f, *f)))
    else:
        a, b = _name(READOUT_STUDENT), _name(READOUT_TEACHER)
        s_contractions = [Contraction(a, Q, None)]
        t_contractions = [Contraction(a * a, Q, Q), Contraction(-2 * a * b, R, R)]
        if general:
            s_contractions.append(Contraction(-1 * b, T, None))
            t_contractions.append(Contraction(b * b, T, T))
        else:
            # For T = 1 both tr T and Σ T_rs² are the number p*.
            width = Fraction(model.pstar)
            s_constant, t_constant = -width * b, width * b * b
    return [
        ScalarStatement("s", s_constant, tuple(s_contractions), "s = tr(DC)"),
        ScalarStatement("t", t_constant, tuple(t_contractions), "t = tr(DCDC)"),
    ]


def weight_statements(model: Model) -> list[Statement]:
    """The statements of d = a v and f = b v*."""
    if not model.weighted:
        return []
    student = EntryTerm.of(1, scalars=(READOUT_STUDENT,), rows=(SECOND,))
    teacher = EntryTerm.of(1, scalars=(READOUT_TEACHER,), rows=(SECOND_TEACHER,))
    return [
        VectorStatement(WEIGHTS, (student,), "D = diag(d, -f) with d = a v, f = b v*"),
        VectorStatement(WEIGHTS_TEACHER, (teacher,)),
    ]


def _first_chain(model: Model) -> list[Statement]:
    """The statements of aQ and bR, and of X and Y, the blocks of CDC."""
    rows: list[Statement]
    if model.weighted:
        aQ = WEIGHTED_AQ
        note = "student rows of CD = [aQ, -bR] = [Q diag(d), -R diag(f)]"
        rows = [
            EntryStatement(aQ, (EntryTerm.of(1, Q, columns=(WEIGHTS,)),), note),
            EntryStatement(BR, (EntryTerm.of(1, R, columns=(WEIGHTS_TEACHER,)),)),
        ]
    else:
        aQ = AQ
        rows = [
            MatrixStatement(AQ, (_term(Q, scalar=READOUT_STUDENT),), "student rows of CD = [aQ, -bR]"),
            MatrixStatement(BR, (_term(R, scalar=READOUT_TEACHER),)),
        ]
    teacher = _term(BR, T, sign=-1) if model.teacher == "general" else _term(BR, sign=-1)
    return [
        *rows,
        MatrixStatement(
            X, (_term(aQ, Q), _term(BR, R.T, sign=-1)), "X = (CDC) student-student = aQ Q - bR R'"
        ),
        MatrixStatement(Y, (_term(aQ, R), teacher), "Y = (CDC) student-teacher = aQ R - bR T"),
    ]


def _student_teacher_chains(
    target: Matrix, name: str, parts: Mapping[int, ScalarPolynomial]
) -> list[Statement]:
    """The statements of target = Σ coefficientₘ (C(DC)ᵐ)_ST, whose coefficients are called name0, name1."""
    if set(parts) != {0, 1}:
        raise NotImplementedError("only the chains C and CDC have statements between students and teachers")
    return [
        ScalarStatement(f"{name}0", parts[0], note=f"{target.name} = {name}0 R + {name}1 Y"),
        ScalarStatement(f"{name}1", parts[1]),
        MatrixStatement(target, (_term(R, scalar=f"{name}0"), _term(Y, scalar=f"{name}1"))),
    ]


def _student_chains(
    target: Matrix, name: str, parts: Mapping[int, ScalarPolynomial], weighted: bool
) -> list[Statement]:
    """The statements of target = Σ coefficientₘ (C(DC)ᵐ)_SS, whose coefficients are name0, name1 …"""
    if not {0, 1} <= set(parts) <= {0, 1, 2}:
        raise NotImplementedError("only the chains C, CDC and CDCDC have statements between students")
    zeroth, first, second = (f"{name}{m}" for m in range(3))
    top = 2 in parts
    chains = f"{zeroth} Q + {first} X"
    if top:
        chains += f" + {second} (CDCDC) = {zeroth} Q + V X - W Y'"
    statements: list[Statement] = [
        ScalarStatement(zeroth, parts[0], note=f"{target.name} = {chains}"),
        ScalarStatement(first, parts[1]),
    ]
    if not top:
        return [*statements, MatrixStatement(target, (_term(Q, scalar=zeroth), _term(X, scalar=first)))]
    aQ, v = (WEIGHTED_AQ, WEIGHTED_V) if weighted else (AQ, V)
    return [
        *statements,
        ScalarStatement(second, parts[2]),
        MatrixStatement(
            v,
            (_term(scalar=first), _term(aQ, scalar=second)),
            f"[V, -W] = {first} [1, 0] + {second} [aQ, -bR]",
        ),
        MatrixStatement(W, (_term(BR, scalar=second),)),
        MatrixStatement(target, (_term(Q, scalar=zeroth), _term(v, X), _term(W, Y.T, sign=-1))),
    ]


_SCALAR_NOTES = {
    STEP: "kappa = 2 a eta",
    NOISE_STEP: "kappa2 = kappa^2 / batch",
    DECAY: "decay = eta weight_decay",
}


def _equal_drift(equations: OverlapEquations, dQ: Matrix, dR: Matrix) -> list[Statement]:
    """The statements of the free drift where all second-layer weights are 1."""
    return [
        *(
            ScalarStatement(name, value, note=_SCALAR_NOTES[name])
            for name, value in equations.scalars.items()
        ),
        *_student_teacher_chains(dR, "r", equations.dR),
        *_student_chains(dQ, "q", equations.dQ, weighted=False),
    ]


def _weighted_drift(model: Model, equations: OverlapEquations, dQ: Matrix, dR: Matrix) -> list[Statement]:
    """The statements of the free drift where second-layer weights differ."""
    step = EntryTerm.of(2, scalars=(LEARNING_RATE,), rows=(WEIGHTS,))
    k = (STEPS,)
    norms = [
        EntryTerm.of(-1, MEAN_SS, rows=k),
        EntryTerm.of(-1, MEAN_SS, columns=k),
        EntryTerm.of(-2, Q, scalars=(DECAY,)),
    ]
    statements: list[Statement] = [
        VectorStatement(STEPS, (step,), "kappa_i = 2 eta d_i"),
        ScalarStatement(DECAY, equations.decay, note=_SCALAR_NOTES[DECAY]),
        *_student_teacher_chains(MEAN_ST, "m", equations.mean),
        MatrixStatement(MEAN_SS, (_term(Q, scalar="m0"), _term(X, scalar="m1")), "M = m0 Q + m1 X"),
    ]
    note = f"{dQ.name}_ij = -(kappa_i + kappa_j) M_ij - 2 decay Q_ij"
    if equations.noise:
        share = _name(INVERSE_BATCH)
        noise = {chain: share * value for chain, value in equations.noise.items()}
        statements += _student_chains(NOISE_SS, "n", noise, weighted=True)
        norms.append(EntryTerm.of(1, NOISE_SS, rows=k, columns=k))
        note = f"{dQ.name}_ij = -(kappa_i + kappa_j) M_ij - 2 decay Q_ij + kappa_i kappa_j N_ij"
    drift = (EntryTerm.of(-1, MEAN_ST, rows=k), EntryTerm.of(-1, R, scalars=(DECAY,)))
    statements += [
        EntryStatement(dR, drift, f"{dR.name}_ir = -kappa_i G_ir - decay R_ir"),
        EntryStatement(dQ, tuple(norms), note),
    ]
    if model.trained:
        change = EntryTerm.of(-1, MEAN_SS, scalars=(SECOND_RATE, READOUT_STUDENT))
        statements.append(VectorStatement(DV, (change,), "dv_i = -eta_second a M_ii"))
    return statements


def sphere_statements() -> list[Statement]:
    """The statements that remove the growth of norms from the free drift (docs/theory.md, Options)."""
    return [
        NormRates("g", "inverse", FREE_DQ, Q, "sphere: rescaling removes the growth fQ_ii / (2 Q_ii)"),
        Projection(DR, FREE_DR, R, "g", sides=1),
        Projection(DQ, FREE_DQ, Q, "g", sides=2),
    ]


def drift_of(model: Model) -> tuple[Matrix | Vector, ...]:
    """The drift of the order parameters of a model, in the order of its state."""
    return (DQ, DR, DV) if model.trained else (DQ, DR)


def state_of(model: Model) -> tuple[Matrix | Vector, ...]:
    """The order parameters of a model, in the order of its state."""
    return (Q, R, SECOND) if model.trained else (Q, R)


def _inputs(model: Model) -> tuple[Matrix | Vector, ...]:
    """The order parameters, and the run-time parameters that are matrices and vectors."""
    given: list[Matrix | Vector] = [T] if model.teacher == "general" else []
    if model.weighted:
        given += [SECOND_TEACHER] if model.trained else [SECOND, SECOND_TEACHER]
    return (*state_of(model), *given)


def overlap_program(model: Model, equations: OverlapEquations) -> Program:
    """The program that computes the drift of the order parameters and the loss of `model`."""
    dQ, dR = (FREE_DQ, FREE_DR) if model.constraint == "sphere" else (DQ, DR)
    statements: list[Statement] = [*weight_statements(model), *closed_loops(model), *_first_chain(model)]
    if model.weighted:
        statements += _weighted_drift(model, equations, dQ, dR)
    else:
        statements += _equal_drift(equations, dQ, dR)
    if model.constraint == "sphere":
        statements += sphere_statements()
    statements.append(ScalarStatement(LOSS, equations.loss, note="loss = (s^2 + 2t) / 2"))
    return program_of(model, statements)


def program_of(model: Model, statements: Sequence[Statement]) -> Program:
    """The program of these statements, with the inputs and outputs of a model."""
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
