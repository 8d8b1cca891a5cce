"""Activations: what users may write, what it means, and the Gaussian moments of derivatives."""

import re
from fractions import Fraction
from math import factorial

import numpy as np
import pytest

from derive import InputError, Model
from derive.activation import LARGEST_DEGREE, QUADRATIC, Activation, hermite


def coefficients(text):
    return tuple(Fraction(x) for x in text.split())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("quadratic", "0 0 1"),
        ("he1", "0 1"),
        ("he2", "-1 0 1"),
        ("he3", "0 -3 0 1"),
        ("he4", "3 0 -6 0 1"),
        ("he5", "0 15 0 -10 0 1"),
        ("he6", "-15 0 45 0 -15 0 1"),
        ("he2+he3", "-1 -3 1 1"),
        (" he3 + he2 ", "-1 -3 1 1"),
        ("he2+he2", "-2 0 2"),
        ("0,1/2,0,1/6", "0 1/2 0 1/6"),
        ("0, -0.1, .5, +2.", "0 -1/10 1/2 2"),
        ("1,2,0,0", "1 2"),
        ([0, 1, "0.1", Fraction(1, 3)], "0 1 1/10 1/3"),
        (("1/7", 2), "1/7 2"),
        (Activation(coefficients("0 1")), "0 1"),
    ],
)
def test_values(value, expected):
    assert Activation.of(value).coefficients == coefficients(expected)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("he7", "'he7' is not quadratic, he1 to he6, a sum such as he2+he3, or coefficients"),
        ("he0", "'he0' is not"),
        ("relu", "'relu' is not"),
        ("he2-he3", "'he2-he3' is not"),
        ("", "'' is not"),
        ("3", "'3' is constant"),
        ("1,0,0", "'1,0,0' is constant"),
        ([], "'' is constant"),
        ([10**5000], "has a coefficient with more than 12 digits"),
        ("0,0,0,0,0,0,0,1", "'0,0,0,0,0,0,0,1' has degree 7, and at most 6 is derived"),
        ("0,1,x", "'x' is not an integer, a fraction or a decimal"),
        ("0,1,,2", "'' is not an integer"),
        ("0,1,1/0", "'1/0' is not an integer"),
        ("0,1,1e5", "'1e5' is not an integer"),
        ("0,1,__import__('os')", "is not an integer"),
        ([0, 0.5], "0.5 is not an integer"),
        ([0, True], "True is not an integer"),
        ([0, None], "None is not an integer"),
        ("0,1,1000000000001", "has a coefficient with more than 12 digits"),
        ("0,1,1/1000000000001", "has a coefficient with more than 12 digits"),
        (f"0,1,{'9' * 5000}", "has a coefficient with more than 12 digits"),
        (f"0,1,0.{'3' * 5000}", "has a coefficient with more than 12 digits"),
        ([0, 10**5000], "has a coefficient with more than 12 digits"),
        ("he2" * 1000, " is not quadratic, he1 to he6"),
        (3, "3 is neither a name nor coefficients"),
        (None, "None is neither"),
        (b"\x00\x01", "is neither a name nor coefficients"),
    ],
)
@pytest.mark.parametrize("option", ["activation", "teacher_activation"])
def test_refused_values(value, problem, option):
    with pytest.raises(InputError, match=re.escape(problem)) as refused:
        Activation.of(value, option)
    assert refused.value.option == option
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500
    if value is not None:
        with pytest.raises(InputError, match=re.escape(problem)):
            Model(2, 1, **{option: value})


@pytest.mark.parametrize(
    ("value", "name", "folder"),
    [
        ("0,0,1", "quadratic", "quadratic"),
        ("0,-3,0,1", "he3", "he3"),
        ("he3+he1", "he1+he3", "he1+he3"),
        ("0,-2,0,1", "he1+he3", "he1+he3"),
        ("he2+he2", "-2,0,2", "polym2-0-2"),
        ("0,0.5,0,1/6", "0,1/2,0,1/6", "poly0-1d2-0-1d6"),
    ],
)
def test_equal_polynomials_are_one_activation(value, name, folder):
    activation = Activation.of(value)
    assert (activation.name, activation.folder) == (name, folder)
    assert Activation.of(name) == activation


def test_equal_polynomials_make_one_model():
    assert Model(2, 1, activation="0,0,1") == Model(2, 1)
    assert Model(2, 1, activation="he3", teacher_activation="0,-3,0,1") == Model(2, 1, activation="he3")
    assert Model(2, 1, activation=(0, -3, 0, 1)).name == "p2_pstar1_he3"
    assert Model(2, 1, activation="he3", teacher_activation="he2").name == "p2_pstar1_he3_teacher-he2"
    assert Model.from_dict(Model(2, 1, activation=[0, 1, "1/2"]).to_dict()).activation == "0,1,1/2"


def test_folders_stay_short_and_differ():
    long = [Activation.of([k, *[Fraction(123456789, 987654321 + m) for m in range(6)]]) for k in range(9)]
    folders = {activation.folder for activation in long}
    assert len(folders) == len(long)
    assert max(map(len, folders)) <= 40
    assert all(re.fullmatch(r"[A-Za-z0-9+-]+", folder) for folder in folders)


def test_hermite_polynomials_are_orthogonal():
    """E[Heₘ Heₙ] = n! δₘₙ."""
    for m in range(LARGEST_DEGREE + 1):
        for n in range(LARGEST_DEGREE + 1):
            product = np.polynomial.polynomial.polymul(hermite(m), hermite(n))
            mean = sum(
                c * factorial(k) / (2 ** (k // 2) * factorial(k // 2))
                for k, c in enumerate(product)
                if k % 2 == 0
            )
            assert mean == (factorial(n) if m == n else 0)


@pytest.mark.parametrize("value", ["he4", "he2+he3", "1,1/2,0,3"])
def test_hermite_coefficients(value):
    """cₙ = E[σ Heₙ]/n! = E[σ^(n)]/n! at q = 1."""
    activation = Activation.of(value)
    for order, c in enumerate(activation.hermite_coefficients):
        assert c == Fraction(sum(activation.moment(order).values()), factorial(order))


@pytest.mark.parametrize("value", ["he5", "he2+he3", "1,1/2,0,3,-2"])
def test_moments_are_gaussian_means_of_derivatives(value):
    activation = Activation.of(value)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = weights / weights.sum()
    for order in range(activation.degree + 2):
        slope = np.polynomial.polynomial.polyder(np.array(activation.coefficients, dtype=float), order)
        for q in (0.0, 0.7, 2.5):
            mean = weights @ np.polynomial.polynomial.polyval(np.sqrt(q) * nodes, slope)
            found = sum(float(c) * q**power for power, c in activation.moment(order).items())
            assert found == pytest.approx(mean, rel=1e-12, abs=1e-12)
            assert all(activation.moment(order).values())


@pytest.mark.parametrize(("value", "parity"), [("he4", 0), ("quadratic", 0), ("he3", 1), ("he2+he3", None)])
def test_parity(value, parity):
    assert Activation.of(value).parity == parity


def test_the_usual_activation_is_quadratic():
    assert Model(2, 1).activations == (QUADRATIC, QUADRATIC)
    assert Model(2, 1).quadratic
    assert not Model(2, 1, teacher_activation="he3").quadratic
