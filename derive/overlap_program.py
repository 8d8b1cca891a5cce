"""Writes the equations, given as Wick diagrams, as statements on matrices that share their products.

C = [[Q, R], [Rᵀ, T]] and D = diag(a, …, −b, …) are split into student and teacher blocks. Chains grow as
C(DC)ᵐ = CD·C(DC)ᵐ⁻¹, for which only the student rows [aQ, −bR] of CD are needed. So with
X = (CDC)_SS = aQ² − bRRᵀ and Y = (CDC)_ST = aQR − bRT (docs/theory.md) the drift is

    dR = r₀ R + r₁ Y,    dQ = q₀ Q + q₁ X + q₂ (aQX − bRYᵀ) = q₀ Q + V X − W Yᵀ,

where V = q₁ + q₂ aQ and W = q₂ bR save a product by Horner's rule. The coefficients rₘ and qₘ are
polynomials in κ, Δ and the closed loops s = tr(DC) and t = tr(DCDC) = Σ d_k d_l C_kl².
"""

from __future__ import annotations

from fractions import Fraction

from derive.equations import READOUT_STUDENT, READOUT_TEACHER, STEP, OverlapEquations
from derive.model import Model
from derive.parameters import NUMBERS
from derive.program import (
    Contraction,
    Matrix,
    MatrixStatement,
    NormRates,
    Program,
    Projection,
    ScalarStatement,
    Statement,
    Term,
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
# The drift before the sphere's projection has its own names.
FREE_DQ = Matrix("fQ", "p", "p", symmetric=True)
FREE_DR = Matrix("fR", "p", "pstar")
LOSS = "loss"
# The student-student and student-teacher blocks of C(DC)ᵐ by m, under the names that all texts give them.
# The program needs no Z = (CDCDC)_SS = aQX − bRYᵀ of its own.
Z = Matrix("Z", "p", "p", symmetric=True)
CHAINS_SS = {0: Q, 1: X, 2: Z}
CHAINS_ST = {0: R, 1: Y}

_name, _term = ScalarPolynomial.name, Term.of


def closed_loops(model: Model) -> list[ScalarStatement]:
    """The statements of s = tr(DC) and t = tr(DCDC)."""
    a, b = _name(READOUT_STUDENT), _name(READOUT_TEACHER)
    general = model.teacher == "general"
    # For T = 1 both tr T and Σ T_rs² are the number p*.
    width = Fraction(model.pstar)
    s_contractions = [Contraction(a, Q, None)]
    t_contractions = [Contraction(a * a, Q, Q), Contraction(-2 * a * b, R, R)]
    s_constant = t_constant = ScalarPolynomial()
    if general:
        s_contractions.append(Contraction(-1 * b, T, None))
        t_contractions.append(Contraction(b * b, T, T))
    else:
        s_constant, t_constant = -width * b, width * b * b
    return [
        ScalarStatement("s", s_constant, tuple(s_contractions), "s = tr(DC)"),
        ScalarStatement("t", t_constant, tuple(t_contractions), "t = tr(DCDC)"),
    ]


def _first_chain(model: Model) -> list[Statement]:
    """The statements of aQ and bR, and of X and Y, the blocks of CDC."""
    teacher = _term(BR, T, sign=-1) if model.teacher == "general" else _term(BR, sign=-1)
    return [
        MatrixStatement(AQ, (_term(Q, scalar=READOUT_STUDENT),), "student rows of CD = [aQ, -bR]"),
        MatrixStatement(BR, (_term(R, scalar=READOUT_TEACHER),)),
        MatrixStatement(
            X, (_term(AQ, Q), _term(BR, R.T, sign=-1)), "X = (CDC) student-student = aQQ - bRR'"
        ),
        MatrixStatement(Y, (_term(AQ, R), teacher), "Y = (CDC) student-teacher = aQR - bRT"),
    ]


def _drift(equations: OverlapEquations, dQ: Matrix, dR: Matrix) -> list[Statement]:
    """The statements of the free drift, under the names of the matrices `dQ` and `dR`."""
    statements: list[Statement] = [ScalarStatement(STEP, equations.step, note="kappa = 2 a eta")]
    if set(equations.dR) != {0, 1} or not {0, 1} <= set(equations.dQ) <= {0, 1, 2}:
        raise NotImplementedError("only the chains C, CDC and CDCDC have statements")
    statements += [
        ScalarStatement("r0", equations.dR[0], note=f"{dR.name} = r0 R + r1 Y"),
        ScalarStatement("r1", equations.dR[1]),
        MatrixStatement(dR, (_term(R, scalar="r0"), _term(Y, scalar="r1"))),
    ]
    top = 2 in equations.dQ
    chains = "q0 Q + q1 X + q2 (CDCDC) = q0 Q + V X - W Y'" if top else "q0 Q + q1 X"
    statements += [
        ScalarStatement("q0", equations.dQ[0], note=f"{dQ.name} = {chains}"),
        ScalarStatement("q1", equations.dQ[1]),
    ]
    if not top:
        return [*statements, MatrixStatement(dQ, (_term(Q, scalar="q0"), _term(X, scalar="q1")))]
    return [
        *statements,
        ScalarStatement("q2", equations.dQ[2]),
        MatrixStatement(
            V, (_term(scalar="q1"), _term(AQ, scalar="q2")), "[V, -W] = q1 [1, 0] + q2 [aQ, -bR]"
        ),
        MatrixStatement(W, (_term(BR, scalar="q2"),)),
        MatrixStatement(dQ, (_term(Q, scalar="q0"), _term(V, X), _term(W, Y.T, sign=-1))),
    ]


def _sphere() -> list[Statement]:
    """The statements that remove the growth of norms from the free drift (docs/theory.md, Options)."""
    return [
        NormRates("g", "inverse", FREE_DQ, Q, "sphere: rescaling removes the growth fQ_ii / (2 Q_ii)"),
        Projection(DR, FREE_DR, R, "g", sides=1),
        Projection(DQ, FREE_DQ, Q, "g", sides=2),
    ]


def overlap_program(model: Model, equations: OverlapEquations) -> Program:
    """The program that computes dQ, dR and the loss of `model`."""
    statements = [*closed_loops(model), *_first_chain(model)]
    if model.constraint == "sphere":
        statements += _drift(equations, FREE_DQ, FREE_DR) + _sphere()
    else:
        statements += _drift(equations, DQ, DR)
    statements.append(ScalarStatement(LOSS, equations.loss, note="loss = (s^2 + 2t) / 2"))
    inputs = (Q, R, T) if model.teacher == "general" else (Q, R)
    used = {name for statement in statements for name in sources(statement)}
    parameters = [parameter.name for parameter in NUMBERS if parameter.name in used]
    return Program(
        p=model.p,
        pstar=model.pstar,
        inputs=inputs,
        scalars=(READOUT_STUDENT, READOUT_TEACHER, *parameters),
        statements=tuple(statements),
        outputs=(DQ, DR, LOSS),
    )
