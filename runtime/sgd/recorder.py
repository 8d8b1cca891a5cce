"""Records the overlaps of SGD runs as they go, and makes a dataset of them."""

from __future__ import annotations

from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np

from derive import readout
from derive.activation import Activation
from derive.model import Model
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import result_attributes
from runtime.start.checked_arrays import Array
from runtime.start.teacher_directions import Teacher
from runtime.trajectory.solver import DIVERGENCE_GROWTH
from runtime.trajectory.trajectory_dataset import coordinates_of, layer_variables

if TYPE_CHECKING:
    import xarray

    from runtime.sgd.simulation import Simulation


def generalisation_error(
    model: Model, Q: Array, R: Array, T: Array, v: Array | None = None, vstar: Array | None = None
) -> Array:
    """ε of overlaps (…, p, p), (…, p, p*) and (p*, p*).

    Second-layer weights v (…, p) and v* (…, p*) are 1 where they are not given. For λ² docs/theory.md
    derives ε = ½ (s² + 2t), with s = tr DC, t = tr DCDC, C = [[Q, R], [Rᵀ, T]] and D = diag(a v, −b v*).
    """
    if not model.quadratic:
        return _error_of_polynomials(model, Q, R, T, v, vstar)
    a, b = readout.weights(model)

    def traces(matrix: Array, rows: Array | None, columns: Array | None) -> tuple[Array, Array]:
        """Σ_i x_i M_ii, and Σ_ij x_i y_j M_ij² with weights x of rows and y of columns."""
        squares, weighted = matrix**2, matrix
        if rows is not None:
            squares, weighted = squares * rows[..., :, None], weighted * rows[..., :, None]
        if columns is not None:
            squares = squares * columns[..., None, :]
        return np.trace(weighted, axis1=-2, axis2=-1), np.sum(squares, axis=(-2, -1))

    (trace_q, qq), (_, rr), (trace_t, tt) = traces(Q, v, v), traces(R, v, vstar), traces(T, vstar, vstar)
    s = a * trace_q - b * trace_t
    t = a * a * qq - 2.0 * a * b * rr + b * b * tt
    return np.asarray(0.5 * (s * s + 2.0 * t))


def _error_of_polynomials(
    model: Model, Q: Array, R: Array, T: Array, v: Array | None, vstar: Array | None
) -> Array:
    """ε = ½ Σ_mn d_m d_n Σ_k E[g_m^(k)] E[g_n^(k)] C_mn^k/k!, with weights d and activations g of units.

    docs/finite-n.md has it, and `derive.polynomial.graph_program` lowers it.
    """

    def means(C: Array, activation: Activation, order: int) -> Array:
        """E[σ^(order)] of each unit."""
        norms = np.diagonal(C, axis1=-2, axis2=-1)
        terms = (float(c) * norms**power for power, c in activation.moment(order).items())
        return np.asarray(sum(terms, np.zeros_like(norms)))

    (a, b), (student, teacher) = readout.weights(model), model.activations
    d, f = (weight * (1.0 if layer is None else layer) for weight, layer in ((a, v), (b, vstar)))
    total = np.zeros(Q.shape[:-2])
    for order in range(max(student.degree, teacher.degree) + 1):
        x, y = d * means(Q, student, order), f * means(T, teacher, order)
        for left, matrix, right, factor in ((x, Q, x, 0.5), (x, R, y, -1.0), (y, T, y, 0.5)):
            terms = left[..., :, None] * matrix**order * right[..., None, :]
            total = total + factor / factorial(order) * np.sum(terms, axis=(-2, -1))
    return total


class RunWatcher:
    """The starts of runs, and which of them have diverged; runs may report in any order.

    steps
        Whole steps, ascending, after which each run reports its state.
    A, S
        Coordinates of the starts (run, …) along the teacher and beyond it.
    v
        A trained second layer (run, p) at the start; None if there is none.
    """

    def __init__(
        self, steps: np.ndarray, A: Array, S: Array, teacher: Teacher, v: Array | None = None
    ) -> None:
        self.count, self.steps, self.teacher = len(A), steps, teacher
        self._A, self._S = A, S
        self.diverged = np.zeros(self.count, dtype=bool)
        norms = np.sum(A**2, axis=2) + np.sum(S**2, axis=2)
        largest = np.max(norms, axis=1)
        if v is not None:
            largest = np.maximum(largest, np.max(np.abs(v), axis=1))
        self._bound = DIVERGENCE_GROWTH * np.maximum(1.0, largest)

    def start(self, runs: np.ndarray) -> tuple[Array, Array]:
        """Coordinates of these runs along the teacher and beyond it, at α = 0."""
        return self._A[runs], self._S[runs]

    def write(self, record: int, runs: np.ndarray, A: Array, S: Array, v: Array | None = None) -> bool:
        """Take the states of some runs at a record; returns whether any of them has to go on."""
        raise NotImplementedError

    def _overlaps(
        self, runs: np.ndarray, A: Array, S: Array, v: Array | None
    ) -> tuple[Array, Array, np.ndarray]:
        """Q and R of some runs, and which of them are within the bound of divergence."""
        # A run that diverges is a result and no error.
        with np.errstate(over="ignore", invalid="ignore"):
            Q, R = self.teacher.overlaps(A, S)
            largest = np.max(np.diagonal(Q, axis1=1, axis2=2), axis=1)
            if v is not None:
                # A maximum that is NaN is not within the bound either.
                largest = np.maximum(largest, np.max(np.abs(v), axis=1))
            return Q, R, (largest <= self._bound[runs]) & np.isfinite(R).all(axis=(1, 2))


class RunRecorder(RunWatcher):
    """The order parameters (run, record, …) of runs.

    From the record on at which a run has diverged, its order parameters are NaN. `v` is a trained second
    layer (run, record, p); None if there is none.
    """

    def __init__(
        self, steps: np.ndarray, A: Array, S: Array, teacher: Teacher, v: Array | None = None
    ) -> None:
        super().__init__(steps, A, S, teacher, v)
        p, pstar, front = A.shape[1], len(teacher.factor), (self.count, len(steps))
        self.Q = np.full((*front, p, p), np.nan)
        self.R = np.full((*front, p, pstar), np.nan)
        self.v: Array | None = None if v is None else np.full((*front, p), np.nan)
        # Number of records that each run has written.
        self.reached = np.zeros(self.count, dtype=np.int64)

    def write(self, record: int, runs: np.ndarray, A: Array, S: Array, v: Array | None = None) -> bool:
        """Write the states of some runs at a record; returns whether any of them has not diverged."""
        Q, R, fine = self._overlaps(runs, A, S, v)
        fine &= ~self.diverged[runs]
        going = runs[fine]
        self.Q[going, record] = Q[fine]
        self.R[going, record] = R[fine]
        if self.v is not None and v is not None:
            self.v[going, record] = v[fine]
        self.reached[going] = record + 1
        self.diverged[runs[~fine]] = True
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
    model, n, T = simulation.model, simulation.n, simulation.parameters.T
    parameters, times = simulation.parameters, simulation.times
    front = ("trajectory", "alpha")
    last = np.maximum(recorder.reached - 1, 0)

    v, vstar = recorder.v, None
    if model.weighted:
        initial, vstar = (weights[:, None] for weights in parameters.weights())
        v = initial if v is None else v
    variables: dict[str, Any] = {
        "Q": ((*front, "i", "j"), recorder.Q),
        "R": ((*front, "i", "r"), recorder.R),
        "loss": (front, generalisation_error(model, recorder.Q, recorder.R, T, v, vstar)),
        **layer_variables(parameters),
    }
    means = {"Q": "Q", "R": "R", "loss": "generalisation error"}
    if recorder.v is not None:
        variables["v"] = ((*front, "i"), recorder.v)
        means["v"] = "v"
    for name in parameters.numbers:
        variables[name] = ("trajectory", np.array(simulation.values(name)))
    variables["status"] = ("trajectory", np.where(recorder.diverged, "diverged", "ok"), "ok or diverged")
    ends = np.where(recorder.reached > 0, times[last], simulation.start.alpha)
    variables["alpha_end"] = ("trajectory", ends, "last time before divergence")
    for name, what in means.items():
        dims, values = variables[name]
        mean, error = mean_of_finite(values)
        variables[f"{name}_mean"] = (dims[1:], mean, f"mean {what} over runs")
        variables[f"{name}_error"] = (dims[1:], error, f"standard error of the mean {what}")
    going = np.sum(np.isfinite(variables["loss"][1]), axis=0)
    variables["runs"] = (("alpha",), going, "runs that have not diverged")
    coordinates = {"trajectory": np.arange(recorder.count), **coordinates_of(model, times)}
    settings = {"n": n, "method": simulation.method, "seed": simulation.seed}
    settings |= simulation.schedule.attributes
    if simulation.start.alpha:
        settings["start_alpha"] = simulation.start.alpha
    attributes = result_attributes(f"SGD of {model.name} at N = {n}", model, settings, "simulate")
    for name in parameters.numbers:
        values = simulation.values(name)
        if np.all(values == values[0]):
            attributes[name] = float(values[0])
    return PlainResult(variables, coordinates, attributes).dataset()
