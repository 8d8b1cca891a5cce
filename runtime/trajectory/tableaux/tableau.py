"""An explicit Runge-Kutta method as data: coefficients, error weights and dense output.

A step from y with stages k_0 … k_{s−1}, and k_s the slope at its end, is y + h Σ b_j k_j; k_s is
the next step's k_0. Its error estimate is E = h Σ e_j k_j over all s + 1 slopes; a second
one of lower order, L = h Σ e_low_j k_j, makes it |E|² / (|E|² + |L|²/100)^½ in the norm of the
tolerance (Hairer, Nørsett, Wanner, Solving ODEs I, sec. II.10). Inside the step
y(θ) = y + h Σ_j k_j Σ_m p_jm θ^{m+1}, where slopes after k_s come from extra stages.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from runtime.start.checked_arrays import Array


# Places in a step, beside its ends, at which a run that looks for events always takes the loss.
SCREENED = (0.25, 0.5, 0.75)


# The largest numbers of slopes of a step, of extra stages and of all slopes, and of powers in dense output.
_STEP_SLOPES, _EXTRA, MOST_SLOPES, _DEGREE = 14, 3, 16, 7
# A tableau as compiled code takes it; see `Tableau`. Arrays are padded with zeros.
COEFFICIENTS = np.dtype(
    [
        ("order", np.int64),
        # 1 / (error_order + 1), since an error scales as the step to the power error_order + 1.
        ("exponent", np.float64),
        # Numbers of stages, of slopes with those of extra stages, of powers in dense output, and of
        # estimates of the error.
        ("stages", np.int64),
        ("slopes", np.int64),
        ("degree", np.int64),
        ("estimates", np.int64),
        # Whether the error needs the slope at the end of the step.
        ("ends", np.int64),
        # The places in the step at which the slopes are taken, from 0 to 1.
        ("c", np.float64, MOST_SLOPES),
        # Rows of a, then b; e, then e_low.
        ("a", np.float64, (_STEP_SLOPES, _STEP_SLOPES)),
        ("e", np.float64, (2, _STEP_SLOPES)),
        ("extra", np.float64, (_EXTRA, MOST_SLOPES)),
        ("p", np.float64, (MOST_SLOPES, _DEGREE)),
        # The weights of the slopes in the states at SCREENED.
        ("screen", np.float64, (len(SCREENED), _STEP_SLOPES)),
    ]
)


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

    @cached_property
    def coefficients(self) -> Any:
        """A record of COEFFICIENTS."""
        record = np.zeros((), dtype=COEFFICIENTS)
        estimates = [self.e, self.e_low] if self.e_low.size else [self.e]
        record["order"], record["exponent"] = self.order, 1.0 / (self.error_order + 1)
        record["stages"], record["slopes"], record["degree"] = self.b.size, *self.p.shape
        record["estimates"], record["ends"] = len(estimates), self.e[-1] != 0.0
        places = np.concatenate([self.c, [1.0], self.extra.sum(axis=1)])
        record["c"][: places.size] = places
        rows = {
            "a": np.vstack([self.a, self.b]),
            "e": np.array(estimates),
            "extra": self.extra,
            "p": self.p,
            "screen": self._screen(),
        }
        for name, values in rows.items():
            record[name][: values.shape[0], : values.shape[1]] = values
        return record[()]

    def _screen(self) -> Array:
        """Weights (places, s + 1) of the slopes in states inside a step, without any further stages.

        They are those of the dense output if that needs no extra stages. Else they are those of the cubic
        that has the states and the slopes of both ends of the step (Hermite).
        """
        x = np.array(SCREENED)[:, None]
        if not len(self.extra):
            weights: Array = x ** np.arange(1, self.p.shape[1] + 1) @ self.p.T
            return weights
        weights = (3.0 - 2.0 * x) * x**2 * np.append(self.b, 0.0)
        weights[:, :1] += x * (1.0 - x) ** 2
        weights[:, -1:] += x**2 * (x - 1.0)
        return weights


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
