"""Lists polynomials that are known to divide their Lie derivatives, with their names."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from derive.invariants.matrix_algebra import minors
from derive.invariants.model_matrices import ModelMatrices
from derive.invariants.singular_vector_laws import separatrix

# Determinants of more rows have a degree that is too high to be searched.
LARGEST_DETERMINANT = 4


def known_polynomials(matrices: ModelMatrices, values: Mapping[str, Fraction]) -> list[tuple[str, Any]]:
    """Pairs (name, polynomial) with numbers for some generators, those of a lower degree first.

    They are the maximal minors of R (p ≤ p*), det S and Rᵀ adj(S) R with S = Q − R T⁻¹ Rᵀ, the
    commutator of Q and RRᵀ for two students, and the separatrix of one student.
    `derive.invariants.conservation_laws` says in which models they divide their Lie derivatives.
    """
    model = matrices.model
    p, pstar = model.p, model.pstar
    if p > LARGEST_DETERMINANT or pstar > LARGEST_DETERMINANT:
        return []
    found: list[tuple[str, Any]] = []
    if p <= pstar:
        for columns, minor in minors(matrices.R):
            chosen = " ".join(str(column + 1) for column in columns)
            name = f"minor {chosen} of R" if p > 1 else f"R_1_{chosen}"
            found.append(("det R" if p == pstar > 1 else name, minor))
    if p == 2:
        found.append(("(QRR' - RR'Q)_12", matrices.W[0][1]))
    inverse = "R T^-1 R'" if matrices.general else "RR'"
    found.append((f"det(S), S = Q - {inverse}", matrices.det_S))
    # For one student the N_rs are products of entries of R.
    for r in range(pstar if p > 1 else 0):
        for s in range(r, pstar):
            found.append((f"N_{r + 1}{s + 1}, N = R' adj(S) R", matrices.K[r][s]))
            if r != s:
                # For two students the difference has a lower degree than either.
                found.append((f"N_{r + 1}{r + 1} - N_{s + 1}{s + 1}", matrices.K[r][r] - matrices.K[s][s]))
    if p == 1 and not (matrices.general or model.trained):
        found.append(("the unstable manifold of the plateau", separatrix(matrices)))
    reduced = [(name, matrices.ring.substitute(polynomial, values)) for name, polynomial in found]
    proper = [(name, polynomial) for name, polynomial in reduced if matrices.ring.degree(polynomial)]
    return sorted(proper, key=lambda item: matrices.ring.degree(item[1]))
