"""Route 2 of the derivation: Gaussian moments without indices, by Wick's theorem, for any widths.

The pre-activations z = (λ, λ*) are Gaussian with covariance C, and D = diag(a, …, −b, …) has the readout
weights, so that f − y = zᵀDz without noise. In E[(zᵀDz)ᵏ z zᵀ] every factor D has two legs, and each of
the two outer z has one. A pairing joins the legs in pairs, and each join is a covariance C. So the factors
D fall into closed loops and one open chain between the outer z. With m factors a loop is worth tr((DC)ᵐ)
and the chain C(DC)ᵐ. Nothing depends on the size of the matrices, so the result holds for any p and p*
(docs/theory.md).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from math import comb

Pairing = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, order=True)
class Diagram:
    """A product of closed loops, at most one open chain, and a power of Δ.

    loops
        The exponents m of the factors tr((DC)ᵐ), sorted.
    chain
        The exponent m of the factor C(DC)ᵐ; None where the moment has no outer z.
    noise
        The power of the label-noise variance Δ.
    """

    loops: tuple[int, ...]
    chain: int | None
    noise: int


def pairings(legs: tuple[int, ...]) -> Iterator[Pairing]:
    """All ways to join the legs in pairs; there is none for an odd number of legs."""
    if not legs:
        yield ()
        return
    first = legs[0]
    for k in range(1, len(legs)):
        for rest in pairings(legs[1:k] + legs[k + 1 :]):
            yield ((first, legs[k]), *rest)


def _diagram(pairing: Pairing, factors: int, outer: bool) -> tuple[tuple[int, ...], int | None]:
    """Loops and chain of one pairing; factor k has the legs 2k and 2k + 1, and the outer z the last two."""
    partner: dict[int, int] = {}
    for left, right in pairing:
        partner[left], partner[right] = right, left
    visited: set[int] = set()

    def follow(leg: int, stop: int) -> int:
        """The number of factors D on the way from `leg` to `stop`."""
        met = 0
        while partner[leg] != stop:
            # The way enters a factor by one leg and leaves it by the other.
            leg = partner[leg] ^ 1
            visited.add(leg // 2)
            met += 1
        return met

    chain = follow(2 * factors, 2 * factors + 1) if outer else None
    loops = []
    for factor in range(factors):
        if factor not in visited:
            loops.append(1 + follow(2 * factor, 2 * factor + 1))
    return tuple(sorted(loops)), chain


def quadratic_moment(power: int, outer: bool) -> Counter[Diagram]:
    """E[(zᵀDz)^power z zᵀ] with `outer`, else E[(zᵀDz)^power]: how often each diagram occurs."""
    legs = tuple(range(2 * power + (2 if outer else 0)))
    total: Counter[Diagram] = Counter()
    for pairing in pairings(legs):
        loops, chain = _diagram(pairing, power, outer)
        total[Diagram(loops, chain, 0)] += 1
    return total


def error_moment(power: int, outer: bool = True) -> dict[Diagram, int]:
    """E[e^power z zᵀ] with `outer`, else E[e^power], for e = zᵀDz − √Δ ξ and ξ ~ N(0, 1) independent of z.

    The power is expanded in ξ by the binomial theorem; E[ξ^2m] is the number of ways to pair 2m legs.
    """
    total: Counter[Diagram] = Counter()
    for k in range(0, power + 1, 2):
        noise_pairings = sum(1 for _ in pairings(tuple(range(k))))
        for diagram, multiplicity in quadratic_moment(power - k, outer).items():
            noisy = dataclasses.replace(diagram, noise=k // 2)
            total[noisy] += comb(power, k) * noise_pairings * multiplicity
    return dict(sorted(total.items(), key=lambda item: (item[0].chain or 0, item[0])))
