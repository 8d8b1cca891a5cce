"""Names sets of states that no trajectory leaves, given as zeros of polynomials.

Each set has the generators of its ideal and a source of exact points on it. That the drift keeps the set is
not assumed here; `derive.invariants.conservation_proofs.prove_invariant` proves it.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from derive.arguments import one_of
from derive.errors import InputError
from derive.invariants.matrix_algebra import (
    Matrix,
    below_diagonal,
    combination,
    commutator,
    diagonal,
    entries,
    matrix,
    product,
    trace,
    transposed,
    upper_triangle,
)
from derive.invariants.ring import OverlapRing, overlap_ring
from derive.invariants.vector_field import drift_field
from derive.model import Model

Point = Mapping[str, Fraction]
# Small numerators and denominators of random points keep exact arithmetic fast.
_LARGEST = 9
# The states in which Q and RRᵀ have common eigenvectors, in words as those of `InvariantSet`.
COMMUTING = r"$Q\,RR^\top = RR^\top Q$"


@dataclasses.dataclass(frozen=True)
class InvariantSet:
    """A set of states given by polynomials that vanish on it.

    name
        The name of the set on the command line and in reports.
    description
        The set in words, with LaTeX between dollars.
    generators
        Generators of its ideal: polynomials of the model's ring, none of them zero.
    point
        A function that draws a random exact point of the set: values of all generators of the ring by
        name. None if there is no such source.
    """

    name: str
    description: str
    generators: tuple[Any, ...]
    point: Callable[[random.Random], Point] | None = None


def anywhere(ring: OverlapRing, generator: random.Random) -> dict[str, Fraction]:
    """Random positive values of all generators of the ring, the order parameters included."""
    return {name: _number(generator) for name in ring.names}


def _number(generator: random.Random) -> Fraction:
    return Fraction(generator.randint(1, _LARGEST), generator.randint(1, _LARGEST))


def _with_matrices(
    ring: OverlapRing, values: dict[str, Fraction], Q: Matrix, R: Matrix
) -> dict[str, Fraction]:
    p, pstar = ring.model.p, ring.model.pstar
    values |= {f"Q_{i + 1}_{j + 1}": Fraction(Q[i][j]) for i in range(p) for j in range(i, p)}
    values |= {f"R_{i + 1}_{r + 1}": Fraction(R[i][r]) for i in range(p) for r in range(pstar)}
    return values


def _orthogonal(size: int, generator: random.Random) -> Matrix:
    """A random rational orthogonal matrix, a product of reflections 1 − 2vvᵀ/|v|²."""
    result: Matrix = matrix(size, size, lambda i, j: Fraction(int(i == j)))
    for _ in range(size):
        result = product(result, _reflection([_number(generator) for _ in range(size)]))
    return result


def _reflection(v: list[Fraction]) -> Matrix:
    square = sum(x * x for x in v)
    return matrix(len(v), len(v), lambda i, j: int(i == j) - 2 * v[i] * v[j] / square)


def _orthonormal_only(model: Model, name: str) -> None:
    if model.teacher != "orthonormal":
        raise InputError("on", f"{name!r} is defined for an orthonormal teacher (T = 1)")


def no_alignment(model: Model) -> InvariantSet:
    """R = 0: no student has any overlap with a teacher."""
    ring = overlap_ring(model)

    def point(generator: random.Random) -> Point:
        zero = matrix(model.p, model.pstar, lambda *_: 0)
        return _with_matrices(ring, values := anywhere(ring, generator), _values(ring.Q, values), zero)

    return InvariantSet("no-alignment", "$R = 0$", tuple(entries(ring.R)), point)


def _values(A: Matrix, values: Mapping[str, Fraction]) -> Matrix:
    """The matrix of generators with their values."""
    return tuple(tuple(values[str(x)] for x in row) for row in A)


def plateau(model: Model, decay: bool = False) -> InvariantSet:
    """R = 0 and a Q that does not change: q·1, the plateau of arXiv:2604.03068, or diag(q_i) with a second
    layer, whose weights do not change either. With `decay` the weight decay γ is symbolic, else 0.
    """
    if model.weighted:
        return _weighted_plateau(model, decay)
    ring = overlap_ring(model)
    q = ring.Q[0][0]
    different = [ring.Q[i][i] - q for i in range(1, model.p)]
    flat = [*entries(ring.R), *below_diagonal(ring.Q), *different]
    diagonal = {f"Q_{i}_{i}" for i in range(1, model.p + 1)}
    here = {name: q if name in diagonal else ring.zero for name in model.state}
    drift = drift_field(model, decay).numerators["Q_1_1"]
    # The rate is divided by q, since Q = 0 is another stationary state. On the sphere it is 0.
    rate = drift.compose(*(here.get(name, ring[name]) for name in ring.names)) / q
    # The rate is linear in Δ with the η² term, and in b without it; a point is found by solving for it.
    solved = "label_noise" if model.flow == "sgd" else "b"

    def point(generator: random.Random) -> Point:
        while True:
            values = anywhere(ring, generator)
            Q = _rectangular(model.p, model.p, [values["Q_1_1"]] * model.p)
            values = _with_matrices(ring, values, Q, matrix(model.p, model.pstar, lambda *_: 0))
            if not rate:
                return values
            slope = ring.value(rate.derivative(solved), values)
            if slope:
                offset = ring.value(rate, {**values, solved: Fraction(0)})
                values[solved] = -offset / slope
                return values

    generators = (*flat, rate) if rate else tuple(flat)
    return InvariantSet("plateau", r"$R = 0$, $Q = q\,1$ with $\dot{q} = 0$", generators, point)


def _weighted_plateau(model: Model, decay: bool) -> InvariantSet:
    ring = overlap_ring(model)
    free, flows = model.constraint == "free", model.flow == "gradient" and not decay
    if model.trained and free and not flows:
        raise InputError(
            "on", "'plateau': noise and decay move a trained second layer, so that no state is at rest"
        )
    generators = [*entries(ring.R), *below_diagonal(ring.Q)]
    here = dict.fromkeys(map(str, generators), ring.zero)
    moved = dict(drift_field(model, decay).numerators)
    if model.trained:
        # The sphere does not act on v, whose drift has no denominator then.
        unbound = drift_field(dataclasses.replace(model, constraint="free"), decay).numerators
        moved |= {str(weight): unbound[str(weight)] for weight in ring.v}
    for i, weight in enumerate(ring.v):
        q = ring.Q[i][i]
        # The rates are divided by q, since a student without a norm is at rest too.
        rates = [ring.replaced(moved[str(x)], here) / q for x in (q, weight) if str(x) in moved]
        generators += [rate for rate in rates if rate]

    def point(generator: random.Random) -> Point:
        values = anywhere(ring, generator)
        q = [_number(generator) for _ in range(model.p)]
        if free or model.trained:
            total = sum(
                values[str(weight)] * (values[str(x)] if model.teacher == "general" else 1)
                for weight, x in zip(ring.vstar, (ring.T[r][r] for r in range(model.pstar)), strict=True)
            )
            level = values["b"] * total / values["a"] / (model.p + 2)
            q = [level / values[str(weight)] for weight in ring.v]
        Q = _rectangular(model.p, model.p, q)
        return _with_matrices(ring, values, Q, matrix(model.p, model.pstar, lambda *_: 0))

    words = r"$R = 0$, $Q$ diagonal with $\dot{Q} = 0$" + (r", $\dot{v} = 0$" if model.trained else "")
    # With noise and decay the norms solve quadratic equations, and there is no source of exact points.
    return InvariantSet("plateau", words, tuple(generators), point if flows or not free else None)


def commuting(model: Model) -> InvariantSet:
    """Q RRᵀ = RRᵀ Q, where Q has the left singular vectors of R as eigenvectors.

    It contains every start Q0 ∝ 1 and all that follows from there (the algebra of RRᵀ).
    """
    _orthonormal_only(model, "commuting")
    ring = overlap_ring(model)
    W = commutator(ring.Q, product(ring.R, transposed(ring.R)))
    generators = tuple(x for x in below_diagonal(W) if x)
    if not generators:
        raise InputError("on", "'commuting' is every state for a single student (p = 1)")

    def point(generator: random.Random) -> Point:
        values = anywhere(ring, generator)
        left, right = (_orthogonal(size, generator) for size in (model.p, model.pstar))
        q = [_number(generator) for _ in range(model.p)]
        m = [_number(generator) for _ in range(min(model.p, model.pstar))]
        Q = product(left, _rectangular(model.p, model.p, q), transposed(left))
        R = product(left, _rectangular(model.p, model.pstar, m), transposed(right))
        return _with_matrices(ring, values, Q, R)

    return InvariantSet("commuting", COMMUTING, generators, point)


def _rectangular(rows: int, columns: int, diagonal: list[Fraction]) -> Matrix:
    return matrix(rows, columns, lambda i, j: diagonal[i] if i == j else Fraction(0))


def singular_basis(model: Model) -> InvariantSet:
    """Q and R diagonal, Q_kk equal for k > p*, like a start Q0 ∝ 1 in the basis of R's singular vectors.

    With a second layer, whose weights may differ, the Q_kk may too.
    """
    _orthonormal_only(model, "singular-basis")
    ring = overlap_ring(model)
    p, pstar = model.p, model.pstar
    off = [ring.R[i][r] for i in range(p) for r in range(pstar) if i != r]
    beyond = () if model.weighted else range(pstar + 1, p)
    rest = [ring.Q[k][k] - ring.Q[pstar][pstar] for k in beyond]
    generators = (*below_diagonal(ring.Q), *off, *rest)

    def point(generator: random.Random) -> Point:
        values = anywhere(ring, generator)
        q = [_number(generator) for _ in range(p if model.weighted else min(p, pstar + 1))]
        q += [q[-1]] * (p - len(q))
        m = [_number(generator) for _ in range(min(p, pstar))]
        return _with_matrices(ring, values, _rectangular(p, p, q), _rectangular(p, pstar, m))

    if not generators:
        raise InputError("on", "'singular-basis' is every state for p = p* = 1")
    words = "$Q$, $R$ diagonal" + ("" if model.weighted else ", $Q_{kk}$ equal for $k > p^*$")
    return InvariantSet("singular-basis", words, generators, point)


def solutions(model: Model) -> InvariantSet:
    """The zero-loss solutions, without label noise: W = √(b/a) O W*, OᵀO = 1, where all weights are 1.

    There aWᵀVW = bW*ᵀFW* with the second layers V = diag(v) and F = diag(v*). Multiplied by W and W* from
    either side this reads aQVQ = bRFRᵀ, aQVR = bRFT, aRᵀVR = bTFT, and its trace is
    s = a tr VQ − b tr FT = 0.
    """
    if model.p < model.pstar:
        raise InputError("on", f"'solutions' needs p >= p*, not p = {model.p}, p* = {model.pstar}")
    ring = overlap_ring(model)
    X, Y, Z, s = solution_blocks(ring)
    noise = [ring.label_noise] if model.flow == "sgd" else []
    found = (*upper_triangle(X), *entries(Y), *upper_triangle(Z), s, *noise)
    generators = tuple(x for x in found if x)

    def point(generator: random.Random) -> Point:
        values = anywhere(ring, generator)
        ratio = _number(generator)
        values["b"] = values["a"] * ratio**2
        values["label_noise"] = Fraction(0)
        # Students of weights v_i = v*_i are the first teachers, the others vanish; equal ones are rotated.
        if model.weighted:
            values |= {str(v): values[str(vstar)] for v, vstar in zip(ring.v, ring.vstar, strict=False)}
            rotation = _rectangular(model.p, model.p, [Fraction(1)] * model.p)
        else:
            rotation = _orthogonal(model.p, generator)
        columns = tuple(row[: model.pstar] for row in rotation)
        teachers = tuple(
            tuple(
                values[str(x)] if model.teacher == "general" else Fraction(int(r == c))
                for c, x in enumerate(row)
            )
            for r, row in enumerate(ring.T)
        )
        W = product(columns, teachers)
        Q0 = product(W, transposed(columns))
        return _with_matrices(
            ring, values, combination((ratio**2, Q0), (0, Q0)), combination((ratio, W), (0, W))
        )

    V, F = ("D_v", "D_{v^*}") if model.weighted else ("", "")
    words = rf"$aQ{V}Q = bR{F}R^\top$, $aQ{V}R = bR{F}T$, $aR^{{\top}}{V}R = bT{F}T$, $s = 0$, $\Delta = 0$"
    return InvariantSet("solutions", words, generators, point)


def solution_blocks(ring: OverlapRing) -> tuple[Matrix, Matrix, Matrix, Any]:
    """X = aQVQ − bRFRᵀ, Y = aQVR − bRFT, Z = aRᵀVR − bTFT and s = a tr VQ − b tr FT, with V = diag(v)
    and F = diag(v*): they vanish where the loss does.
    """
    a, b, Q, R, T = ring.a, ring.b, ring.Q, ring.R, ring.T
    V, F = diagonal(ring.v), diagonal(ring.vstar)
    return (
        combination((a, product(Q, V, Q)), (-b, product(R, F, transposed(R)))),
        combination((a, product(Q, V, R)), (-b, product(R, F, T))),
        combination((a, product(transposed(R), V, R)), (-b, product(T, F, T))),
        a * trace(product(Q, V)) - b * trace(product(F, T)),
    )


def teacher_space(model: Model) -> InvariantSet:
    """Q = RRᵀ, where every student is a combination of the teachers."""
    _orthonormal_only(model, "teacher-space")
    ring = overlap_ring(model)
    S = combination((1, ring.Q), (-1, product(ring.R, transposed(ring.R))))
    generators = tuple(upper_triangle(S))

    def point(generator: random.Random) -> Point:
        values = anywhere(ring, generator)
        R = _values(ring.R, values)
        return _with_matrices(ring, values, product(R, transposed(R)), R)

    return InvariantSet("teacher-space", r"$Q = RR^\top$", generators, point)


NAMED_SETS: Mapping[str, Callable[[Model], InvariantSet]] = {
    "no-alignment": no_alignment,
    "plateau": plateau,
    "commuting": commuting,
    "singular-basis": singular_basis,
    "solutions": solutions,
    "teacher-space": teacher_space,
}


def named_set(name: str, model: Model, decay: bool = False) -> InvariantSet:
    """The set of this name; raises InputError for another name, or models without such a set.

    With `decay` it is that of any weight decay γ, which moves the plateau; otherwise γ = 0.
    """
    chosen = NAMED_SETS[one_of("on", name, NAMED_SETS)]
    return plateau(model, decay) if chosen is plateau else chosen(model)
