"""Finds by bisection up to which value, such as a learning rate, a property holds."""

from __future__ import annotations

import math
from collections.abc import Callable

# A property that holds up to 2⁴⁰ times the start is taken to hold everywhere; or nowhere, at the inverse.
_DOUBLINGS = 40
# Relative width of the last bracket: a few units in the last place.
_WIDTH = 1e-15


def largest_where(holds: Callable[[float], bool], start: float) -> float:
    """The largest x > 0 up to which `holds(x)`, for a property that is lost once as x grows.

    From `start`, x is doubled until the property is lost, or halved until it holds; then the
    bracket is halved until its ends differ by 1e-15 x. The lower end is returned, where the
    property holds; the error is then that of `holds` itself. 0 if it holds nowhere, infinity if
    everywhere (within 2⁴⁰ times `start`, or its inverse).
    """
    low = high = start
    for _ in range(_DOUBLINGS):
        if not holds(high):
            break
        low, high = high, 2.0 * high
    else:
        return math.inf
    if low == high:
        for _ in range(_DOUBLINGS):
            low = 0.5 * high
            if holds(low):
                break
            high = low
        else:
            return 0.0
    while high - low > _WIDTH * high:
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
