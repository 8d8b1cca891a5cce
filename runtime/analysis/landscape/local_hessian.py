"""The Hessian of the population loss at one state, in a small basis that holds all weights.

Write V for the p × N matrix of the students v = w/√N, V* for the teachers, D = diag(d) and F = diag(f) for
the second layers times the readout, dᵢ = a vᵢ and fᵣ = b v*ᵣ (a and b where these are 1), and

    E = VᵀDV − V*ᵀFV*   (N × N),    s = tr E.

The student minus the teacher is xᵀEx, so ε = ½ E[(xᵀEx)²] = ½ s² + tr E² (Isserlis; equal to
½ (s² + 2t) with the overlaps' t = tr DCDC). A step H changes E by HᵀDV + VᵀDH + HᵀDH exactly, and

    ε(V + H) = ½ (s + 2 tr HᵀDV + tr HᵀDH)² + ‖E + HᵀDV + VᵀDH + HᵀDH‖².

First order in H: the gradient is ∇ = 2s DV + 4 DVE. Twice the second order is the Hessian,

    Hess[H, H] = 4 (tr HᵀDV)² + 2 ‖HᵀDV + VᵀDH‖² + 2s tr HᵀDH + 4 tr(E HᵀDH),

and, since ‖HᵀDV + VᵀDH‖² = 2⟨H, DV HᵀDV⟩ + 2⟨H, DQDH⟩ with Q = VVᵀ, it acts as

    Hess[H] = 4 tr(HᵀDV) DV + 4 (DV HᵀDV + DQDH) + 2s DH + 4 DHE.

It is that of the population loss alone: weight decay, which adds (γ/2) Σ |vᵢ|² to what is minimised and so
γ to every eigenvalue, is not part of it.

Let U hold the rows of V and V*. Steps with rows orthogonal to U have HVᵀ = 0 and HE = 0: there the
Hessian is the p × p matrix 4DQD + 2sD, once for each of the N − dim U directions. Steps with rows
in U stay in U: a matrix of size p·dim U. Nothing else of the N dimensions matters.

On the sphere |vᵢ|² = Qᵢᵢ is kept, and steps are orthogonal to their student. Along a geodesic
v̈ᵢ = −(|hᵢ|²/Qᵢᵢ) vᵢ, so that the second derivative (the Riemannian Hessian of the product of
spheres) is Hess[H, H] − Σᵢ μᵢ |hᵢ|² with μᵢ = ∇ᵢ·vᵢ/Qᵢᵢ, restricted to those steps; μ is the diagonal
of D (2s + 4 (QDQ − RFRᵀ)ᵢᵢ/Qᵢᵢ).

The model is that of arXiv:2604.03068; the Hessian is derived here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from derive import readout
from derive.errors import InputError
from derive.model import Model, require_quadratic
from runtime.sgd.weight_coordinates import coordinates
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters
from runtime.start.teacher_directions import Teacher

# Largest size of the dense matrix of the steps in U, of 128 MiB; its eigenvectors take about a minute.
LARGEST_MATRIX = 4096
# Below this part of the largest overlap, a direction of the students beyond the teachers is rounding.
_RANK_TOLERANCE = 1e-12


def landscape_parameters(model: Model, given: Mapping[str, Any]) -> RunParameters:
    """T and second layers, which the loss depends on, checked as run-time parameters of any η.

    Raises InputError if one is not allowed, or for a trained second layer.
    """
    require_fixed_weights(model)
    return RunParameters.of(model, {"eta": 1.0, **given})


def require_fixed_weights(model: Model) -> None:
    """Raise InputError for a trained second layer, or another activation than λ²."""
    require_quadratic(model, "zero-loss solutions and the Hessian are known")
    if model.trained:
        raise InputError(
            "second_layer",
            "'trained': the loss depends on w and v together, and this Hessian is that in w alone",
        )


@dataclasses.dataclass(frozen=True)
class LocalHessian:
    """The Hessian at one state, in an orthonormal basis of a space U that holds all weights.

    students
        V (p, m) in that basis; the first k = rank T axes span the teachers.
    teachers
        V*ᵀFV* (k, k) there.
    weights
        d (p,).
    n
        Input dimension N ≥ m.
    sphere
        Whether norms are kept, and steps are orthogonal to their students.
    """

    students: Array
    teachers: Array
    weights: Array
    n: int
    sphere: bool

    @classmethod
    def at(
        cls, parameters: RunParameters, Q: Array, R: Array, teacher: Teacher, n: int, *, span: bool
    ) -> LocalHessian:
        """At overlaps Q (p, p) and R (p, p*) that were checked, with the directions of T.

        With `span`, U is the span of all weights (up to rounding); otherwise it has
        k + min(p, N − k) dimensions whatever the state, which a trajectory needs.

        Raises InputError if the weights do not fit into N dimensions, or U is too large.
        """
        model = parameters.model
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
        v, vstar = (weights[0] for weights in parameters.weights())
        if model.weighted:
            teachers = teacher.factor.T @ (b * vstar[:, None] * teacher.factor)
        else:
            teachers = np.diag(b * teacher.weights)
        return cls(V, teachers, a * v, n, model.constraint == "sphere")

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
        """E = VᵀDV − V*ᵀFV* (m, m)."""
        error = self._scaled.T @ self.students
        error[: self.rank, : self.rank] -= self.teachers
        return np.asarray(error)

    @cached_property
    def _scaled(self) -> Array:
        """DV (p, m)."""
        return np.asarray(self.weights[:, None] * self.students)

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
        return np.asarray(2.0 * (self.mean_error * self._scaled + 2.0 * self._scaled @ self.error))

    @cached_property
    def _pull(self) -> Array:
        """μ (p,) of the sphere, zero for free norms."""
        V = self.students
        if not self.sphere:
            return np.zeros(len(V))
        return np.asarray(np.sum(self._free_gradient * V, axis=1) / np.sum(V * V, axis=1))

    def complement(self) -> Array:
        """The Hessian (p, p) of the steps orthogonal to U, the same in each of those directions."""
        DV = self._scaled
        return np.asarray(4.0 * DV @ DV.T + np.diag(2.0 * self.mean_error * self.weights - self._pull))

    def inside(self) -> Array:
        """The Hessian of the steps with rows in U: (pm, pm), or (p(m−1), p(m−1)) on the sphere."""
        DV = self._scaled
        p, m = DV.shape
        # Indices of the result: student and direction of one step, then of the other.
        result = np.einsum("im,jn->imjn", DV, DV) + np.einsum("in,jm->imjn", DV, DV)
        result *= 4.0
        axes, rows = np.arange(m), np.arange(p)
        # The axis that both steps share is indexed by an array, which puts it first in the shape.
        result[:, axes, :, axes] += self.complement()
        result[rows, :, rows, :] += 4.0 * self.weights[:, None, None] * self.error
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
