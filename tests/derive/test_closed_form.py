"""The oracle against arguments of its own; tests/physics holds the generated code to known results."""

import dataclasses

import numpy as np
import pytest
from closed_form import READOUT_POWERS, Point, drift, flatten, jacobian, loss, random_point, readouts
from scipy.stats import ortho_group

from derive import Model

ETA = 0.4


def test_sphere_is_the_rescaling_of_weights():
    """By central differences of the rescaled overlaps along the free drift."""
    model = Model(3, 2, "sphere", teacher="general")
    point = random_point(model, seed=71)
    free_dQ, free_dR = drift(dataclasses.replace(model, constraint="free"), point)
    h = 1e-6

    def rescaled(sign):
        Q, R = point.Q + sign * h * free_dQ, point.R + sign * h * free_dR
        scale = np.sqrt(np.diag(point.Q) / np.diag(Q))
        return scale[:, None] * Q * scale[None, :], scale[:, None] * R

    for found, ahead, behind in zip(drift(model, point), rescaled(1), rescaled(-1), strict=True):
        np.testing.assert_allclose(found, (ahead - behind) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("readout", READOUT_POWERS)
def test_at_zero_loss_only_label_noise_moves_the_weights(readout):
    """W = √(b/a) O W*: f = y_clean and e = −√Δ ξ, so dR = 0 and dQ = κ²ΔQ."""
    model = Model(3, 2, readout=readout)
    a, b = readouts(model)
    R = np.sqrt(b / a) * ortho_group.rvs(3, random_state=2)[:, :2]
    point = Point(R @ R.T, R, np.eye(2), ETA, label_noise=0.7)
    dQ, dR = drift(model, point)
    np.testing.assert_allclose(dQ, (2 * a * ETA) ** 2 * 0.7 * point.Q, atol=1e-14)
    np.testing.assert_allclose(dR, 0, atol=1e-14)
    assert loss(model, point) == pytest.approx(0, abs=1e-14)


def test_complex_step_is_the_derivative():
    """Along a direction in which all entries change, by central differences."""
    model = Model(2, 2, "sphere", teacher="general")
    point = random_point(model, seed=73)
    h = 1e-6
    ahead, behind = (
        drift(model, dataclasses.replace(point, Q=point.Q + x, R=point.R + x)) for x in (h, -h)
    )
    change = (flatten(*ahead) - flatten(*behind)) / (2 * h)
    np.testing.assert_allclose(jacobian(model, point).sum(axis=1), change, atol=1e-8)
