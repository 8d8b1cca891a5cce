"""The oracle: drift and loss in closed form, over any leading axes. Nothing from `derive`."""

from __future__ import annotations

import numpy as np


def _blocks(model, Q, R, T):
    a = {"mean": 1 / model.p, "sum": 1.0, "sqrt": model.p**-0.5}[model.readout]
    b = {"mean": 1 / model.pstar, "sum": 1.0, "sqrt": model.pstar**-0.5}[model.readout]
    T = np.broadcast_to(np.eye(model.pstar) if T is None else T, (*Q.shape[:-2], model.pstar, model.pstar))
    C = np.block([[Q, R], [np.swapaxes(R, -1, -2), T]])
    D = np.diag([a] * model.p + [-b] * model.pstar)
    DC = D @ C
    s = np.trace(DC, axis1=-2, axis2=-1)[..., None, None]
    t = np.trace(DC @ DC, axis1=-2, axis2=-1)[..., None, None]
    return a, C, DC, s, t


def drift(model, Q, R, eta, label_noise=0.0, T=None):
    """dQ/dα and dR/dα."""
    a, C, DC, s, t = _blocks(model, Q, R, T)
    p = model.p
    first = s * C + 2 * C @ DC
    second = (s**2 + 2 * t + label_noise) * C + 4 * s * C @ DC + 8 * C @ DC @ DC
    dR = -2 * a * eta * first[..., :p, p:]
    dQ = -4 * a * eta * first[..., :p, :p]
    if model.flow == "sgd":
        dQ = dQ + (2 * a * eta) ** 2 * second[..., :p, :p]
    if model.constraint == "sphere":
        d = np.diagonal(dQ, axis1=-2, axis2=-1) / (2 * np.diagonal(Q, axis1=-2, axis2=-1))
        dQ = dQ - Q * (d[..., :, None] + d[..., None, :])
        dR = dR - R * d[..., None]
    return dQ, dR


def loss(model, Q, R, T=None):
    """The generalisation error."""
    *_, s, t = _blocks(model, Q, R, T)
    return 0.5 * (s**2 + 2 * t)[..., 0, 0]


def random_states(model, seed, leading=()):
    """Q, R, T that some weights have."""
    generator = np.random.default_rng(seed)
    p, pstar = model.p, model.pstar
    students = generator.normal(size=(*leading, p, pstar + p)) / np.sqrt(pstar + p)
    teachers = np.eye(pstar)
    if model.teacher == "general":
        teachers = teachers + 0.3 * generator.normal(size=(pstar, pstar))
    Q, T = students @ np.swapaxes(students, -1, -2), teachers @ teachers.T
    return (Q + np.swapaxes(Q, -1, -2)) / 2, students[..., :pstar] @ teachers.T, (T + T.T) / 2
