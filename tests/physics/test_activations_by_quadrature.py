"""Drift, loss and Jacobian of polynomial activations against Gauss-Hermite quadrature."""

import numpy as np
import pytest
from matrix import thinned
from numpy.polynomial import hermite_e
from numpy.polynomial.polynomial import polyder, polyval

import overlap_ode as oo

NUMBERS = {"eta": 0.03, "label_noise": 0.2, "batch": 3, "weight_decay": 0.15}
READOUT_POWERS = {"mean": -1.0, "sum": 0.0, "sqrt": -0.5}
# The options of a model, the coefficients of σ and of σ*.
CASES = [
    (
        {"p": 2, "pstar": 1, "activation": "he3", "teacher_activation": "he1+he2", "readout": "sqrt"}
        | {"constraint": "sphere", "teacher": "general", "second_layer": "trained"},
        [0, -3, 0, 1],
        [-1, 1, 1],
    ),
    (
        {"p": 1, "pstar": 1, "activation": "1/3,-1/2,1/5,1/7,1/11", "teacher_activation": "he3"}
        | {"teacher": "general", "second_layer": "fixed", "readout": "sum"},
        [1 / 3, -1 / 2, 1 / 5, 1 / 7, 1 / 11],
        [0, -3, 0, 1],
    ),
]


def drift_and_loss(model, sigma, sigma_star, overlaps, v, vstar, eta_second):
    """(dQ, dR, dv) and ε; 16 nodes are exact up to degree 31."""
    Q, R, T = overlaps
    p, units = model.p, model.p + model.pstar
    nodes, weights = hermite_e.hermegauss(16)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(*[nodes] * units), -1).reshape(-1, units)
    w = np.prod(np.stack(np.meshgrid(*[weights] * units), -1).reshape(-1, units), -1)
    z = grid @ np.linalg.cholesky(np.block([[Q, R], [R.T, T]])).T
    fields, teacher_fields = z[:, :p], z[:, p:]
    power = READOUT_POWERS[model.readout]
    a, b = p**power, model.pstar**power
    e = a * polyval(fields, sigma) @ v - b * polyval(teacher_fields, sigma_star) @ vstar
    step = NUMBERS["eta"] * a * v * polyval(fields, polyder(sigma))
    decay = 0.0 if model.constraint == "sphere" else NUMBERS["eta"] * NUMBERS["weight_decay"]
    mean = (w * e * step.T) @ fields
    noise = (w * (e**2 + NUMBERS["label_noise"]) * step.T) @ step / NUMBERS["batch"]
    dQ = noise - mean - mean.T - 2 * decay * Q
    dR = -(w * e * step.T) @ teacher_fields - decay * R
    if model.constraint == "sphere":
        rate = np.diag(dQ) / (2 * np.diag(Q))
        dQ, dR = dQ - Q * (rate[:, None] + rate), dR - R * rate[:, None]
    return (dQ, dR, -eta_second * a * (w * e) @ polyval(fields, sigma)), 0.5 * w @ e**2


@pytest.mark.parametrize(
    ("options", "sigma", "sigma_star"), thinned(CASES, 0), ids=["sphere, trained", "free, fixed"]
)
def test_drift_loss_and_jacobian(options, sigma, sigma_star):
    model = oo.Model(**options)
    system, generator = oo.load(model), np.random.default_rng(4)
    weights = generator.normal(size=(model.p + model.pstar, 5))
    C = weights @ weights.T / 8
    p = model.p
    Q, R, T = C[:p, :p], C[:p, p:], C[p:, p:]
    v, vstar = generator.normal(size=p), generator.normal(size=model.pstar)
    layers = {"T": T, "student_weights": v, "teacher_weights": vstar}
    numbers = NUMBERS | layers | ({"eta_second": 0.07} if model.trained else {})

    def drift(state, wrong=1.0):
        parts = [*system.unpack(state), v][:3]
        found, _ = drift_and_loss(model, sigma, sigma_star, (*parts[:2], T), parts[2], wrong * vstar, 0.07)
        return system.pack(*found[: 3 if model.trained else 2])

    state = system.pack(Q, R, v) if model.trained else system.pack(Q, R)
    expected, found = drift(state), system.pack(*system.rhs(Q, R, **numbers))
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-11 * np.abs(expected).max())
    assert found != pytest.approx(drift(state, wrong=1.0001), rel=1e-6)
    loss = drift_and_loss(model, sigma, sigma_star, (Q, R, T), v, vstar, 0.07)[1]
    assert float(system.loss(Q, R, **layers)) == pytest.approx(loss, rel=1e-12)
    shifts = 1e-5 * np.eye(len(state))
    differences = np.stack([drift(state + h) - drift(state - h) for h in shifts], -1) / 2e-5
    jacobian = system.jacobian(Q, R, **numbers)
    assert jacobian == pytest.approx(differences, rel=1e-6, abs=1e-7 * np.abs(differences).max())
