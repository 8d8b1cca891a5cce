"""Route 1 for any polynomial activation: Gaussian moments as sums over components, by Isserlis' theorem.

Every moment is a sum over all units and all powers in the activations, and each product of Gaussian
variables is that of `pairing_terms`: no graph and no moment of one factor occurs. Numbers are residues
modulo primes at random points, or polynomials; `Arithmetic` has what differs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Any, Protocol

import numpy as np

from derive.activation import Activation
from derive.model import Model
from derive.polynomial.pairing_terms import Pairs, pairing_terms

# Arrays of numbers; the last axis is that of the points.
Numbers = np.ndarray
# Moments of the noise are computed in parts of about this many numbers.
TOGETHER = 2**18


class Arithmetic(Protocol):
    """What arrays of residues and of polynomials do differently."""

    dtype: Any

    def number(self, value: Fraction) -> Numbers:
        """A rational number, as an array over the points."""

    def reduced(self, values: Numbers) -> Numbers:
        """A product of two values or a sum of some of them in their normal form."""


class _Products:
    """Products of powers of covariances, which are arrays that broadcast together; small ones are kept."""

    def __init__(
        self, arithmetic: Arithmetic, covariance: Mapping[tuple[int, int], Numbers], shape: tuple[int, ...]
    ) -> None:
        self._arithmetic, self._covariance, self._shape = arithmetic, covariance, shape
        self._known: dict[Any, Numbers] = {}

    def _power(self, pair: tuple[int, int], exponent: int) -> Numbers:
        if exponent == 1:
            return self._covariance[pair]
        key = (pair, exponent)
        if key not in self._known:
            lower = self._power(pair, exponent - 1)
            self._known[key] = self._arithmetic.reduced(lower * self._covariance[pair])
        return self._known[key]

    def of(self, coefficient: Numbers, counts: Pairs) -> Numbers:
        """coefficient · Π covariance[pair]^power; the smallest arrays are multiplied first."""
        parts = [(frozenset([item]), self._power(*item)) for item in counts]
        for k, m in merges(tuple(array.shape for _, array in parts)):
            (right_key, right), (left_key, left) = parts.pop(m), parts.pop(k)
            if not parts:
                smaller, larger = sorted((left, right), key=lambda array: array.size)
                return self._arithmetic.reduced(self._arithmetic.reduced(coefficient * smaller) * larger)
            key = left_key | right_key
            product = self._known.get(key)
            if product is None:
                product = self._arithmetic.reduced(left * right)
                if product.shape != self._shape:
                    self._known[key] = product
            parts.append((key, product))
        return self._arithmetic.reduced(coefficient * parts[0][1]) if parts else coefficient


@lru_cache(maxsize=4096)
def merges(shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, int], ...]:
    """In which order arrays of these shapes are multiplied, the smallest product first.

    The arrays at two places k < m are taken out of a list, and their product is added to its end.
    """
    left, found = list(shapes), []
    while len(left) > 1:
        pairs = itertools.combinations(range(len(left)), 2)
        k, m = min(pairs, key=lambda pair: prod(np.broadcast_shapes(left[pair[0]], left[pair[1]])))
        found.append((k, m))
        second, first = left.pop(m), left.pop(k)
        left.append(np.broadcast_shapes(first, second))
    return tuple(found)


def moment(
    arithmetic: Arithmetic,
    polynomials: Sequence[Sequence[Fraction]],
    covariance: Mapping[tuple[int, int], Numbers],
) -> Numbers:
    """E[Π h_k(z_k)] by Isserlis; covariance[k, l] are arrays that broadcast together."""
    # The shape is that of the indices even if a moment does not depend on some of them.
    shape = np.broadcast_shapes(*(x.shape for x in covariance.values()))
    products = _Products(arithmetic, covariance, shape)
    total = np.zeros(shape, dtype=arithmetic.dtype)
    # Fewer than 2^32 residues are added, so that the sum fits into 64 bits.
    for coefficient, counts in pairing_terms(polynomials):
        total += products.of(arithmetic.number(coefficient), counts)
    return arithmetic.reduced(total)


class ActivationMoments:
    """The moments that the drift and the loss are made of, for covariances and weights of all units.

    arithmetic
        That of all numbers.
    covariance
        C as an array (units, units, points), students first.
    weights
        The weights of the units in the error, a vᵢ and −b v*ᵣ, as an array (units, points).
    label_noise
        Δ as an array over the points.
    """

    def __init__(
        self,
        model: Model,
        arithmetic: Arithmetic,
        covariance: Numbers,
        weights: Numbers,
        label_noise: Numbers,
    ) -> None:
        self.arithmetic, self.covariance, self.weights = arithmetic, covariance, weights
        self.label_noise = label_noise
        student, teacher = model.activations
        self.student = student
        self._kinds: tuple[tuple[range, Activation], ...] = (
            (range(model.p), student),
            (range(model.p, model.p + model.pstar), teacher),
        )

    def _moment(self, polynomials: Sequence[Sequence[Fraction]], *indices: Numbers) -> Numbers:
        """E[Π h_k(z_k)], where each index is an array of units that broadcasts with the others."""
        covariance = {
            (k, m): self.covariance[indices[k], indices[m]]
            for k in range(len(indices))
            for m in range(k, len(indices))
        }
        return moment(self.arithmetic, polynomials, covariance)

    def _sum(self, values: Numbers, axes: int) -> Numbers:
        """The sum over the first axes."""
        for _ in range(axes):
            values = self.arithmetic.reduced(np.sum(values, axis=0))
        return values

    def mean(self, outer: Sequence[Fraction], i: Numbers, j: Numbers | None) -> Numbers:
        """E[e h(λᵢ) z_j] (…, points) for arrays of units of one shape; without j, E[e h(λᵢ)]."""
        parts = []
        for units, activation in self._kinds:
            m = np.array(units).reshape(-1, *[1] * i.ndim)
            polynomials, indices = [activation.coefficients, outer], [m, i[None]]
            if j is not None:
                polynomials.append((Fraction(0), Fraction(1)))
                indices.append(j[None])
            weights = self.weights[list(units)].reshape(len(units), *[1] * i.ndim, -1)
            found = self.arithmetic.reduced(weights * self._moment(polynomials, *indices))
            parts.append(self._sum(found, 1))
        return self.arithmetic.reduced(parts[0] + parts[1])

    def _squared_error(self, outer: Sequence[Sequence[Fraction]], *indices: Numbers) -> Numbers:
        """E[e² Π h(z)] without label noise, for arrays of units of one shape."""
        ones = [1] * (indices[0].ndim if indices else 0)
        total: Any = 0
        for (units, first), (others, second) in itertools.product(self._kinds, repeat=2):
            m, n = np.array(units).reshape(-1, 1, *ones), np.array(others).reshape(1, -1, *ones)
            left = self.weights[list(units)].reshape(len(units), 1, *ones, -1)
            right = self.weights[list(others)].reshape(1, len(others), *ones, -1)
            weights = self.arithmetic.reduced(left * right)
            outers = (index[None, None] for index in indices)
            found = self._moment([first.coefficients, second.coefficients, *outer], m, n, *outers)
            total = total + self._sum(self.arithmetic.reduced(weights * found), 2)
        return self.arithmetic.reduced(total)

    def noise(self, i: Numbers, j: Numbers) -> Numbers:
        """E[e² σ'(λᵢ) σ'(λⱼ)] (…, points) for arrays of students, label noise included."""
        slope = self.student.derivative(1)
        units, _, points = self.covariance.shape
        size = max(1, TOGETHER // (units**2 * points))
        parts = [
            self._squared_error([slope, slope], i[k : k + size], j[k : k + size])
            for k in range(0, len(i), size)
        ]
        of_labels = self.arithmetic.reduced(self.label_noise * self._moment([slope, slope], i, j))
        return self.arithmetic.reduced(np.concatenate(parts) + of_labels)

    def loss(self) -> Numbers:
        """½ E[e²] without label noise."""
        return self.arithmetic.reduced(self._squared_error([]) * self.arithmetic.number(Fraction(1, 2)))
