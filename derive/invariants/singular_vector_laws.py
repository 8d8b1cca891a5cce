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
the cofactors of w, det S and det(S) K cancel in w⁴ / (det(S)⁵ (tr K)^(4−p*)), a first integral.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from derive.invariants.conservation_proofs import (
    PROVED,
    REFUTED,
    UNDECIDED,
    Verdict,
    cofactor,
    prove_conserved,
    prove_invariant,
)
from derive.invariants.ideal import Ideal
from derive.invariants.invariant_sets import named_set
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
            verdict = _rotations(matrices, who == "students")
            statement = f"rotating the {who} commutes with the drift"
            yield Law(f"rotations of {who}", statement, EVERYWHERE, verdict)
            needed.append(verdict)
    generators: Sequence[Any] = ()
    on = EVERYWHERE
    if model.state_size > 2:
        domain = named_set("singular-basis", model)
        generators, on = domain.generators, domain.description
        needed.append(prove_invariant(domain, model))
        yield Law("diagonal states", "they stay diagonal", on, needed[-1])
    signs = [_sign(matrices, generators, k) for k in range(min(model.p, model.pstar))]
    needed.append(all_of(signs, "R_kk divides its Lie derivative on the set"))
    yield Law("signs on the diagonal", "the R_kk keep their signs", on, needed[-1])
    polar = follows(needed, "rotate Q0, R0 to a diagonal state, by the laws above")
    if not polar.proved and _vectors_move(matrices):
        polar = Verdict(REFUTED, "RR' and its derivative do not commute at Q = 1")
    statement = "the singular vectors of R and R (R'R)^(-1/2) are constant"
    yield Law("polar factor", statement, "Q0 = q 1", polar)
    if model.p > 1:
        yield from _commuting(matrices)
    elif model.flow == "gradient" and not matrices.sphere:
        yield _one_student(matrices)


# --- rotations -------------------------------------------------------------------------------


def _rotations(matrices: ModelMatrices, students: bool) -> Verdict:
    """Whether the drift commutes with rotations in the planes (k, k + 1), which generate all.

    An infinitesimal rotation J moves Q by JQ − QJ and R by JR (students), or R by −RJ
    (teachers); its Lie bracket with the drift must vanish.
    """
    size = matrices.model.p if students else matrices.model.pstar
    verdicts = [_brackets(matrices, _plane(size, k), students) for k in range(size - 1)]
    number = (matrices.model.p + matrices.model.pstar) * matrices.model.p * (size - 1)
    return all_of(verdicts, f"{number} entries of Lie brackets vanish identically")


def _plane(size: int, k: int) -> Matrix:
    return matrix(size, size, lambda i, j: ((i, j) == (k + 1, k)) - ((i, j) == (k, k + 1)))


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
    if identity(*equations).proved:
        return Verdict(PROVED, "the Lie bracket vanishes")
    return Verdict(REFUTED, "a Lie bracket of drift and rotation does not vanish")


def _sign(matrices: ModelMatrices, generators: Sequence[Any], k: int) -> Verdict:
    """Whether R_kk = 0 is kept on the set, so that R_kk cannot change its sign there."""
    if Ideal([*generators, matrices.R[k][k]]).contains(matrices.dR[k][k]):
        return Verdict(PROVED, "in the ideal")
    return Verdict(UNDECIDED, f"R_{k + 1}_{k + 1} does not divide its Lie derivative")


def _vectors_move(matrices: ModelMatrices) -> bool:
    """Whether [M, dM] is not zero somewhere at Q = 1, so that the left singular vectors move."""
    p = matrices.model.p
    at = {f"Q_{i}_{j}": int(i == j) for i in range(1, p + 1) for j in range(i, p + 1)}
    moved = commutator(matrices.M, matrices.along(matrices.M))
    return any(matrices.ring.substitute(x, at) for x in entries(moved) if x)


# --- states in which Q and RRᵀ commute -------------------------------------------------------


def _commuting(matrices: ModelMatrices) -> Iterator[Law]:
    model, R, M, W = matrices.model, matrices.R, matrices.M, matrices.W
    on = "Q RR' = RR' Q"
    statement = "Q and RR' stay commuting"
    if matrices.sphere:
        yield Law("commuting states", statement, on, prove_invariant("commuting", model))
        return
    # Another drift of W may vanish with W too, so an identity that fails refutes nothing here.
    linear = identity((matrices.along(W), _drift_of_W(matrices)))
    kept = follows([linear], linear.reason)
    yield Law("commuting states", statement, on, kept)
    step = 2 * matrices.ring.a * matrices.kappa
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
    statement = "RR' and R'R commute with their derivatives"
    yield Law("singular vectors", statement, on, follows([kept, *moved], reason))
    if model.pstar == 1:
        turned = product(matrices.dR, transposed(R))
        ratio = identity((combination((1, turned), (-1, transposed(turned))), combination((-step, W))))
        yield Law("ratios of R", "R_i1 / R_j1 are constant", on, follows([kept, ratio], reason))
    if model.p == 2:
        yield from _two_students(matrices)


def _anticommutator(scalar: Any, A: Matrix, W: Matrix) -> Matrix:
    """scalar · (AW + WA) for symmetric A and antisymmetric W."""
    AW = product(A, W)
    return combination((scalar, AW), (-scalar, transposed(AW)))


def _drift_of_W(matrices: ModelMatrices) -> Matrix:
    """The right-hand side of (3), which vanishes with W."""
    ring, Q, M, W, kappa = matrices.ring, matrices.Q, matrices.M, matrices.W, matrices.kappa
    a, b = ring.a, ring.b
    w0 = 4 * kappa * (b - matrices.s)
    w1 = -6 * a * kappa
    terms = [(1, _anticommutator(ring.one, Q, W))]
    if matrices.model.flow == "sgd":
        squares_q, squares_r = (sum(x * x for x in entries(A)) for A in (Q, matrices.R))
        t = a**2 * squares_q - 2 * a * b * squares_r + matrices.model.pstar * b**2
        w0 += kappa**2 * (matrices.s**2 + 2 * t + ring.label_noise)
        w1 += 4 * a * kappa**2 * matrices.s
        w2, w3 = 8 * (a * kappa) ** 2, -8 * a * b * kappa**2
        terms = [
            *terms,
            (w2, _anticommutator(ring.one, product(Q, Q), W)),
            (w2, product(Q, W, Q)),
            (w3, _anticommutator(ring.one, M, W)),
        ]
    return combination((w0, W), (w1, terms[0][1]), *terms[1:])


def _two_students(matrices: ModelMatrices) -> Iterator[Law]:
    model, R, w = matrices.model, matrices.R, matrices.W[0][1]
    sign = divides(cofactor(w, model))
    yield Law("sign of the commutator", "w = (Q RR' - RR' Q)_12 keeps its sign", EVERYWHERE, sign)
    if model.flow == "gradient":
        yield _integral(matrices, w)
    if model.pstar == 2:
        turning = Rational(R[1][0] - R[0][1], R[0][0] + R[1][1])
        mirror = Rational(R[1][0] + R[0][1], R[0][0] - R[1][1])
        verdicts = [prove_conserved(x, model, "commuting") for x in (turning, mirror)]
        yield Law(
            "angle of the polar factor",
            "(R_21 - R_12) / (R_11 + R_22), (R_21 + R_12) / (R_11 - R_22) are constant",
            "Q RR' = RR' Q",
            all_of(verdicts, "the Lie derivatives are in the ideal of the set"),
        )


def _integral(matrices: ModelMatrices, w: Any) -> Law:
    pstar = matrices.model.pstar
    # With det(S) K in place of K: det(S)⁵ (tr K)^(4−p*) = det(S)^(1+p*) (det(S) tr K)^(4−p*).
    factors = [cofactor(x, matrices.model) for x in (w, matrices.det_S, trace(matrices.K))]
    power = "" if pstar == 4 else f" (tr K)^{pstar - 4}"
    verdict = _cancel(factors, (4, -1 - pstar, pstar - 4))
    statement = f"w^4 (det S)^-5{power} is constant"
    return Law("integral of the commutator", statement, EVERYWHERE, verdict)


def _cancel(factors: Sequence[Rational | None], powers: Sequence[int]) -> Verdict:
    """Whether Σ n k = 0 for cofactors k, which makes the product of the powers a first integral."""
    numerators = [factor.numerator for factor in factors if factor is not None]
    if len(numerators) < len(factors):
        return Verdict(UNDECIDED, "a factor does not divide its Lie derivative")
    if sum(n * k for n, k in zip(powers, numerators, strict=True)):
        return Verdict(REFUTED, "the cofactors do not cancel")
    return Verdict(PROVED, f"the {len(factors)} factors divide their Lie derivatives, the cofactors cancel")


# --- one student ------------------------------------------------------------------------------


def separatrix(matrices: ModelMatrices) -> Any:
    """f = bp*(p* + 2) − 3a(p* + 2) Q + 6a RRᵀ of one student in gradient flow; T = 1, free norms.

    Its zeros are the unstable manifold of the plateau, from Q = bp*/(3a), R = 0 to the solutions.
    """
    ring, pstar = matrices.ring, matrices.model.pstar
    return (
        ring.b * pstar * (pstar + 2)
        - 3 * ring.a * (pstar + 2) * matrices.Q[0][0]
        + 6 * ring.a * matrices.M[0][0]
    )


def _one_student(matrices: ModelMatrices) -> Law:
    """The law of R₁^(2p*) f² S^−(p* + 2), which fixes the orbit together with the ratios of R."""
    pstar = matrices.model.pstar
    factors = [
        cofactor(x, matrices.model) for x in (matrices.R[0][0], separatrix(matrices), matrices.det_S)
    ]
    statement = (
        f"R_11^{2 * pstar} f^2 S^-{pstar + 2} is constant,  f = b p*(p* + 2) - 3a(p* + 2) Q + 6a RR'"
    )
    verdict = _cancel(factors, (2 * pstar, 2, -pstar - 2))
    return Law("integral of one student", statement, EVERYWHERE, verdict)
