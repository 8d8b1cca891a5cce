"""Defines the matrices of one model in which its laws are stated, and verdicts on identities of them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from derive.equations import WEIGHT_DECAY
from derive.invariants.conservation_proofs import (
    PROVED,
    REFUTED,
    UNDECIDED,
    Verdict,
    cofactor_along,
    growth_along,
    invariant_along,
)
from derive.invariants.invariant_sets import InvariantSet, Point, anywhere
from derive.invariants.matrix_algebra import (
    Matrix,
    adjugate,
    combination,
    commutator,
    determinant,
    diagonal,
    entries,
    matrix,
    product,
    trace,
    transposed,
)
from derive.invariants.ring import OverlapRing, overlap_ring
from derive.invariants.vector_field import Rational, VectorField, drift_field
from derive.model import Model
from derive.plain_formulas import plain_text

EVERYWHERE = "every state"
# Words for second-layer weights without a restriction.
ALL_ONE, ANY_WEIGHTS = "all 1", "any $v$, $v^*$"


@dataclasses.dataclass(frozen=True)
class Law:
    """A claim about one model, and its outcome.

    Fields that end in ``latex`` are words with LaTeX between dollars. Properties have the same as plain
    text, in which ' is the transpose and d the derivative by α; see `derive.plain_formulas`.

    name
        A short name for tables and JSON.
    statement_latex
        The claim.
    on_latex
        The set of states that the claim is about.
    verdict
        Proved, refuted or undecided.
    conditions_latex
        Conditions of the verdict in words: ``flow``, ``constraint`` and ``teacher`` of the model, the
        second-layer ``weights``, and ``decay``: ``"any"`` weight decay γ, or ``"0"``.
    otherwise
        What happens under fewer conditions on weights and decay, as plain text; empty if there are none.
    """

    name: str
    statement_latex: str
    on_latex: str
    verdict: Verdict
    conditions_latex: Mapping[str, str] = dataclasses.field(default_factory=dict)
    otherwise: str = ""

    @property
    def statement(self) -> str:
        """The claim as plain text."""
        return plain_text(self.statement_latex)

    @property
    def on(self) -> str:
        """The set of states that the claim is about, as plain text."""
        return plain_text(self.on_latex)

    @property
    def conditions(self) -> dict[str, str]:
        """The conditions of the verdict as plain text."""
        return {name: plain_text(words) for name, words in self.conditions_latex.items()}

    @property
    def restrictions_latex(self) -> str:
        """The second-layer weights and weight decays that a proved law is restricted to; empty for none."""
        weights = self.conditions_latex.get("weights", ALL_ONE)
        found = [] if weights in (ALL_ONE, ANY_WEIGHTS) else [weights]
        if self.conditions_latex.get("decay") == "0" and self.verdict.proved:
            found.append(r"$\gamma = 0$")
        return ", ".join(found)

    @property
    def restrictions(self) -> str:
        """The same as plain text."""
        return plain_text(self.restrictions_latex)


class ModelMatrices:
    """Matrices whose entries are polynomials of the model's ring.

    Q, R, T
        The matrices of the ring.
    dQ, dR, dv
        The drift times `denominator`; dv is empty unless the second layer is trained.
    v, vstar
        The second-layer weights, each a polynomial of the ring; 1 where the model has none.
    a, b
        Readout weights, times v₁ and v*₁: what students and teachers of equal weight have.
    denominator
        The denominator of the drift: 1, or Π Q_ii on the sphere.
    decay
        ηγ, or 0 without weight decay.
    kappa, s
        2ηa, with a as here, and Σ d_i Q_ii − Σ f_r T_rr, the trace of DC.
    share
        1/B for batches of B samples.

    Parameters
    ----------
    decay
        Whether the weight decay γ is symbolic; otherwise it is 0.
    weights
        What replaces some weights: polynomials of the ring by the names of generators.
    """

    def __init__(self, model: Model, decay: bool = False, weights: Mapping[str, Any] | None = None) -> None:
        self.model = model
        self.ring: OverlapRing = overlap_ring(model)
        self._decays, self._replaced = decay, dict(weights or {})
        self.field: VectorField = drift_field(model, decay).replaced(self._replaced)
        ring = self.ring
        self.Q, self.R, self.T = ring.Q, ring.R, ring.T
        self.v, self.vstar = (
            tuple(ring.replaced(weight, self._replaced) for weight in second)
            for second in (ring.v, ring.vstar)
        )
        self.a, self.b = ring.a * self.v[0], ring.b * self.vstar[0]
        self.denominator = self.field.denominator
        self.decay = ring.eta * ring[WEIGHT_DECAY] if decay else ring.zero
        self.kappa, self.share = 2 * self.a * ring.eta, ring.inverse_batch
        self.s = ring.a * trace(product(ring.Q, diagonal(self.v))) - ring.b * trace(self.FT)
        self.dQ, self.dR = self.along(ring.Q), self.along(ring.R)
        self.dv = tuple(self.field.along(weight) for weight in ring.v) if model.trained else ()

    def with_weights(self, weights: Mapping[str, Any]) -> ModelMatrices:
        """These matrices with replacements for more second-layer weights."""
        return ModelMatrices(self.model, self._decays, {**self._replaced, **weights})

    @property
    def sphere(self) -> bool:
        return self.model.constraint == "sphere"

    @property
    def general(self) -> bool:
        return self.model.teacher == "general"

    @cached_property
    def equal_students(self) -> bool:
        """Whether all students have the same second-layer weight."""
        return all(weight == self.v[0] for weight in self.v)

    @cached_property
    def equal_teachers(self) -> bool:
        """Whether T = 1 and all teachers have the same second-layer weight, so that FT is a number."""
        return not self.general and all(weight == self.vstar[0] for weight in self.vstar)

    @cached_property
    def FT(self) -> Matrix:
        """F T, with F = diag(v*)."""
        return product(diagonal(self.vstar), self.T)

    def along(self, A: Matrix) -> Matrix:
        """The Lie derivatives of the entries, times `denominator`."""
        return tuple(tuple(self.field.along(x) for x in row) for row in A)

    def conserved(self, candidate: Any, domain: InvariantSet | None = None) -> Verdict:
        """The verdict on the claim that a polynomial or a Rational is constant, everywhere or on a set."""
        rational = candidate if isinstance(candidate, Rational) else Rational(candidate, self.ring.one)
        return growth_along(self.field, rational, self.ring.zero, domain)

    def invariant(self, domain: InvariantSet) -> Verdict:
        """The verdict on the claim that no trajectory leaves a set."""
        return invariant_along(self.field, domain)

    def cofactor(self, polynomial: Any) -> Rational | None:
        """The cofactor of a polynomial that divides its Lie derivative, or None."""
        return cofactor_along(self.field, polynomial)

    @cached_property
    def free_field(self) -> VectorField:
        """The drift without the constraint."""
        free = dataclasses.replace(self.model, constraint="free")
        return drift_field(free, self._decays).replaced(self._replaced)

    @cached_property
    def step(self) -> Matrix:
        """(A + D) times `denominator`: A = 2aηV (s + 2aQV) + ηγ with V = diag(v); on the sphere D_ii is
        ½ (free dQ_ii)/Q_ii, else 0.
        """
        a, eta = self.ring.a, self.ring.eta

        def entry(i: int, j: int) -> Any:
            value = 4 * a**2 * eta * self.v[i] * self.v[j] * self.Q[i][j]
            if i == j:
                value += 2 * a * eta * self.v[i] * self.s + self.decay
            value *= self.denominator
            if i == j and self.sphere:
                drift = self.free_field.numerators[f"Q_{i + 1}_{i + 1}"]
                value += drift * self.denominator / self.Q[i][i] / 2
            return value

        return matrix(self.model.p, self.model.p, entry)

    @cached_property
    def growth(self) -> Any:
        """4abη times `denominator`, with the readout weights alone."""
        return 4 * self.ring.a * self.ring.b * self.ring.eta * self.denominator

    @cached_property
    def pull(self) -> Matrix:
        """4abη V R F T times `denominator`, by which teachers attract students or repel them."""
        return combination((self.growth, product(diagonal(self.v), self.R, self.FT)))

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


def refuted_at(
    ring: OverlapRing, polynomials: Iterable[Any], points: Sequence[Point], reason: str
) -> Verdict:
    """Refuted if a polynomial that would have to vanish does not, at one of some exact points."""
    if any(ring.value(polynomial, point) for polynomial in polynomials for point in points):
        return Verdict(REFUTED, reason)
    return Verdict(UNDECIDED, "neither proved nor refuted at a point")


def random_points(ring: OverlapRing, count: int = 2) -> list[dict[str, Any]]:
    """Exact points with random values of all generators, the same each time."""
    generator = random.Random(0)
    return [anywhere(ring, generator) for _ in range(count)]


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
