"""Parts of the search for conserved quantities, one by one: what a whole search would forgive."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from sympy import QQ
from sympy.polys.rings import PolyRing

from derive import Model
from derive.invariants import division, modular, overlap_ring
from derive.invariants.integrals import _logarithmic_gradients
from derive.invariants.monomials import _monomials, _parity, times
from derive.invariants.search import _rescaled

RING = PolyRing(["x", "y", "z"], QQ)


def polynomial(terms, seed, degree=4):
    """Random, with this many terms and fractions."""
    generator = random.Random(seed)
    monomials = generator.sample(_monomials(3, degree, 0), terms)
    return RING.from_dict(
        {
            m: QQ(generator.choice((-1, 1)) * generator.randint(1, 99), generator.randint(1, 9))
            for m in monomials
        }
    )


@pytest.mark.parametrize("terms", [2, 13, 20])
@pytest.mark.parametrize("seed", range(4))
def test_long_and_short_divisors(terms, seed):
    divisor, factor = polynomial(terms, seed), polynomial(15, seed + 100)
    assert division.exact_quotient(divisor * factor, divisor) == factor
    assert division.exact_quotient(divisor * factor + 1, divisor) is None
    assert division.exact_quotient(RING.zero, divisor) == 0


@pytest.mark.parametrize("seed", range(10))
def test_a_line_tells_whether_a_divisor_divides(seed):
    divisor, factor = polynomial(14, seed), polynomial(9, seed + 100)
    assert division._divides_on_a_line(divisor * factor, divisor)
    for rest in (1, RING.gens[0], polynomial(5, seed + 200)):
        assert not division._divides_on_a_line(divisor * factor + rest, divisor)


@pytest.mark.parametrize("seed", range(5))
def test_logarithmic_gradients_add_up_in_products(seed):
    """∇(fg)/(fg) = ∇f/f + ∇g/g, and ∇f/f of a power is that many times as much."""
    f, g = polynomial(6, seed), polynomial(8, seed + 50)
    of_f, of_g, of_product, of_cube = _logarithmic_gradients([f, g, f * g, f**3]).astype(object)
    assert ((of_f + of_g - of_product) % modular.PRIME == 0).all()
    assert ((3 * of_f - of_cube) % modular.PRIME == 0).all()
    assert (of_f != of_g).any()


def test_logarithmic_gradients_are_those_of_coordinates():
    """∇x/x has the entry 1/x alone, at whichever point."""
    x, y, _ = RING.gens
    of_x, of_shifted, of_xy = _logarithmic_gradients([x, x + 1, x * y]).astype(object)
    assert of_x[1] == of_x[2] == of_xy[2] == 0
    point = pow(int(of_x[0]), -1, modular.PRIME)
    assert of_shifted[0] * (point + 1) % modular.PRIME == 1


@pytest.mark.parametrize(
    ("name", "parity"),
    [
        ("Q_1_1", (0, 0, 0, 0, 0)),
        ("Q_1_2", (1, 1, 0, 0, 0)),
        ("R_1_1", (1, 0, 1, 0, 0)),
        ("R_2_3", (0, 1, 0, 0, 1)),
    ],
)
def test_signs_of_students_and_teachers(name, parity):
    assert _parity(name, 2, 3) == parity


def test_monomials_of_some_degrees():
    assert sorted(_monomials(2, 2, 1)) == [(0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
    assert times({(1, 0): Fraction(3), (0, 2): Fraction(1)}, (2, 1)) == {(3, 1): 3, (2, 3): 1}


def test_readouts_come_back_by_the_units_of_Q_and_R():
    """Q goes with b/a and R with its root: what held at a = 3, b = 5 then holds for all."""
    ring = overlap_ring(Model(1, 1))
    a, b, Q, R = (ring[name] for name in ("a", "b", "Q_1_1", "R_1_1"))
    numbers = {"a": Fraction(3), "b": Fraction(5)}
    for at_numbers, for_all in (
        (Q - ring.number(Fraction(5, 3)), a * Q - b),
        (Q - R * R, Q - R * R),
        (Q**2 - ring.number(Fraction(25, 9)), (a * Q) ** 2 - b**2),
        (2 * R**2 + 7 * Q * R**2, 6 * b * R**2 + 35 * a * Q * R**2),
    ):
        found = _rescaled(ring, at_numbers, numbers)
        assert found in (for_all, -for_all)
        # At the numbers it is what it was, up to a factor.
        back = ring.substitute(found, numbers)
        assert back * at_numbers.LC == at_numbers * back.LC
