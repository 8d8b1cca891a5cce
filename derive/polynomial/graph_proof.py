"""Proves that the program made from graphs computes the moments of activations, written in components.

Route 1 writes every moment as a sum over all units and all powers of the activations, and each product of
Gaussian variables by Isserlis' theorem (`isserlis.pairing_sum`): no graph, no matrix and no moment of one
factor occurs. Route 2 is evaluated as it is generated, entry by entry. Both are compared in each entry of
the drift and in the loss, at random points whose coordinates are drawn modulo a prime. By the lemma of
Schwartz and Zippel (J. T. Schwartz, J. ACM 27, 701 (1980)), a wrong program of degree d passes a point with
probability at most d over the prime, unless all coefficients of the difference are divisible by it.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from derive.activation import Activation
from derive.expansion import evaluate
from derive.isserlis import pairing_sum
from derive.model import Model
from derive.overlap_program import DV, LOSS
from derive.program import Program
from derive.proof import (
    Proof,
    ProofError,
    _compare,
    _covariance_names,
    _free_outputs,
    _prove_sphere,
)

# The largest prime below 2^31: products of two residues fit into 64 bits.
PRIME = 2**31 - 1
# So many points bound the chance that a difference is missed to 2^-100 and less.
POINTS = 5
# Entries of the noise are computed in parts of this many numbers.
_TOGETHER = 2**19

Residues = np.ndarray


def residue(value: Fraction) -> int:
    """A rational number modulo the prime."""
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME


@lru_cache(maxsize=4096)
def _pairings(powers: tuple[int, ...]) -> tuple[tuple[int, dict[tuple[int, int], int]], ...]:
    """Isserlis' sum of Π z_k^powers_k: multiplicities, and how often each pair of factors occurs."""
    word = tuple(str(k) for k, power in enumerate(powers) for _ in range(power))
    terms = []
    for multiplicity, pairs in pairing_sum(word):
        counts: dict[tuple[int, int], int] = {}
        for first, second in pairs:
            key = (int(first), int(second))
            counts[key] = counts.get(key, 0) + 1
        terms.append((multiplicity, counts))
    return tuple(terms)


def moment(
    polynomials: Sequence[Sequence[Fraction]], covariance: Mapping[tuple[int, int], Residues]
) -> Residues:
    """E[Π h_k(z_k)] modulo the prime, by Isserlis; covariance[k, l] are arrays that broadcast together."""
    # The shape is that of the indices even if a moment does not depend on some of them.
    shape = np.broadcast_shapes(*(x.shape for x in covariance.values()))
    total = np.zeros(shape, dtype=np.int64)
    powers_of: dict[tuple[tuple[int, int], int], Residues] = {}

    def power(pair: tuple[int, int], exponent: int) -> Residues:
        key = (pair, exponent)
        if key not in powers_of:
            base = covariance[pair]
            powers_of[key] = base if exponent == 1 else power(pair, exponent - 1) * base % PRIME
        return powers_of[key]

    for powers in itertools.product(*(range(len(polynomial)) for polynomial in polynomials)):
        coefficient = Fraction(1)
        for polynomial, k in zip(polynomials, powers, strict=True):
            coefficient *= polynomial[k]
        if not coefficient or sum(powers) % 2:
            continue
        for multiplicity, counts in _pairings(powers):
            value: Any = np.int64(residue(coefficient * multiplicity))
            for pair, exponent in counts.items():
                value = value * power(pair, exponent) % PRIME
            total = (total + value) % PRIME
    return total


class _Components:
    """Route 1 at the points: covariances of all units (units, units, points), and weights of the error."""

    def __init__(self, model: Model, values: Mapping[str, Residues]) -> None:
        self.model, self.values = model, values
        student, teacher = model.activations
        self.p, self.units = model.p, model.p + model.pstar
        points = len(values["eta"])
        full = np.empty((self.units, self.units, points), dtype=np.int64)
        for k, row in enumerate(_covariance_names(model)):
            for m, name in enumerate(row):
                full[k, m] = values[name] if isinstance(name, str) else name
        self.covariance = full
        self.activations = [student] * model.p + [teacher] * model.pstar
        v, vstar = ("v", "vstar") if model.weighted else (None, None)
        self.weights = np.array(
            [self._weight("a", v, i, 1) for i in range(model.p)]
            + [self._weight("b", vstar, r, PRIME - 1) for r in range(model.pstar)]
        )
        self.student = student

    def _weight(self, readout: str, letter: str | None, k: int, sign: int) -> Residues:
        weight = self.values[readout] * sign % PRIME
        if letter is not None:
            weight = weight * self.values[f"{letter}_{k + 1}"] % PRIME
        return np.asarray(weight)

    def _moment(self, polynomials: Sequence[Sequence[Fraction]], *indices: Residues) -> Residues:
        """E[Π h_k(z_k)], where each index is an array of units that broadcasts with the others."""
        covariance = {
            (k, m): self.covariance[indices[k], indices[m]]
            for k in range(len(indices))
            for m in range(k, len(indices))
        }
        return moment(polynomials, covariance)

    def _kinds(self) -> Iterable[tuple[range, Activation]]:
        """The units of each kind with their activation."""
        yield range(self.p), self.student
        yield range(self.p, self.units), self.activations[-1]

    def mean(self, outer: Sequence[Fraction], i: Residues, j: Residues | None) -> Residues:
        """E[e h(λᵢ) z_j] (…, points) for arrays of units of one shape; without j, E[e h(λᵢ)]."""
        total: Any = 0
        for units, activation in self._kinds():
            m = np.array(units).reshape(-1, *[1] * i.ndim)
            polynomials, indices = [activation.coefficients, outer], [m, i[None]]
            if j is not None:
                polynomials.append((Fraction(0), Fraction(1)))
                indices.append(j[None])
            weights = self.weights[list(units)].reshape(len(units), *[1] * i.ndim, -1)
            total = (total + np.sum(weights * self._moment(polynomials, *indices) % PRIME, axis=0)) % PRIME
        return np.asarray(total)

    def noise(self, i: Residues, j: Residues) -> Residues:
        """E[e² σ'(λᵢ) σ'(λⱼ)] (…, points) for students, label noise included."""
        slope = self.student.derivative(1)
        total: Any = self.values["label_noise"] * self._moment([slope, slope], i, j) % PRIME
        for (units, first), (others, second) in itertools.product(self._kinds(), repeat=2):
            m, n = np.array(units).reshape(-1, 1, 1), np.array(others).reshape(1, -1, 1)
            weights = (
                self.weights[list(units)][:, None, None] * self.weights[list(others)][None, :, None] % PRIME
            )
            found = self._moment([first.coefficients, second.coefficients, slope, slope], m, n, i, j)
            summed = np.sum(np.sum(weights * found % PRIME, axis=0) % PRIME, axis=0)
            total = (total + summed) % PRIME
        return np.asarray(total)

    def loss(self) -> Residues:
        """½ E[e²] without label noise."""
        total: Any = 0
        for (units, first), (others, second) in itertools.product(self._kinds(), repeat=2):
            m, n = np.array(units)[:, None], np.array(others)[None, :]
            weights = self.weights[list(units)][:, None] * self.weights[list(others)][None, :] % PRIME
            found = self._moment([first.coefficients, second.coefficients], m, n)
            total = (total + np.sum(np.sum(weights * found % PRIME, axis=0) % PRIME, axis=0)) % PRIME
        return np.asarray(total * residue(Fraction(1, 2)) % PRIME)


def _component_drift(components: _Components) -> dict[str, Residues]:
    """Route 1: every entry of the free drift, and the loss."""
    model, values, p = components.model, components.values, components.p
    dQ, dR, *_ = (output.name for output in _free_outputs(model))
    slope = components.student.derivative(1)
    steps = [components.weights[i] * values["eta"] % PRIME for i in range(p)]
    decay = values["eta"] * values["weight_decay"] % PRIME
    rows, columns = (x.ravel() for x in np.indices((p, components.units)))
    mean = components.mean(slope, rows, columns).reshape(p, components.units, -1)
    found = {}
    pairs = list(itertools.combinations_with_replacement(range(p), 2))
    first, second = (np.array([pair[k] for pair in pairs]) for k in (0, 1))
    noise = components.noise(first, second) if model.flow == "sgd" else None
    for number, (i, j) in enumerate(pairs):
        change = -steps[i] * mean[i, j] % PRIME - steps[j] * mean[j, i] % PRIME
        change -= 2 * (decay * components.covariance[i, j] % PRIME)
        if noise is not None:
            both = steps[i] * steps[j] % PRIME * values["inverse_batch"] % PRIME
            change += both * noise[number] % PRIME
        found[f"{dQ}_{i + 1}_{j + 1}"] = change % PRIME
    for i, r in itertools.product(range(p), range(model.pstar)):
        change = -steps[i] * mean[i, p + r] % PRIME - decay * components.covariance[i, p + r] % PRIME
        found[f"{dR}_{i + 1}_{r + 1}"] = change % PRIME
    if model.trained:
        error = components.mean(components.student.coefficients, np.arange(p), None)
        rate = values["eta_second"] * values["a"] % PRIME
        found |= {f"{DV.name}_{i + 1}": -rate * error[i] % PRIME for i in range(p)}
    return found | {LOSS: components.loss()}


def _evaluated(program: Program, values: Mapping[str, Residues]) -> dict[str, Residues]:
    """Route 2: the program modulo the prime."""

    def combine(terms: Iterable[tuple[Fraction, Sequence[Any]]]) -> Residues:
        total: Any = np.zeros(POINTS, dtype=np.int64)
        for coefficient, factors in terms:
            value: Any = np.int64(residue(coefficient))
            for factor in factors:
                value = value * factor % PRIME
            total = (total + value) % PRIME
        return np.asarray(total)

    def reciprocal(value: Residues) -> Residues:
        return np.array([pow(int(x), -1, PRIME) for x in value], dtype=np.int64)

    return evaluate(program, values, combine, reciprocal)


def graph_proof_record(model: Model) -> Proof:
    """What `prove_graphs` returns for a model."""
    # κ² and 1/B have 5, two second-layer weights and two of D with their readouts 6, the moments of twice
    # both activations as many as their degrees, and the denominators of the sphere 2.
    degree = 13 + 2 * sum(activation.degree for activation in model.activations)
    bound = math.ceil(POINTS * math.log2(degree / PRIME))
    return Proof("random points", model.state_size + 1, POINTS, bound)


def prove_graphs(model: Model, program: Program, seed: int = 0) -> Proof:
    """Compare both routes; raises ProofError, which names the first entry that differs."""
    generator = random.Random(seed)
    values = {
        name: np.array([generator.randint(1, PRIME - 1) for _ in range(POINTS)], dtype=np.int64)
        for name in ("a", "b", *model.parameters, *model.state)
    }
    try:
        derived = _evaluated(program.restricted_to((*_free_outputs(model), LOSS)), values)
    except (KeyError, NotImplementedError) as error:
        raise ProofError(f"{model.name}: the program cannot be compared: {error!r}") from error
    expected = _component_drift(_Components(model, values))
    _compare(model, *({name: x.tolist() for name, x in side.items()} for side in (derived, expected)))
    if model.constraint == "sphere":
        _prove_sphere(model, program)
    return graph_proof_record(model)
