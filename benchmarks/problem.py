"""The task that all ensemble benchmarks share: starts, times, a NumPy right-hand side, exact references."""

from __future__ import annotations

import dataclasses

import numpy as np
from program_rhs import ProgramArrays
from scipy.integrate import solve_ivp

from derive.model import Model

ETA = 0.3
OUTPUTS = 200
REFERENCES = 8


@dataclasses.dataclass(frozen=True)
class Task:
    """Trajectories of one system.

    initial
        Packed states (k, n), all integrated from time 0 to `end`.
    activation, eta
        Of students and teachers; the learning rate of all trajectories.
    """

    p: int
    pstar: int
    end: float
    initial: np.ndarray
    activation: str = "quadratic"
    eta: float = ETA

    @property
    def model(self) -> Model:
        return Model(self.p, self.pstar, activation=self.activation)

    @property
    def times(self) -> np.ndarray:
        return np.linspace(0.0, self.end, OUTPUTS)

    @property
    def size(self) -> int:
        return self.initial.shape[1]


def task(p: int, pstar: int, trajectories: int, end: float = 200.0, seed: int = 1) -> Task:
    """Random starts: Q0 is 1 plus symmetric noise of size 0.01, and R0 is normal of size 0.01.

    The model has an orthonormal teacher, the mean readout and the η² term.
    """
    rng = np.random.default_rng(seed)
    noise = 0.01 * rng.standard_normal((trajectories, p, p))
    Q = np.eye(p) + 0.5 * (noise + noise.transpose(0, 2, 1))
    R = 0.01 * rng.standard_normal((trajectories, p, pstar))
    upper = np.triu_indices(p)
    initial = np.concatenate([Q[:, upper[0], upper[1]], R.reshape(trajectories, -1)], axis=1)
    return Task(p, pstar, end, np.ascontiguousarray(initial))


def polynomial_task(activation: str, p: int, pstar: int, trajectories: int, end: float) -> Task:
    """Random starts: Q0 is 1, and R0 has ½ for p* students, plus normal noise of size 0.02.

    The learning rate is small enough for quartic drifts to stay finite.
    """
    rng = np.random.default_rng(1)
    R = 0.5 * np.eye(p, pstar) + 0.02 * rng.standard_normal((trajectories, p, pstar))
    Q = np.tile(np.eye(p)[np.triu_indices(p)], (trajectories, 1))
    initial = np.concatenate([Q, R.reshape(trajectories, -1)], axis=1)
    return Task(p, pstar, end, np.ascontiguousarray(initial), activation, eta=0.05)


def numpy_rhs(work: Task):
    """f(t, y) in NumPy: the closed form of quadratic networks as a user of SciPy would write it by hand."""
    if not work.model.quadratic:
        return ProgramArrays(work.model, work.eta, np)
    p, pstar = work.p, work.pstar
    a, b, kappa = 1.0 / p, 1.0 / pstar, 2.0 * work.eta / p
    upper = np.triu_indices(p)
    head = upper[0].size

    def f(_t, y):
        Q = np.empty((p, p))
        Q[upper] = y[:head]
        Q.T[upper] = y[:head]
        R = y[head:].reshape(p, pstar)
        s = a * np.trace(Q) - b * pstar
        t = a * a * np.sum(Q * Q) - 2 * a * b * np.sum(R * R) + b * b * pstar
        X, Y = a * Q @ Q - b * R @ R.T, a * Q @ R - b * R
        Z = a * Q @ X - b * R @ Y.T
        dQ = -2 * kappa * (s * Q + 2 * X) + kappa**2 * ((s * s + 2 * t) * Q + 4 * s * X + 8 * Z)
        dR = -kappa * (s * R + 2 * Y)
        return np.concatenate([dQ[upper], dR.ravel()])

    return f


def reference(work: Task) -> np.ndarray:
    """The first trajectories by DOP853 at 3e-14, shape (REFERENCES, OUTPUTS, n)."""
    f = numpy_rhs(work)
    return np.array(
        [
            solve_ivp(f, (0.0, work.end), y, method="DOP853", rtol=3e-14, atol=1e-16, t_eval=work.times).y.T
            for y in work.initial[:REFERENCES]
        ]
    )


def largest_error(states: np.ndarray, expected: np.ndarray) -> float:
    """Largest error over trajectories, times and order parameters.

    `states` (k, times, n) is at the times of `reference`, or at the last of them.
    """
    return float(np.max(np.abs(states[: len(expected)] - expected[:, -states.shape[1] :])))
