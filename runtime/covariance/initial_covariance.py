"""Makes the covariance of the order parameters at a start: none, that of random weights, or a given one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.errors import InputError, shown
from derive.model import Model
from runtime.start.checked_arrays import Array, real_array, symmetric_part

RANDOM_WEIGHTS = "random weights"
# Eigenvalues and rows that should be zero carry the errors of an earlier run, up to these parts of the
# largest entry.
_EIGENVALUE_TOLERANCE, _ROW_TOLERANCE = 1e-6, 1e-8


def initial_covariance(model: Model, covariance: Any, Q0: Array, R0: Array, T: Array) -> Array:
    """N times the covariance of the order parameters at a start, (n, n) in the order of ``model.state``.

    `covariance` is None for a start without any spread, ``"random weights"``, or a matrix (n, n). Overlaps
    are checked already.

    Raises
    ------
    InputError
        It is none of these; the start is not the mean of random weights; or the matrix is not symmetric,
        not positive semi-definite, or on the sphere gives a Q_ii a variance.
    """
    size = model.state_size
    if covariance is None:
        return np.zeros((size, size))
    if isinstance(covariance, str):
        if covariance != RANDOM_WEIGHTS:
            raise InputError(
                "covariance", f"{shown(covariance)} is neither None, {RANDOM_WEIGHTS!r} nor a matrix"
            )
        return _of_random_weights(model, Q0, R0, T)
    matrix = symmetric_part("covariance", real_array("covariance", covariance, (size, size)))
    largest = float(np.max(np.abs(matrix)))
    least = float(np.linalg.eigvalsh(matrix)[0])
    if least < -_EIGENVALUE_TOLERANCE * largest:
        raise InputError("covariance", f"is not positive semi-definite: it has the eigenvalue {least:.3g}")
    if model.constraint == "sphere":
        norms = _norm_rows(model)
        if np.max(np.abs(matrix[norms])) > _ROW_TOLERANCE * largest:
            raise InputError(
                "covariance", "has a row of some Q_ii that is not 0, but the sphere fixes Q_ii"
            )
        matrix[norms] = matrix[:, norms] = 0.0
    return matrix


def _of_random_weights(model: Model, Q0: Array, R0: Array, T: Array) -> Array:
    """N Cov of the overlaps of independent weights N(0, q0), or of random points of the sphere |w|² = q0 N.

    N Cov(Q_ij, Q_kl) = q0² (δ_ik δ_jl + δ_il δ_jk) and N Cov(R_ir, R_js) = q0 δ_ij T_rs. Q and R are
    uncorrelated, since w → −w changes the sign of R alone. On the sphere the rows of Q_ii are 0, and the
    others are the same: a random direction u has E[u uᵀ] = 1/N. All of this is exact at any N; a trained v
    is given (docs/fluctuations.md).
    """
    p, q0 = model.p, float(Q0[0, 0])
    if np.any(R0 != 0.0) or np.any(q0 * np.eye(p) != Q0):
        raise InputError(
            "covariance", f"{RANDOM_WEIGHTS!r} has the mean Q0 = q0·1 and R0 = 0, unlike this start"
        )
    rows, columns = np.triu_indices(p)
    pairs = len(rows)
    overlaps = pairs + p * model.pstar
    matrix = np.zeros((model.state_size, model.state_size))
    np.fill_diagonal(matrix[:pairs, :pairs], np.where(rows == columns, 2.0, 1.0) * q0**2)
    matrix[pairs:overlaps, pairs:overlaps] = q0 * np.kron(np.eye(p), T)
    if model.constraint == "sphere":
        matrix[_norm_rows(model)] = 0.0
    return matrix


def _norm_rows(model: Model) -> NDArray[np.intp]:
    """The places of the norms Q_ii among the order parameters."""
    rows, columns = np.triu_indices(model.p)
    return np.flatnonzero(rows == columns)
