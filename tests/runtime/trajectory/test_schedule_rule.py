"""The rule of learning-rate schedules agrees with the formulas for arrays and with closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from derive.model import Model
from derive.parameters import scheduled_places
from runtime.start.schedules import Schedule
from runtime.trajectory.schedule_rule import schedule_factor

_CLOSED_FORMS = {
    "exponential": lambda ratio: math.exp(-ratio),
    "inverse": lambda ratio: 1.0 / (1.0 + ratio),
    "inverse-sqrt": lambda ratio: (1.0 + ratio) ** -0.5,
}


@pytest.mark.parametrize("word", _CLOSED_FORMS)
def test_the_rule_agrees_with_the_formulas_for_arrays_and_with_closed_forms(word):
    schedule, times = Schedule.of(f"{word}:20"), np.array([0.0, 1e-3, 7.0, 300.0])
    factors = [schedule_factor(schedule.kind, time / schedule.scale) for time in times]
    np.testing.assert_allclose(factors, [_CLOSED_FORMS[word](time / 20.0) for time in times], rtol=1e-15)
    np.testing.assert_allclose(factors, schedule.factors(times), rtol=1e-15)
    assert factors[0] == 1.0


def test_the_factor_within_a_constant_stretch_is_1():
    assert schedule_factor(Schedule.of("0:1,5:0.5").kind, 0.3) == 1.0


def test_a_schedule_multiplies_the_learning_rates():
    assert scheduled_places(Model(p=2, pstar=1)) == (0,)
    trained = Model(p=2, pstar=1, teacher="general", second_layer="trained")
    places = scheduled_places(trained)
    assert [trained.parameters[place] for place in places] == ["eta", "eta_second"]
