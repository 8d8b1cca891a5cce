"""The Hessian of the loss by differences of explicit weights: the oracle of the overlaps' formulas.

The loss is a polynomial of degree 4 along a line, and a trigonometric polynomial of degree 4 where
students turn; second derivatives from enough points are exact then, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Second derivative at 0 of polynomials of degree up to 5, from -2h, -h, 0, h, 2h.
_STENCIL = np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) / 12.0
_ANGLES = 2.0 * np.pi * np.arange(16) / 16


def loss(V: np.ndarray, teachers: np.ndarray, a: Any, b: Any) -> float:
    """ε of weights V (p, N) and teachers (p*, N) over √N, by Isserlis' theorem.

    The second layers a v (p,) and b v* (p*,) may be the numbers a and b, if all their weights are 1.
    """
    students = np.broadcast_to(a, len(V))[:, None]
    error = V.T @ (students * V) - teachers.T @ (np.broadcast_to(b, len(teachers))[:, None] * teachers)
    return 0.5 * np.trace(error) ** 2 + np.sum(error**2)


def free_hessian(V: np.ndarray, teachers: np.ndarray, a: Any, b: Any) -> np.ndarray:
    """(pN, pN)."""

    def second(step: np.ndarray) -> float:
        values = [loss(V + k * step, teachers, a, b) for k in (-2, -1, 0, 1, 2)]
        return float(_STENCIL @ values)

    steps = np.eye(V.size).reshape(-1, *V.shape)
    return _by_polarisation(second, steps)


def sphere_hessian(V: np.ndarray, teachers: np.ndarray, a: Any, b: Any) -> np.ndarray:
    """(p(N−1), p(N−1)): the second derivative along geodesics, students turned with their norms."""
    p, n = V.shape
    norms = np.linalg.norm(V, axis=1)
    bases = [np.linalg.svd(v[None])[2][1:] for v in V]
    directions = np.zeros((p * (n - 1), p, n))
    for i, basis in enumerate(bases):
        directions[i * (n - 1) : (i + 1) * (n - 1), i] = basis

    def second(step: np.ndarray) -> float:
        """Along a step in which students turn by 0 or (all the same) `speed` radians."""
        speeds = np.linalg.norm(step, axis=1)
        speed = np.max(speeds)
        turned = step / np.where(speeds > 0.0, speeds, 1.0)[:, None] * norms[:, None]
        values = [
            loss(np.where(speeds[:, None] > 0.0, np.cos(t) * V + np.sin(t) * turned, V), teachers, a, b)
            for t in _ANGLES
        ]
        modes = np.fft.rfft(values) / len(values)
        frequencies = np.arange(modes.size)
        return float(-2.0 * speed**2 * np.sum(frequencies[:5] ** 2 * modes[:5].real))

    turns = _by_polarisation(second, directions)
    scale = np.repeat(norms, n - 1)
    return turns / np.outer(scale, scale)


def _by_polarisation(second: Callable[[np.ndarray], float], steps: np.ndarray) -> np.ndarray:
    diagonal = [second(step) for step in steps]
    result = np.diag(diagonal)
    for i in range(len(steps)):
        for j in range(i):
            mixed = 0.5 * (second(steps[i] + steps[j]) - diagonal[i] - diagonal[j])
            result[i, j] = result[j, i] = mixed
    return result
