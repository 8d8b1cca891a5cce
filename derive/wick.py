"""Route 2 of the derivation: Gaussian moments without indices, by Wick pairings; widths stay symbolic.

In E[(zᵀDz)ᵏ z zᵀ] every factor D has two legs and the two outer z one each. A pairing joins
the legs in twos, each join a covariance C, and so the factors fall into closed loops, worth
tr((DC)ᵐ) for m factors, and one open chain between the outer z, worth C(DC)ᵐ. Nothing
depends on the size of the matrices, so the result holds for any p and p*.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from math import comb

Pairing = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, order=True)
class Diagram:
    """A product of closed loops, at most one open chain, and powers of Δ.

    loops
        Sorted m of each factor tr((DC)ᵐ).
    chain
        m of the factor C(DC)ᵐ; None where the moment has no outer z.
    noise
        The power of the label-noise variance Δ.
    """

    loops: tuple[int, ...]
    chain: int | None
    noise: int


def pairings(legs: tuple[int, ...]) -> Iterator[Pairing]:
    """All ways to join the legs in twos; none for an odd number of legs."""
    if not legs:
        yield ()
        return
    first = legs[0]
    for k in range(1, len(legs)):
        for rest in pairings(legs[1:k] + legs[k + 1 :]):
            yield ((first, legs[k]), *rest)


def _diagram(pairing: Pairing, vertices: int, outer: bool) -> tuple[tuple[int, ...], int | None]:
    """Loops and chain of one pairing; vertex v owns legs 2v and 2v + 1, the outer z the last two."""
    partner: dict[int, int] = {}
    for left, right in pairing:
        partner[left], partner[right] = right, left
    visited: set[int] = set()

    def follow(leg: int, stop: int) -> int:
        """Factors D met from `leg` on until the walk arrives at leg `stop`."""
        met = 0
        while partner[leg] != stop:
            leg = partner[leg] ^ 1  # through the vertex: in by one leg, out by the other
            visited.add(leg // 2)
            met += 1
        return met

    chain = follow(2 * vertices, 2 * vertices + 1) if outer else None
    loops = []
    for vertex in range(vertices):
        if vertex not in visited:
            loops.append(1 + follow(2 * vertex, 2 * vertex + 1))
    return tuple(sorted(loops)), chain


def quadratic_moment(power: int, outer: bool) -> Counter[Diagram]:
    """E[(zᵀDz)^power z zᵀ] (with `outer`) or E[(zᵀDz)^power], diagrams with multiplicities."""
    legs = tuple(range(2 * power + (2 if outer else 0)))
    total: Counter[Diagram] = Counter()
    for pairing in pairings(legs):
        loops, chain = _diagram(pairing, power, outer)
        total[Diagram(loops, chain, 0)] += 1
    return total


def error_moment(power: int, outer: bool = True) -> dict[Diagram, int]:
    """E[e^power z zᵀ] (or E[e^power]) for e = zᵀDz − √Δ ξ, ξ ~ N(0, 1) independent of z.

    The binomial in the noise, E[ξ^2m] again by pairings: the number of ways to join 2m legs.
    """
    total: Counter[Diagram] = Counter()
    for k in range(0, power + 1, 2):
        noise_pairings = sum(1 for _ in pairings(tuple(range(k))))
        for diagram, multiplicity in quadratic_moment(power - k, outer).items():
            noisy = dataclasses.replace(diagram, noise=k // 2)
            total[noisy] += comb(power, k) * noise_pairings * multiplicity
    return dict(sorted(total.items(), key=lambda item: (item[0].chain or 0, item[0])))
