"""The kernels that take steps, one by one, against one Runge-Kutta step in NumPy; the choice of code."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_lanes import ATOL, MODEL, RTOL, Lanes, make_lanes
from matrix import thinned
from vector_code import EPSILON, scalar_drift, scalar_module

from derive import Model
from derive.parameters import scheduled_places
from derive.pipeline import Pipeline
from runtime.ensemble.kernels import kernel_emitter
from runtime.ensemble.kernels.compiled_kernels import SystemKernels, compile_kernels
from runtime.ensemble.kernels.form_by_size import form_by_size
from runtime.ensemble.kernels.kernel_emitter import DOUBLED_STATE
from runtime.ensemble.kernels.lane_memory import double_at
from runtime.start.schedule_kinds import CONSTANT, SMOOTH
from runtime.start.schedules import Schedule
from runtime.trajectory.controller import (
    GROW,
    INTEGRAL,
    LOW_SHARE,
    PROPORTIONAL,
    SAFETY,
    SHRINK,
    SHRINK_NOT_FINITE,
)
from runtime.trajectory.tableaux import TABLEAUX
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
        np.testing.assert_allclose(lanes.memory[double_at.step, lane], 0.01 * size / speed, rtol=1e-12)
    assert (lanes.memory[double_at.fresh] == 0.0).all()
    assert (lanes.memory[double_at.last_log_error] == 0.0).all()


def test_start_leaves_running_lanes_alone(lanes):
    lanes.memory[double_at.step], lanes.memory[double_at.last_log_error] = 0.125, -2.0
    lanes.memory[double_at.attempts], lanes.memory[double_at.rejections] = 7.0, 2.0
    lanes.memory[double_at.fresh, 0] = 1.0
    before = lanes.memory.copy()
    lanes("start")
    assert lanes.memory[double_at.step, 0] != before[double_at.step, 0]
    assert lanes.memory[double_at.attempts, 0] == lanes.memory[double_at.rejections, 0] == 0.0
    np.testing.assert_array_equal(lanes.memory[:, 1:], before[:, 1:])


def test_start_from_a_state_that_does_not_move_or_has_no_size():
    model = Model(2, 1)
    lanes = make_lanes(model, "tsit5")
    layout = lanes.kernels.layout
    # No students at all: no drift either. And the solution, where the drift is zero.
    lanes.memory[layout.state_at : layout.new_state_at, 0] = 0.0
    Q, R = np.full((2, 2), 1.0), np.full((2, 1), 1.0)
    lanes.memory[layout.state_at : layout.new_state_at, 1] = scalar_module(model).pack(Q, R)
    for name in ("label_noise", "weight_decay"):
        lanes.memory[layout.parameters_at + model.parameters.index(name)] = 0.0
    lanes.memory[double_at.fresh] = 1.0
    lanes("start")
    assert (lanes.memory[double_at.step] > 0.0).all()
    lanes("advance")
    lanes("commit")
    assert (lanes.rows(layout.state_at)[0] == 0.0).all()
    np.testing.assert_allclose(lanes.rows(layout.state_at)[1], 1.0, rtol=0, atol=1e-12)
    assert (lanes.memory[double_at.attempts, :2] == 1.0).all()
    assert (lanes.memory[double_at.rejections, :2] == 0.0).all()


# advance


def test_one_step_of_the_tableau(lanes):
    layout, tableau = lanes.kernels.layout, lanes.tableau
    # A step of its own for every lane, from easily accepted to certainly rejected.
    steps = np.geomspace(1e-3, 3.0, lanes.count)
    lanes.memory[double_at.step] = steps
    last = 0.3
    lanes.memory[double_at.last_log_error] = np.log2(last)
    bits = lanes("advance")
    accepted = lanes.memory[double_at.accepted] > 0.5
    assert 0 < accepted.sum() < lanes.count
    assert bits == sum(1 << int(lane) for lane in np.flatnonzero(accepted))
    np.testing.assert_array_equal(lanes.memory[double_at.attempted], steps)
    np.testing.assert_array_equal(lanes.memory[double_at.new_time], np.where(accepted, steps, 0.0))
    exponent = 1.0 / (tableau.error_order + 1)
    for lane, h in enumerate(steps):
        y, slopes = lanes.states[lane], lanes.slopes(lane, h)
        new = y + h * tableau.b @ slopes[: tableau.b.size]
        np.testing.assert_allclose(lanes.rows(layout.new_state_at)[lane], new, rtol=1e-12, atol=1e-13)
        assert lanes.memory[double_at.largest, lane] == np.max(
            np.abs(lanes.rows(layout.new_state_at)[lane])
        )
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
            np.testing.assert_allclose(2.0 ** lanes.memory[double_at.log_error, lane], error, rtol=1e-3)
        else:
            factor = SAFETY * error**-exponent
            assert lanes.memory[double_at.log_error, lane] == np.log2(last)
        factor = min(max(factor, SHRINK), GROW)
        np.testing.assert_allclose(lanes.memory[double_at.next_step, lane], h * factor, rtol=1e-3)


def test_controller_formula():
    """The step that follows an error, without Runge-Kutta rounding: log₂ and 2ˣ are polynomials."""
    lanes = make_lanes(MODEL, "tsit5")
    exponent = 1.0 / (lanes.tableau.error_order + 1)
    lasts = np.geomspace(1e-10, 1.0, lanes.count)
    lanes.memory[double_at.step] = h = 0.005
    lanes.memory[double_at.last_log_error] = np.log2(lasts)
    lanes("advance")
    error = 2.0 ** lanes.memory[double_at.log_error]
    factor = SAFETY * error ** (-PROPORTIONAL * exponent) * lasts ** (INTEGRAL * exponent)
    factor = np.clip(factor, SHRINK, GROW)
    assert (lanes.memory[double_at.accepted] == 1.0).all()
    assert np.ptp(factor) > 0.1
    np.testing.assert_allclose(lanes.memory[double_at.next_step], h * factor, rtol=STEP_ACCURACY)


def test_no_growth_right_after_a_failure():
    lanes = make_lanes(MODEL, "tsit5")
    lanes.memory[double_at.step] = 1e-3
    lanes.memory[double_at.failed_before, ::2] = 1.0
    lanes("advance")
    assert (lanes.memory[double_at.next_step, ::2] == 1e-3).all()
    assert (lanes.memory[double_at.next_step, 1::2] > 1e-3).all()


def test_values_that_are_not_finite_are_rejected(lanes):
    lanes.memory[double_at.step] = 1e-3
    lanes.memory[double_at.step, 1] = 1e200
    lanes.memory[double_at.time_end] = 1e300
    lanes("advance")
    assert lanes.memory[double_at.accepted, 1] == 0.0
    assert lanes.memory[double_at.not_finite, 1] == 1.0
    np.testing.assert_allclose(lanes.memory[double_at.next_step, 1], SHRINK_NOT_FINITE * 1e200)
    others = np.delete(lanes.memory, 1, axis=1)
    assert (others[double_at.accepted] == 1.0).all()
    assert (others[double_at.not_finite] == 0.0).all()
    assert np.isfinite(others).all()


def test_last_step_ends_at_the_end(lanes):
    lanes.memory[double_at.time] = time = 0.7
    # A third of the step, the step itself, and a sliver more than it.
    rest = np.full(lanes.count, 0.003)
    rest[1], rest[2] = 0.01, 0.01 * (1.0 + 1e-9)
    lanes.memory[double_at.time_end] = time + rest
    lanes.memory[double_at.step] = 0.01
    lanes("advance")
    np.testing.assert_array_equal(lanes.memory[double_at.new_time], lanes.memory[double_at.time_end])
    np.testing.assert_array_equal(
        lanes.memory[double_at.attempted], lanes.memory[double_at.time_end] - time
    )


def test_idle_lanes_never_ask(lanes):
    lanes.memory[double_at.step] = 1e-3
    lanes.memory[double_at.live, 1:] = 0.0
    idle = lanes.memory[:, 1:].copy()
    layout = lanes.kernels.layout
    assert lanes("advance") == 1
    assert lanes("watch") == 1
    lanes("commit")
    np.testing.assert_array_equal(
        lanes.memory[layout.state_at : layout.new_state_at, 1:], idle[layout.state_at : layout.new_state_at]
    )


def test_attention_for_an_output_or_a_bound(lanes):
    lanes.memory[double_at.step] = 1e-3
    lanes.memory[double_at.next_output] = 1e300
    lanes.memory[double_at.next_output, 1] = 0.02
    lanes.memory[double_at.next_output, 0] = 0.02
    lanes.memory[double_at.bound, 2] = 1e-3
    assert lanes("advance") == 1 << 2
    assert (lanes.memory[double_at.attempts] == 0.0).all()
    lanes.memory[double_at.bound, 2] = 1e6
    bits = lanes("advance")
    due = lanes.memory[double_at.next_output] <= lanes.memory[double_at.new_time]
    assert bits & 0b11
    assert bits == sum(1 << int(lane) for lane in np.flatnonzero(due))
    # It took several steps to come there, and every lane took as many.
    assert (lanes.memory[double_at.attempts] == lanes.memory[double_at.attempts, 0]).all()
    assert lanes.memory[double_at.attempts, 0] > 1.0


def test_attention_for_the_loss(lanes):
    lanes.memory[double_at.step] = 1e-3
    lanes.memory[double_at.next_output] = 1e300
    lanes.memory[double_at.threshold] = -1.0
    lanes.memory[double_at.threshold, 1] = 1e6
    assert lanes("watch") == 1 << 1
    assert np.flatnonzero(lanes.memory[double_at.crossed]).tolist() == [1]
    loss = scalar_module(lanes.model).loss
    for lane, y in enumerate(lanes.rows(lanes.kernels.layout.new_state_at)):
        expected = loss(np.ascontiguousarray(y), lanes.parameters[lane])
        np.testing.assert_allclose(lanes.memory[double_at.new_loss, lane], expected, rtol=1e-12)


# commit


def test_commit_takes_accepted_steps_only(lanes):
    layout = lanes.kernels.layout
    lanes.memory[double_at.step] = np.geomspace(1e-3, 3.0, lanes.count)
    lanes("advance")
    accepted = lanes.memory[double_at.accepted] > 0.5
    old, new = lanes.rows(layout.state_at).copy(), lanes.rows(layout.new_state_at).copy()
    first, last = (lanes.rows(layout.slope_at(k)).copy() for k in (0, layout.stage_count))
    lanes("commit")
    taken = accepted[:, None]
    np.testing.assert_array_equal(lanes.rows(layout.state_at), np.where(taken, new, old))
    np.testing.assert_array_equal(lanes.rows(layout.slopes_at), np.where(taken, last, first))
    np.testing.assert_array_equal(lanes.memory[double_at.time], lanes.memory[double_at.new_time])
    np.testing.assert_array_equal(lanes.memory[double_at.step], lanes.memory[double_at.next_step])
    np.testing.assert_array_equal(lanes.memory[double_at.rejections], ~accepted)
    np.testing.assert_array_equal(lanes.memory[double_at.failed_before], ~accepted)
    assert (lanes.memory[double_at.attempts] == 1.0).all()


# The choice of code.


def test_small_systems_have_two_vectors():
    target = jit.target()
    small, large = Model(2, 2), Model(3, 2)
    assert small.state_size <= DOUBLED_STATE < large.state_size
    assert compile_kernels(small, "tsit5", target).lanes == 2 * target.lanes
    assert compile_kernels(large, "tsit5", target).lanes == target.lanes


@pytest.mark.parametrize(
    ("activation", "widths", "name"),
    [
        ("quadratic", (4, 2), "unrolled entries"),
        ("quadratic", (8, 4), "written-out tiles"),
        ("quadratic", (12, 6), "looped tiles"),
        ("he3", (4, 2), "unrolled entries"),
        ("he3", (8, 4), "looped tiles"),
    ],
)
def test_form_of_code_by_size(activation, widths, name):
    assert form_by_size(Pipeline.of(Model(*widths, activation=activation)).functions["rhs"]) == name


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
        lanes.memory[double_at.step] = np.linspace(0.01, 0.05, lanes.count)
        lanes("watch")
        ways.append(lanes)
    tiles, lines = ways
    assert tiles.kernels.layout.scratch_count > 0 == lines.kernels.layout.scratch_count
    place = lines.kernels.layout.new_state_at
    np.testing.assert_allclose(tiles.rows(place), lines.rows(place), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        tiles.memory[double_at.new_loss], lines.memory[double_at.new_loss], rtol=1e-12
    )


# Smooth schedules.

# The rates of these lanes are far from those at the start, and change a lot in a step.
START, SCALE = 0.2, 0.07
TRAINED = Model(2, 1, constraint="sphere", teacher="general", second_layer="trained")


def assert_rates(lanes: Lanes, times: np.ndarray) -> None:
    """The learning rates that the right-hand side took last are those at a time of each lane."""
    first, places = lanes.kernels.layout.parameters_at, list(scheduled_places(lanes.model))
    assert [lanes.model.parameters[place] for place in places] == ["eta", "eta_second"]
    expected = lanes.parameters[:, places].T * lanes.schedule.factors(times)
    taken = lanes.memory[[first + place for place in places]]
    np.testing.assert_allclose(taken, expected, rtol=5 * EPSILON, atol=0)


@pytest.mark.parametrize(
    ("word", "method"),
    thinned(
        [*((word, "tsit5") for word in SMOOTH), ("inverse", "prince8"), ("inverse", "dop853")], 0, 2, 3
    ),
)
def test_rates_are_those_at_the_times_of_the_slopes(word, method):
    schedule = Schedule(SMOOTH[word], SCALE)
    lanes = make_lanes(TRAINED, method, schedule=schedule, time=START)
    layout = lanes.kernels.layout
    assert_rates(lanes, np.full(lanes.count, START))
    lanes.memory[double_at.step] = steps = np.linspace(0.005, 0.01, lanes.count)
    lanes.memory[double_at.rtol] = 1.0
    lanes("advance")
    assert_rates(lanes, START + steps)
    lanes("dense")
    for lane, h in enumerate(steps):
        slopes = lanes.slopes(lane, h)
        for number, slope in enumerate(slopes):
            found = lanes.rows(layout.slope_at(number))[lane]
            np.testing.assert_allclose(found, slope, rtol=1e-12, atol=1e-12 * np.abs(slopes).max())
    # After another trajectory has begun, running lanes have the rates of where they are.
    lanes("commit")
    lanes.memory[double_at.fresh, 0] = 1.0
    slopes = lanes.rows(layout.slopes_at).copy()
    lanes.memory[layout.parameters_at : layout.state_at, 0] = lanes.parameters[0]
    lanes("start")
    assert_rates(lanes, lanes.memory[double_at.time])
    assert lanes.rows(layout.slopes_at).tobytes() == slopes.tobytes()


def test_no_rate_is_taken_beyond_the_end():
    # The time and what remains are so that their sum is rounded to after the end.
    time, end = 1.5 * EPSILON, 1.0 + 3.0 * EPSILON
    assert time + (end - time) > end
    lanes = make_lanes(TRAINED, "tsit5", schedule=Schedule(SMOOTH["inverse"], SCALE), time=time)
    lanes.memory[double_at.time_end], lanes.memory[double_at.step] = end, 2.0
    lanes.memory[double_at.rtol] = 1e12
    lanes("advance")
    assert (lanes.memory[lanes.kernels.layout.rate_time_at] == end).all()


def test_constant_schedules_have_neither_memory_nor_code():
    target = jit.target()
    texts = {}
    for kind in (CONSTANT, *SMOOTH.values()):
        emitted = SystemKernels(MODEL, TABLEAUX["tsit5"], target, kind)
        texts[kind] = str(emitted.module)
        assert bool(emitted.layout.scheduled) == ("inner_rates" in texts[kind]) == (kind != CONSTANT)
    assert len(set(texts.values())) == len(texts)
    assert texts[CONSTANT] == str(SystemKernels(MODEL, TABLEAUX["tsit5"], target).module)
