"""Compares the zero-loss solution that a run finds with the one closest to its start: the implicit bias.

For p ≥ k = rank T and free norms the loss vanishes where a WᵀW = b W*ᵀW*, that is on the manifold

    W = √(b/a) O W*,    R = √(b/a) O T,

of matrices O (p × p*) that are isometries on the row space of T (OᵀO = 1 if T is regular). If all students
have the second-layer weight v and all teachers v*, of the same sign, a and b stand for av and bv*. The
squared distance of weights W₀ from such a point, per N, is

    |W₀ − W|²/N = tr Q₀ + (b/a) tr T − 2 √(b/a) tr(OᵀR₀),

since W₀ W*ᵀ/N = R₀. So the closest solution maximises tr(OᵀR₀) over isometries: with the singular value
decomposition R₀ = U Σ Vᵀ this is at most tr Σ (von Neumann), reached by the polar factor O = U Vᵀ:

    min |W₀ − W|²/N = tr Q₀ + (b/a) tr T − 2 √(b/a) ‖R₀‖₁,    ‖R₀‖₁ the sum of singular values.

From Q₀ ∝ 1 and with T ∝ 1 the overlap ODEs conserve the polar factor of R, with and without the η² noise
term, and so end in this very solution (arXiv:2604.03068: SGD finds the solution closest to its
initialisation); `bias_theory` has the other cases. Weight decay keeps the polar factor as well, and so the
solution that is chosen. But it holds students short of it: their distance from the manifold does not
vanish.

The excess of the solution that was found, of polar factor O', is

    |W₀ − W'|²/N − min = 2 √(b/a) (‖R₀‖₁ − tr(O'ᵀR₀)) = 2 √(b/a) ‖R₀‖₁ (1 − alignment)

with the alignment tr(O'ᵀR₀)/‖R₀‖₁ between −1 and 1: 1 for the closest solution, 0 for one that knows
nothing of the start. At the end of a finite run weights are near a solution; O' is then the polar
factor of the last R.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from derive import readout
from derive.errors import InputError
from derive.model import Model, require_quadratic
from runtime.analysis.equal_layers import equal_readouts
from runtime.analysis.landscape.critical_points import solution
from runtime.analysis.recorded_runs import settings_of_run, states_of_run
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import made_attributes
from runtime.output.value_ranges import span
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.start.teacher_directions import Teacher

if TYPE_CHECKING:
    import xarray

# Where solutions lie does not depend on η, which run-time parameters need.
_ANY_RATE = {"eta": 1.0}
# What is measured of each run, in words.
MEASURED = {
    "closest": "squared distance per N from the start to the closest solution",
    "reached": "squared distance per N from the start to the solution found",
    "excess": "excess of the squared distance of the solution found over the closest",
    "alignment": "alignment of the solution found with the closest, 1 if they are the same",
    "remaining": "squared distance per N from the end to the manifold of solutions",
    "missed": "squared distance per N from the end to the solution closest to the start",
}


@dataclasses.dataclass(frozen=True)
class ClosestSolution:
    """The zero-loss solution W = √(b/a) O W* closest to some weights.

    polar
        O (…, p, p*), the polar factor of R; not unique where R has not full rank.
    R
        Its overlaps √(b/a) O T (…, p, p*) with the teachers; its Q is (b/a) O T Oᵀ.
    squared_distance
        |W₀ − W|²/N (…).
    """

    polar: Array
    R: Array
    squared_distance: Array

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: squared distance {span(self.squared_distance)}>"


@dataclasses.dataclass(frozen=True)
class ImplicitBias:
    """Starts and ends of runs against the manifold of solutions; squared distances per N, all (…).

    closest
        From the start to the solution closest to it.
    reached
        From the start to the solution closest to the end, the one that was found.
    excess
        Their difference, not negative.
    alignment
        tr(O'ᵀR₀)/‖R₀‖₁, 1 where the closest solution was found.
    remaining
        From the end to the manifold of solutions.
    missed
        From the end to the solution closest to the start.
    """

    closest: Array
    reached: Array
    excess: Array
    alignment: Array
    remaining: Array
    missed: Array

    def __repr__(self) -> str:
        fields = (f"{field.name} {span(getattr(self, field.name))}" for field in dataclasses.fields(self))
        return f"<{type(self).__name__}: {', '.join(fields)}>"


@takes_parameters(loss=True)
def closest_solution(
    model: Model, Q: ArrayLike, R: ArrayLike, T: ArrayLike | None = None, **weights: Any
) -> ClosestSolution:
    """The zero-loss solution closest to weights with overlaps Q (…, p, p) and R (…, p, p*).

    `student_weights` and `teacher_weights` are those of a fixed second layer, equal in each layer.

    Raises
    ------
    InputError
        The model has the sphere, whose norms most solutions do not have, or a trained second layer; or
        p < rank T, so that there is no zero-loss solution, and the message tells the least loss; or shapes
        are wrong, or no weights have these overlaps; or second-layer weights differ within a layer, or
        have opposite signs.
    """
    model = checked_arrays.as_model(model)
    parameters, ratio = solvable(model, {**_ANY_RATE, "T": T, **weights})
    teacher = parameters.T
    return _closest(*checked_arrays.state_overlaps(model, Q, R, teacher), teacher, ratio)


@takes_parameters(loss=True)
def implicit_bias(
    model: Model,
    Q0: ArrayLike,
    R0: ArrayLike,
    Q: ArrayLike,
    R: ArrayLike,
    T: ArrayLike | None = None,
    **weights: Any,
) -> ImplicitBias:
    """Compare the solution that runs from Q0, R0 found, at their end Q, R, with the closest one.

    Overlaps are (…, p, p) and (…, p, p*); the results of runs that diverged (NaN) are NaN. The arguments
    else are those of `closest_solution`.

    Raises InputError as `closest_solution`.
    """
    model = checked_arrays.as_model(model)
    solved = solvable(model, {**_ANY_RATE, "T": T, **weights})
    return _compared(*solved, Q0, R0, Q, R, ends=True)


def _compared(
    parameters: RunParameters,
    ratio: float,
    Q0: ArrayLike,
    R0: ArrayLike,
    Q: ArrayLike,
    R: ArrayLike,
    *,
    ends: bool,
) -> ImplicitBias:
    """As `implicit_bias`; with `ends`, it checks that some weights have the overlaps of the ends."""
    model, teacher = parameters.model, parameters.T
    first_Q, first_R = checked_arrays.state_overlaps(model, Q0, R0, teacher, "0")
    last_Q = checked_arrays.real_array("Q", Q, first_Q.shape, finite=False)
    last_R = checked_arrays.real_array("R", R, first_R.shape, finite=False)
    lost = ~(np.isfinite(last_Q).all(axis=(-1, -2)) & np.isfinite(last_R).all(axis=(-1, -2)))
    last_Q[lost], last_R[lost] = 0.0, 0.0
    if ends:
        checked_arrays.state_overlaps(model, last_Q, last_R, teacher)
    start = _closest(first_Q, first_R, teacher, ratio)
    end = _closest(last_Q, last_R, teacher, ratio)
    largest = np.sum(start.polar * first_R, axis=(-1, -2))
    found = np.sum(end.polar * first_R, axis=(-1, -2))
    # Both sums are rounded, but no solution is closer than the closest, so the excess is clipped.
    excess = np.maximum(2.0 * np.sqrt(ratio) * (largest - found), 0.0)
    with np.errstate(invalid="ignore"):
        alignment = np.where(largest > 0.0, found / largest, np.nan)
    missed = (
        np.trace(last_Q, axis1=-2, axis2=-1)
        + ratio * np.trace(teacher)
        - 2.0 * np.sqrt(ratio) * np.sum(start.polar * last_R, axis=(-1, -2))
    )
    results = [
        start.squared_distance,
        start.squared_distance + excess,
        excess,
        alignment,
        end.squared_distance,
        np.maximum(missed, 0.0),
    ]
    return ImplicitBias(*(np.where(lost, np.nan, values) for values in results))


def bias_of_run(run: xarray.Dataset) -> xarray.Dataset:
    """Implicit bias of a run, or of each trajectory, from its first and last output.

    Takes the results of `integrate`, of `simulate`, and of `integrate_ensemble` with all outputs.
    The variables are those of `ImplicitBias`, of shape () or (trajectory,), and the ``loss`` at the end.

    Raises
    ------
    InputError
        As `closest_solution`, or the dataset has no states over time.
    """
    found = states_of_run(run)
    if found.loss is None or len(found.alpha) < 2:
        raise InputError("run", "has no states over time: both start and end are needed")
    if not np.isfinite(found.loss[..., 0]).all():
        raise InputError("run", "has trajectories without a start")
    given: dict[str, Any] = {**_ANY_RATE, "T": found.T if found.model.teacher == "general" else None}
    if found.model.weighted:
        given |= found.weights
    # Weights are one vector, or have the axes of trajectories in front.
    count = found.loss[..., 0].size if any(w.ndim > 1 for w in found.weights.values()) else None
    # The ends are not checked, since runs at a loose tolerance may miss the overlaps of weights by as much.
    bias = _compared(
        *solvable(found.model, given, count),
        found.Q[..., 0, :, :],
        found.R[..., 0, :, :],
        found.Q[..., -1, :, :],
        found.R[..., -1, :, :],
        ends=False,
    )
    variables: dict[str, Any] = {
        name: (found.front, values, MEASURED[name]) for name, values in dataclasses.asdict(bias).items()
    }
    variables["loss"] = (found.front, found.loss[..., -1], "generalisation error at the end")
    attributes = {
        **settings_of_run(run),
        "title": f"implicit bias of {found.model.name}",
        "alpha_end": float(found.alpha[-1]),
        **made_attributes("bias_of_run", run.attrs),
    }
    return PlainResult(variables, {}, attributes).dataset()


def solvable(
    model: Model, given: Mapping[str, Any], count: int | None = None
) -> tuple[RunParameters, float]:
    """The run-time parameters, and b/a; `given` and `count` are as for `RunParameters`.

    InputError unless norms are free, second-layer weights are fixed and equal in each layer, and there is a
    solution without loss.
    """
    T = checked_arrays.teacher_overlaps(model, given.get("T"))
    require_quadratic(model, "the closest solution is known")
    checked_arrays.require_free_norms(model, "the closest solution is known")
    if model.trained:
        raise InputError(
            "second_layer", "'trained' has no closest solution: each v has solutions of its own"
        )
    parameters = RunParameters.with_teacher(model, T, given, count)
    a, b = equal_readouts(parameters, "differ: the closest solution needs")
    if not a * b > 0.0:
        raise InputError(
            "teacher_weights", "do not have the sign of student_weights: no solution is √(b/a) O W*"
        )
    rank = Teacher.from_overlaps(T).rank
    if model.p < rank:
        # The least loss is proportional to the square of b, and does not depend on a.
        equal = dataclasses.replace(model, second_layer="ones")
        least = solution(equal, given.get("T")).loss * (b / readout.weights(model)[1]) ** 2
        raise InputError(
            "p",
            f"{model.p} is less than the rank {rank} of the teacher: no solution has zero loss,"
            f" the least is {least:.6g}",
        )
    return parameters, b / a


def _closest(Q: Array, R: Array, T: Array, ratio: float) -> ClosestSolution:
    left, sizes, right = np.linalg.svd(R, full_matrices=False)
    polar = left @ right
    distance = (
        np.trace(Q, axis1=-2, axis2=-1)
        + ratio * np.trace(T)
        - 2.0 * np.sqrt(ratio) * np.sum(sizes, axis=-1)
    )
    # On a solution the distance is a difference of equal numbers, so it is clipped.
    return ClosestSolution(polar, np.sqrt(ratio) * polar @ T, np.maximum(distance, 0.0))
