"""The rules of adaptive steps: other operations give the same steps, and the boundaries of each rule."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from runtime.trajectory import controller
from runtime.trajectory.controller import DIVERGED, STEP_TOO_SMALL

# As in vector code, but of one number: errors are logarithms.
LOGARITHMS = SimpleNamespace(
    subtract=lambda x, y: x - y,
    multiply=lambda x, y: x * y,
    maximum=max,
    minimum=min,
    select=lambda condition, x, y: x if condition else y,
    reaches=lambda time, stretch, step, end: stretch * step >= end - time,
    powers=lambda factor, x, m, y, n: factor * np.exp(m * x + n * y),
)


@pytest.mark.parametrize("order", [4, 6, 7])
def test_the_factor_of_a_step_over_logarithms(order):
    rule = controller.over(LOGARITHMS, controller.step_factor)
    seen = set()
    for error, last, failed in itertools.product(np.geomspace(1e-10, 1e9, 40), (1e-10, 0.1), (False, True)):
        arguments = (error <= 1.0, failed, True, 1.0 / (order + 1))
        factor = controller.step_factor(error, last, *arguments)
        assert rule(np.log(error), np.log(last), *arguments) == pytest.approx(factor, rel=1e-12)
        assert 0.2 <= factor <= (1.0 if failed else 6.0)
        seen.add(factor)
    assert {0.2, 1.0, 6.0} < seen
    assert controller.step_factor(np.inf, 0.1, False, False, False, 0.2) == 0.1


def test_the_final_step_is_stretched_over_logarithms():
    rule = controller.over(LOGARITHMS, controller.attempted_step)
    for left, size, final in ((3.0, 1.0, False), (1.00000009, 1.00000009, True), (0.5, 0.5, True)):
        for attempted in (controller.attempted_step, rule):
            assert attempted(2.0, 1.0, 2.0 + left) == (pytest.approx(size, rel=1e-15), final)


def test_the_reason_for_steps_that_vanish():
    assert controller.why_stuck(False, False) == STEP_TOO_SMALL
    assert controller.why_stuck(True, False) == controller.why_stuck(False, True) == DIVERGED
