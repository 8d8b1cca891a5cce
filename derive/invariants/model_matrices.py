"""Defines the matrices of one model in which its laws are stated, and verdicts on identities of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from derive.invariants.conservation_proofs import PROVED, REFUTED, UNDECIDED, Verdict
from derive.invariants.matrix_algebra import (
    Matrix,
    adjugate,
    combination,
    commutator,
    determinant,
    entries,
    matrix,
    product,
    trace,
    transposed,
)
from derive.invariants.ring import OverlapRing, overlap_ring
from derive.invariants.vector_field import VectorField, drift_field
from derive.model import Model

EVERYWHERE = "every state"


@dataclasses.dataclass(frozen=True)
class Law:
    """A claim about one model, and its outcome.

    name
        A short name for tables and JSON.
    statement
        The claim in formulas; ' is the transpose, d the derivative by α.
    on
        The set of states that the claim is about.
    verdict
        Proved, refuted or undecided.
    """

    name: str
    statement: str
    on: str
    verdict: Verdict


class ModelMatrices:
    """Matrices whose entries are polynomials of the model's ring.

    Q, R, T
        The matrices of the ring.
    dQ, dR
        The drift times `denominator`.
    denominator
        The denominator of the drift: 1, or Π Q_ii on the sphere.
    kappa, s
        2aη and a tr Q − b tr T.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.ring: OverlapRing = overlap_ring(model)
        self.field: VectorField = drift_field(model)
        ring = self.ring
        self.Q, self.R, self.T = ring.Q, ring.R, ring.T
        self.denominator = self.field.denominator
        self.kappa = 2 * ring.a * ring.eta
        self.s = ring.a * trace(ring.Q) - ring.b * trace(ring.T)
        self.dQ, self.dR = self.along(ring.Q), self.along(ring.R)

    @property
    def sphere(self) -> bool:
        return self.model.constraint == "sphere"

    @property
    def general(self) -> bool:
        return self.model.teacher == "general"

    def along(self, A: Matrix) -> Matrix:
        """The Lie derivatives of the entries, times `denominator`."""
        return tuple(tuple(self.field.along(x) for x in row) for row in A)

    @cached_property
    def free_field(self) -> VectorField:
        """The drift without the constraint."""
        return drift_field(dataclasses.replace(self.model, constraint="free"))

    @cached_property
    def step(self) -> Matrix:
        """(A + D) times `denominator`: A = κ(s + 2aQ), D_ii = ½ (free dQ_ii)/Q_ii on the sphere, else 0."""

        def entry(i: int, j: int) -> Any:
            value = (
                self.kappa * self.denominator * (2 * self.ring.a * self.Q[i][j] + (self.s if i == j else 0))
            )
            if i == j and self.sphere:
                drift = self.free_field.numerators[f"Q_{i + 1}_{i + 1}"]
                value += drift * self.denominator / self.Q[i][i] / 2
            return value

        return matrix(self.model.p, self.model.p, entry)

    @cached_property
    def growth(self) -> Any:
        """4abη times `denominator`."""
        return 4 * self.ring.a * self.ring.b * self.ring.eta * self.denominator

    @cached_property
    def M(self) -> Matrix:
        """RRᵀ."""
        return product(self.R, transposed(self.R))

    @cached_property
    def W(self) -> Matrix:
        """QM − MQ."""
        return commutator(self.Q, self.M)

    @cached_property
    def S(self) -> Matrix:
        """det(T) (Q − R T⁻¹ Rᵀ)."""
        if not self.general:
            return combination((1, self.Q), (-1, self.M))
        inside = product(self.R, adjugate(self.T, self.ring.one), transposed(self.R))
        return combination((determinant(self.T), self.Q), (-1, inside))

    @cached_property
    def det_S(self) -> Any:
        return determinant(self.S)

    @cached_property
    def K(self) -> Matrix:
        """Rᵀ adj(S) R, which is det(S) K / det(T) for K = Rᵀ (Q − R T⁻¹ Rᵀ)⁻¹ R."""
        return product(transposed(self.R), adjugate(self.S, self.ring.one), self.R)


def identity(*equations: tuple[Matrix, Matrix]) -> Verdict:
    """The verdict on left = right, entry by entry as polynomials."""
    count = 0
    for left, right in equations:
        for x, y in zip(entries(left), entries(right), strict=True):
            count += 1
            if x != y:
                return Verdict(REFUTED, f"entry {count} of the identity has other coefficients")
    return Verdict(PROVED, f"identity of polynomials, {count} entr{'ies' if count > 1 else 'y'}")


def divides(factor: Any) -> Verdict:
    """The verdict on the claim that a polynomial keeps its sign, from its cofactor or None."""
    if factor is None:
        return Verdict(UNDECIDED, "it does not divide its Lie derivative")
    return Verdict(PROVED, "it divides its Lie derivative")


def all_of(verdicts: Sequence[Verdict], reason: str) -> Verdict:
    """The verdict on a claim of several parts: proved if all are, else that of the first other part."""
    for verdict in verdicts:
        if not verdict.proved:
            return verdict
    return Verdict(PROVED, reason)


def follows(verdicts: Sequence[Verdict], reason: str) -> Verdict:
    """The verdict on a claim that follows if all of these are proved; otherwise it is undecided."""
    if all(verdict.proved for verdict in verdicts):
        return Verdict(PROVED, reason)
    return Verdict(UNDECIDED, "the laws that it would follow from do not hold")
