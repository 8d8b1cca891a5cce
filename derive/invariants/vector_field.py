"""Writes the drift as a polynomial vector field, and takes Lie derivatives along it.

The Lie derivative L f = Σ (∂f/∂y_k) dy_k/dα is the rate of change of f along every solution.
On the sphere the drift has the denominators Q_ii; it is kept as polynomials over Π Q_ii.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any

from derive.equations import WEIGHT_DECAY
from derive.errors import InputError
from derive.expansion import evaluate
from derive.flint_polynomials import combiner, context_of
from derive.invariants.ring import OverlapRing, overlap_ring
from derive.model import Model
from derive.pipeline import Pipeline


@dataclasses.dataclass(frozen=True)
class Rational:
    """A rational function of the order parameters, not reduced to lowest terms."""

    numerator: Any
    denominator: Any


class VectorField:
    """dy/dα = numerators / denominator, polynomials in the ring of a model.

    numerators
        The polynomials by the name of the order parameter; an order parameter without one is constant.
    denominator
        1, or Π Q_ii on the sphere.
    """

    def __init__(self, ring: OverlapRing, numerators: Mapping[str, Any], denominator: Any) -> None:
        self.ring = ring
        self.numerators = dict(numerators)
        self.denominator = denominator

    def along(self, polynomial: Any) -> Any:
        """denominator · L(polynomial), a polynomial: the sum of ∂f/∂y_k numerator_k."""
        return sum(
            (polynomial.derivative(name) * numerator for name, numerator in self.numerators.items()),
            start=self.ring.zero,
        )

    def with_values(self, values: Mapping[str, Any]) -> VectorField:
        """The field with numbers for some generators; order parameters among them are held."""
        numerators = {
            name: self.ring.substitute(numerator, values)
            for name, numerator in self.numerators.items()
            if name not in values
        }
        return VectorField(self.ring, numerators, self.ring.substitute(self.denominator, values))

    def replaced(self, replacements: Mapping[str, Any]) -> VectorField:
        """The field with other polynomials in place of some parameters."""
        numerators = {
            name: self.ring.replaced(numerator, replacements) for name, numerator in self.numerators.items()
        }
        return VectorField(self.ring, numerators, self.ring.replaced(self.denominator, replacements))


@lru_cache(maxsize=64)
def drift_field(model: Model, decay: bool = False) -> VectorField:
    """The drift of a model as polynomials, symbolic in a, b and the run-time parameters.

    The program that is generated as code, and that `derive.proof` proves, is evaluated in the ring. With
    `decay` the weight decay γ is symbolic too, otherwise it is 0.
    """
    ring = overlap_ring(model)
    norms = [f"Q_{i}_{i}" for i in range(1, model.p + 1)] if model.constraint == "sphere" else []
    inverses = [f"inverse_{name}" for name in norms]
    larger = context_of([*ring.names, *inverses])
    values = dict(zip(larger.names(), larger.gens(), strict=True))
    if not decay:
        values[WEIGHT_DECAY] = larger.constant(0)
    pairs = [(values[name], values[inverse]) for name, inverse in zip(norms, inverses, strict=True)]
    program = Pipeline.of(model).functions["rhs"]
    drift = evaluate(program, values, combiner(larger), lambda norm: values[f"inverse_{norm}"])

    def cleared(polynomial: Any) -> Any:
        """Π Q_ii · polynomial in the ring of the model; each 1/Q_ii occurs at most once in a term."""
        for norm, inverse in pairs:
            polynomial = polynomial * norm % (norm * inverse - 1)
        terms = {monomial[: len(ring.names)]: x for monomial, x in polynomial.terms()}
        return ring.context.from_dict(terms)

    numerators = {name: cleared(drift[f"d{name}"]) for name in model.state}
    return VectorField(ring, numerators, prod((ring[name] for name in norms), start=ring.one))


def as_rational(candidate: Any, model: Model) -> Rational:
    """The candidate as numerator and denominator in the ring of the model.

    Raises InputError if it is neither a polynomial of `overlap_ring(model)` nor a `Rational` of
    two, or if its denominator is zero.
    """
    ring = overlap_ring(model)
    rational = candidate if isinstance(candidate, Rational) else Rational(candidate, ring.one)
    if not ring.contains(rational.numerator) or not ring.contains(rational.denominator):
        raise InputError("candidate", f"is not made of polynomials of the ring of {model.name}")
    if not rational.denominator:
        raise InputError("candidate", "has the denominator 0")
    return rational


def lie_derivative(candidate: Any, model: Model, *, decay: bool = False) -> Rational:
    """The rate of change dF/dα of a candidate along the drift of `model`, exactly.

    Parameters
    ----------
    candidate
        A polynomial of ``overlap_ring(model)``, or a `Rational` of two.
    decay
        Whether the weight decay γ is symbolic; otherwise it is 0.

    Returns
    -------
    Rational
        Its denominator is that of the candidate squared, on the sphere times Π Q_ii.

    Raises
    ------
    InputError
        The candidate is of another ring, or has the denominator 0.
    """
    rational = as_rational(candidate, model)
    field = drift_field(model, decay)
    above, below = rational.numerator, rational.denominator
    slope = field.along(above) * below - above * field.along(below)
    return Rational(slope, field.denominator * below**2)
