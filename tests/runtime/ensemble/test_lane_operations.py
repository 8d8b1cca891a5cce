"""The operations on lanes do to each number what those on one number do, also to what is no number."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from vector_code import aligned, call, compile_function

from runtime.ensemble.kernels.lane_operations import LaneOperations
from runtime.trajectory import event_search, number_operations
from runtime.trajectory.controller import over
from runtime.vector import jit

NUMBERS = (-np.inf, -1.0, 0.0, 0.5, 3.0, np.inf, np.nan)


def in_lanes(function, count, arguments):
    """Results (…, argument) of a function of vectors, for arguments (number, argument)."""
    target = jit.target()
    results = []
    for first in range(0, arguments.shape[1], target.lanes):
        part = arguments[:, first : first + target.lanes]
        read, written = aligned(len(arguments), target.lanes), aligned(count, target.lanes)
        read[:, : part.shape[1]] = part

        def emit(vector):
            source, place = vector.arguments
            values = function(vector, *(vector.load(source, k) for k in range(len(arguments))))
            for k, value in enumerate(values):
                vector.store(value, place, k)

        call(compile_function(target, 2, emit), "f", read, written)
        results.append(written[:, : part.shape[1]].copy())
    return np.hstack(results)


@pytest.mark.parametrize("name", ["subtract", "multiply", "maximum", "minimum", "at_most"])
def test_two_operands(name):
    pairs = np.array(list(itertools.product(NUMBERS, repeat=2))).T

    def emitted(vector, x, y):
        value = getattr(LaneOperations(vector), name)(x, y)
        return [vector.select(value, *map(vector.constant, (1.0, 0.0))) if name == "at_most" else value]

    operation = getattr(number_operations, name).py_func
    with np.errstate(invalid="ignore"):
        expected = [float(operation(x, y)) for x, y in pairs.T]
    np.testing.assert_array_equal(in_lanes(emitted, 1, pairs)[0], expected)


def test_a_screen_passes_over_a_loss_that_is_no_number():
    screens = np.array([np.insert([3.0, 1.0, 4.0, 2.0], k, np.nan) for k in range(5)]).T

    def emitted(vector, *losses):
        rule = over(LaneOperations(vector), event_search.extended)
        ends = tuple(map(vector.constant, (np.inf, -np.inf)))
        for loss in losses:
            ends = rule(*ends, loss)
        return ends

    np.testing.assert_array_equal(in_lanes(emitted, 2, screens), [[1.0] * 5, [4.0] * 5])
