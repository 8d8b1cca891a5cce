"""Functions whose keyword arguments are the run-time parameters of the table."""

from __future__ import annotations

import inspect

import pytest

import runtime
from derive.parameters import PARAMETERS


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
