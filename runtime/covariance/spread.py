"""Standard deviations at order 1/√N from the covariance, and the N at which the linear theory holds."""

from __future__ import annotations

from math import factorial

import numpy as np

from derive.model import Model
from runtime.start.checked_arrays import Array
from runtime.system.compiled_system import System


def loss_gradients(system: System, states: Array, packed: Array) -> Array:
    """The derivative of ε by each order parameter, (m, n) at packed states (m, n); NaN where these are NaN.

    ε is a polynomial in each order parameter, of a degree up to that of the activation and at least 2. A
    central formula with as many points differentiates it exactly, whatever the distance of the points, so
    that only rounding is left: about 1e-16 of the terms that the loss is a sum of.
    """
    degree = max(2, *(activation.degree for activation in system.model.activations))
    half = (degree + 1) // 2
    # B. Fornberg, Math. Comp. 51, 699 (1988): f'(0) = Σ c_k (f(kh) − f(−kh))/h, exact up to degree 2·half.
    weights = [
        (k, (-1.0) ** (k + 1) * factorial(half) ** 2 / (k * factorial(half - k) * factorial(half + k)))
        for k in range(1, half + 1)
    ]
    loss, gradients = system.compiled_loss, np.full(states.shape, np.nan)
    for state, gradient in zip(states, gradients, strict=True):
        largest = float(np.max(np.abs(state)))
        if not np.isfinite(largest):
            continue
        distance, y = 0.5 * largest or 0.5, state.copy()
        for place, value in enumerate(state):
            total = 0.0
            for k, weight in weights:
                y[place] = value + k * distance
                above = loss(y, packed)
                y[place] = value - k * distance
                total += weight * (above - loss(y, packed))
            y[place] = value
            gradient[place] = total / distance
    return gradients


def deviations_along(gradients: Array, covariance: Array) -> Array:
    """√(gᵀΣg) of vectors g (m, n) and matrices Σ (m, n, n), shape (m,)."""
    variances = np.einsum("tk,tk->t", gradients, np.matmul(covariance, gradients[:, :, None])[..., 0])
    # A variance of 0 is slightly negative after rounding.
    return np.asarray(np.sqrt(np.maximum(variances, 0.0)))


def linear_size(model: Model, Q: Array, variances: Array, T: Array) -> Array:
    """The N (m,) above which two standard deviations of each overlap are less than the overlap can be.

    Overlaps are bounded by the norms of their vectors, |Q_ij|² ≤ Q_ii Q_jj and |R_ir|² ≤ Q_ii T_rr. `Q` are
    those of the ODE (m, p, p), and `variances` N times those of all order parameters (m, n).
    """
    norms = np.diagonal(Q, axis1=1, axis2=2)
    rows, columns = np.triu_indices(model.p)
    bounds = np.concatenate(
        [
            norms[:, rows] * norms[:, columns],
            (norms[:, :, None] * np.diag(T)).reshape(len(Q), model.p * model.pstar),
        ],
        axis=1,
    )
    of_overlaps = variances[:, : bounds.shape[1]]
    # A vector that is 0 has neither overlaps nor their fluctuations.
    parts = np.divide(
        4.0 * of_overlaps, bounds, out=np.where(np.isnan(bounds), np.nan, 0.0), where=bounds > 0.0
    )
    return np.asarray(np.max(parts, axis=1))
