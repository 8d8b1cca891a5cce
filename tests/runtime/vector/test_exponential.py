"""The exponential function of vector code, against the correctly rounded one of `decimal`."""

from __future__ import annotations

import decimal
import math

import numpy as np
import pytest
from lane_code import elementwise

from runtime.vector import jit
from runtime.vector.exponential import exponential

LARGEST = math.log(np.finfo(np.float64).max)


def exponentials(kind: str, x: np.ndarray) -> np.ndarray:
    return elementwise(jit.target(kind), lambda random, value: exponential(random.vector, value), x)


def units_of_error(x: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The errors of found = eˣ in units in the last place of the result."""
    errors = []
    with decimal.localcontext(prec=40):
        for argument, value in zip(x, found, strict=True):
            exact = decimal.Decimal(float(argument)).exp()
            unit = decimal.Decimal(math.ulp(float(exact)))
            errors.append(float(abs(decimal.Decimal(float(value)) - exact) / unit))
    return np.array(errors)


@pytest.mark.parametrize("kind", jit.RESTRICTIONS)
def test_error_is_below_a_unit_in_the_last_place(kind):
    generator = np.random.default_rng(1)
    near = [-np.geomspace(1e-300, 1.0, 300), np.geomspace(1e-300, 1.0, 300), [0.0, -0.0]]
    # The ends of the ranges of r, and results that are subnormal down to the last one.
    middles = (np.arange(-1000, 1000) + 0.5) * math.log(2.0)
    ends = [middles[np.abs(middles) < 700.0], np.linspace(-745.2, -700.0, 500)]
    x = np.concatenate([generator.uniform(-745.0, LARGEST, 3000), *near, *ends, [LARGEST]])
    assert units_of_error(x, exponentials(kind, x)).max() < 1.0


@pytest.mark.parametrize("kind", jit.RESTRICTIONS)
def test_no_number_is_out_of_range(kind):
    x = np.array([-745.14, -746.0, -1e308, -np.inf, 709.79, 1e308, np.inf, np.nan])
    expected = [0.0, 0.0, 0.0, 0.0, np.inf, np.inf, np.inf, np.nan]
    np.testing.assert_array_equal(exponentials(kind, x), expected)
    # The smallest subnormal number is the last one before zero.
    assert exponentials(kind, np.array([-745.13]))[0] == math.exp(-745.13) == 5e-324
