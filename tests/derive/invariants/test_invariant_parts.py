"""Parts of the search for conserved quantities, one by one: what a whole search would forgive."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from flint import fmpq, fmpq_mat, nmod, nmod_mat

from derive import Model
from derive.flint_polynomials import context_of, number
from derive.invariants import as_expression, overlap_ring
from derive.invariants.first_integrals import logarithmic_gradients
from derive.invariants.ideal import Ideal
from derive.invariants.invariant_search import _rescaled
from derive.invariants.linear_algebra import (
    PRIME,
    Span,
    coefficients,
    null_space,
    pencil_eigenvalues,
    residues,
    small_fraction,
)
from derive.invariants.monomials import exponents_up_to, parity
from derive.invariants.ring import exact_quotient, positive, primitive

CONTEXT = context_of(["x", "y", "z"])
X, Y, Z = CONTEXT.gens()


def polynomial(terms, seed, degree=4):
    """Random, with this many terms and fractions."""
    generator = random.Random(seed)
    monomials = generator.sample(exponents_up_to(3, degree, 0), terms)
    return CONTEXT.from_dict(
        {
            m: fmpq(generator.choice((-1, 1)) * generator.randint(1, 99), generator.randint(1, 9))
            for m in monomials
        }
    )


def modular_matrix(rows, columns, generator):
    return nmod_mat(rows, columns, [generator.randrange(PRIME) for _ in range(rows * columns)], PRIME)


# --- polynomials ----------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [1, 2, 20])
def test_exact_division(terms):
    divisor, factor = polynomial(terms, 1), polynomial(15, 2)
    assert exact_quotient(divisor * factor, divisor) == factor
    assert exact_quotient(divisor * factor + 1, divisor) is None
    assert exact_quotient(CONTEXT.constant(0), divisor) == 0


def test_ideal_membership():
    ring = overlap_ring(Model(2, 1))
    x, y, z = ring.Q[0][0], ring.Q[0][1], ring.Q[1][1]
    ideal = Ideal([x**2 + y**2 - z, x * y - z])
    member = (x**2 + y**2 - z) * (y - 3) + (x * y - z) * x**2
    assert ideal.contains(member)
    # A member that plain division does not see: S-polynomial of the two.
    assert ideal.contains(y * (x**2 + y**2 - z) - x * (x * y - z))
    assert ideal.contains(x) is False
    assert ideal.contains(member + 1) is False
    linear = Ideal([x - y, y - 2 * z, x**2 - z])
    assert linear.contains(4 * z**2 - z)
    assert linear.contains(z) is False
    many = overlap_ring(Model(4, 2))
    large = Ideal(
        [q * r - 1 for q, r in zip(many.context.gens()[:8], many.context.gens()[8:16], strict=True)]
    )
    assert large.contains(many.context.gen(0)) is None


def test_multiples_with_small_integers():
    f = number(Fraction(-4, 9)) * X**2 + number(Fraction(6, 5)) * Y
    assert primitive(f) == -10 * X**2 + 27 * Y
    assert positive(f) == 10 * X**2 - 27 * Y == positive(-3 * f)


def test_sympy_prints_polynomials():
    assert str(as_expression(X**2 * Y / 3 - 2 * Z + 1)) == "x**2*y/3 - 2*z + 1"
    assert str(as_expression(CONTEXT.constant(0))) == "0"


def test_readouts_come_back_by_the_units_of_Q_and_R():
    """Q goes with b/a and R with its root: what held at a = 3, b = 5 then holds for all."""
    ring = overlap_ring(Model(1, 1))
    a, b, Q, R = (ring[name] for name in ("a", "b", "Q_1_1", "R_1_1"))
    numbers = {"a": Fraction(3), "b": Fraction(5)}
    for at_numbers, for_all in (
        (Q - fmpq(5, 3), a * Q - b),
        (Q - R * R, Q - R * R),
        (Q**2 - fmpq(25, 9), (a * Q) ** 2 - b**2),
        (2 * R**2 + 7 * Q * R**2, 6 * b * R**2 + 35 * a * Q * R**2),
    ):
        found = _rescaled(ring, at_numbers, numbers)
        assert found in (for_all, -for_all)
        # At the numbers it is what it was, up to a factor.
        assert positive(ring.substitute(found, numbers)) == positive(at_numbers)


# --- monomials ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "signs"),
    [
        ("Q_1_1", (0, 0, 0, 0, 0)),
        ("Q_1_2", (1, 1, 0, 0, 0)),
        ("R_1_1", (1, 0, 1, 0, 0)),
        ("R_2_3", (0, 1, 0, 0, 1)),
    ],
)
def test_signs_of_students_and_teachers(name, signs):
    assert parity(name, 2, 3) == signs


def test_monomials_of_some_degrees():
    assert sorted(exponents_up_to(2, 2, 1)) == [(0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]


# --- linear algebra -------------------------------------------------------------------------------


def test_fractions_come_back_from_their_residues_if_they_are_small():
    for value, found in ((Fraction(-123, 457), True), (Fraction(10**6 + 3, 7**7), False)):
        residue = nmod(value.numerator, PRIME) / value.denominator
        assert (small_fraction(residue) == value) == found


def test_matrix_of_coefficients():
    matrix = coefficients([X / 3 + Y, Y - Z], [(0, 1, 0), (1, 0, 0)])
    assert matrix == fmpq_mat([[1, 1], [fmpq(1, 3), 0]])
    assert int(residues(matrix)[1, 0]) * 3 % PRIME == 1


def test_eigenvalues_of_a_rectangular_pencil():
    generator, size = random.Random(1), 6
    B = modular_matrix(9, size, generator)
    values = [Fraction(-7, 3), Fraction(0), Fraction(5)]
    A = modular_matrix(9, size, generator)
    for column, value in enumerate(values):
        for row in range(9):
            A[row, column] = B[row, column] * value.numerator / value.denominator
    assert pencil_eigenvalues(A, B) == values
    assert pencil_eigenvalues(B, modular_matrix(9, size, generator)) == []
    # Where the rank drops for every x, or there are too few rows, nothing is said.
    assert pencil_eigenvalues(0 * A, 0 * B) == []
    assert pencil_eigenvalues(modular_matrix(3, size, generator), modular_matrix(3, size, generator)) == []


def test_null_space_is_exact_also_with_large_numbers():
    huge = fmpq(10**12 + 39, 10**9 + 7)
    assert null_space([X + 2 * Y, huge * X + 2 * huge * Y, Y]) == [[-huge, 1, 0]]
    assert null_space([huge * X + 2 * huge * Y, Y]) == []
    # Full rank over the rational numbers, but not modulo the prime.
    assert null_space([PRIME * X, Y]) == []


def test_span():
    span = Span()
    assert span.add(X + 2 * Y)
    assert span.add(Y + Z)
    assert not span.add(2 * X - 4 * Z)
    assert span.remainder(X)
    assert span.remainder(3 * X + 7 * Y + Z) == 0


@pytest.mark.parametrize("seed", range(3))
def test_logarithmic_gradients_add_up_in_products(seed):
    """∇(fg)/(fg) = ∇f/f + ∇g/g, and ∇f/f of a power is that many times as much."""
    f, g = polynomial(6, seed), polynomial(8, seed + 50)
    of_f, of_g, of_product, of_cube = logarithmic_gradients([f, g, f * g, f**3]).tolist()
    assert [x + y for x, y in zip(of_f, of_g, strict=True)] == of_product
    assert [3 * x for x in of_f] == of_cube
    assert of_f != of_g


def test_logarithmic_gradients_are_those_of_coordinates():
    """∇x/x has the entry 1/x alone, at whichever point."""
    of_x, of_shifted, of_xy = logarithmic_gradients([X, X + 1, X * Y]).tolist()
    assert of_x[1] == of_x[2] == of_xy[2] == 0
    assert of_shifted[0] == 1 / (1 / of_x[0] + 1)
