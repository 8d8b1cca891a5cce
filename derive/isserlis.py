"""Route 1 of the derivation: Gaussian moments component by component, by Isserlis' theorem.

E[z_{i1} … z_{in}] is a sum over all ways to pair the n factors. Each way contributes the product of the
covariances of its pairs (L. Isserlis, Biometrika 12, 134 (1918)). Here every sum over the components of
the pre-activations is written out; nothing is known about matrices.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

Label = str
Pair = tuple[str, str]


@cache
def pairing_sum(word: tuple[Label, ...]) -> tuple[tuple[int, tuple[Pair, ...]], ...]:
    """Isserlis' sum for the product of the Gaussian variables named in `word`.

    Returns terms (multiplicity, pairs), in which equal products are collected. A label that occurs twice
    in the word is the same variable twice. There are no terms if the number of labels is odd.
    """
    if not word:
        return ((1, ()),)
    first, rest = word[0], word[1:]
    total: Counter[tuple[Pair, ...]] = Counter()
    for k, partner in enumerate(rest):
        pair = (first, partner) if first <= partner else (partner, first)
        for multiplicity, pairs in pairing_sum(rest[:k] + rest[k + 1 :]):
            total[tuple(sorted((*pairs, pair)))] += multiplicity
    return tuple(sorted((multiplicity, pairs) for pairs, multiplicity in total.items()))


class ComponentMoments:
    """Moments of e = Σ_k d_k z_k² − n and of the components z, for given covariances.

    z are the pre-activations (λ, λ*) with covariance C. The label noise n is Gaussian with
    variance Δ and independent of z. Values may be of any commutative ring: polynomials for
    a proof, exact numbers at a point.

    Parameters
    ----------
    covariance
        C as nested sequences, (p + p*) × (p + p*); None is an exact zero.
    weights
        d_k, the readout weight of z_k² in e: a for students, −b for teachers.
    noise
        The variance Δ of the label noise; None is an exact zero.
    product, total
        The ring's product of a list of factors, and its sum of a list of terms (integer, product).
        A caller can choose a representation that is faster than operators.
    """

    def __init__(
        self,
        covariance: Sequence[Sequence[Any]],
        weights: Sequence[Any],
        noise: Any,
        product: Callable[[list[Any]], Any],
        total: Callable[[list[tuple[int, Any]]], Any],
    ) -> None:
        self._covariance = covariance
        self._weights = weights
        self._noise = noise
        self._product = product
        self._total = total

    def error_moment(self, power: int, left: Sequence[Any], right: Sequence[Any], joint: Any) -> Any:
        """E[e^power u v] for Gaussian u, v given by their covariances.

        `left[k]` = E[u z_k], `right[k]` = E[v z_k], `joint` = E[u v]. For components,
        u = z_i has left = C[i]. A random combination u of components tests all of them at once.
        """
        return self._moment(power, ("u", "v"), left, right, joint)

    def component_moment(self, power: int, i: int, j: int) -> Any:
        """E[e^power z_i z_j]."""
        covariance = self._covariance
        return self.error_moment(power, covariance[i], covariance[j], covariance[i][j])

    def error_power(self, power: int) -> Any:
        """E[e^power], without a further factor."""
        return self._moment(power, (), (), (), None)

    def _moment(
        self, power: int, outer: tuple[str, ...], left: Sequence[Any], right: Sequence[Any], joint: Any
    ) -> Any:
        terms: list[tuple[int, Any]] = []
        # The product e^power is written out: each factor e is one z_k², or the noise n.
        for choice in itertools.product((*range(len(self._weights)), None), repeat=power):
            indices = [k for k in choice if k is not None]
            noises = power - len(indices)
            # The variables are named by position, not by k, so that the pairing sum of
            # "two squares, u, v" is computed once and reused for all indices.
            squares = (str(position) for position in range(len(indices)) for _ in range(2))
            for multiplicity, pairs in pairing_sum((*squares, *["n"] * noises, *outer)):
                factors = [self._weights[k] for k in indices]
                for first, second in pairs:
                    value = self._pair(first, second, indices, left, right, joint)
                    if value is None:
                        break
                    factors.append(value)
                else:
                    terms.append(((-1) ** noises * multiplicity, self._product(factors)))
        return self._total(terms)

    def _pair(
        self,
        first: str,
        second: str,
        indices: Sequence[int],
        left: Sequence[Any],
        right: Sequence[Any],
        joint: Any,
    ) -> Any:
        """E[first · second]; None stands for an exact zero."""
        if "n" in (first, second):
            return self._noise if first == second else None
        if (first, second) == ("u", "v"):
            return joint
        if second == "u":
            return left[indices[int(first)]]
        if second == "v":
            return right[indices[int(first)]]
        return self._covariance[indices[int(first)]][indices[int(second)]]
