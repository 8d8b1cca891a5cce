"""Finds all critical points of the loss with free norms and equal weights, with Hessians in closed form.

With V (p × N) the students v = w/√N, M = V*ᵀV*, E = a VᵀV − b M and s = tr E, the gradient
2as V + 4a V E vanishes where V E = −(s/2) V. Then b V M = (aQ + s/2) V, so VᵀV M is symmetric: VᵀV and
M commute, and have common eigenvectors. On those that students use, E = −s/2: a critical point is a
choice of m teacher directions r ∈ K (eigenvectors of M, with eigenvalue τᵣ) and j directions beyond
the teachers (τ = 0), m + j ≤ p, on which VᵀV has the eigenvalues

    g = (bτ − s/2)/a,     s = −2b Σ_{r∉K} τᵣ / (m + j + 2),

and up to rotations of the students (O(p)), of directions beyond the teachers and of equal teachers
nothing else is free. The loss ε = ½ s² + tr E² is

    ε = b² [ (Σ_{r∉K} τᵣ)² / (m + j + 2) + Σ_{r∉K} τᵣ² ].

For T = 1 and a mean readout (0, p) is the plateau of gradient flow, ε = 1/(p+2) + 1/p*; in general
(m, p − m) are the plateaus after m teachers are learned. The minimum is (min(p, k), 0) with the
largest τ, k = rank T: no loss if p ≥ k. Its points are V = √(b/a) O V* with OᵀO = 1 then.

Eigenvalues of the Hessian (see `LocalHessian`), by direction q ∈ used, r ∈ K̄ unused teacher, c
beyond the teachers and unused, N − k − j of these; students split into m + j used combinations
and u = p − m − j unused ones:

    used × used         0 for each pair q < q', and 4a² (g_q + g_q'); and those of the matrix
                        4a² (√g √gᵀ + 2 diag g) of size m + j
    used × r            4ab (τ_q − τᵣ)
    used × c            4ab τ_q
    unused × used       0
    unused × r          2as − 4abτᵣ
    unused × c          2as

The model is that of arXiv:2604.03068; the derivation is ours and tested against dense Hessians.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from derive import readout
from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model, require_quadratic
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.teacher_directions import Teacher

# Teachers' eigenvalues closer than this part of the largest are equal.
_EQUAL = 1e-9


class SeveralSolutionsError(InputError):
    """On the sphere solutions differ among themselves; `reason` is a clause that says so."""

    def __init__(self, reason: str) -> None:
        super().__init__("constraint", f"'sphere': {reason}; give one with --overlaps")
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class CriticalPoint:
    """A critical point of the loss with free norms.

    Q, R
        Overlaps (p, p) and (p, p*) of one of its points, the others being rotations of it.
    loss
        Generalisation error ε there.
    teachers, beyond
        m and j: directions used by students, among the teachers' and beyond these.
    """

    model: Model
    T: Array
    Q: Array
    R: Array
    loss: float
    teachers: int
    beyond: int

    def spectrum(self, n: int) -> Iterator[tuple[float, int]]:
        """Eigenvalues of the Hessian in v = w/√N with multiplicities, in closed form, not merged.

        Raises InputError if N is less than k + j.
        """
        tau = np.sort(Teacher.from_overlaps(self.T).weights)[::-1]
        free = whole_number("n", n, tau.size + self.beyond, 10**15) - tau.size - self.beyond
        a, b = readout.weights(self.model)
        used = np.concatenate([tau[: self.teachers], np.zeros(self.beyond)])
        rest = tau[self.teachers :]
        s = -2.0 * b * float(np.sum(rest)) / (used.size + 2)
        g = (b * used - 0.5 * s) / a
        unused = self.model.p - used.size
        for first in range(used.size):
            for second in range(first):
                yield 0.0, 1
                yield float(4.0 * a * a * (g[first] + g[second])), 1
        roots = np.sqrt(g)
        for value in np.linalg.eigvalsh(4.0 * a * a * (np.outer(roots, roots) + 2.0 * np.diag(g))):
            yield float(value), 1
        for mine in used:
            yield from ((float(4.0 * a * b * (mine - other)), 1) for other in rest)
            yield float(4.0 * a * b * mine), free
        yield 0.0, unused * used.size
        yield from ((float(2.0 * a * s - 4.0 * a * b * other), unused) for other in rest)
        yield 2.0 * a * s, unused * free


@dataclasses.dataclass(frozen=True)
class FlatDirections:
    """Directions without curvature at the minima of the loss.

    tangent
        The dimension of the manifold of minima, along which the loss does not change at all.
    quartic
        The others, along which the loss grows as the fourth power; it decays as α⁻² in gradient flow.
    """

    tangent: int
    quartic: int

    @property
    def count(self) -> int:
        """All of them."""
        return self.tangent + self.quartic


def require_equal_weights(model: Model, what: str) -> None:
    """Raise InputError for other activations or weights that may differ; `what` is not known there."""
    require_quadratic(model, what)
    if model.weighted:
        raise InputError(
            "second_layer", f"{model.second_layer!r}: {what} only where all second-layer weights are 1"
        )


def critical_point(model: Model, teachers: int, beyond: int, T: ArrayLike | None = None) -> CriticalPoint:
    """The critical point that uses the `teachers` largest directions of the teacher, and `beyond` others.

    ``critical_point(model, 0, p)`` is the plateau of gradient flow.

    Raises
    ------
    InputError
        The model has the sphere or second-layer weights; or there are fewer directions, or students.
    """
    model = checked_arrays.as_model(model)
    checked_arrays.require_free_norms(model, "critical points are known")
    require_equal_weights(model, "critical points are known")
    overlaps = checked_arrays.teacher_overlaps(model, T)
    teacher = Teacher.from_overlaps(overlaps)
    # The weights come in ascending order, and the largest are wanted first.
    order = np.argsort(teacher.weights, kind="stable")[::-1]
    tau, factor = teacher.weights[order], teacher.factor[:, order]
    m = whole_number("teachers", teachers, 0, min(model.p, tau.size))
    j = whole_number("beyond", beyond, 0, model.p - m)
    a, b = readout.weights(model)
    rest = float(np.sum(tau[m:]))
    s = -2.0 * b * rest / (m + j + 2)
    g = np.zeros(model.p)
    g[: m + j] = (b * np.concatenate([tau[:m], np.zeros(j)]) - 0.5 * s) / a
    R = np.zeros((model.p, model.pstar))
    R[:m] = np.sqrt(g[:m, None]) * factor[:, :m].T
    loss = b * b * (rest * rest / (m + j + 2) + float(np.sum(tau[m:] ** 2)))
    return CriticalPoint(model, overlaps, np.diag(g), R, loss, m, j)


def solution(model: Model, T: ArrayLike | None = None) -> CriticalPoint:
    """A global minimum of the loss: no loss if p ≥ rank T, else the best that p students can do.

    On the sphere with p = p* (then a = b) and T with a unit diagonal: W = W*.

    Raises InputError with second-layer weights (`zero_loss_solution` has solutions without loss), and
    SeveralSolutionsError, another one, on the sphere otherwise.
    """
    model = checked_arrays.as_model(model)
    require_equal_weights(model, "the global minimum is known")
    if model.constraint == "free":
        rank = Teacher.from_overlaps(checked_arrays.teacher_overlaps(model, T)).rank
        return critical_point(model, min(model.p, rank), 0, T)
    overlaps = checked_arrays.teacher_overlaps(model, T)
    if model.p != model.pstar or not np.allclose(np.diag(overlaps), 1.0):
        raise SeveralSolutionsError(
            "solutions differ among themselves unless p = p* and the teachers have norm 1"
        )
    return CriticalPoint(model, overlaps, overlaps.copy(), overlaps.copy(), 0.0, model.p, 0)


def flat_directions(model: Model, n: int, T: ArrayLike | None = None) -> FlatDirections:
    """Directions without curvature at the global minima, with free norms.

    p ≥ k = rank T: the minima are V = √(b/a) O V* with OᵀO = 1. At E = 0 the Hessian is
    4a² (tr HVᵀ)² + 2a² ‖HᵀV + VᵀH‖², so flat means HᵀV + VᵀH = 0: with V = (A, 0) in coordinates
    along the teachers and beyond, AᵀH₁ antisymmetric, pk − k(k+1)/2 directions, which are tangent to the
    manifold, and AᵀH₂ = 0, (p − k)(N − k) directions. The latter do not bend back to solutions: E = a H₂ᵀH₂
    has the loss a² [½ (tr H₂ᵀH₂)² + tr (H₂ᵀH₂)²] of fourth order.

    p < k: the minima are rotations OV of the students, p(p−1)/2, and of equal teachers: one more for
    every used and unused teacher with the same τ (for T = 1 all p(k − p)).

    Raises InputError on the sphere, with second-layer weights, or if N is less than k.
    """
    model = checked_arrays.as_model(model)
    checked_arrays.require_free_norms(model, "flat directions are counted")
    require_equal_weights(model, "flat directions are counted")
    tau = np.sort(Teacher.from_overlaps(checked_arrays.teacher_overlaps(model, T)).weights)[::-1]
    k, p = tau.size, model.p
    n = whole_number("n", n, k, 10**15)
    if p >= k:
        return FlatDirections(p * k - k * (k + 1) // 2, (p - k) * (n - k))
    equal = np.abs(tau[:p, None] - tau[None, p:]) <= _EQUAL * tau[0]
    return FlatDirections(p * (p - 1) // 2 + int(np.sum(equal)), 0)
