"""Route 2 against closed forms, cumulants, the tilted Gaussian, and route 1."""

import math

import numpy as np
import pytest

from derive.isserlis import ComponentMoments
from derive.wick import Diagram, error_moment, pairings, quadratic_moment

STUDENTS, TEACHERS = 2, 2


@pytest.mark.parametrize(
    ("legs", "number"), [(0, 1), (1, 0), (2, 1), (3, 0), (4, 3), (5, 0), (6, 15), (8, 105), (10, 945)]
)
def test_number_of_pairings_is_the_double_factorial(legs, number):
    found = list(pairings(tuple(range(legs))))
    assert len(found) == len(set(found)) == number
    for pairing in found:
        assert sorted(leg for pair in pairing for leg in pair) == list(range(legs))


def test_moments_in_closed_form():
    # E[e zzᵀ] = s C + 2 CDC
    assert error_moment(1) == {Diagram((1,), 0, 0): 1, Diagram((), 1, 0): 2}
    # E[e² zzᵀ] = (s² + 2t + Δ) C + 4s CDC + 8 CDCDC
    assert error_moment(2) == {
        Diagram((1, 1), 0, 0): 1,
        Diagram((2,), 0, 0): 2,
        Diagram((), 0, 1): 1,
        Diagram((1,), 1, 0): 4,
        Diagram((), 2, 0): 8,
    }
    # E[e] = s, E[e²] = s² + 2t + Δ, E[zzᵀ] = C
    assert error_moment(1, outer=False) == {Diagram((1,), None, 0): 1}
    assert error_moment(2, outer=False) == {
        Diagram((1, 1), None, 0): 1,
        Diagram((2,), None, 0): 2,
        Diagram((), None, 1): 1,
    }
    assert error_moment(0) == {Diagram((), 0, 0): 1}


@pytest.mark.parametrize("power", range(5))
@pytest.mark.parametrize("outer", [False, True])
def test_every_pairing_is_counted_and_every_vertex_used(power, outer):
    moment = quadratic_moment(power, outer)
    assert sum(moment.values()) == math.prod(range(2 * power + 2 * outer - 1, 0, -2))
    assert all(sum(diagram.loops) + (diagram.chain or 0) == power for diagram in moment)
    assert {diagram.noise for diagram in moment} == {0}


@pytest.fixture(scope="module")
def matrices():
    generator = np.random.default_rng(11)
    factor = generator.normal(size=(4, 4))
    return factor @ factor.T / 4, np.diag(generator.normal(size=4)), 0.37


def _value(moment, C, D, noise):
    total = 0
    for diagram, multiplicity in moment.items():
        factor = multiplicity * noise**diagram.noise
        for loop in diagram.loops:
            factor = factor * np.trace(np.linalg.matrix_power(D @ C, loop))
        if diagram.chain is not None:
            factor = factor * (C @ np.linalg.matrix_power(D @ C, diagram.chain))
        total = total + factor
    return total


def _moments_of_error(C, D, noise, highest):
    """E[e^n] from the cumulants 2^(n-1) (n-1)! tr (DC)^n; the noise adds Δ to the second."""
    cumulants = [
        2 ** (n - 1) * math.factorial(n - 1) * np.trace(np.linalg.matrix_power(D @ C, n))
        for n in range(1, highest + 1)
    ]
    if highest >= 2:
        cumulants[1] += noise
    moments = [1.0]
    for n in range(1, highest + 1):
        moments.append(sum(math.comb(n - 1, k) * cumulants[k] * moments[n - 1 - k] for k in range(n)))
    return moments


@pytest.mark.parametrize("power", range(5))
def test_powers_of_the_error_have_the_known_cumulants(matrices, power):
    expected = _moments_of_error(*matrices, highest=power)[power]
    assert _value(error_moment(power, outer=False), *matrices) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("power", range(5))
def test_matrix_moments_are_those_of_the_tilted_gaussian(matrices, power):
    """E[exp(τe) zzᵀ] = E[exp(τe)] Σ_m (2τ)^m C(DC)^m, expanded in τ."""
    C, D, _ = matrices
    scalars = _moments_of_error(*matrices, highest=power)
    expected = sum(
        math.comb(power, m)
        * math.factorial(m)
        * 2**m
        * scalars[power - m]
        * (C @ np.linalg.matrix_power(D @ C, m))
        for m in range(power + 1)
    )
    np.testing.assert_allclose(_value(error_moment(power), *matrices), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("power", range(4))
def test_both_routes_agree_exactly_beyond_the_powers_in_use(power):
    """Integer matrices, so that nothing is rounded; neither the program nor its proof takes part."""
    generator = np.random.default_rng(power)
    factor = generator.integers(-3, 4, size=(STUDENTS + TEACHERS,) * 2)
    C = (factor @ factor.T).astype(object)
    weights, noise = [2] * STUDENTS + [-3] * TEACHERS, 5
    diagrams = _value(error_moment(power), C, np.diag(weights).astype(object), noise)
    components = ComponentMoments(
        C.tolist(), weights, noise, math.prod, lambda terms: sum(m * x for m, x in terms)
    )
    for i in range(STUDENTS + TEACHERS):
        for j in range(STUDENTS + TEACHERS):
            assert components.component_moment(power, i, j) == diagrams[i, j]
    scalar = _value(error_moment(power, outer=False), C, np.diag(weights).astype(object), noise)
    assert components.error_power(power) == scalar
