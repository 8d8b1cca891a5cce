"""Route 1 for any polynomial activation: drift and loss in components, at points or as polynomials."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from derive.expansion import evaluate
from derive.model import Model
from derive.overlap_program import DV, LOSS
from derive.polynomial.component_moments import ActivationMoments, Arithmetic, Numbers
from derive.program import Program
from derive.proof import covariance_names, free_outputs
from derive.proof_polynomials import ProofPolynomials, no_reciprocal


class Residues:
    """Arrays of integers at the points, each point modulo its own prime; products fit into 64 bits."""

    dtype: Any = np.int64

    def __init__(self, primes: Sequence[int]) -> None:
        self.primes = np.array(primes, dtype=np.int64)
        self._numbers: dict[Fraction, Numbers] = {}

    def number(self, value: Fraction) -> Numbers:
        if value not in self._numbers:
            residues = [value.numerator * pow(value.denominator, -1, p) % p for p in self.primes.tolist()]
            self._numbers[value] = np.array(residues)
        return self._numbers[value]

    def reduced(self, values: Numbers) -> Numbers:
        return np.asarray(values % self.primes)

    def combine(self, terms: Iterable[tuple[Fraction, Sequence[Any]]]) -> Numbers:
        """The sum of terms (coefficient, factors), for `evaluate`."""
        total = np.zeros(len(self.primes), dtype=np.int64)
        for coefficient, factors in terms:
            value = self.number(coefficient)
            for factor in factors:
                value = value * factor % self.primes
            total += value
        return self.reduced(total)

    def reciprocal(self, value: Numbers) -> Numbers:
        pairs = zip(value.tolist(), self.primes.tolist(), strict=True)
        return np.array([pow(x, -1, prime) for x, prime in pairs])


def one_point(polynomial: Any) -> Numbers:
    """A polynomial in an array with one entry."""
    found = np.empty(1, dtype=object)
    # NumPy would take the terms of a polynomial for those of a sequence.
    found[0] = polynomial
    return found


class Polynomials:
    """Arrays of polynomials, as if there were one point."""

    dtype: Any = object

    def __init__(self, ring: ProofPolynomials) -> None:
        self.ring = ring

    def number(self, value: Fraction) -> Numbers:
        return one_point(self.ring.context.constant(self.ring.number(value)))

    def reduced(self, values: Numbers) -> Numbers:
        return np.asarray(values, dtype=object)


def _component_moments(
    model: Model, values: Mapping[str, Numbers], arithmetic: Arithmetic
) -> ActivationMoments:
    """Route 1 for these values of the parameters and of the state, arrays over the points."""
    numbers = {0: arithmetic.number(Fraction(0)), 1: arithmetic.number(Fraction(1))}
    covariance = np.stack(
        [
            np.stack([values[name] if isinstance(name, str) else numbers[name] for name in row])
            for row in covariance_names(model)
        ]
    )

    def weight(readout: str, letter: str, k: int) -> Numbers:
        if not model.weighted:
            return values[readout]
        return arithmetic.reduced(values[readout] * values[f"{letter}_{k + 1}"])

    students = [weight("a", "v", i) for i in range(model.p)]
    teachers = [arithmetic.reduced(-weight("b", "vstar", r)) for r in range(model.pstar)]
    weights = np.stack([*students, *teachers])
    return ActivationMoments(model, arithmetic, covariance, weights, values["label_noise"])


def component_drift(
    model: Model, values: Mapping[str, Numbers], arithmetic: Arithmetic
) -> dict[str, Numbers]:
    """Route 1: every entry of the free drift, and the loss."""
    moments, reduced, p = _component_moments(model, values, arithmetic), arithmetic.reduced, model.p
    units = p + model.pstar
    dQ, dR, *_ = (output.name for output in free_outputs(model))
    slope = moments.student.derivative(1)
    steps = [reduced(moments.weights[i] * values["eta"]) for i in range(p)]
    decay = reduced(values["eta"] * values["weight_decay"])
    rows, columns = (x.ravel() for x in np.indices((p, units)))
    mean = moments.mean(slope, rows, columns).reshape(p, units, -1)
    pairs = list(itertools.combinations_with_replacement(range(p), 2))
    first, second = (np.array([pair[k] for pair in pairs]) for k in (0, 1))
    noise = moments.noise(first, second) if model.flow == "sgd" else None
    found = {}
    for number, (i, j) in enumerate(pairs):
        change = reduced(-steps[i] * mean[i, j]) + reduced(-steps[j] * mean[j, i])
        change = change - 2 * reduced(decay * moments.covariance[i, j])
        if noise is not None:
            both = reduced(reduced(steps[i] * steps[j]) * values["inverse_batch"])
            change = change + reduced(both * noise[number])
        found[f"{dQ}_{i + 1}_{j + 1}"] = reduced(change)
    for i, r in itertools.product(range(p), range(model.pstar)):
        change = reduced(-steps[i] * mean[i, p + r]) - reduced(decay * moments.covariance[i, p + r])
        found[f"{dR}_{i + 1}_{r + 1}"] = reduced(change)
    if model.trained:
        error = moments.mean(moments.student.coefficients, np.arange(p), None)
        rate = reduced(values["eta_second"] * values["a"])
        found |= {f"{DV.name}_{i + 1}": reduced(-rate * error[i]) for i in range(p)}
    return found | {LOSS: moments.loss()}


def at_points(
    model: Model, program: Program, names: Iterable[str], primes: Sequence[int], generator: random.Random
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both routes at random points."""
    residues = Residues(primes)
    values = {name: np.array([generator.randint(1, p - 1) for p in primes]) for name in names}
    derived = evaluate(program, values, residues.combine, no_reciprocal)
    expected = component_drift(model, values, residues)
    found, wanted = ({name: x.tolist() for name, x in side.items()} for side in (derived, expected))
    return found, wanted


def as_polynomials(
    model: Model, program: Program, names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both routes as polynomials."""
    ring = ProofPolynomials(list(names))
    values = {name: one_point(value) for name, value in ring.values.items()}
    derived = evaluate(program, ring.values, ring.combine, no_reciprocal)
    expected = component_drift(model, values, Polynomials(ring))
    return derived, {name: x.item() for name, x in expected.items()}
