"""Learning-rate schedules: the integral of the factor g, which is the time that gradient flow takes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from runtime.start.schedules import Schedule


@pytest.mark.parametrize(
    "text", ["constant", "exponential:7", "inverse:7", "inverse-sqrt:7", "0:1,2:0.25,5:3,9:0"]
)
def test_the_integral_is_that_of_the_factors(text):
    schedule = Schedule.of(text)
    times = np.array([[0.0, 1.5], [2.0, 7.25], [9.0, 30.0]])
    jumps = [time for time, _ in schedule.jumps]
    expected = [
        quad(lambda t: schedule.factors(np.array(t)), 0.0, end, points=jumps, limit=200, epsabs=1e-13)[0]
        for end in times.ravel()
    ]
    np.testing.assert_allclose(schedule.integral(times).ravel(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["exponential", "inverse", "inverse-sqrt"])
def test_the_integral_keeps_its_digits_at_early_times(kind):
    """∫g = α (1 − α/(cτ) + …) with c = 2, 2 and 4, also where α is far below τ."""
    early = np.array([1e-3, 1e-9])
    second = {"exponential": 2.0, "inverse": 2.0, "inverse-sqrt": 4.0}[kind]
    found = Schedule.of(f"{kind}:1e6").integral(early)
    np.testing.assert_allclose(found, early * (1.0 - early / (second * 1e6)), rtol=1e-15)


@pytest.mark.parametrize(
    "given", ["exponential:1e3", f"inverse:{1 / 3!r}", {0: 1, 1 / 3: 0.1 + 0.2}, "0:1, 50:.5", " constant "]
)
def test_the_text_of_a_schedule_is_that_schedule(given):
    schedule = Schedule.of(given)
    assert Schedule.of(schedule.text) == schedule


def test_pairs_may_be_an_array():
    pairs = [(0.0, 1.0), (2.0, 0.5)]
    assert Schedule.of(np.array(pairs)) == Schedule.of(pairs)
