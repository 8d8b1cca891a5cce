"""Route 2 for the moments E[eⁿ z_i z_j z_k z_l]: closed loops and two open chains, by Wick's theorem.

As in `derive.wick`, each pairing of the legs joins the factors D of eⁿ into closed loops and into chains
between the outer z, of which there are two here: from i to j and from k to l, or with j exchanged with k or
l. Hence the moment is

    Σ over m₁, m₂ of c(m₁, m₂) [K(m₁)_ij K(m₂)_kl + K(m₁)_ik K(m₂)_jl + K(m₁)_il K(m₂)_jk],  K(m) = C(DC)ᵐ,

where c is a polynomial in the loops and Δ. A chain of m factors is passed in m! orders, and each factor by
either leg first: that makes m! 2ᵐ pairings. A loop of m factors has (m − 1)! 2ᵐ⁻¹ (docs/theory.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import comb, factorial, prod

from derive.equations import LOOP_NAMES, NOISE
from derive.scalar_polynomials import ScalarPolynomial

# The names of the closed loops tr((DC)ᵐ) by m: those of the drift, and two longer ones.
LONG_LOOP_NAMES = {**LOOP_NAMES, 3: "u", 4: "w"}


def _partitions(total: int, largest: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a number as a sum of numbers up to `largest`, in descending order."""
    if total == 0:
        yield ()
    for first in range(min(total, largest), 0, -1):
        for rest in _partitions(total - first, first):
            yield (first, *rest)


def _closed(factors: int) -> ScalarPolynomial:
    """The sum over all ways to join so many labelled factors into loops, E[(zᵀDz)ⁿ]."""
    total = ScalarPolynomial()
    for loops in _partitions(factors, factors):
        # The factors are dealt to the loops; loops of equal length are not told apart.
        dealt = factorial(factors) // prod(map(factorial, loops))
        dealt //= prod(map(factorial, Counter(loops).values()))
        joined = prod(factorial(m - 1) * 2 ** (m - 1) for m in loops)
        names = tuple(sorted(LONG_LOOP_NAMES[m] for m in loops))
        total = total + ScalarPolynomial({names: dealt * joined})
    return total


@cache
def double_chain_moment(power: int) -> dict[tuple[int, int], ScalarPolynomial]:
    """The coefficients c(m₁, m₂) of E[e^power z z z z] for all m₁ + m₂ ≤ power; c is symmetric.

    e = zᵀDz − √Δ ξ with ξ ~ N(0, 1) independent of z: even powers of ξ leave (k − 1)!! Δ^(k/2).
    """
    found: dict[tuple[int, int], ScalarPolynomial] = {}
    for noisy in range(0, power + 1, 2):
        factors = power - noisy
        pairings = prod(range(noisy - 1, 0, -2))
        noise = ScalarPolynomial({(NOISE,) * (noisy // 2): comb(power, noisy) * pairings})
        for first in range(factors + 1):
            for second in range(factors + 1 - first):
                left = factors - first - second
                # The factors are dealt to both chains and to the loops.
                dealt = factorial(factors) // (factorial(first) * factorial(second) * factorial(left))
                chains = factorial(first) * 2**first * factorial(second) * 2**second
                term = Fraction(dealt * chains) * noise * _closed(left)
                found[first, second] = found.get((first, second), ScalarPolynomial()) + term
    return dict(sorted(found.items()))
