"""Writes the moments of a step as statements on matrices of all units, students first.

With κ_m = 2aηv_m for students and 0 for teachers, whose weights rest, and with |x|²/N → 1, one step with a
single sample changes N times the overlap of any two units by

    δ_ij = −(κ_i + κ_j) e z_i z_j + (κ_i κ_j/B) e² z_i z_j,    δv_i = −η_v a e z_i².

B samples change it by the mean of B such terms. Products of two different samples leave less than 1/√N of
them. So the covariance of the change is that of δ, divided by B. It needs E[eⁿ z_i z_j z_k z_l] with n = 2,
3 and 4 (`double_chains`) and, for the mean, E[e z zᵀ] and E[e² z zᵀ]. The program computes the chains
K(m) = C(DC)ᵐ and, for each n and m, Hₙ(m) = Σ over m' of c(m, m') K(m'). Then

    E[eⁿ z_i z_j z_k z_l] = Σ over m of K(m)_ij Hₙ(m)_kl + K(m)_ik Hₙ(m)_jl + K(m)_il Hₙ(m)_jk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from derive.equations import NOISE, overlap_equations
from derive.fluctuations.double_chains import LONG_LOOP_NAMES, double_chain_moment
from derive.model import Model
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    Program,
    ScalarStatement,
    Statement,
    Term,
    Vector,
)
from derive.scalar_polynomials import ScalarPolynomial

# The covariance C of the pre-activations of all units, the weights in D, and U = DC.
COVARIANCE = Matrix("C", "units", "units", symmetric=True)
UNIT_WEIGHTS = Vector("d", "units")
WEIGHTED_COVARIANCE = Matrix("U", "units", "units")
# E[e z zᵀ] and E[e² z zᵀ].
FIRST_MEAN = Matrix("E1", "units", "units", symmetric=True)
SECOND_MEAN = Matrix("E2", "units", "units", symmetric=True)
# The powers of e in products of two changes.
POWERS = (2, 3, 4)
HIGHEST = max(POWERS)


@dataclasses.dataclass(frozen=True)
class FluctuationProgram:
    """The statements that make the moments of a step out of C and D.

    program
        Inputs C and d; outputs are the matrices below.
    moments
        The pairs (K(m), Hₙ(m)) by n, from m = 0 on.
    """

    program: Program
    moments: Mapping[int, tuple[tuple[Matrix, Matrix], ...]]


def chain(m: int) -> Matrix:
    return COVARIANCE if m == 0 else Matrix(f"K{m}", "units", "units", symmetric=True)


def _partner(power: int, m: int) -> Matrix:
    return Matrix(f"H{power}{m}", "units", "units", symmetric=True)


def chains_and_loops() -> list[Statement]:
    """U = DC, the chains K(m) and the loops tr((DC)ᵐ), each after what it needs."""
    product = EntryTerm.of(1, COVARIANCE, rows=(UNIT_WEIGHTS,))
    statements: list[Statement] = [EntryStatement(WEIGHTED_COVARIANCE, (product,), "U = DC")]
    one = ScalarPolynomial.constant(1)
    for m, name in LONG_LOOP_NAMES.items():
        trace = Contraction(one, chain(m - 1), None, rows=(UNIT_WEIGHTS,))
        power = "DC" if m == 1 else f"(DC)^{m}"
        statements.append(ScalarStatement(name, ScalarPolynomial(), (trace,), f"{name} = tr({power})"))
        grown = (Term.of(chain(m - 1), WEIGHTED_COVARIANCE),)
        statements.append(MatrixStatement(chain(m), grown, f"K{m} = C(DC)^{m}"))
    return statements


def means() -> list[Statement]:
    """The statements of E[e z zᵀ] and E[e² z zᵀ], in the diagrams of the drift."""
    equations, statements = overlap_equations("sgd"), list[Statement]()
    for power, target, chains in ((1, FIRST_MEAN, equations.mean), (2, SECOND_MEAN, equations.noise)):
        names = {m: f"e{power}_{m}" for m in chains}
        statements += [ScalarStatement(names[m], value) for m, value in chains.items()]
        terms = tuple(Term.of(chain(m), scalar=names[m]) for m in chains)
        words = "E[e z z']" if power == 1 else f"E[e^{power} z z']"
        statements.append(MatrixStatement(target, terms, f"{target.name} = {words}"))
    return statements


def _double_chains(power: int) -> list[Statement]:
    """The statements of the matrices Hₙ(m) for n = `power`."""
    coefficients = double_chain_moment(power)
    names = {pair: f"c{power}_{min(pair)}{max(pair)}" for pair in coefficients}
    statements: list[Statement] = [
        ScalarStatement(names[pair], value) for pair, value in coefficients.items() if pair[0] <= pair[1]
    ]
    for m in range(power + 1):
        terms = tuple(Term.of(chain(k), scalar=names[m, k]) for k in range(power + 1 - m))
        note = f"E[e^{power} z_i z_j z_k z_l] = sum_m K(m)_ij H(m)_kl + ..." if m == 0 else ""
        statements.append(MatrixStatement(_partner(power, m), terms, note))
    return statements


def fluctuation_program(model: Model) -> FluctuationProgram:
    """The program of a quadratic model; it is the same for all of them."""
    statements = [*chains_and_loops(), *means()]
    for power in POWERS:
        statements += _double_chains(power)
    moments = {power: tuple((chain(m), _partner(power, m)) for m in range(power + 1)) for power in POWERS}
    matrices = dict.fromkeys(matrix for pairs in moments.values() for pair in pairs for matrix in pair)
    return FluctuationProgram(program_of_units(model, statements, tuple(matrices)), moments)


def program_of_units(model: Model, statements: list[Statement], outputs: tuple[Matrix, ...]) -> Program:
    """The program from C and d to E[e z zᵀ], E[e² z zᵀ] and these matrices."""
    return Program(
        p=model.p,
        pstar=model.pstar,
        inputs=(COVARIANCE, UNIT_WEIGHTS),
        scalars=(NOISE,),
        statements=tuple(statements),
        outputs=(FIRST_MEAN, SECOND_MEAN, *outputs),
    )
