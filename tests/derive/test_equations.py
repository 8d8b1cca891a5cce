"""The equations in diagrams, against those on paper."""

from fractions import Fraction

import pytest

from derive.equations import overlap_equations
from derive.errors import InputError
from derive.scalar_polynomials import ScalarPolynomial


def name(text):
    return ScalarPolynomial.name(text)


kappa, kappa2, decay = name("kappa"), name("kappa2"), name("decay")
s, t, noise = name("s"), name("t"), name("label_noise")


@pytest.mark.parametrize(
    ("flow", "dQ"),
    [
        (
            "sgd",
            {
                0: -2 * decay + -2 * kappa * s + kappa2 * (s * s + 2 * t + noise),
                1: -4 * kappa + 4 * kappa2 * s,
                2: 8 * kappa2,
            },
        ),
        ("gradient", {0: -2 * decay + -2 * kappa * s, 1: -4 * kappa}),
    ],
)
def test_drift_and_loss(flow, dQ):
    equations = overlap_equations(flow)
    assert equations.dQ == dQ
    assert equations.dR == {0: -1 * decay + -1 * kappa * s, 1: -2 * kappa}
    assert equations.step == 2 * name("a") * name("eta")
    assert equations.noise_step == kappa * kappa * name("inverse_batch")
    assert equations.decay == name("eta") * name("weight_decay")
    assert equations.loss == Fraction(1, 2) * (s * s + 2 * t)


def test_another_flow_is_rejected():
    with pytest.raises(InputError, match=r"^flow: 'momentum' is not one of sgd, gradient"):
        overlap_equations("momentum")
