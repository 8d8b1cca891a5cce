"""Polynomials in named scalars: ring axioms, derivatives, order of terms."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from derive.scalar_polynomials import ScalarPolynomial

x, y = ScalarPolynomial.name("x"), ScalarPolynomial.name("y")

polynomials = st.dictionaries(
    st.lists(st.sampled_from("xyz"), max_size=3).map(lambda names: tuple(sorted(names))),
    st.fractions(max_denominator=9),
    max_size=4,
).map(ScalarPolynomial)
points = st.fixed_dictionaries({name: st.fractions(max_denominator=9) for name in "xyz"})


def value(polynomial, point):
    return polynomial.evaluate(point, Fraction)


@settings(max_examples=50)
@given(polynomials, polynomials, points)
def test_evaluation_is_a_ring_homomorphism(f, g, point):
    assert value(f + g, point) == value(f, point) + value(g, point)
    assert value(f * g, point) == value(f, point) * value(g, point)
    assert value(-3 * f, point) == -3 * value(f, point)


@settings(max_examples=50)
@given(polynomials, polynomials, points)
def test_derivative_obeys_the_product_rule(f, g, point):
    product_rule = f.derivative("x") * g + f * g.derivative("x")
    assert (f * g).derivative("x") == product_rule
    assert value(f.derivative("x") * x, point) == sum(
        (
            monomial.count("x") * value(ScalarPolynomial({monomial: c}), point)
            for monomial, c in f.terms.items()
        ),
        Fraction(0),
    )


@settings(max_examples=50)
@given(polynomials, points)
def test_collected_parts_sum_to_the_whole(f, point):
    parts = f.collect(["x", "y"])
    assert all("x" not in part.names and "y" not in part.names for part in parts.values())
    total = sum(
        (value(ScalarPolynomial({inside: 1}) * part, point) for inside, part in parts.items()), Fraction(0)
    )
    assert total == value(f, point)


def test_cancelled_terms_vanish():
    zero = x + -1 * x
    assert not zero
    assert zero.terms == {}
    assert zero == ScalarPolynomial()
    assert (2 * x * y).names == ("x", "y")


def test_equal_polynomials_have_equal_hashes_and_one_order_of_terms():
    left, right = x * y + 2 * x, 2 * x + y * x
    assert left == right
    assert hash(left) == hash(right)
    assert left.sorted_terms() == [(("x",), 2), (("x", "y"), 1)]
    assert left != ScalarPolynomial.constant(1)
