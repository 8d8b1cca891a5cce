"""Checks of the dynamics around a zero-loss solution: neutral directions, and how the loss decays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg

from derive import readout
from runtime.analysis.claims import Claim
from runtime.analysis.landscape.solution_stability import (
    expected_zero_modes,
    solution_spectrum,
)
from runtime.analysis.landscape.zero_loss_solutions import zero_loss_solution
from runtime.problem import Problem
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters
from runtime.start.starts import GivenStart
from runtime.system.compiled_system import System
from runtime.trajectory.single_run import integrate_problem

# Eigenvalues below this size are zero, to the accuracy of dense eigenvalues.
_ZERO_MODES = 1e-7
# The decay by a power law starts with this weight beyond the teachers, over the weight along the teachers.
# Its exponent is measured at these times, in units of one over the rate of the first weight.
_BEYOND, _LATE, _END = 0.05, 25.0, 100.0
_TIMES = 40
_EXPONENT, _EXPONENT_ALLOWED = -2.0, 0.02
# The exponential decay starts with this share of random directions in the students' weights. Its rate is
# measured between these times, in units of one over the slowest rate, up to this relative error.
_SHARE = 1e-3
_UNITS = (10.0, 14.0)
_RATE_ALLOWED = 1e-3
# Closer than this part to the largest stable η, other modes are as slow.
_CLEARLY_STABLE = 0.95
# With more order parameters, dense Jacobians take minutes.
LARGEST_JACOBIAN = 160


def solution_claims(system: System, parameters: RunParameters, largest: float | None) -> Iterator[Claim]:
    """Zero modes of the dynamics around a solution, where theory counts them, and how the loss decays.

    `largest` is the largest η with which solutions are stable, None if it is not known.
    """
    eta, T = parameters["eta"], parameters.T
    expected = expected_zero_modes(system.model, T)
    if expected is None or largest is None or system.model.state_size > LARGEST_JACOBIAN:
        return
    # For larger η the terms in η² overwhelm those in η, and rates that are not zero look so.
    if eta > largest:
        return
    state = zero_loss_solution(system.model, T, seed=0)
    found = solution_spectrum(system, *state, tolerance=_ZERO_MODES, **parameters.keywords)
    yield Claim(
        "zero modes",
        "around a solution without loss the dynamics has as many neutral directions as the theory counts",
        float(expected.count),
        float(found.null_directions),
        None,
        0.0,
    )
    if eta <= _CLEARLY_STABLE * largest:
        if expected.marginal:
            yield _power_law(system, parameters)
        else:
            yield _exponential(system, parameters, found.slowest)


def _power_law(system: System, parameters: RunParameters) -> Claim:
    """Weight beyond the teachers, Q − R T⁺Rᵀ, decays as 1/α, and the loss as its square.

    The start is a solution with a small weight g beyond the teachers: dg/dα = −4a²η g² to leading order, so
    that 1/(4a²ηg) is the unit of time. The exponent is extrapolated to 1/α = 0.
    """
    model, T = system.model, parameters.T
    a, b = readout.weights(model)
    Q, R = zero_loss_solution(model, T, seed=0)
    left, values, _ = np.linalg.svd(R)
    rank = int(np.sum(values > _ZERO_MODES * values[0]))
    beyond = left[:, rank:]
    weight = _BEYOND * b / a * (float(np.trace(T)) / model.pstar)
    unit = 1.0 / (4.0 * a * a * parameters["eta"] * weight)
    alpha = np.geomspace(_LATE * unit, _END * unit, _TIMES)
    loss = _losses(system, Q + weight * beyond @ beyond.T, R, alpha, parameters)
    with np.errstate(divide="ignore", invalid="ignore"):
        local = np.diff(np.log(loss)) / np.diff(np.log(alpha))
    # The fit needs finite numbers; where a loss is not positive, the exponent is NaN and the claim fails.
    exponent = np.nan
    if np.all(np.isfinite(local)):
        exponent = float(np.polyfit(1.0 / np.sqrt(alpha[1:] * alpha[:-1]), local, 1)[1])
    return Claim(
        "decay",
        r"near a solution the loss decays as $\alpha^{-2}$, since there are more students than needed"
        r" (exponent for $\alpha \to \infty$)",
        _EXPONENT,
        exponent,
        None,
        _EXPONENT_ALLOWED,
    )


def _exponential(system: System, parameters: RunParameters, slowest: float) -> Claim:
    """With no students to spare the loss decays exponentially, as the linear dynamics predicts.

    The start is a solution with a share of random directions mixed into its students. The loss is linear in
    Q − R T⁺Rᵀ, which then has all modes. Its rate is measured late, when almost only the slowest is left.
    """
    Q, R = zero_loss_solution(system.model, parameters.T, seed=0)
    mixed = (1.0 - _SHARE) * Q + _SHARE * np.diag(np.diag(Q)), np.sqrt(1.0 - _SHARE) * R
    alpha = np.array(_UNITS) / abs(slowest)
    loss = _losses(system, *mixed, alpha, parameters)
    packed = parameters.packed[0]
    state, deviation = system.pack(Q, R), system.pack(*mixed) - system.pack(Q, R)
    jacobian = system.jacobian_of_state(state, packed)
    later = np.array([scipy.linalg.expm(time * jacobian) @ deviation for time in alpha])
    # This is exactly the part that is linear in the deviation, since the loss is quadratic in the overlaps.
    predicted = 0.5 * (
        system.packed_losses(state + later, packed) - system.packed_losses(state - later, packed)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        measured, expected = (np.diff(np.log(x))[0] / np.diff(alpha)[0] for x in (loss, predicted))
    return Claim(
        "decay",
        r"near a solution the loss decays exponentially, as the linear dynamics predicts, since there are"
        r" no more students than needed (rate for large $\alpha$)",
        float(expected),
        float(measured),
        None,
        float(_RATE_ALLOWED * abs(expected)),
    )


def _losses(system: System, Q: Array, R: Array, alpha: Array, parameters: RunParameters) -> Array:
    problem = Problem(
        system.model,
        GivenStart(Q, R),
        parameters,
        alpha=alpha,
        rtol=1e-12,
        atol=1e-16,
        method="prince8",
    )
    return np.asarray(integrate_problem(system, problem)["loss"].values)
