"""The teacher as its independent directions, also where its overlaps are singular."""

from __future__ import annotations

import dataclasses

import numpy as np

from runtime.states import Array

# Eigenvalues of T below this part of the largest one are rounding.
_RANK_TOLERANCE = 1e-13


@dataclasses.dataclass(frozen=True)
class Teacher:
    """T = F Fᵀ: `factor` F (p*, k), and `weights` τ (k,) with FᵀF = diag(τ)."""

    factor: Array
    weights: Array

    @property
    def rank(self) -> int:
        return len(self.weights)

    @classmethod
    def from_overlaps(cls, T: Array) -> Teacher:
        if np.array_equal(T, np.eye(len(T))):
            return cls(np.eye(len(T)), np.ones(len(T)))
        eigenvalues, vectors = np.linalg.eigh(T)
        kept = eigenvalues > _RANK_TOLERANCE * max(1.0, float(eigenvalues[-1]))
        if not kept.any():
            return cls(np.zeros((len(T), 0)), np.zeros(0))
        factor = vectors[:, kept] * np.sqrt(eigenvalues[kept])
        return cls(factor, eigenvalues[kept])

    def along(self, R: Array) -> Array:
        """A (…, p, k) with R = A Fᵀ."""
        return np.asarray(R @ self.factor / self.weights)

    def overlaps(self, A: Array, S: Array) -> tuple[Array, Array]:
        """Q (…, p, p) and R (…, p, p*) of coordinates along the teacher and beyond."""
        Q = A @ np.swapaxes(A, -1, -2) + S @ np.swapaxes(S, -1, -2)
        return Q, A @ self.factor.T
