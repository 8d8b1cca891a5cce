"""Compares the spread of SGD over runs with the covariance at order 1/N, at several N.

The theory says N s² → Σ for the variance s² of an order parameter over runs, up to corrections of order
1/N. For k runs with a Gaussian law, (k − 1) s²/σ² is χ² with k − 1 degrees of freedom. The excess kurtosis
γ of the runs makes these ν = 2/(2/(k − 1) + γ/k), so that the variance of s² is right. The cube root of
χ²/ν is normal with mean 1 − 2/(9ν) and variance 2/(9ν) to high accuracy (E. B. Wilson and M. M. Hilferty,
PNAS 17, 684 (1931)). So the cube roots of N s²/Σ, less these means, are extrapolated to N → ∞ as means are,
and the limit is compared with 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.errors import InputError
from runtime.covariance.fluctuation_run import FluctuationProblem
from runtime.problem import Problem
from runtime.sgd.extrapolation import allowed_deviation, extrapolate
from runtime.start.checked_arrays import Array
from runtime.system.compiled_system import System

if TYPE_CHECKING:
    import xarray

STATES = ("Q", "R", "v")
# The spread is compared while the smallest N is this many times the N above which the linear theory holds.
# Corrections of order 1/N are then small enough that those of order 1/N² do not matter.
MARGIN = 4.0
# Variances below this part of the largest squared norm are rounding, as those of norms on the sphere.
_ROUNDING = 1e-20


def predicted_spread(system: System, problem: Problem, records: int, bias: bool = False) -> dict[str, Any]:
    """√N times the standard deviations at the last `records` times, as variables of `runtime.fluctuations`.

    N times the biases come with them if `bias` is set. ``linear_n`` is the largest so far. There are none
    for a model of which no covariance is derived.
    """
    try:
        found = FluctuationProblem(problem, None, bias=bias).run(system)
    except InputError as error:
        if error.option != "activation":
            raise
        return {}
    names = [f"{name}_{what}" for what in ("std", "bias") for name in (*STATES, "loss")]
    names = [name for name in names if name in found.data_vars]
    variables = {
        name: (found[name].dims, found[name].values[-records:], found[name].attributes) for name in names
    }
    largest = np.maximum.accumulate(found["linear_n"].values)[-records:]
    return variables | {"linear_n": (("alpha",), largest, found["linear_n"].attributes)}


def measured_spread(simulated: Sequence[xarray.Dataset]) -> dict[str, Any]:
    """Standard deviations over runs at each N, as variables of a comparison."""
    spreads: dict[str, Any] = {}
    for name in (*STATES, "loss"):
        if name in simulated[0]:
            values = np.array([np.std(runs[name].values, axis=0, ddof=1) for runs in simulated])
            spreads[f"{name}_spread"] = (("n", *simulated[0][name].dims[1:]), values)
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
        return {"spread_comparisons": 0, "spread_reason": "no covariance is derived for this activation"}
    sizes = result["n"].values
    predicted = _packed(result, names)
    # Once linearity has failed, the spread keeps what happened then.
    times = MARGIN * result["linear_n"].values <= sizes[0]
    tested = times[:, None] & (predicted**2 > _ROUNDING * max(1.0, float(np.max(result["Q"].values)) ** 2))
    if not tested.any():
        reason = f"the linear theory needs a larger N than {sizes[0]} from this start"
        return {"spread_comparisons": 0, "spread_reason": reason}
    both = [
        spread_ratios(values[:, tested], int(n), predicted[tested])
        for values, n in zip(simulated, sizes, strict=True)
    ]
    deviations, errors = (np.array(part) for part in zip(*both, strict=True))
    limit, limit_error, *_ = extrapolate(deviations, errors, sizes.astype(float))
    z = np.abs(limit) / limit_error
    worst = int(np.argmax(z))
    time, observable = (index[worst] for index in np.nonzero(tested))
    return {
        "spread_deviation": float(z[worst]),
        "spread_allowed": allowed_deviation(z.size, runs),
        "spread_comparisons": int(z.size),
        "spread_where": f"{names[observable]} at alpha = {float(result['alpha'].values[time]):g}",
        "spread_until": float(result["alpha"].values[times][-1]),
    }


def _packed(result: xarray.Dataset, names: Sequence[str]) -> Array:
    """√N times the predicted standard deviations (alpha, observable) of these order parameters."""
    columns = []
    for name in names:
        letter, *indices = name.split("_")
        values = result[f"{letter}_std"].values
        place = [int(index) - 1 for index in indices]
        entry = np.ravel_multi_index(place, values.shape[1:])
        columns.append(values.reshape(len(values), -1)[:, entry])
    return np.stack(columns, axis=1)
