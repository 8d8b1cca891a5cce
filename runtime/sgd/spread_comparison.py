"""Compares spread and bias of SGD over runs with the theory at order 1/N, at several N.

The theory says N s² → Σ for the variance s² of an order parameter over runs, up to corrections of order
1/N. For k runs with a Gaussian law, (k − 1) s²/σ² is χ² with k − 1 degrees of freedom. The excess kurtosis
γ of the runs makes these ν = 2/(2/(k − 1) + γ/k), so that the variance of s² is right. The cube root of
χ²/ν is normal with mean 1 − 2/(9ν) and variance 2/(9ν) to high accuracy (E. B. Wilson and M. M. Hilferty,
PNAS 17, 684 (1931)). So the cube roots of N s²/Σ, less these means, are extrapolated to N → ∞ as means are,
and the limit is compared with 0.

The theory of the bias says N (mean − ODE) → m, up to corrections of order 1/N too. The means have normal
errors, so that N (mean − ODE) − m is extrapolated itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from derive.errors import InputError
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline
from runtime.covariance.fluctuation_run import FluctuationProblem
from runtime.problem import Problem
from runtime.sgd.extrapolation import extrapolate, judged, uncertain
from runtime.start.checked_arrays import Array
from runtime.system.compiled_system import System

if TYPE_CHECKING:
    import xarray

_STATES = ("Q", "R", "v")
# The spread is compared while the smallest N is this many times the N above which the linear theory holds.
# Corrections of order 1/N are then small enough that those of order 1/N² do not matter.
MARGIN = 4.0
# Operations of the right-hand side that a comparison may spend on the theory: some seconds for a run.
AFFORDABLE = 3_000_000
_TOO_LONG = "the covariance of this model takes too long here; cli fluctuations integrates it"
# Variances below this part of the largest squared norm are rounding, as those of norms on the sphere.
_ROUNDING = 1e-20


def predicted(system: System, problem: Problem, records: int) -> dict[str, Any]:
    """Spread and bias at order 1/N at the last `records` times, as variables of `runtime.fluctuations`.

    They are √N times standard deviations and N times biases; ``linear_n`` is the largest so far. There are
    no biases where none is derived or they take too long, and nothing if this is so of the covariance.
    """
    try:
        operations = FluctuationPipeline.of(FluctuationModel.of(problem.model)).operations
    except InputError as error:
        if error.option != "activation":
            raise
        return {}
    if operations["rhs"] > AFFORDABLE:
        return {}
    bias = operations.get("rhs_with_bias", np.inf) <= AFFORDABLE
    found = FluctuationProblem(problem, None, bias=bias).run(system)
    every = (f"{name}_{ending}" for name in (*_STATES, "loss") for ending in ("std", "bias"))
    names = [name for name in every if name in found.data_vars]
    variables = {
        name: (found[name].dims, found[name].values[-records:], found[name].attributes) for name in names
    }
    largest = np.maximum.accumulate(found["linear_n"].values)[-records:]
    return variables | {"linear_n": (("alpha",), largest, found["linear_n"].attributes)}


def measured_spread(simulated: Sequence[xarray.Dataset]) -> dict[str, Any]:
    """Standard deviations over runs at each N, as variables of a comparison."""
    spreads: dict[str, Any] = {}
    for name in (*_STATES, "loss"):
        if name in simulated[0]:
            values = np.array([np.std(runs[name].values, axis=0, ddof=1) for runs in simulated])
            words = f"standard deviation of {name} over runs"
            spreads[f"{name}_spread"] = (("n", *simulated[0][name].dims[1:]), values, words)
    return spreads


def spread_ratios(values: Array, n: int, predicted: Array) -> tuple[Array, Array]:
    """The cube root of N s²/Σ of values (runs, …), less its mean where theory holds, and its error.

    NaN where runs are NaN. `predicted` is √Σ, not zero.
    """
    runs = len(values)
    centred = values - np.mean(values, axis=0)
    variance = np.sum(centred**2, axis=0) / (runs - 1)
    fourth = np.mean(centred**4, axis=0)
    # A sample of few runs has too small a kurtosis as often as too large a one.
    excess = np.maximum(fourth / np.mean(centred**2, axis=0) ** 2 - 3.0, 0.0)
    freedom = 2.0 / (2.0 / (runs - 1) + excess / runs)
    width = 2.0 / (9.0 * freedom)
    return np.cbrt(n * variance / predicted**2) - (1.0 - width), np.sqrt(width)


def judged_spread(
    result: xarray.Dataset, names: Sequence[str], simulated: Sequence[Array], runs: int
) -> dict[str, Any]:
    """The deviation of spreads from the theory, as attributes of a comparison.

    names, simulated
        The order parameters, and their values (runs, alpha, order parameter) at each N.
    """
    if "linear_n" not in result:
        return {"spread_comparisons": 0, "spread_reason": _TOO_LONG}
    sizes = result["n"].values
    spread = _packed(result, names, "std")
    least = _ROUNDING * max(1.0, float(np.max(result["Q"].values)) ** 2)
    tested = _linear(result)[:, None] & (spread**2 > least)
    if not tested.any():
        reason = f"the linear theory needs a larger N than {sizes[0]} from this start"
        return {"spread_comparisons": 0, "spread_reason": reason}
    both = [
        spread_ratios(values[:, tested], int(n), spread[tested])
        for values, n in zip(simulated, sizes, strict=True)
    ]
    deviations, errors = (np.array(part) for part in zip(*both, strict=True))
    limit, error, *_ = extrapolate(deviations, errors, sizes.astype(float))
    until = float(result["alpha"].values[_linear(result)][-1])
    return {**judged("spread_", result, names, tested, np.abs(limit) / error, runs), "spread_until": until}


def judged_bias(
    result: xarray.Dataset, names: Sequence[str], deviations: Array, errors: Array, runs: int
) -> dict[str, Any]:
    """The deviation of biases from the theory, as attributes of a comparison; none where none is derived.

    names, deviations, errors
        The loss and the order parameters, and mean − ODE (N, alpha, observable) with its errors.
    """
    if "loss_bias" not in result:
        return {}
    sizes = result["n"].values.astype(float)
    tested = _linear(result)[:, None] & np.all(uncertain(errors, result), axis=0)
    if not tested.any():
        return {}
    each = sizes[:, None]
    left = each * deviations[:, tested] - _packed(result, names, "bias")[tested]
    limit, error, *_ = extrapolate(left, each * errors[:, tested], sizes)
    return judged("bias_", result, names, tested, np.abs(limit) / error, runs)


def _linear(result: xarray.Dataset) -> NDArray[np.bool_]:
    """Whether the linear theory holds with a margin at the smallest N, at each time and all before it."""
    return np.asarray(MARGIN * result["linear_n"].values <= result["n"].values[0])


def _packed(result: xarray.Dataset, names: Sequence[str], ending: str) -> Array:
    """Predicted numbers (alpha, observable) of the loss and of order parameters."""
    columns = []
    for name in names:
        letter, *indices = name.split("_")
        values = result[f"{letter}_{ending}"].values
        if indices:
            entry = np.ravel_multi_index([int(index) - 1 for index in indices], values.shape[1:])
            values = values.reshape(len(values), -1)[:, entry]
        columns.append(values)
    return np.stack(columns, axis=1)
