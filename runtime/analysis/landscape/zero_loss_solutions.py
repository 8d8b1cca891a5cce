"""Constructs weights without loss: a Wᵀ D_v W = b W*ᵀ D_v* W*.

As many students of each sign are enough as the teacher has directions of that sign; then some V in the
teacher's span has VᵀD_vV = (b/a) V*ᵀD_v*V*. With second-layer weights of 1 all solutions are
W = √(b/a) O W* with orthonormal columns of O.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derive import readout
from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.analysis.landscape.local_hessian import landscape_parameters
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.start.seeds import LARGEST_SEED, seed_sequence
from runtime.start.teacher_directions import Teacher
from runtime.vector.matrix_products import times_transpose

# Norms closer than this to 1 need no rotation.
_UNIT = 1e-13
# Directions of the teacher below this part of the largest are rounding.
_NO_DIRECTION = 1e-9


class NoSolutionError(InputError):
    """No zero-loss solution exists, or none is known; `reason` is a clause that says why."""

    def __init__(self, option: str, problem: str, reason: str) -> None:
        super().__init__(option, problem)
        self.reason = reason


@takes_parameters(loss=True)
def zero_loss_solution(
    model: Model, T: ArrayLike | None = None, seed: int | None = 0, **parameters: Any
) -> tuple[Array, Array]:
    """Overlaps Q (p, p), R (p, p*) of a random solution without loss; on the sphere all Q_ii = 1.

    W = √(b/a) O W* with a random O, in coordinates in which the teacher is Cholesky's factor of T:
    a continuous function of a regular T. With the seed None the first rank T students lie along the
    eigenvectors of T, and the others are zero. On the sphere rotations of two students at a time then make
    their norms 1, one after the other (R. B. Bendel and M. R. Mickey, Commun. Stat. B 7, 163 (1978)).

    With fixed second layers `student_weights` (p,) and `teacher_weights` (p*,) students of each sign
    represent the directions of W*ᵀ D_v* W* of that sign, mixed by a random O among themselves.

    Raises
    ------
    NoSolutionError
        (an InputError) p < rank T, or there are too few students of one sign; on the sphere, b tr T ≠ a p,
        so that no solution has these norms, or there are second-layer weights.
    InputError
        The second layer is trained.
    """
    model = checked_arrays.as_model(model)
    checked = landscape_parameters(model, {"T": T, **parameters})
    teacher = Teacher.from_overlaps(checked.T)
    if model.weighted:
        return _weighted_solution(checked, teacher, seed)
    a, b = readout.weights(model)
    p, k = model.p, teacher.rank
    if p < k:
        reason = f"{p} students cannot represent a teacher of rank {k}"
        raise NoSolutionError("p", f"{reason}: no zero-loss solution", reason)
    students, teachers = np.eye(p, k) * np.sqrt(b / a * teacher.weights), teacher.factor
    if seed is not None:
        rng = np.random.default_rng(seed_sequence(whole_number("seed", seed, 0, LARGEST_SEED)))
        orthonormal, _ = np.linalg.qr(rng.standard_normal((p, k)))
        # MᵀM = (b/a) LᵀL: then W = M E and W* = L E, with any orthonormal E, have no loss.
        students, teachers = np.sqrt(b / a) * times_transpose(orthonormal, _root(teacher)), teacher.root
    if model.constraint == "sphere":
        total = b / a * float(np.sum(teacher.weights))
        if abs(total - p) > _UNIT * p * max(1.0, total):
            reason = f"zero-loss solutions have norms of sum {total:g}, not p = {p}"
            raise NoSolutionError("readout", f"{model.readout!r}: {reason}", reason)
        _equalise(students)
    return times_transpose(students, students), times_transpose(students, teachers)


def _weighted_solution(
    parameters: RunParameters, teacher: Teacher, seed: int | None
) -> tuple[Array, Array]:
    """As `zero_loss_solution`, with fixed second layers."""
    model, rng = parameters.model, None
    if model.constraint == "sphere":
        reason = "solutions with norms of 1 are known only for second-layer weights of 1"
        raise NoSolutionError("constraint", f"'sphere': {reason}", reason)
    if seed is not None:
        rng = np.random.default_rng(seed_sequence(whole_number("seed", seed, 0, LARGEST_SEED)))
    a, b = readout.weights(model)
    v, vstar = (weights[0] for weights in parameters.weights())
    sizes, vectors = np.linalg.eigh(b / a * teacher.factor.T @ (vstar[:, None] * teacher.factor))
    students = np.zeros((model.p, teacher.rank))
    for sign, word in ((1.0, "positive"), (-1.0, "negative")):
        mine = np.flatnonzero(sign * v > 0.0)
        theirs = np.flatnonzero(sign * sizes > _NO_DIRECTION * np.max(np.abs(sizes), initial=0.0))
        if mine.size < theirs.size:
            there = f"{mine.size} {word} entries, and the teacher {theirs.size} {word} directions"
            raise NoSolutionError(
                "student_weights", f"has {there}: no zero-loss solution", f"the second layer has {there}"
            )
        mixing = np.eye(mine.size, theirs.size)
        if rng is not None:
            mixing = np.linalg.qr(rng.standard_normal(mixing.shape))[0]
        rows = times_transpose(mixing * np.sqrt(np.abs(sizes[theirs])), vectors[:, theirs])
        students[mine] = rows / np.sqrt(np.abs(v[mine]))[:, None]
    return times_transpose(students, students), times_transpose(students, teacher.factor)


def _root(teacher: Teacher) -> Array:
    """The symmetric root (k, k) of LᵀL = V diag(τ) Vᵀ, V = LᵀF/τ: unique whatever the eigenvectors."""
    vectors = teacher.root.T @ teacher.factor / teacher.weights
    return np.asarray(vectors * np.sqrt(teacher.weights) @ vectors.T)


def _equalise(students: Array) -> None:
    """Rotate pairs of rows of students (p, k), in place, until each row has norm 1."""
    for _ in range(len(students) - 1):
        norms = np.sum(students**2, axis=1)
        short, long = int(np.argmin(norms)), int(np.argmax(norms))
        if norms[long] - norms[short] <= _UNIT:
            return
        low, high = norms[short] - 1.0, norms[long] - 1.0
        mixed = float(students[short] @ students[long])
        # |short − t long|² = 1 + t²: a quadratic equation in t, with real roots as low < 0 < high.
        root = np.sqrt(mixed * mixed - low * high)
        t = (mixed + np.copysign(root, mixed)) / high
        cosine = 1.0 / np.sqrt(1.0 + t * t)
        first, second = students[short].copy(), students[long].copy()
        students[short] = cosine * (first - t * second)
        students[long] = cosine * (t * first + second)
