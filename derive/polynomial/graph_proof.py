"""Proves that the program made from graphs computes the moments of activations, written in components.

Route 1 is `component_moments`. Route 2 is evaluated as it is generated, entry by entry. Both are compared
in each entry of the drift and in the loss: as polynomials where these are short, and else at random points.
The coordinates of each point are drawn modulo a prime, which differs from point to point. By the lemma of
Schwartz and Zippel (J. T. Schwartz, J. ACM 27, 701 (1980)), a wrong program of degree d passes a point with
probability at most d over the prime, unless all coefficients of the difference are divisible by this prime.
No prime divides a number in the activations, so that none makes an activation shorter.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

import numpy as np

from derive.activation import Activation
from derive.errors import InputError
from derive.expansion import evaluate
from derive.model import Model
from derive.overlap_program import DV, LOSS
from derive.polynomial.component_moments import ActivationMoments, Arithmetic, Numbers, pairing_terms
from derive.program import Program
from derive.proof import Proof, ProofError, _compare, _covariance_names, _free_outputs, _prove_sphere
from derive.proof_polynomials import ProofPolynomials, no_reciprocal

# So many points bound the chance that a difference is missed to 2^-100 and less.
POINTS = 5
# Route 1 sums so many products at most. Ten million take a second.
LARGEST_PROOF = 2 * 10**9
# Above this many products the polynomials are too long to expand in half a second.
POLYNOMIAL_BUDGET = 15_000


@cache
def _primes_from(largest: int) -> int:
    """The largest prime up to a number."""
    from flint import fmpz

    return next(k for k in range(largest, 1, -1) if fmpz(k).is_prime())


@lru_cache(maxsize=64)
def primes_for(activations: tuple[Activation, ...]) -> tuple[int, ...]:
    """The largest primes below 2^31 that divide no numerator or denominator in the activations."""
    coefficients = [c for activation in activations for c in activation.coefficients if c]
    found: list[int] = []
    prime = 2**31
    while len(found) < POINTS:
        prime = _primes_from(prime - 1)
        if all(c.numerator % prime and c.denominator % prime for c in coefficients):
            found.append(prime)
    return tuple(found)


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


class _Polynomials:
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
            for row in _covariance_names(model)
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


def _component_drift(
    model: Model, values: Mapping[str, Numbers], arithmetic: Arithmetic
) -> dict[str, Numbers]:
    """Route 1: every entry of the free drift, and the loss."""
    moments, reduced, p = _component_moments(model, values, arithmetic), arithmetic.reduced, model.p
    units = p + model.pstar
    dQ, dR, *_ = (output.name for output in _free_outputs(model))
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


def component_products(model: Model) -> int:
    """The number of products that route 1 sums for all entries of the noise, or of the mean without it."""
    students = model.p * (model.p + 1) // 2
    student, teacher = model.activations
    slope, z = student.derivative(1), (Fraction(0), Fraction(1))
    kinds = ((model.p, student.coefficients), (model.pstar, teacher.coefficients))
    entries = model.p * (model.p + model.pstar)
    count = sum(entries * width * _terms((g, slope, z)) for width, g in kinds)
    if model.flow == "sgd":
        for (width, g), (other, h) in itertools.product(kinds, repeat=2):
            count += students * width * other * _terms((g, h, slope, slope))
    return count


@lru_cache(maxsize=256)
def _terms(polynomials: tuple[tuple[Fraction, ...], ...]) -> int:
    return sum(1 for _ in pairing_terms(polynomials))


def check_size(model: Model) -> None:
    """Raise InputError for a model whose proof would take more than some minutes."""
    products = 0 if model.quadratic else component_products(model)
    if products > LARGEST_PROOF:
        raise InputError(
            "activation",
            f"p = {model.p}, p* = {model.pstar} with {model.activation} needs {products:.0e} products in"
            f" the proof, and at most {LARGEST_PROOF:.0e} are computed: take smaller widths or degrees",
        )


def graph_proof_record(model: Model) -> Proof:
    """What `prove_graphs` returns for a model."""
    compared = model.state_size + 1
    if component_products(model) <= POLYNOMIAL_BUDGET:
        return Proof("polynomial identity", compared)
    degree = degree_bound(model)
    bound = math.ceil(sum(math.log2(degree / prime) for prime in primes_for(model.activations)))
    return Proof("random points", compared, POINTS, bound)


def degree_bound(model: Model) -> int:
    """A bound on the degree of the drift and of the loss in all their variables together."""
    # In the noise κ² and 1/B have 5 with their second-layer weights 7, and two units of the error have 2
    # with their weights 4. The moment of two activations and two slopes has half of their degrees.
    student, teacher = (activation.degree for activation in model.activations)
    return (11 if model.weighted else 7) + max(student, teacher) + student - 1


def prove_graphs(model: Model, program: Program, seed: int = 0) -> Proof:
    """Compare both routes; raises ProofError, which names the first entry that differs."""
    record = graph_proof_record(model)
    kept = program.restricted_to((*_free_outputs(model), LOSS))
    names = ("a", "b", *model.parameters, *model.state)
    try:
        if record.points:
            sides = _at_points(model, kept, names, random.Random(seed))
        else:
            sides = _as_polynomials(model, kept, names)
        _compare(model, *sides)
        if model.constraint == "sphere":
            _prove_sphere(model, program)
    except (KeyError, NotImplementedError) as error:
        # A wrong program may read a name that does not exist, or divide where nothing is divided.
        raise ProofError(f"{model.name}: the program cannot be compared: {error!r}") from error
    return record


def _at_points(
    model: Model, program: Program, names: Iterable[str], generator: random.Random
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both routes at random points."""
    primes = primes_for(model.activations)
    residues = Residues(primes)
    values = {name: np.array([generator.randint(1, p - 1) for p in primes]) for name in names}
    derived = evaluate(program, values, residues.combine, no_reciprocal)
    expected = _component_drift(model, values, residues)
    found, wanted = ({name: x.tolist() for name, x in side.items()} for side in (derived, expected))
    return found, wanted


def _as_polynomials(
    model: Model, program: Program, names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both routes as polynomials."""
    ring = ProofPolynomials(list(names))
    values = {name: one_point(value) for name, value in ring.values.items()}
    derived = evaluate(program, ring.values, ring.combine, no_reciprocal)
    expected = _component_drift(model, values, _Polynomials(ring))
    return derived, {name: x.item() for name, x in expected.items()}
