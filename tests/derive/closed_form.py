"""The oracle: the closed form of the drift in NumPy, and points and models to compare at.

Nothing here comes from `derive` except Model, so that a defect there cannot hide here.
"""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction

import numpy as np

from derive import Model

CONSTRAINTS = ("free", "sphere")
FLOWS = ("sgd", "gradient")
TEACHERS = ("orthonormal", "general")
# The readout weights are these powers of the widths.
READOUT_POWERS = {"mean": -1.0, "sum": 0.0, "sqrt": -0.5}
SECOND_LAYERS = ("fixed", "trained")
# All combinations where second-layer weights are 1, and with the readout "mean" where they are not.
OPTION_SETS = [
    *itertools.product(CONSTRAINTS, FLOWS, TEACHERS, READOUT_POWERS, ["ones"]),
    *itertools.product(CONSTRAINTS, FLOWS, TEACHERS, ["mean"], SECOND_LAYERS),
]

# Small enough that f(y + ih) − f(y) has no rounding error, so the complex step is exact.
COMPLEX_STEP = 1e-30


@dataclasses.dataclass(frozen=True)
class Point:
    """A state and the run-time parameters; v and vstar are 1 where the model has no second layer."""

    Q: np.ndarray
    R: np.ndarray
    T: np.ndarray
    eta: float
    label_noise: float
    weight_decay: float = 0.0
    batch: float = 1.0
    v: np.ndarray | float = 1.0
    vstar: np.ndarray | float = 1.0
    eta_second: float = 0.0

    def state(self, model: Model) -> tuple[np.ndarray, ...]:
        """The order parameters."""
        return (self.Q, self.R, self.v) if model.second_layer == "trained" else (self.Q, self.R)


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
    eta, label_noise, weight_decay = generator.uniform(0.1, 0.6, size=3)
    batch, eta_second = float(generator.integers(2, 6)), generator.uniform(0.2, 1.2)
    point = Point(Q, R, T, eta, label_noise, weight_decay, batch, eta_second=eta_second)
    if model.second_layer == "ones":
        return point
    v, vstar = generator.normal(size=p), generator.normal(size=pstar)
    return dataclasses.replace(point, v=v, vstar=vstar)


def readouts(model: Model) -> tuple[float, float]:
    """The readout weights a and b."""
    power = READOUT_POWERS[model.readout]
    return float(model.p) ** power, float(model.pstar) ** power


def _moments(model: Model, point: Point):
    a, b = readouts(model)
    C = np.block([[point.Q, point.R], [point.R.T, point.T]])
    v, vstar = np.broadcast_to(point.v, model.p), np.broadcast_to(point.vstar, model.pstar)
    D = np.diag(np.concatenate([a * v, -b * vstar]))
    s = np.trace(D @ C)
    t = np.trace(D @ C @ D @ C)
    return C, C @ D @ C, C @ D @ C @ D @ C, s, t


def drift(model: Model, point: Point) -> tuple[np.ndarray, ...]:
    """dQ/dα and dR/dα, and dv/dα of a trained second layer."""
    p, Q, R = model.p, point.Q, point.R
    a, _ = readouts(model)
    step, decay = 2 * a * point.eta * np.broadcast_to(point.v, p), point.eta * point.weight_decay
    C, CDC, CDCDC, s, t = _moments(model, point)
    first = s * C + 2 * CDC
    second = (s**2 + 2 * t + point.label_noise) * C + 4 * s * CDC + 8 * CDCDC
    dR = -step[:, None] * first[:p, p:] - decay * R
    dQ = -(step[:, None] + step[None, :]) * first[:p, :p] - 2 * decay * Q
    dv = -point.eta_second * a * np.diag(first)[:p]
    if model.flow == "sgd":
        dQ = dQ + step[:, None] * step[None, :] * second[:p, :p] / point.batch
    if model.constraint == "sphere":
        d = np.diag(dQ) / (2 * np.diag(Q))
        dQ = dQ - Q * (d[:, None] + d[None, :])
        dR = dR - R * d[:, None]
    return (dQ, dR, dv) if model.second_layer == "trained" else (dQ, dR)


def loss(model: Model, point: Point) -> float:
    """The generalisation error."""
    _, _, _, s, t = _moments(model, point)
    return (s**2 + 2 * t) / 2


def magnitude(model: Model, point: Point) -> float:
    """The largest entry of the free drift: what rounding errors are measured by, since the
    sphere cancels some entries to nothing.
    """
    free = dataclasses.replace(model, constraint="free")
    return max(np.abs(flatten(*drift(free, point))).max(), 1.0)


def flatten(Q: np.ndarray, R: np.ndarray, *v: np.ndarray) -> np.ndarray:
    """The state vector: upper triangle of Q by rows, R by rows, and v where it is trained."""
    return np.concatenate([Q[np.triu_indices(len(Q))], R.ravel(), *v])


def unflatten(model: Model, y: np.ndarray) -> tuple[np.ndarray, ...]:
    upper = np.triu_indices(model.p)
    Q = np.zeros((model.p, model.p), dtype=y.dtype)
    Q[upper] = y[: upper[0].size]
    Q.T[upper] = y[: upper[0].size]
    end = upper[0].size + model.p * model.pstar
    v = [y[end:]] if model.second_layer == "trained" else []
    return Q, y[upper[0].size : end].reshape(model.p, model.pstar), *v


def jacobian(model: Model, point: Point) -> np.ndarray:
    """d(dy_i/dα)/dy_j by the complex step."""
    y = flatten(*point.state(model))
    columns = []
    for unit in np.eye(y.size):
        state = dict(zip("QRv", unflatten(model, y + 1j * COMPLEX_STEP * unit), strict=False))
        moved = drift(model, dataclasses.replace(point, **state))
        columns.append(flatten(*moved).imag / COMPLEX_STEP)
    return np.array(columns).T


def packed_parameters(model: Model, point: Point) -> dict[str, float]:
    """The run-time parameters by their packed names, in order."""
    values: dict[str, float] = {
        "eta": point.eta,
        "label_noise": point.label_noise,
        "weight_decay": point.weight_decay,
        "inverse_batch": 1 / point.batch,
        "eta_second": point.eta_second,
    }
    teachers = range(model.pstar)
    for r, s in itertools.combinations_with_replacement(teachers, 2):
        values[f"T_{r + 1}_{s + 1}"] = point.T[r, s]
    values |= {f"v_{i + 1}": weight for i, weight in enumerate(np.broadcast_to(point.v, model.p))}
    values |= {f"vstar_{r + 1}": w for r, w in enumerate(np.broadcast_to(point.vstar, model.pstar))}
    return {name: float(values[name]) for name in model.parameters}


def named(model: Model, point: Point) -> dict[str, Fraction]:
    """The point as exact rationals under the names of `derive`, readout weights included."""
    a, b = readouts(model)
    values = {"a": a, "b": b, **packed_parameters(model, point)}
    values |= dict(zip(model.state, flatten(*point.state(model)), strict=True))
    return {name: Fraction(float(value)) for name, value in values.items()}
