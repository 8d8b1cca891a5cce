"""Proves the laws of one linear map that moves R and, in gradient flow, S: ranks and the growth of K.

In every model a student moves by a combination of the students and the teachers, and its overlaps
with anything move by the same combination. With A = 2aη(s + 2aQ) and the diagonal D of the growth
of norms that the sphere removes (D = 0 for free norms),

    dR/dα = −(A + D) R + 4abη R T.                                                        (1)

So R(α) = g(α) R(0) exp(4abηα T) with an invertible g: its rank is conserved, and for T = 1 its row
space, the combinations of teachers that the students have any overlap with. Without the η² term
the Schur complement S = Q − R T⁻¹ Rᵀ, the overlaps of what the students have outside the space
of the teachers, obeys

    dS/dα = −(A + D) S − S (A + D),                                                       (2)

and in K = Rᵀ S⁻¹ R the map g cancels: dK/dα = 4abη (TK + KT). For T = 1 it grows as exp(8abηα) and
K / tr K is conserved (arXiv:2604.03068 for the model; the law is derived here). The η² term feeds
S with noise, which breaks (2) and keeps (1).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from flint import fmpq_poly

from derive.flint_polynomials import number
from derive.invariants.conservation_proofs import REFUTED, UNDECIDED, Verdict, cofactor, prove_conserved
from derive.invariants.invariant_sets import anywhere
from derive.invariants.matrix_algebra import (
    Matrix,
    adjugate,
    combination,
    determinant,
    entries,
    minors,
    product,
    trace,
    transposed,
)
from derive.invariants.model_matrices import (
    EVERYWHERE,
    Law,
    ModelMatrices,
    all_of,
    divides,
    follows,
    identity,
)
from derive.invariants.vector_field import Rational

# Determinants of more rows are long polynomials; their claims are derived from (1) and (2) alone.
LARGEST_DETERMINANT = 3


def transport_laws(matrices: ModelMatrices) -> Iterator[Law]:
    """The laws (1) and (2), and what follows from them."""
    pulled = combination((matrices.growth, product(matrices.R, matrices.T)))
    moved = combination((-1, product(matrices.step, matrices.R)), (1, pulled))
    first = identity((matrices.dR, moved))
    step = "(A + D)" if matrices.sphere else "A"
    meaning = "A = 2a eta (s + 2aQ)" + (", D = growth of norms" if matrices.sphere else "")
    tail = "R T" if matrices.general else "R"
    yield Law("R moves linearly", f"dR = -{step} R + 4ab eta {tail},  {meaning}", EVERYWHERE, first)
    rank = follows([first], "R = g R0 h with invertible g, h")
    kept = "rank R is constant" if matrices.general else "rank and row space of R are constant"
    yield Law("rank of R", kept, EVERYWHERE, rank)
    if not matrices.general and matrices.model.p <= min(matrices.model.pstar, LARGEST_DETERMINANT):
        yield from _minors(matrices)
    if matrices.general and matrices.model.pstar > LARGEST_DETERMINANT:
        return
    inverse = "R T^-1 R'" if matrices.general else "RR'"
    falling = product(matrices.step, matrices.S)
    second = identity((matrices.along(matrices.S), combination((-1, falling), (-1, transposed(falling)))))
    statement = f"dS = -{step} S - S {step},  S = Q - {inverse}"
    yield Law("S moves linearly", statement, EVERYWHERE, second)
    yield from _growth_of_K(matrices, follows([first, second], "from the laws of R and S"), inverse)


def _minors(matrices: ModelMatrices) -> Iterator[Law]:
    """The laws of the maximal minors of R for p ≤ p*: the row space in coordinates, the sign of det R."""
    found = [minor for _, minor in minors(matrices.R)]
    if len(found) > 1:
        verdicts = [prove_conserved(Rational(minor, found[0]), matrices.model) for minor in found[1:]]
        statement = f"the {len(found)} maximal minors of R have constant ratios"
        reason = f"{len(verdicts)} Lie derivatives vanish identically"
        yield Law("minors of R", statement, EVERYWHERE, all_of(verdicts, reason))
    name = "det R" if matrices.model.p == matrices.model.pstar else "a maximal minor of R"
    sign = divides(cofactor(found[0], matrices.model))
    yield Law("sign of minors", f"{name} keeps its sign", EVERYWHERE, sign)


def _growth_of_K(matrices: ModelMatrices, implied: Verdict, inverse: str) -> Iterator[Law]:
    right = "4ab eta (TK + KT)" if matrices.general else "8ab eta K"
    growth = shape = implied
    # If (2) fails, a point is tried, since the polynomials of a wrong claim do not cancel and are long.
    if not implied.proved:
        growth, shape = _tried_at_a_point(matrices)
    if matrices.model.p <= LARGEST_DETERMINANT and not matrices.general:
        if growth.status != REFUTED:
            growth = _growth_identity(matrices)
        if shape.status != REFUTED:
            total = trace(matrices.K)
            verdicts = [prove_conserved(Rational(x, total), matrices.model) for x in entries(matrices.K)]
            shape = all_of(verdicts, f"{len(verdicts)} Lie derivatives vanish identically")
    statement = f"dK = {right},  K = R' (Q - {inverse})^-1 R"
    yield Law("growth of K", statement, EVERYWHERE, growth)
    if not matrices.general and matrices.model.pstar > 1:
        yield Law("shape of K", "K / tr K is constant", EVERYWHERE, shape)


def _growth_identity(matrices: ModelMatrices) -> Verdict:
    """(L N) det S − N L det S = 4abη (TN + NT) det S for N = Rᵀ adj(S) R, entry by entry."""
    slope = matrices.field.along(matrices.det_S)
    left = combination((matrices.det_S, matrices.along(matrices.K)), (-slope, matrices.K))
    pulled = combination((matrices.growth * matrices.det_S, product(matrices.T, matrices.K)))
    return identity((left, combination((1, pulled), (1, transposed(pulled)))))


def _tried_at_a_point(matrices: ModelMatrices) -> tuple[Verdict, Verdict]:
    """The growth and the shape of K, refuted at an exact point or undecided.

    Along the line S + x dS, R + x dR the coefficients of x are derivatives by α.
    """
    x, point = fmpq_poly([0, 1]), anywhere(matrices.ring, random.Random(0))

    def value(polynomial: Any) -> Any:
        return number(matrices.ring.value(polynomial, point))

    def numbers(A: Matrix) -> Matrix:
        return tuple(tuple(value(entry) for entry in row) for row in A)

    def part(A: Matrix, power: int) -> Matrix:
        return tuple(tuple(entry[power] for entry in row) for row in A)

    def slopes(A: Matrix, denominator: Any) -> Matrix:
        """D N' − N D' for the entries N of A."""
        return combination((denominator[0], part(A, 1)), (-denominator[1], part(A, 0)))

    S = combination((1, numbers(matrices.S)), (x, numbers(matrices.along(matrices.S))))
    R = combination((1, numbers(matrices.R)), (x, numbers(matrices.dR)))
    N, whole = product(transposed(R), adjugate(S), R), determinant(S)
    pulled = combination((value(matrices.growth) * whole[0], product(numbers(matrices.T), part(N, 0))))
    grows = slopes(N, whole) == combination((1, pulled), (1, transposed(pulled)))
    keeps = not any(entries(slopes(N, trace(N))))
    refuted = Verdict(REFUTED, "not so at an exact point")
    undecided = Verdict(UNDECIDED, "neither proved nor refuted at a point")
    return undecided if grows else refuted, undecided if keeps else refuted
