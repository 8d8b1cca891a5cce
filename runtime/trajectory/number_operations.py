"""The operations on one number with which Numba compiles the rules of `controller` and `schedule_rule`.

They become part of the functions that use them, so none of them is compiled on its own.
"""

from __future__ import annotations

import numpy as np

from runtime.system.compilation import inlined


@inlined
def add(x, y):
    return x + y


@inlined
def subtract(x, y):
    return x - y


@inlined
def multiply(x, y):
    return x * y


@inlined
def divide(x, y):
    return x / y


@inlined
def exp(x):
    return np.exp(x)


@inlined
def sqrt(x):
    return np.sqrt(x)


@inlined
def maximum(x, y):
    """The larger number; y if one of them is NaN, as in vector code."""
    return x if x > y else y  # noqa: FURB136


@inlined
def minimum(x, y):
    """The smaller number; y if one of them is NaN, as in vector code."""
    return x if x < y else y  # noqa: FURB136


@inlined
def at_most(x, y):
    return x <= y


@inlined
def select(condition, x, y):
    return x if condition else y


@inlined
def reaches(time, stretch, step, end):
    """Whether the step, made longer by a factor, reaches the end."""
    return time + stretch * step >= end


@inlined
def powers(factor, x, m, y, n):
    """factor · xᵐ · yⁿ."""
    return factor * x**m * y**n
