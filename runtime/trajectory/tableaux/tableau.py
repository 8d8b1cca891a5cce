"""An explicit Runge-Kutta method as data: coefficients, error weights and dense output.

A step from y with stages k_0 … k_{s−1}, and k_s the slope at its end, is y + h Σ b_j k_j; k_s is
the next step's k_0. Its error estimate is E = h Σ e_j k_j over all s + 1 slopes; a second
one of lower order, L = h Σ e_low_j k_j, makes it |E|² / (|E|² + |L|²/100)^½ in the norm of the
tolerance (Hairer, Nørsett, Wanner, Solving ODEs I, sec. II.10). Inside the step
y(θ) = y + h Σ_j k_j Σ_m p_jm θ^{m+1}, where slopes after k_s come from extra stages.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from runtime.start.checked_arrays import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Tableau:
    """One method: a pair of a step and an estimate of its error.

    order, error_order
        Order of the step; the error estimate scales as h to the power error_order + 1.
    a, b, c
        Butcher tableau of the s stages; a is strictly lower triangular.
    e, e_low
        Weights of the error estimates, s + 1 entries; e_low is empty where there is no second one.
    extra
        Rows like those of a for the m stages that only dense output needs, m × (s + 1 + m).
    p
        Coefficients of the dense output, (s + 1 + m) × degree.
    source
        The publication.
    """

    order: int
    error_order: int
    a: Array
    b: Array
    c: Array
    e: Array
    p: Array
    source: str
    e_low: Array
    extra: Array

    @property
    def slopes(self) -> int:
        """Slopes of a step with dense output: stages, the end, extra stages."""
        return len(self.p)


def array(rows: object) -> Array:
    """Coefficients as an array that cannot be written to."""
    array = np.array(rows, dtype=np.float64)
    array.setflags(write=False)
    return array


def lower_rows(rows: tuple[tuple[float, ...], ...], before: int = 0) -> Array:
    """A strictly lower triangular matrix without its first `before` rows; what a row leaves out is zero."""
    a = np.zeros((len(rows), before + len(rows)))
    for i, row in enumerate(rows):
        a[i, : len(row)] = row
    return array(a)
