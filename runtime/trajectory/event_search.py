"""Finds where a loss comes down to its threshold within one step: one search, for scalar and vector code.

A step is screened first, by the loss at its ends and at quarters of it (`tableau.SCREENED`). Where `near`
says so, the search looks at the loss of the step's interpolant at the places in LOOKS, one after the
other, until one is not above the threshold. From there on it narrows the bracket of the first crossing,
by secants of the Illinois method (M. Dowell and P. Jarratt, BIT 11, 168 (1971)) and then by bisection.
The caller evaluates the loss: the scalar stepper for one trajectory, the loop over lanes for all lanes at
once. A loss that is NaN counts as above the threshold.

A dip below the threshold is missed if it lies between two neighbouring places that are looked at. These
are quarters of the step, and sixteenths of it where the lowest loss of the screen is above the threshold
by no more than an eighth of the range of the five. A parabola through three neighbouring places never
falls further below them than that.
"""

from __future__ import annotations

import numpy as np

from runtime.system.compilation import inlined
from runtime.trajectory import number_operations as do

# Places to look at one after the other: quarters of the step, and then sixteenths of it.
LOOKS = np.append(np.arange(1, 5) / 4, np.arange(1, 16) / 16)
# The depth below the lowest loss of the screen that is looked for, in units of the range of its losses.
DEPTH = 0.125
# An event is located to this part of a step, which is rounding. Secants take about ten turns and
# bisection takes fifty.
RESOLUTION = 2.0**-50
_SECANTS, _BISECTIONS = 20, 50
MOST_TURNS = _SECANTS + _BISECTIONS

# The search within one step. Heights are losses above the threshold.
SEARCH = np.dtype(
    [
        # The bracket: places in the step, from 0 to 1, and the heights there. Its upper end is where the
        # event is found.
        ("low", np.float64),
        ("high", np.float64),
        ("above", np.float64),
        ("below", np.float64),
        # The height at the start of the step.
        ("first", np.float64),
        # Whether a place was found that is not above the threshold.
        ("found", np.int64),
        # Which end moved last: 1 for the upper, −1 for the lower one.
        ("moved", np.int64),
    ]
)


@inlined
def extended(lowest, highest, loss):
    """The lowest and the highest loss of a screen with one more, unless that is NaN."""
    return do.minimum(loss, lowest), do.maximum(loss, highest)


@inlined
def near(lowest, highest, threshold):
    """Whether the loss may come down to the threshold, by the lowest and highest loss of a screen."""
    rest = do.subtract(lowest, threshold)
    return do.at_most(rest, do.multiply(DEPTH, do.subtract(highest, lowest)))


@inlined
def begin(search, height):
    """Start to search a step from the height at its start."""
    search.low, search.high = 0.0, 1.0
    search.first = search.above = height
    search.found = search.moved = 0


@inlined
def look(search, place, height):
    """Take note of the height at the next place of LOOKS."""
    if place < search.low:
        # Quarters were all above, and sixteenths begin at the start again.
        search.low, search.above = 0.0, search.first
    if height <= 0.0:
        search.high, search.below, search.found = place, height, 1
    else:
        search.low, search.above = place, height


@inlined
def searching(search):
    """Whether the bracket of a crossing is still wider than the resolution."""
    return search.found != 0 and search.high - search.low > RESOLUTION


@inlined
def probe(search, turn):
    """The next place inside the bracket to evaluate."""
    start, end = search.low, search.high
    middle = 0.5 * (start + end)
    if turn < _SECANTS:
        secant = end - (end - start) * search.below / (search.below - search.above)
        # The secant is no number where a loss is not finite. It is kept half a resolution away from the
        # ends, so that both ends close in.
        if start <= secant <= end:
            middle = max(start + 0.5 * RESOLUTION, min(secant, end - 0.5 * RESOLUTION))
    return middle


@inlined
def narrow(search, place, height):
    """Move one end of the bracket to the place that was evaluated."""
    # The height of an end that stays twice is halved, or it might stay for ever.
    if height <= 0.0:
        search.high, search.below = place, height
        if search.moved == 1:
            search.above *= 0.5
        search.moved = 1
    else:
        search.low, search.above = place, height
        if search.moved == -1:
            search.below *= 0.5
        search.moved = -1
