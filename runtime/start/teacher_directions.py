"""Splits the teacher into independent directions, also where its overlaps T are singular."""

from __future__ import annotations

import dataclasses

import numpy as np

from runtime.start.checked_arrays import Array
from runtime.start.matrix_factors import orthogonal_columns, pivoted_cholesky, scaled, sizes_of
from runtime.vector.matrix_products import times_transpose

# The part of a teacher that others do not span is rounding below this, when all are scaled to norm 1.
_RANK_TOLERANCE = 1e-13


@dataclasses.dataclass(frozen=True)
class Teacher:
    """T = L Lᵀ = F Fᵀ: `root` L and `factor` F (p*, k), and `weights` τ (k,) with FᵀF = diag(τ).

    L is Cholesky's factor, whose rows scale with the teachers, and a continuous function of a regular T.
    F needs the eigenvectors of T, which are not continuous where eigenvalues are equal. `missed` is how
    far L Lᵀ is from the given T, in parts of the norms.
    """

    root: Array
    factor: Array
    weights: Array
    missed: float

    @property
    def rank(self) -> int:
        return len(self.weights)

    @classmethod
    def from_overlaps(cls, T: Array) -> Teacher:
        sizes = sizes_of(T)
        factors, (rank,), (missed,) = pivoted_cholesky(scaled(T, sizes)[None], _RANK_TOLERANCE, len(T))
        root = sizes[:, None] * factors[0, :, :rank]
        factor = orthogonal_columns(root)
        return cls(root, factor, np.sum(factor * factor, axis=0), float(missed))

    @property
    def separate(self) -> bool:
        """Whether each teacher lies along one of the directions, as where T is diagonal."""
        return bool(np.all(np.count_nonzero(self.factor, axis=1) <= 1))

    def output_form(self, weights: Array) -> Array:
        """Fᵀ diag(v*) F (…, k, k) of second-layer weights v* (…, p*), of any sign.

        A teacher with the inputs u along its directions has the fields λ* = F u, and Σ v*_r λ*_r² is this
        quadratic form of u.
        """
        columns = self.factor.T
        weighted = np.asarray(weights)[..., None, :] * columns
        return times_transpose(weighted, columns)

    def along(self, R: Array) -> Array:
        """A (…, p, k) with R = A Fᵀ, or close to it where the teachers do not span R.

        Each entry of R is right to rounding, relative to its two norms, if those of the teachers differ
        by less than 10¹⁶.
        """
        A = times_transpose(R, self.factor.T) / self.weights
        # The columns of F are orthogonal only up to rounding of the longest one, which is not enough for
        # the R of a small teacher; a second step corrects it.
        rest = R - times_transpose(A, self.factor)
        return A + times_transpose(rest, self.factor.T) / self.weights

    def overlaps(self, A: Array, S: Array) -> tuple[Array, Array]:
        """Q (…, p, p) and R (…, p, p*) of coordinates along the teacher and beyond."""
        return times_transpose(A, A) + times_transpose(S, S), times_transpose(A, self.factor)
