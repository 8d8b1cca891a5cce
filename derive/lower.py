"""Lowers the equations, given as Wick diagrams, to a program of shared matrix products.

C = [[Q, R], [Rᵀ, T]] and D = diag(a, …, −b, …) are split into student and teacher blocks.
With P = CD only the student rows [aQ, −bR] are needed: chains grow as C(DC)ᵐ = P·C(DC)ᵐ⁻¹,
and the last step is fused with the sum over chains by Horner's rule,
k₀ C + (k₁ + k₂ P)·CDC. Loops are tr(DC) and tr(DCDC) = Σ d_k d_l C_kl².
"""

from __future__ import annotations

from fractions import Fraction

from derive.equations import NOISE, STEP, OverlapEquations, overlap_equations
from derive.model import Model
from derive.program import (
    Contraction,
    Matrix,
    MatrixStatement,
    NormRates,
    Operand,
    Program,
    Projection,
    ScalarStatement,
    Statement,
    Term,
)
from derive.scalar_polynomials import ScalarPolynomial

Q = Matrix("Q", "p", "p", symmetric=True)
R = Matrix("R", "p", "pstar")
T = Matrix("T", "pstar", "pstar", symmetric=True)
P_SS = Matrix("aQ", "p", "p", symmetric=True)
P_ST = Matrix("bR", "p", "pstar")
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

READOUT_STUDENT = "a"
READOUT_TEACHER = "b"
LEARNING_RATE = "eta"


def _name(name: str) -> ScalarPolynomial:
    return ScalarPolynomial.name(name)


def _term(*factors: Matrix | Operand, sign: int = 1, scalar: str | None = None) -> Term:
    operands = tuple(f if isinstance(f, Operand) else Operand(f) for f in factors)
    return Term(sign, scalar, operands)


def loops(model: Model) -> list[Statement]:
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
    teacher = _term(P_ST, T, sign=-1) if model.teacher == "general" else _term(P_ST, sign=-1)
    return [
        MatrixStatement(P_SS, (_term(Q, scalar=READOUT_STUDENT),), "student rows of CD = [aQ, -bR]"),
        MatrixStatement(P_ST, (_term(R, scalar=READOUT_TEACHER),)),
        MatrixStatement(
            X, (_term(P_SS, Q), _term(P_ST, R.T, sign=-1)), "X = (CDC) student-student = aQQ - bRR'"
        ),
        MatrixStatement(Y, (_term(P_SS, R), teacher), "Y = (CDC) student-teacher = aQR - bRT"),
    ]


def _drift(equations: OverlapEquations, dQ: Matrix, dR: Matrix) -> list[Statement]:
    kappa = 2 * _name(READOUT_STUDENT) * _name(LEARNING_RATE)
    statements: list[Statement] = [ScalarStatement(STEP, kappa, note="kappa = 2 a eta")]
    if set(equations.dR) != {0, 1} or not {0, 1} <= set(equations.dQ) <= {0, 1, 2}:
        raise NotImplementedError("chains other than C, CDC, CDCDC have no lowering")
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
        statements.append(MatrixStatement(dQ, (_term(Q, scalar="q0"), _term(X, scalar="q1"))))
        return statements
    statements += [
        ScalarStatement("q2", equations.dQ[2]),
        MatrixStatement(
            V, (_term(scalar="q1"), _term(P_SS, scalar="q2")), "[V, -W] = q1 [1, 0] + q2 [aQ, -bR]"
        ),
        MatrixStatement(W, (_term(P_ST, scalar="q2"),)),
        MatrixStatement(dQ, (_term(Q, scalar="q0"), _term(V, X), _term(W, Y.T, sign=-1))),
    ]
    return statements


def _sphere() -> list[Statement]:
    return [
        NormRates("g", "inverse", FREE_DQ, Q, "sphere: rescaling removes the growth fQ_ii / (2 Q_ii)"),
        Projection(DR, FREE_DR, R, "g", sides=1),
        Projection(DQ, FREE_DQ, Q, "g", sides=2),
    ]


def lower(model: Model) -> Program:
    """The program that computes dQ, dR and the loss of `model`."""
    equations = overlap_equations(model.flow)
    statements = loops(model) + _first_chain(model)
    if model.constraint == "sphere":
        statements += _drift(equations, FREE_DQ, FREE_DR) + _sphere()
    else:
        statements += _drift(equations, DQ, DR)
    statements.append(ScalarStatement(LOSS, equations.loss, note="loss = (s^2 + 2t) / 2"))
    inputs = (Q, R, T) if model.teacher == "general" else (Q, R)
    scalars = [READOUT_STUDENT, READOUT_TEACHER, LEARNING_RATE]
    if model.flow == "sgd":
        scalars.append(NOISE)
    return Program(
        p=model.p,
        pstar=model.pstar,
        inputs=inputs,
        scalars=tuple(scalars),
        statements=tuple(statements),
        outputs=(DQ, DR, LOSS),
    )


def drift_program(model: Model) -> Program:
    """The part of `lower` that computes dQ and dR."""
    return lower(model).restricted_to((DQ, DR))


def loss_program(model: Model) -> Program:
    """The part of `lower` that computes the loss."""
    return lower(model).restricted_to((LOSS,))
