"""Proves the laws for T = 1 about the singular vectors and the polar factor of R, from Q0 ∝ 1 and beyond.

Rotations of the students and of the teachers commute with the drift, and states with diagonal Q
and R stay diagonal. A start Q0 ∝ 1 is such a state in the basis of the singular vectors of R0. So
its singular vectors do not move, its singular values keep their sign, and the polar factor
R(RᵀR)^(−1/2) is conserved, with the η² term and without; the solution that is reached is the one
nearest to the initial weights (arXiv:2604.03068).

More generally it suffices that Q0 and M = RRᵀ commute at the start: W = QM − MQ has a drift
that is linear in W,

    dW/dα = w₀ W + w₁ (QW + WQ) + w₂ (Q²W + QWQ + WQ²) + w₃ (MW + WM),                    (3)

so that W = 0 stays, and Q and M keep a common basis of eigenvectors: in that basis the equations
read as those of diagonal states, whose solution is unique. Then M and dM/dα commute, as do
RᵀR and its derivative. For p = 2 the matrix W has one entry w, and (3) makes it a Darboux
polynomial: the angle between the bases of Q and of M never changes its sign. In gradient flow
the cofactors of w, det S and det(S) K cancel in w⁴ / (det(S)⁵ (tr K)^(4−p*)), a first integral; with a
weight decay γ it grows as exp(4ηγα).

All of this is so where the students have equal second-layer weights, and the teachers too: then av and bv*
stand for a and b. Where they differ only units of equal weight may be rotated, and the commutator and
the polar factor move.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from derive.equations import WEIGHT_DECAY
from derive.invariants.conservation_proofs import PROVED, REFUTED, UNDECIDED, Verdict
from derive.invariants.ideal import Ideal
from derive.invariants.invariant_sets import COMMUTING, named_set
from derive.invariants.matrix_algebra import (
    Matrix,
    combination,
    commutator,
    entries,
    matrix,
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
from derive.invariants.vector_field import Rational, VectorField


def singular_vector_laws(matrices: ModelMatrices) -> Iterator[Law]:
    """Rotations, diagonal states, the polar factor, and states in which Q and RRᵀ commute."""
    if matrices.general:
        return
    model = matrices.model
    needed = []
    for who, size in (("students", model.p), ("teachers", model.pstar)):
        if size > 1:
            needed.append(_rotations(matrices, who == "students"))
            statement = f"rotating the {who} commutes with the drift"
            yield Law(f"rotations of {who}", statement, EVERYWHERE, needed[-1])
    generators: Sequence[Any] = ()
    on = EVERYWHERE
    if max(model.p, model.pstar) > 1:
        domain = named_set("singular-basis", model)
        generators, on = domain.generators, domain.description
        needed.append(matrices.invariant(domain))
        yield Law("diagonal states", "they stay diagonal", on, needed[-1])
    signs = [_sign(matrices, generators, k) for k in range(min(model.p, model.pstar))]
    needed.append(all_of(signs, "R_kk divides its Lie derivative on the set"))
    yield Law("signs on the diagonal", "the $R_{kk}$ keep their signs", on, needed[-1])
    polar = follows(needed, "rotate Q0, R0 to a diagonal state, by the laws above")
    if not polar.proved and _vectors_move(matrices):
        polar = Verdict(REFUTED, "RR' or R'R does not commute with its derivative at Q = 1")
    statement = r"the singular vectors of $R$ and $R(R^{\top}R)^{-1/2}$ are constant"
    yield Law("polar factor", statement, r"$Q_0 = q\,1$", polar)
    if model.p > 1:
        yield from _commuting(matrices)
    elif model.flow == "gradient" and not (matrices.sphere or model.trained):
        yield _one_student(matrices)


# --- rotations -------------------------------------------------------------------------------


def _rotations(matrices: ModelMatrices, students: bool) -> Verdict:
    """Whether the drift commutes with rotations in the planes (k, k + 1), which generate all.

    An infinitesimal rotation J moves Q by JQ − QJ and R by JR (students), or R by −RJ
    (teachers); its Lie bracket with the drift must vanish.
    """
    size = matrices.model.p if students else matrices.model.pstar
    verdicts = [rotation_verdict(matrices, k, k + 1, students) for k in range(size - 1)]
    number = (matrices.model.p + matrices.model.pstar) * matrices.model.p * (size - 1)
    return all_of(verdicts, f"{number} entries of Lie brackets vanish identically")


def rotation_verdict(matrices: ModelMatrices, k: int, m: int, students: bool) -> Verdict:
    """Whether the drift commutes with rotations of the students k and m, or of the teachers; from 0."""
    size = matrices.model.p if students else matrices.model.pstar
    plane = matrix(size, size, lambda i, j: ((i, j) == (m, k)) - ((i, j) == (k, m)))
    return _brackets(matrices, plane, students)


def _brackets(matrices: ModelMatrices, J: Matrix, students: bool) -> Verdict:
    def rotated(Q: Matrix, R: Matrix) -> tuple[Matrix, Matrix]:
        if students:
            return commutator(J, Q), product(J, R)
        return combination((0, Q)), combination((-1, product(R, J)))

    p, pstar = matrices.model.p, matrices.model.pstar
    Q, R = rotated(matrices.Q, matrices.R)
    numerators = {f"Q_{i + 1}_{j + 1}": Q[i][j] for i in range(p) for j in range(i, p)}
    numerators |= {f"R_{i + 1}_{r + 1}": R[i][r] for i in range(p) for r in range(pstar)}
    rotation = VectorField(matrices.ring, numerators, matrices.ring.one)
    # The drift is numerator / whole, and the rotation acts on both.
    slope = rotation.along(matrices.denominator)
    equations = []
    for drift, expected in zip((matrices.dQ, matrices.dR), rotated(matrices.dQ, matrices.dR), strict=True):
        changed = tuple(tuple(rotation.along(x) for x in row) for row in drift)
        left = combination((matrices.denominator, changed), (-slope, drift))
        equations.append((left, combination((matrices.denominator, expected))))
    # A rotation does not act on second-layer weights, so it must not change their drift.
    still = all(not (matrices.denominator * rotation.along(x) - slope * x) for x in matrices.dv)
    if still and identity(*equations).proved:
        return Verdict(PROVED, "the Lie bracket vanishes")
    return Verdict(REFUTED, "a Lie bracket of drift and rotation does not vanish")


def _sign(matrices: ModelMatrices, generators: Sequence[Any], k: int) -> Verdict:
    """Whether R_kk = 0 is kept on the set, so that R_kk cannot change its sign there."""
    if Ideal([*generators, matrices.R[k][k]]).contains(matrices.dR[k][k]):
        return Verdict(PROVED, "in the ideal")
    return Verdict(UNDECIDED, f"R_{k + 1}_{k + 1} does not divide its Lie derivative")


def _vectors_move(matrices: ModelMatrices) -> bool:
    """Whether [M, dM] is not zero somewhere at Q = 1, so that left singular vectors move, or right ones."""
    p = matrices.model.p
    at = {f"Q_{i}_{j}": int(i == j) for i in range(1, p + 1) for j in range(i, p + 1)}
    inner = product(transposed(matrices.R), matrices.R)
    moved = (commutator(A, matrices.along(A)) for A in (matrices.M, inner))
    return any(matrices.ring.substitute(x, at) for A in moved for x in entries(A) if x)


# --- states in which Q and RRᵀ commute -------------------------------------------------------


def _commuting(matrices: ModelMatrices) -> Iterator[Law]:
    model, R, M, W = matrices.model, matrices.R, matrices.M, matrices.W
    on = COMMUTING
    statement = r"$Q$ and $RR^\top$ stay commuting"
    if matrices.sphere or model.trained or not (matrices.equal_students and matrices.equal_teachers):
        yield Law("commuting states", statement, on, matrices.invariant(named_set("commuting", model)))
        return
    # Another drift of W may vanish with W too, so an identity that fails refutes nothing here.
    linear = identity((matrices.along(W), _drift_of_W(matrices)))
    kept = follows([linear], linear.reason)
    yield Law("commuting states", statement, on, kept)
    step = 2 * matrices.a * matrices.kappa
    inner = product(transposed(R), R)
    moved = [
        identity((commutator(M, matrices.along(M)), _anticommutator(step, M, W))),
        identity(
            (
                commutator(inner, matrices.along(inner)),
                combination((2 * step, product(transposed(R), W, R))),
            )
        ),
    ]
    reason = "commutators are multiples of Q RR' - RR' Q"
    statement = r"$RR^\top$ and $R^{\top}R$ commute with their derivatives"
    yield Law("singular vectors", statement, on, follows([kept, *moved], reason))
    if model.pstar == 1:
        turned = product(matrices.dR, transposed(R))
        ratio = identity((combination((1, turned), (-1, transposed(turned))), combination((-step, W))))
        yield Law("ratios of R", "$R_{i1}/R_{j1}$ are constant", on, follows([kept, ratio], reason))
    if model.p == 2:
        yield from _two_students(matrices)


def _anticommutator(scalar: Any, A: Matrix, W: Matrix) -> Matrix:
    """scalar · (AW + WA) for symmetric A and antisymmetric W."""
    AW = product(A, W)
    return combination((scalar, AW), (-scalar, transposed(AW)))


def _drift_of_W(matrices: ModelMatrices) -> Matrix:
    """The right-hand side of (3), which vanishes with W."""
    ring, Q, M, W, kappa = matrices.ring, matrices.Q, matrices.M, matrices.W, matrices.kappa
    a, b = matrices.a, matrices.b
    w0 = 4 * (kappa * (b - matrices.s) - matrices.decay)
    w1 = -6 * a * kappa
    terms = [(1, _anticommutator(ring.one, Q, W))]
    if matrices.model.flow == "sgd":
        squares_q, squares_r = (sum(x * x for x in entries(A)) for A in (Q, matrices.R))
        t = a**2 * squares_q - 2 * a * b * squares_r + matrices.model.pstar * b**2
        noise = kappa**2 * matrices.share
        w0 += noise * (matrices.s**2 + 2 * t + ring.label_noise)
        w1 += 4 * a * noise * matrices.s
        w2, w3 = 8 * a**2 * noise, -8 * a * b * noise
        terms = [
            *terms,
            (w2, _anticommutator(ring.one, product(Q, Q), W)),
            (w2, product(Q, W, Q)),
            (w3, _anticommutator(ring.one, M, W)),
        ]
    return combination((w0, W), (w1, terms[0][1]), *terms[1:])


def _two_students(matrices: ModelMatrices) -> Iterator[Law]:
    model, R, w = matrices.model, matrices.R, matrices.W[0][1]
    sign = divides(matrices.cofactor(w))
    statement = r"$w = (Q\,RR^\top - RR^\top Q)_{12}$ keeps its sign"
    yield Law("sign of the commutator", statement, EVERYWHERE, sign)
    if model.flow == "gradient":
        yield _integral(matrices, w)
    if model.pstar == 2:
        turning = Rational(R[1][0] - R[0][1], R[0][0] + R[1][1])
        mirror = Rational(R[1][0] + R[0][1], R[0][0] - R[1][1])
        domain = named_set("commuting", model)
        verdicts = [matrices.conserved(x, domain) for x in (turning, mirror)]
        yield Law(
            "angle of the polar factor",
            "$(R_{21} - R_{12})/(R_{11} + R_{22})$, $(R_{21} + R_{12})/(R_{11} - R_{22})$ are constant",
            COMMUTING,
            all_of(verdicts, "the Lie derivatives are in the ideal of the set"),
        )


def _integral(matrices: ModelMatrices, w: Any) -> Law:
    pstar = matrices.model.pstar
    # With det(S) K in place of K: det(S)⁵ (tr K)^(4−p*) = det(S)^(1+p*) (det(S) tr K)^(4−p*).
    factors = [matrices.cofactor(x) for x in (w, matrices.det_S, trace(matrices.K))]
    power = "" if pstar == 4 else rf"(\operatorname{{tr}} K)^{{{pstar - 4}}}"
    verdict = _cancel(factors, (4, -1 - pstar, pstar - 4), 4 * matrices.decay)
    kept = r"grows as $\exp(4\eta\gamma\alpha)$" if matrices.decay else "is constant"
    statement = rf"$w^4(\det S)^{{-5}}{power}$ {kept}"
    return Law("integral of the commutator", statement, EVERYWHERE, verdict)


def _cancel(factors: Sequence[Rational | None], powers: Sequence[Any], rate: Any) -> Verdict:
    """Whether Σ n k is the rate for cofactors k, at which the product of the powers then grows."""
    numerators = [factor.numerator for factor in factors if factor is not None]
    if len(numerators) < len(factors):
        return Verdict(UNDECIDED, "a factor does not divide its Lie derivative")
    if sum(n * k for n, k in zip(powers, numerators, strict=True)) != rate:
        return Verdict(REFUTED, "the cofactors do not cancel")
    return Verdict(PROVED, f"the {len(factors)} factors divide their Lie derivatives, the cofactors cancel")


# --- one student ------------------------------------------------------------------------------


def separatrix(matrices: ModelMatrices) -> Any:
    """A multiple of f = bc − 3av Q + 6av Σ_r v*_r R_1r²/(c + 2v*_r) with c = Σ_r v*_r − γ/(2abv), for one
    student in gradient flow with T = 1, free norms and second-layer weights that may be 1.

    Its zeros are the unstable manifold of the plateau, from Q = bc/(3av), R = 0 to the solutions.
    """
    level, pulls, unit = _levels(matrices)
    # Teachers of equal weight have one term together.
    different = [pull for r, pull in enumerate(pulls) if pull not in pulls[:r]]
    others = [prod(level + 2 * x for x in different if x != pull) for pull in different]
    squares = [
        sum(R**2 for R, x in zip(matrices.R[0], pulls, strict=True) if x == pull) for pull in different
    ]
    terms = sum(
        pull * other * square for pull, other, square in zip(different, others, squares, strict=True)
    )
    whole = prod(level + 2 * x for x in different)
    b, av = matrices.ring.b, matrices.a
    return b * level * whole - 3 * av * unit * whole * matrices.Q[0][0] + 6 * av * unit * terms


def _levels(matrices: ModelMatrices) -> tuple[Any, list[Any], Any]:
    """c and the v*_r, times a unit, and the unit: 2abv with weight decay, else 1."""
    ring = matrices.ring
    if not matrices.decay:
        return sum(matrices.vstar), list(matrices.vstar), ring.one
    unit = 2 * matrices.a * ring.b
    return unit * sum(matrices.vstar) - ring[WEIGHT_DECAY], [unit * x for x in matrices.vstar], unit


def _one_student(matrices: ModelMatrices) -> Law:
    """The law of R₁^(2c) f^(2v*₁) S^−(c + 2v*₁), which fixes the orbit with the ratios of powers of R."""
    factors = [matrices.cofactor(x) for x in (matrices.R[0][0], separatrix(matrices), matrices.det_S)]
    level, (pull, *_), _ = _levels(matrices)
    verdict = _cancel(factors, (2 * level, 2 * pull, -level - 2 * pull), matrices.ring.zero)
    if matrices.model.weighted:
        statement = r"$|R_{11}|^{2c}\,|f|^{2v^*_1}S^{-(c + 2v^*_1)}$ is constant"
        statement += r", $f = bc - 3avQ + 6av\sum_r v^*_rR_{1r}^2/(c + 2v^*_r)$"
        level = r"\sum_r v^*_r" + (r" - \gamma/(2abv)" if matrices.decay else "")
    else:
        statement = r"$|R_{11}|^{2c}f^2S^{-(c + 2)}$ is constant"
        statement += r", $f = bc(c + 2) - 3a(c + 2)Q + 6aRR^\top$"
        level = "p^*" + (r" - \gamma/(2ab)" if matrices.decay else "")
    statement += f", $c = {level}$"
    return Law("integral of one student", statement, EVERYWHERE, verdict)
