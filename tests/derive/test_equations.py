"""The equations in diagrams, against those on paper."""

from fractions import Fraction

import pytest

from derive.equations import overlap_equations
from derive.errors import InputError
from derive.scalar_polynomials import ScalarPolynomial


def name(text):
    return ScalarPolynomial.name(text)


kappa, s, t, noise = name("kappa"), name("s"), name("t"), name("label_noise")


@pytest.mark.parametrize("flow", ["sgd", "gradient"])
def test_student_teacher_drift_and_loss(flow):
    equations = overlap_equations(flow)
    assert equations.dR == {0: -1 * kappa * s, 1: -2 * kappa}
    assert equations.loss == Fraction(1, 2) * (s * s + 2 * t)


def test_student_student_drift_of_sgd():
    assert overlap_equations("sgd").dQ == {
        0: -2 * kappa * s + kappa * kappa * (s * s + 2 * t + noise),
        1: -4 * kappa + 4 * kappa * kappa * s,
        2: 8 * kappa * kappa,
    }


def test_gradient_flow_drops_the_noise_and_nothing_else():
    assert overlap_equations("gradient").dQ == {0: -2 * kappa * s, 1: -4 * kappa}
    first_order = {
        chain: {monomial: c for monomial, c in part.terms.items() if monomial.count("kappa") == 1}
        for chain, part in overlap_equations("sgd").dQ.items()
    }
    gradient = {chain: part.terms for chain, part in overlap_equations("gradient").dQ.items()}
    assert {chain: terms for chain, terms in first_order.items() if terms} == gradient


def test_another_flow_is_refused():
    with pytest.raises(InputError, match=r"^flow: 'momentum' is not one of sgd, gradient"):
        overlap_equations("momentum")
