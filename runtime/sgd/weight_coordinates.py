"""Finds weights that have given overlaps, in coordinates in which the teacher spans the first axes.

Rotations of the inputs do not change one-pass SGD in law, so the teacher may span the first
k = rank T axes (`teacher_directions`). A student is wᵢ/√N = (Aᵢ, Sᵢ) with Aᵢ along the
teacher and Sᵢ beyond; R = A Fᵀ and Q = A Aᵀ + S Sᵀ, with any S of this Gram matrix.
"""

from __future__ import annotations

import numpy as np

from derive.errors import InputError
from runtime.start.checked_arrays import Array
from runtime.start.matrix_factors import EPSILON, lower_triangular, pivoted_cholesky, scaled, sizes_of
from runtime.start.teacher_directions import Teacher
from runtime.vector.matrix_products import times_transpose

# A start is accepted if some weights have its overlaps up to this part of the norms. Runs of the ODE with
# the default tolerances end closer than this to the overlaps of weights.
SAME = 1e-8


def coordinates(
    Q: Array, R: Array, teacher: Teacher, dimensions: int, *, tolerance: float = SAME
) -> tuple[Array, Array]:
    """A (…, p, k) along the teacher and S (…, p, p) beyond it, with at most `dimensions` non-zero columns.

    Entries of Q, R and T are right up to `tolerance` times the norms of the two weights, mostly to
    rounding.

    Raises
    ------
    InputError
        No weights have these overlaps up to the tolerance, or they do not fit into N.
    """
    if teacher.missed > tolerance:
        raise InputError("T", _no_weights("", "it misses their overlaps", teacher.missed, tolerance))
    A = teacher.along(R)
    students, teachers = sizes_of(Q), np.sqrt(np.sum(teacher.factor**2, axis=1))
    norms = students[..., :, None] * teachers
    apart = np.abs(R - times_transpose(A, teacher.factor))
    missed = np.divide(apart, norms, out=np.zeros_like(apart), where=norms > 0.0)
    for run, most in enumerate(np.max(missed, axis=(-1, -2)).ravel().tolist()):
        if most > tolerance:
            which = f"trajectory {run} " if Q.ndim > 2 else ""
            raise InputError("R0", _no_weights(which, "with T it misses their overlaps", most, tolerance))
    return A, beyond(Q, A, dimensions, tolerance=tolerance)


def _no_weights(which: str, how: str, missed: float, tolerance: float) -> str:
    return (
        f"{which}belongs to no weights: {how} by {missed:.1g} of the norms, and at most {tolerance:g} is"
        " allowed here; if it ends a run, take a smaller rtol there"
    )


def beyond(Q: Array, A: Array, dimensions: int, *, tolerance: float = SAME) -> Array:
    """Lower triangular S (…, p, p) with S Sᵀ = Q − A Aᵀ and at most `dimensions` non-zero columns.

    Each entry is right up to `tolerance` times the norms of its two students, mostly to rounding.

    Raises
    ------
    InputError
        No weights have these overlaps up to the tolerance, or Q − A Aᵀ has more independent
        directions: the weights do not fit into N.
    """
    p, k = A.shape[-2:]
    rest = (Q - times_transpose(A, A)).reshape(-1, p, p)
    sizes = sizes_of(Q).reshape(-1, p)
    rest = scaled(0.5 * (rest + np.swapaxes(rest, -1, -2)), sizes)
    room = max(min(p, dimensions), 0)
    factor, _, missed = pivoted_cholesky(rest, 4 * p * EPSILON, room)
    wrong = np.flatnonzero(missed > SAME)
    if wrong.size:
        rank = int(np.max(pivoted_cholesky(rest[wrong], SAME, p)[1]))
        if rank > dimensions:
            raise InputError(
                "n",
                f"{k + dimensions} is less than {k + rank}: these overlaps need {rank} dimensions beyond"
                f" the {k} of the teacher",
            )
        for run in wrong[missed[wrong] > tolerance]:
            which = f"trajectory {run} " if Q.ndim > 2 else ""
            how = "with Q0 it misses their overlaps"
            raise InputError("R0", _no_weights(which, how, missed[run], tolerance))
    turned = np.any(np.triu(factor, 1) != 0.0, axis=(1, 2))
    factor[turned] = lower_triangular(factor[turned])
    found = np.zeros((len(factor), p, p))
    found[:, :, :room] = sizes[:, :, None] * factor
    return found.reshape(*A.shape[:-2], p, p)
