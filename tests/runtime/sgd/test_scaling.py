"""Approach of SGD to the ODE: fluctuations of order 1/√N, a mean that is off by order 1/N."""

from __future__ import annotations

import numpy as np
import pytest
from matrix import matrix

from derive import Model
from runtime import simulate
from runtime.trajectory.single_run import integrate

# Standard errors; there are some tens of comparisons, and seeds are fixed.
LARGEST_DEVIATION = 4.5


def values(runs) -> np.ndarray:
    """(run, alpha, observable): the loss and the overlaps."""
    parts = [runs[name].values.reshape(*runs["loss"].shape, -1) for name in ("loss", "Q", "R")]
    return np.concatenate(parts, axis=2)


# Runs at each N.
PLAN = {100: 20_000, 1_000: 4_000, 10_000: 2_000, 100_000: 1_000, 10**6: 400, 10**7: 200, 10**8: 96}


@pytest.mark.parametrize("largest", [10**6, matrix(10**8)])
@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_fluctuations_shrink_as_the_square_root_of_n(constraint, largest):
    model = Model(2, 1, constraint=constraint)
    start = {"Q0": [[1.0, 0.2], [0.2, 0.8]], "R0": [[0.4], [-0.1]]}
    widths, errors = [], []
    plan = {n: count for n, count in PLAN.items() if n <= largest}
    for n, count in plan.items():
        # Short, so that N = 10⁸ is affordable and N = 100 is more than a step.
        runs = simulate(model, n=n, eta=0.3, alpha=[0.05], label_noise=0.2, trajectories=count, **start)
        x = values(runs)[:, 0]
        x -= x.mean(axis=0)
        width = np.sqrt(np.mean(x**2, axis=0))
        moving = width > 1e-9
        assert moving.sum() == (7 if constraint == "free" else 5)
        kurtosis = np.mean(x[:, moving] ** 4, axis=0) / width[moving] ** 4
        widths.append(width[moving])
        # The relative error of a standard deviation follows from the fourth moment.
        errors.append(np.sqrt((kurtosis - 1.0) / (4.0 * count)))
    # At the largest N the law is a Gaussian whose width does not depend on N.
    assert np.max(kurtosis) < 5.0
    n = np.array(list(plan))[:, None]
    assert shrink_as(0.5, n, np.array(widths), np.array(errors))
    assert not shrink_as(0.45, n, np.array(widths), np.array(errors))
    assert not shrink_as(0.55, n, np.array(widths), np.array(errors))


def shrink_as(power: float, n: np.ndarray, widths: np.ndarray, errors: np.ndarray) -> bool:
    """Whether widths with these relative errors, (N, observable), are proportional to N^-power."""
    scaled = np.log(widths * n**power)
    ratio = scaled[:-1] - scaled[-1]
    # And corrections to the widths of the relative order 1/N.
    allowed = LARGEST_DEVIATION * np.hypot(errors[:-1], errors[-1]) + 10.0 / n[:-1]
    assert np.max(allowed[1:]) < 0.5
    # From N = 1000 on, where corrections are small.
    slope = np.polyfit(np.log(n[1:, 0]), scaled[1:], 1)[0]
    return (np.abs(ratio) < allowed).all() and (np.abs(slope) < 0.02).all()


def test_means_approach_the_ode_as_one_over_n(system_of):
    system = system_of(2, 1, constraint="sphere")
    Q0, R0 = np.eye(2), np.full((2, 1), 0.5)
    settings = {"eta": 0.2, "label_noise": 0.3}
    theory = integrate(system, Q0, R0, alpha=[0.0, 2.0], **settings)
    # The loss, Q₁₂ and the two entries of R.
    moving = [0, 2, 5, 6]
    expected = values(theory.expand_dims("trajectory"))[0, -1, moving]
    sizes, count = np.array([25, 50, 100, 200]), 20_000
    means, errors = [], []
    for n in sizes:
        runs = simulate(system.model, n=n, alpha=[2.0], trajectories=count, Q0=Q0, R0=R0, **settings)
        x = values(runs)[:, 0, moving]
        means.append(x.mean(axis=0) - expected)
        errors.append(x.std(axis=0, ddof=1) / np.sqrt(count))
    bias, uncertain = sizes[:, None] * means, sizes[:, None] * errors
    # N times the deviation is a number of its own, and the same at all N but for the next order.
    assert (np.abs(bias) > LARGEST_DEVIATION * uncertain)[:3].all()
    spread = np.abs(bias[1:] - bias[1])
    allowed = LARGEST_DEVIATION * np.hypot(uncertain[1:], uncertain[1]) + 0.25 * np.abs(bias[1])
    assert (spread < allowed).all()
    for k in range(len(moving)):
        powers = np.stack([sizes**-m for m in (0.0, 1.0, 2.0)], axis=1)
        weight = 1.0 / np.array(errors)[:, k]
        covariance = np.linalg.inv((powers * weight[:, None] ** 2).T @ powers)
        limit, first, _ = covariance @ (powers.T @ (weight**2 * np.array(means)[:, k]))
        assert abs(limit) < LARGEST_DEVIATION * np.sqrt(covariance[0, 0])
        # An order of 1/√N would be ten times as much at these N.
        assert abs(first) < 2.0
