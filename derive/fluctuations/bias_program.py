"""Writes the mean change of one step at order 1/N as statements on matrices of all units.

The mean of the order parameters over runs of SGD is y + m/N + O(1/N²), where y solves the ODE dy/dα = f. A
step moves the state by f/N + b/N² on average, and y by f/N + ½ (Jf + ∂f/∂α)/N² in the same time, so that

    dm/dα = J m + ½ Σ_AB (∂²f/∂y_A ∂y_B) Σ_AB + b − ½ (J f + ∂f/∂α),

with the Jacobian J of f and N times the covariance, Σ. Gradient flow has neither b nor steps: there m is
what a covariance at the start makes of a drift that is not linear.

The generated code computes the right-hand side without ∂f/∂α, as J (m − ½ f) + …, which is dm/dα while the
learning rates rest. Where a schedule changes them smoothly, df/dα = J f + ∂f/∂α. There the same function,
with n = m + ½ f in place of m, is dn/dα.

With κ and δ as in `fluctuation_program`, b has these parts. The samples x_b of a batch obey, for any C,
|x|² = N + zᵀC⁻¹z − rank C on average given z, and x_b·x_c = z_bᵀC⁻¹z_c. By Stein's lemma
E[g (zᵀC⁻¹z − rank C)] = E[z·∇g], which is k E[g] for g of degree k in z. So

    b(Q_ij) = κ_i κ_j/B L_ij + (1 − 1/B) κ_i κ_j (M C⁻¹ M)_ij,    b(R_ir) = b(v_i) = 0,
    L = 6 E[(zᵀDz)² z zᵀ] + 2Δ E[z zᵀ],    M = E[e z zᵀ] = sC + 2CDC,    M C⁻¹ M = s²C + 4sCDC + 4CDCDC.

Weight decay multiplies both weights of Q_ij, and one of R_ir, by 1 − ηγ/N. This adds (ηγ)² Q − 2ηγ E[δ] and
−ηγ E[δ], where E[δ] is the mean change without decay. On the sphere rescaling undoes it. There, with the
growth u_i = δ_ii/Q_ii, the second order of 1/√(1 + u/N) gives

    b(Q_ij) = b_ij − ½ Q_ij (b_ii/Q_ii + b_jj/Q_jj)
              − ½ E[δ_ij (u_i + u_j)] + Q_ij E[⅜ u_i² + ⅜ u_j² + ¼ u_i u_j],
    b(R_ir) = −½ R_ir b_ii/Q_ii − ½ E[δ_ir u_i] + ⅜ R_ir E[u_i²],

where b_ij is that of free norms without decay, and E[δ δ] = 𝓓 + E[δ] E[δ] with their 𝓓.
"""

from __future__ import annotations

from derive.equations import LOOP_NAMES, NOISE, overlap_equations
from derive.fluctuations.fluctuation_program import (
    chain,
    chains_and_loops,
    means,
    program_of_units,
)
from derive.model import Model
from derive.program import Matrix, MatrixStatement, Program, ScalarStatement, Statement, Term
from derive.scalar_polynomials import ScalarPolynomial
from derive.wick import error_moment

# L and M C⁻¹ M.
LENGTH = Matrix("L", "units", "units", symmetric=True)
PAIR = Matrix("MM", "units", "units", symmetric=True)
_WORDS = {LENGTH: "E[e^2 z z' (z' inverse(C) z - rank C)]", PAIR: "M inverse(C) M with M = E1"}


def length_chains() -> dict[int, ScalarPolynomial]:
    """The coefficients of L by chain: those of E[e² z zᵀ], each times its degree in z."""
    found: dict[int, ScalarPolynomial] = {}
    for diagram, multiplicity in error_moment(2).items():
        assert diagram.chain is not None
        # A chain of m factors has 2m + 2 legs, a loop of m has 2m.
        degree = 2 * (1 + diagram.chain + sum(diagram.loops))
        names = [LOOP_NAMES[length] for length in diagram.loops] + [NOISE] * diagram.noise
        term = ScalarPolynomial({tuple(sorted(names)): degree * multiplicity})
        found[diagram.chain] = found.get(diagram.chain, ScalarPolynomial()) + term
    return found


def pair_chains() -> dict[int, ScalarPolynomial]:
    """The coefficients of M C⁻¹ M by chain: C(DC)ᵐ C⁻¹ C(DC)ⁿ is C(DC)ᵐ⁺ⁿ."""
    mean, found = overlap_equations("sgd").mean, dict[int, ScalarPolynomial]()
    for m, left in mean.items():
        for n, right in mean.items():
            found[m + n] = found.get(m + n, ScalarPolynomial()) + left * right
    return found


def bias_program(model: Model) -> Program:
    """The program of a quadratic model, from C and d to E[e z zᵀ], E[e² z zᵀ], L and M C⁻¹ M."""
    statements: list[Statement] = [*chains_and_loops(), *means()]
    for target, letter, chains in ((LENGTH, "l", length_chains()), (PAIR, "m", pair_chains())):
        statements += [ScalarStatement(f"{letter}_{m}", value) for m, value in chains.items()]
        terms = tuple(Term.of(chain(m), scalar=f"{letter}_{m}") for m in chains)
        statements.append(MatrixStatement(target, terms, f"{target.name} = {_WORDS[target]}"))
    program = program_of_units(model, statements, (LENGTH, PAIR))
    return program.restricted_to(program.outputs)
