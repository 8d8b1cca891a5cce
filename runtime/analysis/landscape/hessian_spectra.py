"""Finds the spectrum of the Hessian of the population loss, at a state or along a trajectory, for any N.

The Hessian in v = w/√N has pN eigenvalues (on the sphere p(N − 1), of the steps that keep norms).
`LocalHessian` derives it and splits inputs into the span U of all weights and its orthogonal
complement; here the parts are diagonalised, and no matrix with N rows is built. In U the steps of
the students move along the teachers' span, or along what the students span beyond it; both
decouple wherever students do not mix the two, as at every critical point.

Gradient flow is dV/dα = −η ∇ in the time α = samples/N: one sample moves w by −η ∂ℓ/∂w, thus
v = w/√N by −(η/N) ∂ℓ/∂v. Close to a critical point a step along an eigenvector thus grows as
exp(−η λ α), and so do the changes of the overlaps, δR = H V*ᵀ and δQ = H Vᵀ + V Hᵀ, where they are
not zero. Steps orthogonal to U change the overlaps in second order only, by δQ = H Hᵀ, with the sum
of two eigenvalues of the complement as rate.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.analysis.landscape.local_hessian import LocalHessian, landscape_parameters
from runtime.analysis.recorded_runs import states_of_run
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import made_attributes, result_attributes
from runtime.output.value_ranges import span
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.teacher_directions import Teacher
from runtime.trajectory.trajectory_dataset import layer_variables

if TYPE_CHECKING:
    import xarray

# p N must fit into 64 bits.
LARGEST_HESSIAN_N = 10**15
# Unless the user says otherwise, eigenvalues below this are zero, relative to the largest one in size.
# Eigenvalues further apart than this are never taken as equal. It is about what trajectories of the
# default accuracy resolve.
TOLERANCE = 1e-6
BLOCKS = ("teachers", "students", "mixed", "complement")
# An eigenvector belongs to a block that holds this part of its squared length.
_PURE = 0.99
# An entry is an eigenvalue, its multiplicity, and the block of its eigenvectors.
Entry = tuple[float, int, str]


@dataclasses.dataclass(frozen=True)
class HessianSpectrum:
    """Eigenvalues of the Hessian at one state, ascending, with multiplicities that sum to its size.

    eigenvalues
        Distinct within each block, up to the tolerance or 1e-6, whichever is less (m,).
    multiplicities
        How often each occurs (m,), of type int64.
    blocks
        Where its eigenvectors move the students: along the span of the ``"teachers"``; along what the
        ``"students"`` span beyond it; ``"mixed"``, both; or in the orthogonal ``"complement"``.
    n, span
        Input dimension N, and dimension of the span of all weights.
    gradient
        Norm of the gradient of the loss in V; on the sphere of its part along the sphere.
    stationary
        Whether the gradient is zero: at most tolerance × largest |eigenvalue| × √(tr Q).
    tolerance
        Relative to the largest |eigenvalue|: eigenvalues below it in size are flat.
    """

    model: Model
    eigenvalues: Array
    multiplicities: NDArray[np.int64]
    blocks: tuple[str, ...]
    n: int
    span: int
    gradient: float
    stationary: bool
    tolerance: float

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.model.name} at N = {self.n}: {self.classification},"
            f" {self.negative} negative, {self.flat} flat and {self.positive} positive directions,"
            f" eigenvalues {span(self.eigenvalues)}>"
        )

    @property
    def size(self) -> int:
        """pN, or p(N − 1) on the sphere."""
        return int(np.sum(self.multiplicities))

    @property
    def negative(self) -> int:
        """Directions of negative curvature: the index of a saddle."""
        return self._count(self.eigenvalues < -self._zero)

    @property
    def flat(self) -> int:
        """Directions without curvature."""
        return self._count(np.abs(self.eigenvalues) <= self._zero)

    @property
    def positive(self) -> int:
        """Directions of positive curvature."""
        return self._count(self.eigenvalues > self._zero)

    @property
    def classification(self) -> str:
        """``"saddle"``, ``"marginal minimum"`` (flat directions, none down), ``"minimum"``, or
        ``"not stationary"`` where the gradient does not vanish.

        It is of second order only: along a flat direction the loss may still change in third or fourth
        order. The numbers of directions describe the curvature at any state.
        """
        if not self.stationary:
            return "not stationary"
        if self.negative:
            return "saddle"
        return "marginal minimum" if self.flat else "minimum"

    @property
    def _zero(self) -> float:
        return self.tolerance * _scale(self.eigenvalues)

    def _count(self, which: NDArray[np.bool_]) -> int:
        return int(np.sum(self.multiplicities[which]))

    def merged(self) -> tuple[Array, NDArray[np.int64]]:
        """Distinct eigenvalues and their multiplicities over all blocks."""
        groups = _groups(self.eigenvalues, _equal(self.tolerance) * _scale(self.eigenvalues))
        counts = [self.multiplicities[group] for group in groups]
        values = [
            np.average(self.eigenvalues[group], weights=count)
            for group, count in zip(groups, counts, strict=True)
        ]
        return np.array(values), np.array([np.sum(count) for count in counts], dtype=np.int64)

    def to_dataset(self) -> xarray.Dataset:
        """The same as a dataset with the dimension ``mode``."""
        names = ("n", "span", "size", "tolerance", "classification", "stationary", "gradient", "negative")
        settings = {name: getattr(self, name) for name in (*names, "flat", "positive")}
        # A netCDF file cannot hold a bool.
        settings["stationary"] = int(self.stationary)
        title = f"Hessian of {self.model.name} at N = {self.n}"
        attributes = result_attributes(title, self.model, settings, "hessian_spectrum")
        variables = {
            "eigenvalue": (("mode",), self.eigenvalues, "eigenvalue in v = w/sqrt(N)"),
            "multiplicity": (("mode",), self.multiplicities, "multiplicity of the eigenvalue"),
            "block": (("mode",), np.array(self.blocks), "where the eigenvectors move the students"),
        }
        return PlainResult(variables, {}, attributes).dataset()


@takes_parameters(loss=True)
def hessian_spectrum(
    model: Model,
    Q: ArrayLike,
    R: ArrayLike,
    n: int,
    T: ArrayLike | None = None,
    *,
    tolerance: float = TOLERANCE,
    **parameters: Any,
) -> HessianSpectrum:
    """Spectrum of the Hessian of the population loss in w/√N at overlaps Q, R (and T).

    On the sphere it is the Riemannian Hessian, in the steps that keep all norms. The flow of the
    model does not matter. Weight decay γ is not part of the loss; it would add γ to each eigenvalue.

    Parameters
    ----------
    model
        Widths, constraint, teacher and readout; or a System, for its model.
    Q, R
        Overlaps (p, p) and (p, p*) of some weights.
    n
        Input dimension N, at least the number of dimensions that the weights span.
    T
        Teacher overlaps (p*, p*), for a general teacher only.
    tolerance
        Eigenvalues at most this, relative to the largest in size, are flat; from 0 to below 1.
        Eigenvalues as close as this are one, but never if they are further apart than 1e-6.
    student_weights, teacher_weights
        Fixed second layers (p,) and (p*,), of a model that has them; None is ones.

    Raises
    ------
    InputError
        A value is not allowed; the second layer is trained; no weights in N dimensions have these
        overlaps; or they span so many dimensions that the Hessian in their span is too large.
    """
    model, tolerance = checked_arrays.as_model(model), checked_tolerance(tolerance)
    n = whole_number("n", n, 1, LARGEST_HESSIAN_N)
    checked = landscape_parameters(model, {"T": T, **parameters})
    q, r = checked_arrays.state_overlaps(model, Q, R, checked.T)
    if q.ndim != 2:
        raise InputError("Q", f"has the shape {q.shape}: the Hessian is that of one state")
    q = 0.5 * q + 0.5 * q.T
    local = LocalHessian.at(checked, q, r, Teacher.from_overlaps(checked.T), n, span=True)
    values, vectors = np.linalg.eigh(local.inside())
    outside = _eigenvalues(local.complement()) if local.outside else np.empty(0)
    scale = _scale(values, outside)
    entries: list[Entry] = []
    width = _equal(tolerance) * scale
    for group in _groups(values, width):
        counts = _by_block(local, vectors[:, group])
        entries += [(float(np.mean(values[group])), count, block) for block, count in counts.items()]
    for group in _groups(outside, width):
        count = local.outside * (group.stop - group.start)
        entries.append((float(np.mean(outside[group])), count, "complement"))
    entries = _united(entries, width)
    gradient = float(np.linalg.norm(local.gradient))
    return HessianSpectrum(
        model=model,
        eigenvalues=np.array([value for value, _, _ in entries]),
        multiplicities=np.array([count for _, count, _ in entries], dtype=np.int64),
        blocks=tuple(block for _, _, block in entries),
        n=n,
        span=local.students.shape[1],
        gradient=gradient,
        stationary=gradient <= tolerance * scale * float(np.linalg.norm(local.students)),
        tolerance=tolerance,
    )


def spectra_along(run: xarray.Dataset, n: int, *, tolerance: float = TOLERANCE) -> xarray.Dataset:
    """Spectra of the Hessian along a trajectory of `integrate`, or one of `simulate`.

    Returns
    -------
    Dataset over the times ``alpha`` that were reached:
        ``inside`` (alpha, mode), eigenvalues of the steps along the teachers and min(p, N − k) more
        directions that hold the students, each once and ascending; ``outside`` (alpha, i), those of the
        other directions, each ``outside_multiplicity`` times; numbers of directions ``negative``,
        ``flat`` and ``positive``; ``gradient``, its norm; ``loss``.

    Raises
    ------
    InputError
        As `hessian_spectrum`, or the dataset holds several trajectories or none.
    """
    tolerance = checked_tolerance(tolerance)
    n = whole_number("n", n, 1, LARGEST_HESSIAN_N)
    along = states_of_run(run)
    model = along.model
    if along.front or along.loss is None:
        raise InputError("run", "is not one trajectory over time: select one, as by isel(trajectory=0)")
    weights = along.weights if model.weighted else {}
    parameters, teacher = (
        landscape_parameters(model, {"T": along.T, **weights}),
        Teacher.from_overlaps(along.T),
    )
    reached = np.flatnonzero(np.isfinite(along.loss))
    if reached.size == 0:
        raise InputError("run", "has no output: it ended before the first time")
    inside: list[Array] = []
    outside: list[Array] = []
    counts: list[NDArray[np.int64]] = []
    gradients: list[Any] = []
    for k in reached:
        local = LocalHessian.at(parameters, along.Q[k], along.R[k], teacher, n, span=False)
        inside.append(_eigenvalues(local.inside()))
        outside.append(_eigenvalues(local.complement()))
        zero = tolerance * _scale(inside[-1], outside[-1])
        counts.append(np.asarray(_signs(inside[-1], zero) + local.outside * _signs(outside[-1], zero)))
        gradients.append(np.linalg.norm(local.gradient))
    table = np.array(counts)
    variables: dict[str, Any] = {
        "inside": (("alpha", "mode"), np.array(inside), "eigenvalue, teachers' and students' span"),
        "outside": (("alpha", "i"), np.array(outside), "eigenvalue, orthogonal complement"),
        "outside_multiplicity": ((), local.outside, "multiplicity of each eigenvalue outside"),
        "gradient": (("alpha",), np.array(gradients), "norm of the gradient in v = w/sqrt(N)"),
        "loss": (("alpha",), along.loss[reached]),
    }
    variables |= layer_variables(parameters)
    for column, name in enumerate(("negative", "flat", "positive")):
        variables[name] = (("alpha",), table[:, column], f"{name} eigenvalues")
    attributes = {
        **run.attrs,
        "title": f"Hessian along a trajectory of {model.name} at N = {n}",
        "n": n,
        "tolerance": tolerance,
        **made_attributes("spectra_along", run.attrs),
    }
    return PlainResult(variables, {"alpha": run["alpha"].values[reached]}, attributes).dataset()


def checked_tolerance(tolerance: float) -> float:
    """The tolerance, from 0 to below 1; else InputError."""
    number = checked_arrays.real_number("tolerance", tolerance, least=0.0)
    if number >= 1.0:
        raise InputError("tolerance", f"{number:g} is not below 1, where every eigenvalue is flat")
    return number


def _equal(tolerance: float) -> float:
    """The relative distance up to which eigenvalues are taken as equal.

    A large tolerance is not used, since means of different eigenvalues are no eigenvalues.
    """
    return min(tolerance, TOLERANCE)


def _eigenvalues(matrix: Array) -> Array:
    return np.asarray(np.linalg.eigvalsh(matrix), dtype=np.float64)


def _scale(*values: Array) -> float:
    """The largest size of an eigenvalue."""
    return max(float(np.max(np.abs(part), initial=0.0)) for part in values)


def _signs(values: Array, zero: float) -> NDArray[np.int64]:
    """How many are negative, zero and positive (3,)."""
    negative, positive = np.sum(values < -zero), np.sum(values > zero)
    return np.array([negative, values.size - negative - positive, positive], dtype=np.int64)


def _groups(values: Array, width: float) -> list[slice]:
    """Groups of ascending values in which each value is within `width` of the one before."""
    if values.size == 0:
        return []
    ends = np.flatnonzero(np.diff(values) > width) + 1
    bounds = [0, *ends.tolist(), values.size]
    return [slice(first, last) for first, last in itertools.pairwise(bounds)]


def _united(entries: list[Entry], width: float) -> list[Entry]:
    """Sort entries, and give values that are equal in different blocks their mean, in the order of BLOCKS.

    Otherwise rounding would decide which block comes first.
    """
    entries = sorted(entries)
    united: list[Entry] = []
    for group in _groups(np.array([value for value, _, _ in entries]), width):
        counts = dict.fromkeys(BLOCKS, 0)
        for _, count, block in entries[group]:
            counts[block] += count
        mean = sum(value * count for value, count, _ in entries[group]) / sum(counts.values())
        united += [(mean, count, block) for block, count in counts.items() if count]
    return united


def _by_block(local: LocalHessian, vectors: Array) -> dict[str, int]:
    """How many eigenvectors of a degenerate eigenvalue, suitably combined, lie in each block."""
    along = local.along_teachers(vectors)
    # The eigenvectors of this matrix are the combinations that are as pure as possible.
    parts = np.linalg.eigvalsh(along.T @ along)
    teachers, students = int(np.sum(parts >= _PURE)), int(np.sum(parts <= 1.0 - _PURE))
    counts = {"teachers": teachers, "students": students, "mixed": parts.size - teachers - students}
    return {block: count for block, count in counts.items() if count}
