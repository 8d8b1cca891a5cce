"""Records the overlaps of SGD runs as they go, and makes a dataset of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from derive import readout
from derive.model import Model
from derive.parameters import PARAMETERS
from runtime.output.result_attributes import result_attributes
from runtime.start.checked_arrays import Array
from runtime.start.teacher_directions import Teacher
from runtime.trajectory.solver import DIVERGENCE_GROWTH
from runtime.trajectory.trajectory_dataset import coordinates_of

if TYPE_CHECKING:
    import xarray

    from runtime.sgd.simulation import Simulation


def generalisation_error(model: Model, Q: Array, R: Array, T: Array) -> Array:
    """ε = ½ (s² + 2t) of overlaps (…, p, p), (…, p, p*) and (p*, p*).

    docs/theory.md derives it, with s = tr DC, t = tr DCDC,
    C = [[Q, R], [Rᵀ, T]] and D = diag(a, …, −b, …).
    """
    a, b = readout.weights(model)
    s = a * np.trace(Q, axis1=-2, axis2=-1) - b * np.trace(T)
    squares = [np.sum(matrix**2, axis=(-2, -1)) for matrix in (Q, R, T)]
    t = a * a * squares[0] - 2.0 * a * b * squares[1] + b * b * squares[2]
    return np.asarray(0.5 * (s * s + 2.0 * t))


class RunRecorder:
    """The overlaps (run, record, …) of runs that may write in any order.

    From the record on at which a run has diverged, its overlaps are NaN.
    """

    def __init__(self, count: int, steps: np.ndarray, A: Array, S: Array, teacher: Teacher) -> None:
        self.count, self.steps, self.teacher = count, steps, teacher
        self._A, self._S = A, S
        p, pstar = A.shape[1], len(teacher.factor)
        self.Q = np.full((count, len(steps), p, p), np.nan)
        self.R = np.full((count, len(steps), p, pstar), np.nan)
        self.diverged = np.zeros(count, dtype=bool)
        # Number of records that each run has written.
        self.reached = np.zeros(count, dtype=np.int64)
        norms = np.sum(A**2, axis=2) + np.sum(S**2, axis=2)
        self._bound = DIVERGENCE_GROWTH * np.maximum(1.0, np.max(norms, axis=1))

    def start(self, runs: np.ndarray) -> tuple[Array, Array]:
        """Coordinates of these runs along the teacher and beyond it, at α = 0."""
        return self._A[runs], self._S[runs]

    def write(self, record: int, runs: range, A: Array, S: Array) -> bool:
        """Write the coordinates of some runs at a record; returns whether any of them has not diverged."""
        part = slice(runs.start, runs.stop)
        # A run that diverges is a result and no error.
        with np.errstate(over="ignore", invalid="ignore"):
            Q, R = self.teacher.overlaps(A, S)
            largest = np.max(np.diagonal(Q, axis1=1, axis2=2), axis=1)
            fine = (largest <= self._bound[part]) & np.isfinite(R).all(axis=(1, 2)) & ~self.diverged[part]
        self.Q[part, record][fine] = Q[fine]
        self.R[part, record][fine] = R[fine]
        self.reached[part][fine] = record + 1
        self.diverged[part] |= ~fine
        return bool(fine.any())


def mean_of_finite(values: Array) -> tuple[Array, Array]:
    """Mean over the runs (in front) that are not NaN, and its standard error.

    Both are NaN without a run, and the error is NaN with a single one.
    """
    there = np.isfinite(values)
    count = np.sum(there, axis=0)
    filled = np.where(there, values, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.sum(filled, axis=0) / count
        squares = np.sum(np.where(there, values - mean, 0.0) ** 2, axis=0)
        error = np.sqrt(squares / (count - 1) / count)
    return np.where(count > 0, mean, np.nan), np.where(count > 1, error, np.nan)


def sgd_dataset(simulation: Simulation, recorder: RunRecorder) -> xarray.Dataset:
    """The dataset of `simulate`."""
    import xarray

    model, n, T = simulation.model, simulation.n, simulation.parameters.T
    times = recorder.steps / n
    front = ("trajectory", "alpha")
    last = np.maximum(recorder.reached - 1, 0)

    def each(values: Any, name: str) -> tuple[tuple[str, ...], Any, dict[str, str]]:
        return ("trajectory",), values, {"long_name": name}

    variables: dict[str, Any] = {
        "Q": ((*front, "i", "j"), recorder.Q, {"long_name": "student-student overlap"}),
        "R": ((*front, "i", "r"), recorder.R, {"long_name": "student-teacher overlap"}),
        "T": (("r", "s"), T, {"long_name": PARAMETERS["T"].words}),
        "loss": (
            front,
            generalisation_error(model, recorder.Q, recorder.R, T),
            {"long_name": "generalisation error"},
        ),
    }
    for name in simulation.parameters.numbers:
        variables[name] = each(np.array(simulation.values(name)), PARAMETERS[name].words)
    variables["status"] = each(np.where(recorder.diverged, "diverged", "ok"), "ok or diverged")
    ends = np.where(recorder.reached > 0, times[last], 0.0)
    variables["alpha_end"] = each(ends, "last time before divergence")
    for name, what in (("Q", "Q"), ("R", "R"), ("loss", "generalisation error")):
        dims, values, _ = variables[name]
        mean, error = mean_of_finite(values)
        variables[f"{name}_mean"] = (dims[1:], mean, {"long_name": f"mean {what} over runs"})
        variables[f"{name}_error"] = (dims[1:], error, {"long_name": f"standard error of the mean {what}"})
    going = np.sum(np.isfinite(variables["loss"][1]), axis=0)
    variables["runs"] = (("alpha",), going, {"long_name": "runs that have not diverged"})
    coordinates = {"trajectory": np.arange(recorder.count), **coordinates_of(model, times)}
    settings = {"n": n, "method": simulation.method, "seed": simulation.seed}
    attributes = result_attributes(f"SGD of {model.name} at N = {n}", model, settings)
    for name in simulation.parameters.numbers:
        values = simulation.values(name)
        if np.all(values == values[0]):
            attributes[name] = float(values[0])
    return xarray.Dataset(variables, coordinates, attributes)
