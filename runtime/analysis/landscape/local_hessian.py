"""The Hessian of the population loss at one state, in a small basis that holds all weights.

Write V for the p × N matrix of the students v = w/√N, V* for the teachers, and

    E = a VᵀV − b V*ᵀV*   (N × N),    s = tr E.

The student minus the teacher is xᵀEx, so ε = ½ E[(xᵀEx)²] = ½ s² + tr E² (Isserlis; equal to
½ (s² + 2t) with the overlaps' t = tr DCDC). A step H changes E by a (HᵀV + VᵀH) + a HᵀH exactly, and

    ε(V + H) = ½ (s + 2a tr HVᵀ + a‖H‖²)² + ‖E + a (HᵀV + VᵀH) + a HᵀH‖².

First order in H: the gradient is ∇ = 2as V + 4a V E. Twice the second order is the Hessian,

    Hess[H, H] = 4a² (tr HVᵀ)² + 2a² ‖HᵀV + VᵀH‖² + 2as ‖H‖² + 4a tr(E HᵀH),

and, since ‖HᵀV + VᵀH‖² = 2⟨H, V HᵀV⟩ + 2⟨H, QH⟩ with Q = VVᵀ, it acts as

    Hess[H] = 4a² tr(HVᵀ) V + 4a² (V HᵀV + Q H) + 2as H + 4a H E.

Let U hold the rows of V and V*. Steps with rows orthogonal to U have HVᵀ = 0 and HE = 0: there the
Hessian is the p × p matrix 4a²Q + 2as·1, once for each of the N − dim U directions. Steps with rows
in U stay in U: a matrix of size p·dim U. Nothing else of the N dimensions matters.

On the sphere |vᵢ|² = Qᵢᵢ is kept, and steps are orthogonal to their student. Along a geodesic
v̈ᵢ = −(|hᵢ|²/Qᵢᵢ) vᵢ, so that the second derivative (the Riemannian Hessian of the product of
spheres) is Hess[H, H] − Σᵢ μᵢ |hᵢ|² with μᵢ = ∇ᵢ·vᵢ/Qᵢᵢ, restricted to those steps; μ is the diagonal
of 2as + 4a (aQ² − bRRᵀ)ᵢᵢ/Qᵢᵢ.

The model is that of arXiv:2604.03068; the Hessian is derived here.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np

from derive import readout
from derive.errors import InputError
from derive.model import Model
from runtime.sgd.weight_coordinates import coordinates
from runtime.start.checked_arrays import Array
from runtime.start.teacher_directions import Teacher

# Largest size of the dense matrix of the steps in U, of 128 MiB; its eigenvectors take about a minute.
LARGEST_MATRIX = 4096
# Below this part of the largest overlap, a direction of the students beyond the teachers is rounding.
_RANK_TOLERANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class LocalHessian:
    """The Hessian at one state, in an orthonormal basis of a space U that holds all weights.

    students
        V (p, m) in that basis; the first k = rank T axes span the teachers.
    teachers
        τ (k,): V*ᵀV* is diag(τ) there.
    n
        Input dimension N ≥ m.
    a, b
        Readout weights.
    sphere
        Whether norms are kept, and steps are orthogonal to their students.
    """

    students: Array
    teachers: Array
    n: int
    a: float
    b: float
    sphere: bool

    @classmethod
    def at(cls, model: Model, Q: Array, R: Array, teacher: Teacher, n: int, *, span: bool) -> LocalHessian:
        """At overlaps Q (p, p) and R (p, p*) that were checked.

        With `span`, U is the span of all weights (up to rounding); otherwise it has
        k + min(p, N − k) dimensions whatever the state, which a trajectory needs.

        Raises InputError if the weights do not fit into N dimensions, or U is too large.
        """
        if n < teacher.rank:
            raise InputError("n", f"{n} is too small: the teachers span {teacher.rank} dimensions")
        # States of a trajectory may miss the overlaps of weights by as much as its tolerances allow.
        A, S = coordinates(Q, R, teacher, n - teacher.rank, tolerance=np.inf)
        S = S[:, : min(model.p, n - teacher.rank)]
        if span:
            left, sizes, _ = np.linalg.svd(S, full_matrices=False)
            kept = sizes**2 > _RANK_TOLERANCE * max(float(np.max(np.abs(Q))), np.finfo(np.float64).tiny)
            S = left[:, kept] * sizes[kept]
        V = np.hstack([A, S])
        if V.size > LARGEST_MATRIX:
            raise InputError(
                "p",
                f"{model.p} is too large: the weights span {V.shape[1]} dimensions, and the Hessian there"
                f" has the size {V.size}, more than {LARGEST_MATRIX}",
            )
        a, b = readout.weights(model)
        return cls(V, teacher.weights, n, a, b, model.constraint == "sphere")

    @property
    def rank(self) -> int:
        """k = rank T."""
        return len(self.teachers)

    @property
    def outside(self) -> int:
        """N − dim U: how often each eigenvalue of the complement occurs."""
        return self.n - int(self.students.shape[1])

    @cached_property
    def error(self) -> Array:
        """E = a VᵀV − b V*ᵀV* (m, m)."""
        error = self.a * self.students.T @ self.students
        teachers = np.arange(self.rank)
        error[teachers, teachers] -= self.b * self.teachers
        return np.asarray(error)

    @property
    def mean_error(self) -> float:
        """s = tr E, the mean of student minus teacher."""
        return float(np.trace(self.error))

    @cached_property
    def gradient(self) -> Array:
        """∇ (p, m) of the loss in V; on the sphere its part orthogonal to each student."""
        V = self.students
        if not self.sphere:
            return self._free_gradient
        return np.asarray(self._free_gradient - self._pull[:, None] * V)

    @cached_property
    def _free_gradient(self) -> Array:
        V = self.students
        return np.asarray(2.0 * self.a * (self.mean_error * V + 2.0 * V @ self.error))

    @cached_property
    def _pull(self) -> Array:
        """μ (p,) of the sphere, zero for free norms."""
        V = self.students
        if not self.sphere:
            return np.zeros(len(V))
        return np.asarray(np.sum(self._free_gradient * V, axis=1) / np.sum(V * V, axis=1))

    def complement(self) -> Array:
        """The Hessian (p, p) of the steps orthogonal to U, the same in each of those directions."""
        V, a = self.students, self.a
        return np.asarray(4.0 * a * a * V @ V.T + np.diag(2.0 * a * self.mean_error - self._pull))

    def inside(self) -> Array:
        """The Hessian of the steps with rows in U: (pm, pm), or (p(m−1), p(m−1)) on the sphere."""
        V, a = self.students, self.a
        p, m = V.shape
        # Indices of the result: student and direction of one step, then of the other.
        result = np.einsum("im,jn->imjn", V, V) + np.einsum("in,jm->imjn", V, V)
        result *= 4.0 * a * a
        axes, rows = np.arange(m), np.arange(p)
        # The axis that both steps share is indexed by an array, which puts it first in the shape.
        result[:, axes, :, axes] += self.complement()
        result[rows, :, rows, :] += 4.0 * a * self.error
        if self.sphere:
            tangents = self._tangents
            result = np.einsum("imx,imjn,jny->ixjy", tangents, result, tangents, optimize=True)
        size = result.shape[0] * result.shape[1]
        return np.asarray(result.reshape(size, size))

    @cached_property
    def _tangents(self) -> Array:
        """Orthonormal bases (p, m, m − 1) of the directions orthogonal to each student."""
        orthogonal, _ = np.linalg.qr(self.students[:, :, None], mode="complete")
        return np.asarray(orthogonal[:, :, 1:])

    def along_teachers(self, steps: Array) -> Array:
        """Components (pk, g) along the teachers of steps in the basis of `inside`, (…, g)."""
        p, m = self.students.shape
        count = steps.shape[-1]
        if self.sphere:
            steps = np.einsum("imx,ixg->img", self._tangents, steps.reshape(p, m - 1, count))
        return np.asarray(steps.reshape(p, m, count)[:, : self.rank].reshape(p * self.rank, count))
