"""The oracle: the closed form of the drift in NumPy, and points and models to compare at.

Nothing here comes from `derive` except Model, so that a defect there cannot hide here.
"""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
from table_numbers import numbers

from derive import Model

CONSTRAINTS = ("free", "sphere")
FLOWS = ("sgd", "gradient")
TEACHERS = ("orthonormal", "general")
# The readout weights are these powers of the widths.
READOUT_POWERS = {"mean": -1.0, "sum": 0.0, "sqrt": -0.5}
OPTION_SETS = list(itertools.product(CONSTRAINTS, FLOWS, TEACHERS, READOUT_POWERS))

# Small enough that f(y + ih) − f(y) has no rounding error, so the complex step is exact.
COMPLEX_STEP = 1e-30


@dataclasses.dataclass(frozen=True)
class Point:
    """A state and the run-time parameters."""

    Q: np.ndarray
    R: np.ndarray
    T: np.ndarray
    eta: float
    label_noise: float


def random_point(model: Model, seed: int) -> Point:
    """Overlaps of random vectors, so that C is a covariance; norms stay away from 0."""
    generator = np.random.default_rng(seed)
    p, pstar = model.p, model.pstar
    students = generator.normal(size=(p, pstar + p)) / np.sqrt(pstar + p) + np.eye(p, pstar + p)
    teachers = np.eye(pstar)
    if model.teacher == "general":
        teachers = teachers + 0.3 * generator.normal(size=(pstar, pstar))
    Q, T = students @ students.T, teachers @ teachers.T
    # A product of matrices is symmetric only up to rounding.
    Q, T = (Q + Q.T) / 2, (T + T.T) / 2
    R = students[:, :pstar] @ teachers.T
    return Point(Q, R, T, eta=generator.uniform(0.1, 0.6), label_noise=generator.uniform(0.1, 0.5))


def readouts(model: Model) -> tuple[float, float]:
    """The readout weights a and b."""
    power = READOUT_POWERS[model.readout]
    return float(model.p) ** power, float(model.pstar) ** power


def _moments(model: Model, Q: np.ndarray, R: np.ndarray, T: np.ndarray):
    p = model.p
    a, b = readouts(model)
    C = np.block([[Q, R], [R.T, T]])
    D = np.diag([a] * p + [-b] * model.pstar)
    s = np.trace(D @ C)
    t = np.trace(D @ C @ D @ C)
    return C, C @ D @ C, C @ D @ C @ D @ C, s, t


def drift(model: Model, point: Point) -> tuple[np.ndarray, np.ndarray]:
    """dQ/dα and dR/dα."""
    p, Q, R = model.p, point.Q, point.R
    step = 2 * readouts(model)[0] * point.eta
    C, CDC, CDCDC, s, t = _moments(model, Q, R, point.T)
    first = s * C + 2 * CDC
    second = (s**2 + 2 * t + point.label_noise) * C + 4 * s * CDC + 8 * CDCDC
    dR = -step * first[:p, p:]
    dQ = -2 * step * first[:p, :p]
    if model.flow == "sgd":
        dQ = dQ + step**2 * second[:p, :p]
    if model.constraint == "sphere":
        d = np.diag(dQ) / (2 * np.diag(Q))
        dQ = dQ - Q * (d[:, None] + d[None, :])
        dR = dR - R * d[:, None]
    return dQ, dR


def loss(model: Model, point: Point) -> float:
    """The generalisation error."""
    _, _, _, s, t = _moments(model, point.Q, point.R, point.T)
    return (s**2 + 2 * t) / 2


def magnitude(model: Model, point: Point) -> float:
    """The largest entry of the free drift: what rounding errors are measured by, since the
    sphere cancels some entries to nothing.
    """
    free = dataclasses.replace(model, constraint="free")
    return max(np.abs(flatten(*drift(free, point))).max(), 1.0)


def flatten(Q: np.ndarray, R: np.ndarray) -> np.ndarray:
    """The state vector: upper triangle of Q by rows, then R by rows."""
    return np.concatenate([Q[np.triu_indices(len(Q))], R.ravel()])


def unflatten(model: Model, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    upper = np.triu_indices(model.p)
    Q = np.zeros((model.p, model.p), dtype=y.dtype)
    Q[upper] = y[: upper[0].size]
    Q.T[upper] = y[: upper[0].size]
    return Q, y[upper[0].size :].reshape(model.p, model.pstar)


def jacobian(model: Model, point: Point) -> np.ndarray:
    """d(dy_i/dα)/dy_j by the complex step."""
    y = flatten(point.Q, point.R)
    columns = []
    for unit in np.eye(y.size):
        Q, R = unflatten(model, y + 1j * COMPLEX_STEP * unit)
        moved = drift(model, dataclasses.replace(point, Q=Q, R=R))
        columns.append(flatten(*moved).imag / COMPLEX_STEP)
    return np.array(columns).T


def named(model: Model, point: Point) -> dict[str, Fraction]:
    """The point as exact rationals under the names of `derive`, readout weights included."""
    a, b = readouts(model)
    values = {"a": a, "b": b, **numbers(model, point.eta, point.label_noise)}
    values |= dict(zip(model.state, flatten(point.Q, point.R), strict=True))
    if model.teacher == "general":
        teachers = range(model.pstar)
        for r, s in itertools.combinations_with_replacement(teachers, 2):
            values[f"T_{r + 1}_{s + 1}"] = point.T[r, s]
    return {name: Fraction(float(value)) for name, value in values.items()}
