"""Plateaus, rates and solutions known in closed form: anchors outside of both derivations."""

import dataclasses

import generated_code
import numpy as np
import pytest
from closed_form import FLOWS, READOUTS, Point, drift, random_point, readouts
from scipy.optimize import brentq
from scipy.stats import ortho_group

from derive import Model

ETA = 0.4


def at(model, Q, R=None, label_noise=0.0):
    R = np.zeros((model.p, model.pstar)) if R is None else R
    return Point(Q, R, np.eye(model.pstar), ETA, label_noise)


def loss(model, point):
    module = generated_code.load(model)
    return module.loss(*generated_code.arguments(model, module, point))


def escape_rate(model, point):
    """Growth rate of R at R = 0: dR = rate · R to first order."""
    module = generated_code.load(model)
    matrix = generated_code.jacobian(model, module, point)
    upper = model.p * (model.p + 1) // 2
    assert not matrix[upper:, :upper].any()
    np.testing.assert_allclose(
        matrix[upper:, upper:], matrix[-1, -1] * np.eye(model.p * model.pstar), atol=1e-13
    )
    return matrix[-1, -1]


@pytest.mark.parametrize("widths", [(1, 1), (4, 2), (3, 5)])
def test_plateau_of_gradient_flow(widths):
    model = Model(*widths, flow="gradient")
    p, pstar = widths
    plateau = at(model, p / (p + 2) * np.eye(p))
    np.testing.assert_allclose(generated_code.drift(model, plateau)[0], 0, atol=1e-14)
    assert loss(model, plateau) == pytest.approx(1 / (p + 2) + 1 / pstar)
    # The escape depends on p through a alone, whatever the width: 4abη.
    assert escape_rate(model, plateau) == pytest.approx(4 * ETA / (p * pstar))


def test_plateau_with_the_noise_of_sgd():
    """Four students, two teachers, η = 0.4: the values of PHYSICS."""
    model = Model(4, 2)
    q = brentq(
        lambda q: generated_code.drift(model, at(model, q * np.eye(4)))[0][0, 0], 0.5, 1.0, xtol=1e-14
    )
    plateau = at(model, q * np.eye(4))
    np.testing.assert_allclose(generated_code.drift(model, plateau)[0], 0, atol=1e-13)
    assert q == pytest.approx(0.76393, abs=5e-6)
    assert loss(model, plateau) == pytest.approx(0.67376, abs=5e-6)
    assert escape_rate(model, plateau) == pytest.approx(0.17082, abs=5e-6)


@pytest.mark.parametrize("flow", FLOWS)
def test_plateau_on_the_sphere(flow):
    model = Model(4, 2, "sphere", flow)
    plateau = at(model, np.eye(4), label_noise=0.3)
    np.testing.assert_allclose(generated_code.drift(model, plateau)[0], 0, atol=1e-14)
    assert loss(model, plateau) == pytest.approx(1 / 4 + 1 / 2)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("widths", [(2, 2), (5, 2)])
def test_solutions_of_zero_loss_are_at_rest(widths, flow, readout):
    """W = √(b/a) O W* with orthonormal columns of O: f = y for every input."""
    model = Model(*widths, "free", flow, "orthonormal", readout)
    a, b = readouts(model)
    R = np.sqrt(b / a) * ortho_group.rvs(model.p, random_state=1)[:, : model.pstar]
    solution = at(model, R @ R.T, R)
    for block in generated_code.drift(model, solution):
        np.testing.assert_allclose(block, 0, atol=1e-14)
    assert loss(model, solution) == pytest.approx(0, abs=1e-14)


def test_label_noise_moves_solutions_through_the_noise_alone():
    """At zero loss e = −√Δ ξ: dQ = κ²ΔQ, dR = 0."""
    model = Model(3, 2)
    R = np.sqrt(3 / 2) * ortho_group.rvs(3, random_state=2)[:, :2]
    dQ, dR = generated_code.drift(model, at(model, R @ R.T, R, label_noise=0.7))
    np.testing.assert_allclose(dQ, (2 * ETA / 3) ** 2 * 0.7 * R @ R.T, atol=1e-14)
    np.testing.assert_allclose(dR, 0, atol=1e-14)


def test_conserved_matrix_of_gradient_flow():
    """K = Rᵀ(Q − RRᵀ)⁻¹R obeys dK/dα = 8abη K for any Q."""
    model = Model(3, 2, flow="gradient")
    point = random_point(model, seed=51)
    dQ, dR = generated_code.drift(model, point)
    inner = np.linalg.inv(point.Q - point.R @ point.R.T)
    change = dQ - dR @ point.R.T - point.R @ dR.T
    K = point.R.T @ inner @ point.R
    dK = dR.T @ inner @ point.R + point.R.T @ inner @ dR - point.R.T @ inner @ change @ inner @ point.R
    np.testing.assert_allclose(dK, 8 * point.eta / 6 * K, rtol=1e-10)


def test_drift_is_the_mean_change_of_one_step():
    """Monte Carlo of one SGD step at N → ∞: E of −κ e λλ*ᵀ and −κ e (λλᵀ + λλᵀ) + κ² e² λλᵀ."""
    model = Model(2, 2, teacher="general")
    point = random_point(model, seed=61)
    a, b = readouts(model)
    samples, generator = 400_000, np.random.default_rng(61)
    C = np.block([[point.Q, point.R], [point.R.T, point.T]])
    z = generator.normal(size=(samples, 4)) @ np.linalg.cholesky(C).T
    students, teachers = z[:, :2], z[:, 2:]
    noise = np.sqrt(point.label_noise) * generator.normal(size=samples)
    e = a * (students**2).sum(axis=1) - b * (teachers**2).sum(axis=1) - noise
    step = -2 * a * point.eta * e[:, None] * students
    change_R = step[:, :, None] * teachers[:, None, :]
    change_Q = 2 * step[:, :, None] * students[:, None, :] + step[:, :, None] * step[:, None, :]
    for change, expected in zip((change_Q, change_R), generated_code.drift(model, point), strict=True):
        deviation = np.abs(change.mean(axis=0) - expected) / (change.std(axis=0) / np.sqrt(samples))
        assert deviation.max() < 4


def test_oracle_itself_knows_the_sphere_as_rescaled_weights():
    """The closed form's sphere against the rescaling it stands for, by a small finite step."""
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
