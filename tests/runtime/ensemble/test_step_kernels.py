"""The kernels that take steps, one by one, against one Runge-Kutta step in NumPy; the choice of code."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_lanes import ATOL, MODEL, RTOL, make_lanes
from vector_code import EPSILON, scalar_drift, scalar_module

from derive import Model
from derive.pipeline import Pipeline
from runtime.ensemble.kernels import kernel_emitter
from runtime.ensemble.kernels import lane_memory as at
from runtime.ensemble.kernels.compiled_kernels import compile_kernels
from runtime.ensemble.kernels.form_by_size import form_by_size
from runtime.ensemble.kernels.kernel_emitter import DOUBLED_STATE
from runtime.trajectory.controller import (
    GROW,
    INTEGRAL,
    LOW_SHARE,
    PROPORTIONAL,
    SAFETY,
    SHRINK,
    SHRINK_NOT_FINITE,
)
from runtime.vector import jit

# Polynomials for log₂ and 2ˣ are right to this, and so are step sizes.
STEP_ACCURACY = 1e-5


def scale(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return ATOL + RTOL * np.maximum(np.abs(before), np.abs(after))


# start


def test_start(lanes):
    for lane in range(lanes.count):
        y = lanes.states[lane]
        slope = scalar_drift(lanes.model, y, lanes.parameters[lane])
        np.testing.assert_allclose(
            lanes.rows(lanes.kernels.layout.slopes_at)[lane], slope, rtol=0, atol=100 * EPSILON
        )
        size, speed = (np.sqrt(np.mean((x / scale(y, y)) ** 2)) for x in (y, slope))
        np.testing.assert_allclose(lanes.memory[at.STEP, lane], 0.01 * size / speed, rtol=1e-12)
    assert (lanes.memory[at.FRESH] == 0.0).all()
    assert (lanes.memory[at.LAST_LOG_ERROR] == 0.0).all()


def test_start_leaves_running_lanes_alone(lanes):
    lanes.memory[at.STEP], lanes.memory[at.LAST_LOG_ERROR] = 0.125, -2.0
    lanes.memory[at.ATTEMPTS], lanes.memory[at.REJECTIONS] = 7.0, 2.0
    lanes.memory[at.FRESH, 0] = 1.0
    before = lanes.memory.copy()
    lanes("start")
    assert lanes.memory[at.STEP, 0] != before[at.STEP, 0]
    assert lanes.memory[at.ATTEMPTS, 0] == lanes.memory[at.REJECTIONS, 0] == 0.0
    np.testing.assert_array_equal(lanes.memory[:, 1:], before[:, 1:])


def test_start_from_a_state_that_does_not_move_or_has_no_size():
    model = Model(2, 1)
    lanes = make_lanes(model, "tsit5")
    layout = lanes.kernels.layout
    # No students at all: no drift either. And the solution, where the drift is zero.
    lanes.memory[layout.state_at : layout.new_state_at, 0] = 0.0
    Q, R = np.full((2, 2), 1.0), np.full((2, 1), 1.0)
    lanes.memory[layout.state_at : layout.new_state_at, 1] = scalar_module(model).pack(Q, R)
    lanes.memory[layout.parameters_at + 1] = 0.0
    lanes.memory[at.FRESH] = 1.0
    lanes("start")
    assert (lanes.memory[at.STEP] > 0.0).all()
    lanes("advance")
    lanes("commit")
    assert (lanes.rows(layout.state_at)[0] == 0.0).all()
    np.testing.assert_allclose(lanes.rows(layout.state_at)[1], 1.0, rtol=0, atol=1e-12)
    assert (lanes.memory[at.ATTEMPTS, :2] == 1.0).all()
    assert (lanes.memory[at.REJECTIONS, :2] == 0.0).all()


# advance


def test_one_step_of_the_tableau(lanes):
    layout, tableau = lanes.kernels.layout, lanes.tableau
    # A step of its own for every lane, from easily accepted to certainly rejected.
    steps = np.geomspace(1e-3, 3.0, lanes.count)
    lanes.memory[at.STEP] = steps
    last = 0.3
    lanes.memory[at.LAST_LOG_ERROR] = np.log2(last)
    bits = lanes("advance")
    accepted = lanes.memory[at.ACCEPTED] > 0.5
    assert 0 < accepted.sum() < lanes.count
    assert bits == sum(1 << int(lane) for lane in np.flatnonzero(accepted))
    np.testing.assert_array_equal(lanes.memory[at.ATTEMPTED], steps)
    np.testing.assert_array_equal(lanes.memory[at.NEW_TIME], np.where(accepted, steps, 0.0))
    exponent = 1.0 / (tableau.error_order + 1)
    for lane, h in enumerate(steps):
        y, slopes = lanes.states[lane], lanes.slopes(lane, h)
        new = y + h * tableau.b @ slopes[: tableau.b.size]
        np.testing.assert_allclose(lanes.rows(layout.new_state_at)[lane], new, rtol=1e-12, atol=1e-13)
        assert lanes.memory[at.LARGEST, lane] == np.max(np.abs(lanes.rows(layout.new_state_at)[lane]))
        error, *low = (
            np.sqrt(np.mean((h * e @ slopes[: e.size] / scale(y, new)) ** 2))
            for e in (tableau.e, tableau.e_low)
            if e.size
        )
        if low:
            error /= np.sqrt(1.0 + LOW_SHARE * (low[0] / error) ** 2)
        # Smaller errors are rounding, on which no two codes agree.
        if error < 1e-4:
            continue
        assert accepted[lane] == (error <= 1.0)
        if accepted[lane]:
            factor = SAFETY * error ** (-PROPORTIONAL * exponent) * last ** (INTEGRAL * exponent)
            np.testing.assert_allclose(2.0 ** lanes.memory[at.LOG_ERROR, lane], error, rtol=1e-3)
        else:
            factor = SAFETY * error**-exponent
            assert lanes.memory[at.LOG_ERROR, lane] == np.log2(last)
        factor = min(max(factor, SHRINK), GROW)
        np.testing.assert_allclose(lanes.memory[at.NEXT_STEP, lane], h * factor, rtol=1e-3)


def test_controller_formula():
    """The step that follows an error, without Runge-Kutta rounding: log₂ and 2ˣ are polynomials."""
    lanes = make_lanes(MODEL, "tsit5")
    exponent = 1.0 / (lanes.tableau.error_order + 1)
    lasts = np.geomspace(1e-10, 1.0, lanes.count)
    lanes.memory[at.STEP] = h = 0.005
    lanes.memory[at.LAST_LOG_ERROR] = np.log2(lasts)
    lanes("advance")
    error = 2.0 ** lanes.memory[at.LOG_ERROR]
    factor = SAFETY * error ** (-PROPORTIONAL * exponent) * lasts ** (INTEGRAL * exponent)
    factor = np.clip(factor, SHRINK, GROW)
    assert (lanes.memory[at.ACCEPTED] == 1.0).all()
    assert np.ptp(factor) > 0.1
    np.testing.assert_allclose(lanes.memory[at.NEXT_STEP], h * factor, rtol=STEP_ACCURACY)


def test_no_growth_right_after_a_failure():
    lanes = make_lanes(MODEL, "tsit5")
    lanes.memory[at.STEP] = 1e-3
    lanes.memory[at.FAILED_BEFORE, ::2] = 1.0
    lanes("advance")
    assert (lanes.memory[at.NEXT_STEP, ::2] == 1e-3).all()
    assert (lanes.memory[at.NEXT_STEP, 1::2] > 1e-3).all()


def test_values_that_are_not_finite_are_rejected(lanes):
    lanes.memory[at.STEP] = 1e-3
    lanes.memory[at.STEP, 1] = 1e200
    lanes.memory[at.TIME_END] = 1e300
    lanes("advance")
    assert lanes.memory[at.ACCEPTED, 1] == 0.0
    assert lanes.memory[at.NOT_FINITE, 1] == 1.0
    np.testing.assert_allclose(lanes.memory[at.NEXT_STEP, 1], SHRINK_NOT_FINITE * 1e200)
    others = np.delete(lanes.memory, 1, axis=1)
    assert (others[at.ACCEPTED] == 1.0).all()
    assert (others[at.NOT_FINITE] == 0.0).all()
    assert np.isfinite(others).all()


def test_last_step_ends_at_the_end(lanes):
    lanes.memory[at.TIME] = time = 0.7
    # A third of the step, the step itself, and a sliver more than it.
    rest = np.full(lanes.count, 0.003)
    rest[1], rest[2] = 0.01, 0.01 * (1.0 + 1e-9)
    lanes.memory[at.TIME_END] = time + rest
    lanes.memory[at.STEP] = 0.01
    lanes("advance")
    np.testing.assert_array_equal(lanes.memory[at.NEW_TIME], lanes.memory[at.TIME_END])
    np.testing.assert_array_equal(lanes.memory[at.ATTEMPTED], lanes.memory[at.TIME_END] - time)


def test_idle_lanes_never_ask(lanes):
    lanes.memory[at.STEP] = 1e-3
    lanes.memory[at.LIVE, 1:] = 0.0
    idle = lanes.memory[:, 1:].copy()
    layout = lanes.kernels.layout
    assert lanes("advance") == 1
    assert lanes("watch") == 1
    lanes("commit")
    np.testing.assert_array_equal(
        lanes.memory[layout.state_at : layout.new_state_at, 1:], idle[layout.state_at : layout.new_state_at]
    )


def test_attention_for_an_output_or_a_bound(lanes):
    lanes.memory[at.STEP] = 1e-3
    lanes.memory[at.NEXT_OUTPUT] = 1e300
    lanes.memory[at.NEXT_OUTPUT, 1] = 0.02
    lanes.memory[at.NEXT_OUTPUT, 0] = 0.02
    lanes.memory[at.BOUND, 2] = 1e-3
    assert lanes("advance") == 1 << 2
    assert (lanes.memory[at.ATTEMPTS] == 0.0).all()
    lanes.memory[at.BOUND, 2] = 1e6
    bits = lanes("advance")
    due = lanes.memory[at.NEXT_OUTPUT] <= lanes.memory[at.NEW_TIME]
    assert bits & 0b11
    assert bits == sum(1 << int(lane) for lane in np.flatnonzero(due))
    # It took several steps to come there, and every lane took as many.
    assert (lanes.memory[at.ATTEMPTS] == lanes.memory[at.ATTEMPTS, 0]).all()
    assert lanes.memory[at.ATTEMPTS, 0] > 1.0


def test_attention_for_the_loss(lanes):
    lanes.memory[at.STEP] = 1e-3
    lanes.memory[at.NEXT_OUTPUT] = 1e300
    lanes.memory[at.THRESHOLD] = -1.0
    lanes.memory[at.THRESHOLD, 1] = 1e6
    assert lanes("watch") == 1 << 1
    assert np.flatnonzero(lanes.memory[at.CROSSED]).tolist() == [1]
    loss = scalar_module(lanes.model).loss
    for lane, y in enumerate(lanes.rows(lanes.kernels.layout.new_state_at)):
        expected = loss(np.ascontiguousarray(y), lanes.parameters[lane])
        np.testing.assert_allclose(lanes.memory[at.NEW_LOSS, lane], expected, rtol=1e-12)


# commit


def test_commit_takes_accepted_steps_only(lanes):
    layout = lanes.kernels.layout
    lanes.memory[at.STEP] = np.geomspace(1e-3, 3.0, lanes.count)
    lanes("advance")
    accepted = lanes.memory[at.ACCEPTED] > 0.5
    old, new = lanes.rows(layout.state_at).copy(), lanes.rows(layout.new_state_at).copy()
    first, last = (lanes.rows(layout.slope_at(k)).copy() for k in (0, layout.stage_count))
    lanes("commit")
    taken = accepted[:, None]
    np.testing.assert_array_equal(lanes.rows(layout.state_at), np.where(taken, new, old))
    np.testing.assert_array_equal(lanes.rows(layout.slopes_at), np.where(taken, last, first))
    np.testing.assert_array_equal(lanes.memory[at.TIME], lanes.memory[at.NEW_TIME])
    np.testing.assert_array_equal(lanes.memory[at.STEP], lanes.memory[at.NEXT_STEP])
    np.testing.assert_array_equal(lanes.memory[at.REJECTIONS], ~accepted)
    np.testing.assert_array_equal(lanes.memory[at.FAILED_BEFORE], ~accepted)
    assert (lanes.memory[at.ATTEMPTS] == 1.0).all()


# The choice of code.


def test_small_systems_have_two_vectors():
    target = jit.target()
    small, large = Model(2, 2), Model(3, 2)
    assert small.state_size <= DOUBLED_STATE < large.state_size
    assert compile_kernels(small, "tsit5", target).lanes == 2 * target.lanes
    assert compile_kernels(large, "tsit5", target).lanes == target.lanes


@pytest.mark.parametrize(
    ("widths", "name"),
    [((4, 2), "unrolled entries"), ((8, 4), "written-out tiles"), ((12, 6), "looped tiles")],
)
def test_form_of_code_by_size(widths, name):
    assert form_by_size(Pipeline.of(Model(*widths)).functions["rhs"]) == name


@pytest.fixture
def form(monkeypatch):
    """A function that sets the form of code for all sizes."""
    compile_kernels.cache_clear()

    def set_form(name):
        monkeypatch.setattr(kernel_emitter, "form_by_size", lambda _program: name)
        compile_kernels.cache_clear()

    yield set_form
    compile_kernels.cache_clear()


@pytest.mark.parametrize("other", ["written-out tiles", "looped tiles"])
def test_one_step_is_the_same_in_all_forms_of_code(form, other):
    model = Model(5, 3, constraint="sphere", teacher="general")
    ways = []
    for name in (other, "unrolled entries"):
        form(name)
        lanes = make_lanes(model, "tsit5")
        lanes.memory[at.STEP] = np.linspace(0.01, 0.05, lanes.count)
        lanes("watch")
        ways.append(lanes)
    tiles, lines = ways
    assert tiles.kernels.layout.scratch_count > 0 == lines.kernels.layout.scratch_count
    place = lines.kernels.layout.new_state_at
    np.testing.assert_allclose(tiles.rows(place), lines.rows(place), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(tiles.memory[at.NEW_LOSS], lines.memory[at.NEW_LOSS], rtol=1e-12)
