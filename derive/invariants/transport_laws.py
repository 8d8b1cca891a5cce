"""Proves the laws of one linear map that moves R and, in gradient flow, S: ranks and the growth of K.

In every model a student moves by a combination of the students and the teachers, and its overlaps
with anything move by the same combination. With the second layers V = diag(v) and F = diag(v*), which are
1 in many models, with A = 2aηV (s + 2aQV) + ηγ and the diagonal D of the growth of norms that the sphere
removes (D = 0 for free norms),

    dR/dα = −(A + D) R + 4abη V R F T.                                                    (1)

For V = v 1 this is R(α) = g(α) R(0) exp(4abη v α FT) with an invertible g: the rank of R is conserved. For
FT ∝ 1 it is R(α) = g(α) R(0): the rank is conserved, and the row space of R, the combinations of teachers
that the students have any overlap with. Without the η² term the Schur complement S = Q − R T⁻¹ Rᵀ, the
overlaps of what the students have outside the space of the teachers, obeys

    dS/dα = −(A + D) S − S (A + D)ᵀ,                                                      (2)

and for V = v 1 the map g cancels in K = Rᵀ S⁻¹ R: dK/dα = 4abη v (TFK + KFT). For FT = 1 it grows as
exp(8abη v α) and K / tr K is conserved (arXiv:2604.03068 for the model; the law is derived here). Weight
decay is a part of A alone, so K does not notice it. The η² term feeds S with noise, which breaks (2) and
keeps (1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flint import fmpq_poly

from derive.flint_polynomials import number
from derive.invariants.conservation_proofs import REFUTED, UNDECIDED, Verdict
from derive.invariants.invariant_sets import Point, named_set
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
    random_points,
    refuted_at,
)
from derive.invariants.vector_field import Rational

# Determinants of more rows are long polynomials; their claims are derived from (1) and (2) alone.
LARGEST_DETERMINANT = 3


def transport_laws(matrices: ModelMatrices) -> Iterator[Law]:
    """The laws (1) and (2), and what follows from them."""
    model = matrices.model
    moved = combination((-1, product(matrices.step, matrices.R)), (1, matrices.pull))
    first = identity((matrices.dR, moved))
    step = "(A + D)" if matrices.sphere else "A"
    meaning = r"A = 2a\eta D_v(s + 2aQD_v)" if model.weighted else r"A = 2a\eta(s + 2aQ)"
    meaning += r" + \eta\gamma" if matrices.decay and not matrices.sphere else ""
    pulled = ("D_vRD_{v^*}" if model.weighted else "R") + ("T" if matrices.general else "")
    statement = rf"$\dot{{R}} = -{step}R + 4ab\eta {pulled}$, ${meaning}$"
    statement += ", $D$ the growth of norms" if matrices.sphere else ""
    yield Law("R moves linearly", statement, EVERYWHERE, first)
    yield from _rank_laws(matrices, first)
    if not matrices.general and model.p <= min(model.pstar, LARGEST_DETERMINANT):
        yield from _minors(matrices)
    if matrices.general and model.pstar > LARGEST_DETERMINANT:
        return
    inverse = r"RT^{-1}R^\top" if matrices.general else r"RR^\top"
    falling = product(matrices.step, matrices.S)
    second = identity((matrices.along(matrices.S), combination((-1, falling), (-1, transposed(falling)))))
    other = rf"{step}^\top" if model.weighted else step
    statement = rf"$\dot{{S}} = -{step}S - S{other}$, $S = Q - {inverse}$"
    yield Law("S moves linearly", statement, EVERYWHERE, second)
    if matrices.equal_students:
        yield from _growth_of_K(matrices, follows([first, second], "from the laws of R and S"), inverse)
    else:
        statement = rf"$\dot{{K}}$ is given by $K$, $K = R^\top(Q - {inverse})^{{-1}}R$"
        yield Law("growth of K", statement, EVERYWHERE, _K_alone(matrices))


def _rank_laws(matrices: ModelMatrices, first: Verdict) -> Iterator[Law]:
    """The rank of R, and its row space for T = 1."""
    model = matrices.model
    row_space = follows([first], "R = g R0 with an invertible g")
    if not matrices.equal_teachers:
        row_space = _tried_at_rank_one(matrices, row_space=True)
    if matrices.equal_teachers:
        rank = row_space
    elif matrices.equal_students:
        rank = follows([first], "R = g R0 h with invertible g, h")
    elif min(model.p, model.pstar) == 1:
        unaligned = matrices.invariant(named_set("no-alignment", model))
        rank = follows([unaligned], "R = 0 stays, and a larger rank than 1 is not possible")
    else:
        rank = _tried_at_rank_one(matrices, row_space=False)
    if model.weighted:
        yield Law("rank of R", r"$\operatorname{rank} R$ is constant", EVERYWHERE, rank)
        if not matrices.general:
            yield Law("row space of R", "the row space of $R$ is constant", EVERYWHERE, row_space)
    else:
        kept = r"$\operatorname{rank} R$ is constant"
        if not matrices.general:
            kept = "rank and row space of $R$ are constant"
        reason = "R = g R0 h with invertible g, h"
        yield Law("rank of R", kept, EVERYWHERE, follows([rank], reason))


def _deficient(matrices: ModelMatrices, rank: int) -> Sequence[Point]:
    """Exact points at which R has its first rows and no larger rank."""
    points = random_points(matrices.ring)
    for point in points:
        for i in range(rank, matrices.model.p):
            for r in range(matrices.model.pstar):
                rows = (point[f"R_{k + 1}_{r + 1}"] * (i + k) for k in range(rank))
                point[f"R_{i + 1}_{r + 1}"] = sum(rows)
    return points


def _tried_at_rank_one(matrices: ModelMatrices, *, row_space: bool) -> Verdict:
    """Refuted if R of rank one gets another row space, or another rank."""
    R, dR, points = matrices.R, matrices.dR, _deficient(matrices, 1)
    rows, columns = range(matrices.model.p), range(matrices.model.pstar)
    if row_space:
        turned = [R[i][r] * dR[i][s] - R[i][s] * dR[i][r] for i in rows for r in columns for s in range(r)]
        return refuted_at(
            matrices.ring, turned, points, "the row of an R of rank 1 turns at an exact point"
        )
    grown = [
        R[i][r] * dR[j][s] + dR[i][r] * R[j][s] - R[i][s] * dR[j][r] - dR[i][s] * R[j][r]
        for i in rows
        for j in range(i)
        for r in columns
        for s in range(r)
    ]
    return refuted_at(matrices.ring, grown, points, "an R of rank 1 gets rank 2 at an exact point")


def _minors(matrices: ModelMatrices) -> Iterator[Law]:
    """The laws of the maximal minors of R for p ≤ p*: the row space in coordinates, the sign of det R."""
    found = [minor for _, minor in minors(matrices.R)]
    if len(found) > 1:
        verdicts = [matrices.conserved(Rational(minor, found[0])) for minor in found[1:]]
        statement = f"the {len(found)} maximal minors of $R$ have constant ratios"
        reason = f"{len(verdicts)} Lie derivatives vanish identically"
        yield Law("minors of R", statement, EVERYWHERE, all_of(verdicts, reason))
    p = matrices.model.p
    name = r"$\det R$" if p == matrices.model.pstar else "a maximal minor of $R$"
    sign = divides(matrices.cofactor(found[0]))
    if not sign.proved and p > 1:
        reason = "it passes through 0 at an exact point"
        slope = matrices.field.along(found[0])
        sign = refuted_at(matrices.ring, [slope], _deficient(matrices, p - 1), reason)
    yield Law("sign of minors", f"{name} keeps its sign", EVERYWHERE, sign)


def _K_alone(matrices: ModelMatrices) -> Verdict:
    """Refuted: exchanging two students, but not their weights, changes dK and not K."""
    points = random_points(matrices.ring, 1)
    first, last = 1, matrices.model.p
    exchange = {first: last, last: first}
    swapped = dict(points[0])
    for name in matrices.model.state:
        letter, *numbers = name.split("_")
        if letter != "v":
            i, j = int(numbers[0]), int(numbers[1])
            i = exchange.get(i, i)
            if letter == "Q":
                i, j = sorted((i, exchange.get(j, j)))
            swapped[f"{letter}_{i}_{j}"] = points[0][name]
    slopes = []
    for point in (points[0], swapped):
        _, whole, N = _along_a_line(matrices, point)
        scale = matrices.ring.value(matrices.denominator, point)
        slopes.append([x / whole[0] ** 2 / number(scale) for x in entries(_slopes(N, whole))])
    if slopes[0] != slopes[1]:
        return Verdict(REFUTED, "two states with the same K and another dK were found")
    return Verdict(UNDECIDED, "neither proved nor refuted at a point")


def _growth_of_K(matrices: ModelMatrices, implied: Verdict, inverse: str) -> Iterator[Law]:
    model = matrices.model
    if model.weighted:
        right = r"8ab\eta v\,v^*K" if matrices.equal_teachers else r"4ab\eta v(D_{v^*}K + KD_{v^*})"
        right = r"4ab\eta v(TD_{v^*}K + KD_{v^*}T)" if matrices.general else right
    else:
        right = r"4ab\eta(TK + KT)" if matrices.general else r"8ab\eta K"
    growth = shape = implied
    # If (2) fails, a point is tried, since the polynomials of a wrong claim do not cancel and are long.
    if not implied.proved or not matrices.equal_teachers:
        tried = _tried_at_a_point(matrices)
        growth, shape = implied if implied.proved else tried[0], tried[1]
    if model.p <= LARGEST_DETERMINANT and not matrices.general:
        if growth.status != REFUTED:
            growth = _growth_identity(matrices)
        if shape.status != REFUTED:
            total = trace(matrices.K)
            verdicts = [matrices.conserved(Rational(x, total)) for x in entries(matrices.K)]
            shape = all_of(verdicts, f"{len(verdicts)} Lie derivatives vanish identically")
    statement = rf"$\dot{{K}} = {right}$, $K = R^\top(Q - {inverse})^{{-1}}R$"
    yield Law("growth of K", statement, EVERYWHERE, growth)
    if not matrices.general and model.pstar > 1:
        yield Law("shape of K", r"$K/\operatorname{tr} K$ is constant", EVERYWHERE, shape)


def _growth_identity(matrices: ModelMatrices) -> Verdict:
    """(L N) det S − N L det S = 4abηv (TFN + NFT) det S for N = Rᵀ adj(S) R, entry by entry."""
    slope = matrices.field.along(matrices.det_S)
    left = combination((matrices.det_S, matrices.along(matrices.K)), (-slope, matrices.K))
    scale = matrices.growth * matrices.v[0] * matrices.det_S
    pulled = combination((scale, product(transposed(matrices.FT), matrices.K)))
    return identity((left, combination((1, pulled), (1, transposed(pulled)))))


def _along_a_line(matrices: ModelMatrices, point: Point) -> tuple[Callable[[Matrix], Matrix], Any, Matrix]:
    """The values of matrices at a point, and det S and Rᵀ adj(S) R along S + x dS, R + x dR, in x."""

    def numbers(A: Matrix) -> Matrix:
        return tuple(tuple(number(matrices.ring.value(entry, point)) for entry in row) for row in A)

    x = fmpq_poly([0, 1])
    S = combination((1, numbers(matrices.S)), (x, numbers(matrices.along(matrices.S))))
    R = combination((1, numbers(matrices.R)), (x, numbers(matrices.dR)))
    return numbers, determinant(S), product(transposed(R), adjugate(S, fmpq_poly([1])), R)


def _part(A: Matrix, power: int) -> Matrix:
    return tuple(tuple(entry[power] for entry in row) for row in A)


def _slopes(A: Matrix, denominator: Any) -> Matrix:
    """D N' − N D' for the entries N of A, at x = 0."""
    return combination((denominator[0], _part(A, 1)), (-denominator[1], _part(A, 0)))


def _tried_at_a_point(matrices: ModelMatrices) -> tuple[Verdict, Verdict]:
    """The growth and the shape of K, refuted at an exact point or undecided.

    Along the line S + x dS, R + x dR the coefficients of x are derivatives by α.
    """
    numbers, whole, N = _along_a_line(matrices, random_points(matrices.ring, 1)[0])
    ((scale,),) = numbers(((matrices.growth * matrices.v[0],),))
    pulled = combination((scale * whole[0], product(numbers(transposed(matrices.FT)), _part(N, 0))))
    grows = _slopes(N, whole) == combination((1, pulled), (1, transposed(pulled)))
    keeps = not any(entries(_slopes(N, trace(N))))
    refuted = Verdict(REFUTED, "not so at an exact point")
    undecided = Verdict(UNDECIDED, "neither proved nor refuted at a point")
    return undecided if grows else refuted, undecided if keeps else refuted
