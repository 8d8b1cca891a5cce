"""The states of a run that drift monitors measure, with the errors and parameters that belong to them."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from derive.errors import InputError
from derive.model import Model, require_quadratic
from runtime.analysis.recorded_runs import states_of_run
from runtime.start.checked_arrays import Array
from runtime.start.teacher_directions import Teacher

if TYPE_CHECKING:
    import xarray

# Errors of Q of this many times the tolerance of a step are common.
_ERRORS = 10.0
# S⁻¹ is taken where S is at least this many times its error, so that K is right to a percent.
RESOLVED = 100.0


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredStates:
    """All states of a run as (trajectory, output, …), with what belongs to them.

    v, vstar
        Second-layer weights: (trajectory or 1, output or 1, p), (trajectory or 1, p*).
    time
        ∫g dα with the factor g of the learning-rate schedule: (output,).
    eta, eta_second, weight_decay
        Those of each trajectory: (trajectory,).
    error
        Errors of the entries of Q and R: (trajectory, output).
    there
        Where the run got to: (trajectory, output).
    """

    model: Model
    Q: Array
    R: Array
    T: Array
    v: Array
    vstar: Array
    time: Array
    eta: Array
    eta_second: Array
    weight_decay: Array
    error: Array
    there: NDArray[np.bool_]
    stochastic: bool

    @property
    def equal_students(self) -> bool:
        """Whether the students of each trajectory have one second-layer weight, which does not change."""
        return not self.model.trained and bool(np.all(self.v == self.v[..., :1]))

    @property
    def equal_teachers(self) -> bool:
        """Whether T = 1, and the teachers of each trajectory have one second-layer weight."""
        same = bool(np.all(self.vstar == self.vstar[:, :1]))
        return self.model.teacher == "orthonormal" and same

    @cached_property
    def svd(self) -> tuple[Array, Array, Array]:
        """U, singular values and Vᵀ of R; NaN where there is no state."""
        shape = self.R.shape
        size = min(shape[2:])
        left = np.full((*shape[:3], size), np.nan)
        values = np.full((*shape[:2], size), np.nan)
        right = np.full((*shape[:2], size, shape[3]), np.nan)
        there = self.there
        left[there], values[there], right[there] = np.linalg.svd(self.R[there], full_matrices=False)
        return left, values, right

    @property
    def M(self) -> Array:
        """RRᵀ."""
        return np.asarray(self.R @ transposed(self.R))


def measured_states(run: xarray.Dataset) -> MeasuredStates:
    """The states of a result of ours; InputError names what is wrong with it."""
    found = states_of_run(run)
    require_quadratic(found.model, "conserved quantities are known")
    if len(found.front) > 1:
        raise InputError("run", f"has the axes {', '.join(found.front)}: select all but one")
    Q, R = (values if found.front else values[None] for values in (found.Q, found.R))
    relative = max(float(run.attrs.get("rtol", 0.0)), float(np.finfo(np.float64).eps))
    with np.errstate(invalid="ignore"):
        size = np.max(np.abs(Q), axis=(2, 3))

    def number(name: str) -> Array:
        return np.array(np.broadcast_to(found.parameters.get(name, np.nan), len(Q)))

    if found.v is None:
        v = np.reshape(found.weights["student_weights"], (-1, 1, found.model.p))
    else:
        v = found.v if found.front else found.v[None]
    return MeasuredStates(
        model=found.model,
        Q=Q,
        R=R,
        T=found.T,
        v=v,
        vstar=np.reshape(found.weights["teacher_weights"], (-1, found.model.pstar)),
        time=found.schedule.integral(found.alpha),
        eta=number("eta"),
        eta_second=number("eta_second"),
        weight_decay=number("weight_decay"),
        error=_ERRORS * (relative * size + float(run.attrs.get("atol", 0.0))),
        there=found.there if found.front else found.there[None],
        stochastic=run.attrs.get("method") in ("chain", "weights"),
    )


def schur_complement(states: MeasuredStates) -> tuple[Array, np.ndarray]:
    """S = Q − R T⁻¹ Rᵀ, and where it is known well enough to be inverted."""
    if Teacher.from_overlaps(states.T).rank < len(states.T):
        return states.Q, np.zeros(states.there.shape, dtype=bool)
    values, vectors = np.linalg.eigh(states.T)
    turned = states.R @ vectors
    S = states.Q - (turned / values) @ transposed(turned)
    known = states.there.copy()
    smallest = np.linalg.eigvalsh(S[known])[:, 0]
    known[known] = smallest > RESOLVED * states.error[known]
    return S, known


def transposed(A: Array) -> Array:
    """The transposes of many matrices (…, m, n)."""
    return np.swapaxes(A, -1, -2)
