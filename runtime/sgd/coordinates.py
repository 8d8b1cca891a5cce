"""Weights in coordinates adapted to the teacher: what SGD at finite N needs of the overlaps.

Rotations of the inputs do not change one-pass SGD in law, so the teacher may span the first
k = rank T axes (`teacher`). A student is wᵢ/√N = (Aᵢ, Sᵢ) with Aᵢ along the
teacher and Sᵢ beyond; R = A Fᵀ and Q = A Aᵀ + S Sᵀ, with any S of this Gram matrix.
"""

from __future__ import annotations

import numpy as np

from runtime.errors import InputError
from runtime.states import Array


def beyond(Q: Array, A: Array, dimensions: int) -> Array:
    """Lower triangular S (…, p, p) with S Sᵀ = Q − A Aᵀ, of at most `dimensions` columns not zero.

    Raises
    ------
    InputError
        Q − A Aᵀ has more independent directions than that: the weights do not fit into N.
    """
    rest = Q - A @ np.swapaxes(A, -1, -2)
    eigenvalues, vectors = np.linalg.eigh(0.5 * (rest + np.swapaxes(rest, -1, -2)))
    p = Q.shape[-1]
    scale = np.maximum(np.max(np.abs(Q), axis=(-1, -2)), 1e-300)
    if dimensions < p:
        rank = int(np.max(np.sum(eigenvalues > 1e-8 * scale[..., None], axis=-1), initial=0))
        if rank > dimensions:
            k = A.shape[-1]
            raise InputError(
                "n",
                f"{k + dimensions} is less than {k + rank}: these overlaps need {rank} dimensions beyond"
                f" the {k} of the teacher",
            )
        eigenvalues[..., : p - dimensions] = 0.0
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))[..., None, :]
    # Largest first, so that the columns beyond `dimensions` are zero.
    _, upper = np.linalg.qr(np.swapaxes(root[..., ::-1], -1, -2))
    signs = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0.0, -1.0, 1.0)
    return np.asarray(np.swapaxes(upper * signs[..., None], -1, -2))
