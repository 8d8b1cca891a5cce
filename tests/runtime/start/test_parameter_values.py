"""Values of run-time parameters: changed ones, and functions that do not take all of them."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from rejections import rejected

import runtime
from derive import Model
from derive.parameters import PARAMETERS
from runtime.start.parameter_values import RunParameters

T = np.array([[1.0, 0.3], [0.3, 1.0]])


def test_some_values_are_replaced_and_checked_again():
    model = Model(3, 2, teacher="general")
    first = RunParameters.of(model, {"eta": 0.1, "label_noise": 0.2, "T": T})
    changed = first.replaced(eta=0.5)
    assert {**changed.attributes} == {"eta": 0.5, "label_noise": 0.2}
    np.testing.assert_array_equal(changed.T, T)
    np.testing.assert_array_equal(changed.packed, [[0.5, 0.2, 1.0, 0.3, 1.0]])
    np.testing.assert_array_equal(RunParameters.of(model, changed.keywords).packed, changed.packed)
    for name, wrong in (("eta", 0.0), ("label_noise", -1.0), ("T", np.zeros((2, 3))), ("mass", 1.0)):
        with rejected(name):
            first.replaced(**{name: wrong})


@pytest.mark.parametrize(
    ("function", "left_out"),
    [
        (runtime.plateau, ()),
        (runtime.solution_spectrum, ()),
        (runtime.escape_times, ()),
        (runtime.largest_stable_eta, ("eta",)),
        (runtime.integrate_sector, ("T",)),
    ],
)
def test_functions_name_the_parameters_that_they_take(function, left_out):
    """A name that is left out is not taken silently."""
    names = inspect.signature(function).parameters
    assert {name for name in PARAMETERS if name not in names} == set(left_out)
    for name in left_out:
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            function(None, None, **({"eta": 0.1} | {name: 1.0}))


def test_a_function_keeps_a_default_of_its_own():
    assert inspect.signature(runtime.plateau).parameters["eta"].default is inspect.Parameter.empty
    assert inspect.signature(runtime.escape_times).parameters["eta"].default == PARAMETERS["eta"].usual
