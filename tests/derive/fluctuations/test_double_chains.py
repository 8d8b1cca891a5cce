"""The moments with two open chains against an enumeration of all pairings."""

import math
from collections import Counter
from fractions import Fraction

import pytest

from derive.fluctuations.double_chains import LONG_LOOP_NAMES, double_chain_moment
from derive.wick import pairings


def enumerated(power):
    """How often each way to join the outer z, each pair of chains and each set of loops occurs.

    Factor k has the legs 2k and 2k + 1, and the outer z are the last four legs. The first chain is that
    of the first outer z.
    """
    outer = range(2 * power, 2 * power + 4)
    found = Counter()
    for pairing in pairings(tuple(range(2 * power + 4))):
        partner = {leg: other for pair in pairing for leg, other in (pair, pair[::-1])}
        visited = set()

        def end_of(leg, partner=partner, visited=visited):
            """The outer leg that the way from a leg comes to, or the way back, and its length."""
            begin, met = leg ^ 1, 0
            while True:
                leg = partner[leg]
                if leg in outer or leg == begin:
                    return leg, met
                visited.add(leg // 2)
                leg, met = leg ^ 1, met + 1

        first_end, first = end_of(outer[0])
        rest = next(leg for leg in outer[1:] if leg != first_end)
        _, second = end_of(rest)
        loops = []
        for factor in range(power):
            if factor not in visited:
                visited.add(factor)
                loops.append(1 + end_of(2 * factor)[1])
        found[first_end - outer[0], first, second, tuple(sorted(loops))] += 1
    return found


def without_noise(power):
    """Counts by the lengths of both chains and the loops."""
    names = {name: m for m, name in LONG_LOOP_NAMES.items()}
    return {
        (*chains, tuple(sorted(names[name] for name in monomial))): coefficient
        for chains, polynomial in double_chain_moment(power).items()
        for monomial, coefficient in polynomial.terms.items()
        if set(monomial) <= set(names)
    }


@pytest.mark.parametrize("power", range(5))
def test_every_pairing_is_counted(power):
    counts, found = without_noise(power), enumerated(power)
    expected = {(joined, *key): n for key, n in counts.items() for joined in (1, 2, 3)}
    assert found == expected
    assert 3 * sum(counts.values()) == math.prod(range(2 * power + 3, 0, -2))


@pytest.mark.parametrize("power", range(5))
def test_label_noise_enters_by_the_binomial_theorem(power):
    """E ξ² = 1 and E ξ⁴ = 3: Δ takes the place of two factors, Δ² of four."""
    expected = {}
    for pairs, (ways, gaussian) in enumerate([(1, 1), (math.comb(power, 2), 1), (math.comb(power, 4), 3)]):
        if ways and power >= 2 * pairs:
            for (first, second, loops), n in without_noise(power - 2 * pairs).items():
                expected[first, second, loops, pairs] = Fraction(ways * gaussian * n)
    names = {name: m for m, name in LONG_LOOP_NAMES.items()}
    found = {
        (*chains, tuple(sorted(names[x] for x in monomial if x in names)), monomial.count("label_noise")): n
        for chains, polynomial in double_chain_moment(power).items()
        for monomial, n in polynomial.terms.items()
    }
    assert found == expected
