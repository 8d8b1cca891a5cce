"""Route 1 against known moments, the generating function, and quadrature."""

import itertools
import math

import numpy as np
import pytest
from closed_form import random_point, readouts
from numpy.polynomial.hermite_e import hermegauss
from sympy import QQ, ring

from derive import Model
from derive.isserlis import ComponentMoments, pairing_sum

VARIABLES = 3
# Exact for polynomials up to degree 2n − 1; E[e^4 z z] has degree 10.
QUADRATURE_NODES = 8


@pytest.mark.parametrize(
    ("power", "moment"), [(0, 1), (1, 0), (2, 1), (3, 0), (4, 3), (5, 0), (6, 15), (8, 105), (10, 945)]
)
def test_powers_of_one_variable(power, moment):
    terms = ((moment, (("z", "z"),) * (power // 2)),) if moment else ()
    assert pairing_sum(("z",) * power) == terms


def test_mixed_moments():
    aa, ab, bb, bc = ("a", "a"), ("a", "b"), ("b", "b"), ("b", "c")
    assert pairing_sum(("b", "a")) == ((1, (ab,)),)
    # E[a²b²] = C_aa C_bb + 2 C_ab²
    assert pairing_sum(("a", "b", "a", "b")) == ((1, (aa, bb)), (2, (ab, ab)))
    # E[a³b] = 3 C_aa C_ab
    assert pairing_sum(("a", "a", "b", "a")) == ((3, (aa, ab)),)
    # E[a²bc] = C_aa C_bc + 2 C_ab C_ac
    assert pairing_sum(("a", "a", "b", "c")) == ((1, (aa, bc)), (2, (ab, ("a", "c"))))


def test_moments_are_derivatives_of_the_generating_function():
    """E[z^m] is m! times the coefficient of k^m in exp(½ kᵀCk): no pairings involved."""
    pairs = list(itertools.combinations_with_replacement("abc", 2))
    polynomials, *symbols = ring([*"abc", *("".join(pair) for pair in pairs)], QQ)
    sources, covariances = symbols[:VARIABLES], dict(zip(pairs, symbols[VARIABLES:], strict=True))
    exponent = sum(
        covariances[tuple(sorted((x, y)))] * kx * ky
        for (x, kx), (y, ky) in itertools.product(zip("abc", sources, strict=True), repeat=2)
    ) * QQ(1, 2)
    for degree in (2, 4, 6):
        half = degree // 2
        coefficients = exponent**half * QQ(1, math.factorial(half))
        for powers in itertools.product(range(degree + 1), repeat=VARIABLES):
            if sum(powers) != degree:
                continue
            expected = polynomials.zero
            for monomial, coefficient in coefficients.terms():
                if monomial[:VARIABLES] == powers:
                    rest = (0,) * VARIABLES + monomial[VARIABLES:]
                    expected[rest] = coefficient * math.prod(map(math.factorial, powers))
            word = "".join(name * power for name, power in zip("abc", powers, strict=True))
            found = polynomials.zero
            for multiplicity, factors in pairing_sum(tuple(word)):
                found += multiplicity * math.prod(
                    (covariances[pair] for pair in factors), start=polynomials.one
                )
            assert found == expected, word


def _float_moments(covariance, weights, noise):
    return ComponentMoments(
        covariance, weights, noise, math.prod, lambda terms: sum(m * x for m, x in terms)
    )


@pytest.mark.parametrize("readout", ["mean", "sum"])
def test_error_moments_of_one_student_and_one_teacher_by_quadrature(readout):
    model = Model(1, 1, teacher="general", readout=readout)
    point = random_point(model, seed=3)
    a, b = readouts(model)
    C = np.block([[point.Q, point.R], [point.R.T, point.T]])
    nodes, weights = hermegauss(QUADRATURE_NODES)
    weights = weights / weights.sum()
    x1, x2, x3 = np.meshgrid(nodes, nodes, nodes, indexing="ij")
    density = np.einsum("i,j,k->ijk", weights, weights, weights)
    z = np.einsum("ij,jklm->iklm", np.linalg.cholesky(C), np.array([x1, x2]))
    e = a * z[0] ** 2 - b * z[1] ** 2 - np.sqrt(point.label_noise) * x3
    moments = _float_moments(C, [a, -b], point.label_noise)
    for power in range(5):
        assert moments.error_power(power) == pytest.approx((density * e**power).sum(), rel=1e-12)
        for i, j in itertools.product(range(2), repeat=2):
            expected = (density * e**power * z[i] * z[j]).sum()
            assert moments.component_moment(power, i, j) == pytest.approx(expected, rel=1e-12)


def test_moments_of_combinations_are_bilinear():
    """The random-point proof contracts with vectors instead of going entry by entry."""
    generator = np.random.default_rng(5)
    factor = generator.normal(size=(4, 4))
    C = factor @ factor.T
    moments = _float_moments(C, [0.5, 0.5, -1.0, -1.0], 0.3)
    u, v = generator.normal(size=(2, 4))
    for power in (1, 2):
        entries = [[moments.component_moment(power, i, j) for j in range(4)] for i in range(4)]
        contracted = moments.error_moment(power, C @ u, C @ v, u @ C @ v)
        assert contracted == pytest.approx(u @ np.array(entries) @ v, rel=1e-12)


def test_none_is_an_exact_zero():
    dense = _float_moments([[2.0, 0.0], [0.0, 3.0]], [1.0, -1.0], 0.0)
    sparse = _float_moments([[2.0, None], [None, 3.0]], [1.0, -1.0], None)
    for power in (1, 2, 3):
        assert sparse.component_moment(power, 0, 0) == dense.component_moment(power, 0, 0)
        assert sparse.error_power(power) == dense.error_power(power)
