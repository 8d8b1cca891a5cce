"""Proves exactly that a quantity is conserved or grows at a given rate, or that a set is invariant.

All claims are identities of polynomials with a, b and the run-time parameters as indeterminates, so they
hold for every value of the parameters and every readout at once. Only the weight decay γ is 0 unless a
claim is about decay. An identity on a set means that a polynomial is in the ideal of the set's generators.
A claim that fails is refuted by an exact point.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cached_property
from typing import Any

from derive.errors import InputError
from derive.invariants.ideal import Ideal
from derive.invariants.invariant_sets import InvariantSet, Point, anywhere, named_set
from derive.invariants.ring import OverlapRing, exact_quotient, overlap_ring
from derive.invariants.vector_field import Rational, VectorField, as_rational, drift_field
from derive.model import Model

PROVED, REFUTED, UNDECIDED = "proved", "refuted", "undecided"
_POINTS = 4


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a claim.

    status
        ``"proved"``: exact, for all parameters. ``"refuted"``: exact; there are states and
        parameters where it fails. ``"undecided"``: neither was found.
    reason
        What the status follows from, in one line.
    """

    status: str
    reason: str

    @property
    def proved(self) -> bool:
        return self.status == PROVED


def prove_conserved(
    candidate: Any, model: Model, on: str | InvariantSet | None = None, *, decay: bool = False
) -> Verdict:
    """Prove or refute that the Lie derivative of a candidate vanishes, everywhere or on an invariant set.

    Parameters
    ----------
    candidate
        A polynomial of ``overlap_ring(model)``, or a `Rational` of two; nothing is said about states
        where its denominator vanishes.
    model
        The model whose drift is taken; its readout does not matter.
    on
        None for all states, the name of a set of `derive.invariants.invariant_sets`, or an InvariantSet.
        The set is proved to be invariant first; if it is not, its verdict is returned.
    decay
        Whether the claim is about every weight decay γ; otherwise γ = 0.

    Raises
    ------
    InputError
        The candidate is of another ring, its denominator vanishes on the set, or there is no
        such set for this model.
    """
    return prove_growth(candidate, overlap_ring(model).zero, model, on, decay=decay)


def prove_growth(
    candidate: Any, rate: Any, model: Model, on: str | InvariantSet | None = None, *, decay: bool = False
) -> Verdict:
    """Prove or refute dF/dα = rate · F for a polynomial `rate`; the rest is as in `prove_conserved`."""
    if not overlap_ring(model).contains(rate):
        raise InputError("rate", f"is not a polynomial of the ring of {model.name}")
    domain = named_set(on, model, decay) if isinstance(on, str) else on
    return growth_along(drift_field(model, decay), as_rational(candidate, model), rate, domain)


def growth_along(
    field: VectorField, candidate: Rational, rate: Any, domain: InvariantSet | None
) -> Verdict:
    """The verdict on dF/dα = rate · F along a field, everywhere or on a set."""
    excess = _Excess(field, candidate, rate)
    if domain is None:
        return _identically(excess)
    ideal = Ideal(domain.generators)
    if _vanishes(candidate.denominator, field.ring, domain, ideal):
        raise InputError("candidate", f"has a denominator that vanishes on the set {domain.name!r}")
    kept = _invariant(domain, ideal, field)
    return _on_set(excess, "the Lie derivative", domain, ideal) if kept.proved else kept


def prove_invariant(on: str | InvariantSet, model: Model, *, decay: bool = False) -> Verdict:
    """Prove or refute that no trajectory leaves a set: with `decay` for any weight decay γ, else for γ = 0.

    It is proved if the Lie derivatives of the generators are in the ideal of the set.
    """
    domain = named_set(on, model, decay) if isinstance(on, str) else on
    return invariant_along(drift_field(model, decay), domain)


def invariant_along(field: VectorField, domain: InvariantSet) -> Verdict:
    """The verdict on the claim that no trajectory of a field leaves a set."""
    return _invariant(domain, Ideal(domain.generators), field)


class _Excess:
    """(L N) D − N L D − rate N D for a candidate N/D, times the field's denominator: 0 if the claim holds.

    Its value at a point is computed from the factors, since the polynomial may be a thousand times longer.
    """

    def __init__(self, field: VectorField, candidate: Rational, rate: Any) -> None:
        self.field = field
        self.candidate = candidate
        self._rate = rate
        self._slopes = field.along(candidate.numerator), field.along(candidate.denominator)

    def _combined(self, value: Callable[[Any], Any]) -> Any:
        numerator, denominator = value(self.candidate.numerator), value(self.candidate.denominator)
        up, down = (value(slope) for slope in self._slopes)
        rate = value(self._rate) * value(self.field.denominator)
        return up * denominator - numerator * down - rate * numerator * denominator

    @cached_property
    def polynomial(self) -> Any:
        return self._combined(lambda polynomial: polynomial)

    def at(self, point: Point) -> Fraction:
        result: Fraction = self._combined(lambda polynomial: self.field.ring.value(polynomial, point))
        return result


def _points(domain: InvariantSet, ring: OverlapRing) -> Iterator[Point]:
    """Exact points of the set, the same each time; there are none if it has no source of them."""
    generator = random.Random(0)
    for _ in range(_POINTS if domain.point is not None else 0):
        assert domain.point is not None
        point = domain.point(generator)
        if any(ring.value(polynomial, point) for polynomial in domain.generators):
            raise AssertionError(f"a point of the set {domain.name!r} is not on it")
        yield point


def _vanishes(polynomial: Any, ring: OverlapRing, domain: InvariantSet, ideal: Ideal) -> bool:
    """Whether a polynomial is zero on all of the set, as far as is known."""
    if polynomial.is_constant() or any(ring.value(polynomial, point) for point in _points(domain, ring)):
        return False
    return bool(ideal.contains(polynomial))


def _identically(excess: _Excess) -> Verdict:
    # The point need not belong to any weights, since a polynomial that is not zero somewhere is not zero
    # at most physical states either.
    if excess.at(anywhere(excess.field.ring, random.Random(0))):
        return Verdict(REFUTED, "the Lie derivative is not zero at an exact point")
    if excess.polynomial:
        return Verdict(REFUTED, "the Lie derivative is not the zero polynomial")
    return Verdict(PROVED, "the Lie derivative vanishes identically")


def _invariant(domain: InvariantSet, ideal: Ideal, field: VectorField) -> Verdict:
    one, zero = field.ring.one, field.ring.zero
    for generator in domain.generators:
        if not field.ring.contains(generator):
            raise InputError("on", f"the set {domain.name!r} has a generator of another ring")
        what = "the set is not kept: the Lie derivative of a generator"
        verdict = _on_set(_Excess(field, Rational(generator, one), zero), what, domain, ideal)
        if not verdict.proved:
            return verdict
    return Verdict(PROVED, "the Lie derivatives of the generators of the set are in its ideal")


def _on_set(excess: _Excess, what: str, domain: InvariantSet, ideal: Ideal) -> Verdict:
    """The verdict on a Lie derivative that should vanish on the set."""
    # Points come first, since a Gröbner basis may take seconds.
    for point in _points(domain, excess.field.ring):
        if excess.at(point):
            return Verdict(REFUTED, f"{what} is not zero at an exact point of the set")
    contained = ideal.contains(excess.polynomial)
    if contained:
        return Verdict(PROVED, "the Lie derivative is in the ideal of the set")
    if contained is None:
        return Verdict(UNDECIDED, f"{what} was not reduced: no Gröbner basis for so many variables")
    # It may vanish on the set all the same, if the ideal is not radical.
    return Verdict(UNDECIDED, f"{what} is not in the ideal of the set")


def cofactor(polynomial: Any, model: Model, *, decay: bool = False) -> Rational | None:
    """k with L f = k f for a Darboux polynomial f, or None if f does not divide L f.

    The zeros of f are then an invariant set, and f keeps its sign along every trajectory. A product of
    powers Π fᵢ^nᵢ of Darboux polynomials grows at the rate Σ nᵢ kᵢ (G. Darboux, Bull. Sci. Math. 2, 60
    (1878)). On the sphere k has the denominator Π Q_ii. The weight decay γ is 0 without `decay`.

    Raises InputError if the polynomial is of another ring, or constant.
    """
    rational = as_rational(polynomial, model)
    if rational.numerator.is_constant():
        raise InputError("candidate", "is constant")
    return cofactor_along(drift_field(model, decay), rational.numerator)


def cofactor_along(field: VectorField, polynomial: Any) -> Rational | None:
    """The cofactor of a polynomial along a field, or None."""
    quotient = exact_quotient(field.along(polynomial), polynomial)
    return None if quotient is None else Rational(quotient, field.denominator)
