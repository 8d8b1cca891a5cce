"""The kernels that turn steps into outputs, against NumPy: dense output, loss, rows, events."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_lanes import make_lanes
from vector_code import EPSILON, GUARD, scalar_module

from derive import Model
from runtime.ensemble.kernels import lane_loop, lane_memory
from runtime.ensemble.kernels.compiled_kernels import KERNELS
from runtime.ensemble.kernels.lane_memory import double_at, word_at

WRITERS = {"states": lane_memory.STATES, "losses": lane_memory.LOSSES, "both": lane_memory.BOTH}


def test_dense_output(lanes):
    layout, tableau = lanes.kernels.layout, lanes.tableau
    steps = np.linspace(0.01, 0.05, lanes.count)
    lanes.memory[double_at.step] = steps
    lanes("advance")
    lanes("dense")
    thetas = np.linspace(0.0, 1.0, lanes.count)
    lanes.memory[double_at.theta] = thetas
    lanes("evaluate")
    output = lanes.rows(layout.output_at)
    # The ends are the states themselves, to the last bit.
    np.testing.assert_array_equal(output[0], lanes.states[0])
    np.testing.assert_array_equal(output[-1], lanes.rows(layout.new_state_at)[-1])
    powers = np.arange(1, tableau.p.shape[1] + 1)
    for lane in range(lanes.count):
        weights = tableau.p @ thetas[lane] ** powers
        expected = lanes.states[lane] + steps[lane] * weights @ lanes.slopes(lane, steps[lane])
        np.testing.assert_allclose(output[lane], expected, rtol=1e-12, atol=1e-13)


def test_loss_of_the_output(lanes):
    lanes.memory[double_at.theta] = 0.0
    lanes("evaluate")
    lanes("loss")
    loss = scalar_module(lanes.model).loss
    expected = [loss(y, q) for y, q in zip(lanes.states, lanes.parameters, strict=True)]
    np.testing.assert_allclose(lanes.memory[double_at.loss], expected, rtol=1e-12)


@pytest.mark.parametrize("widths", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (4, 2)], ids=str)
def test_scatter(widths):
    # Sizes 2, 3, 5, 7, 12 and 18: less than a vector, and every overlap of the last piece.
    lanes = make_lanes(Model(*widths), "tsit5")
    size = lanes.kernels.layout.size
    lanes.memory[double_at.theta] = 0.0
    lanes("evaluate")
    # Rows in another order than the lanes, not aligned, and one that is written by two lanes.
    rows = np.full((lanes.count, size + 3), GUARD)
    places = np.roll(np.arange(lanes.count), 3)
    addresses = rows.ctypes.data + places * rows.strides[0] + rows.itemsize
    lanes.memory.view(np.int64)[word_at.place] = addresses
    lanes("scatter")
    np.testing.assert_array_equal(rows[places, 1 : size + 1], lanes.states)
    assert (rows[:, 0] == GUARD).all()
    assert (rows[:, size + 1 :] == GUARD).all()


@pytest.mark.parametrize("ends_too", [True, False], ids=["ends", "inside"])
@pytest.mark.parametrize("kind", WRITERS)
def test_write(lanes, kind, ends_too):
    layout = lanes.kernels.layout
    h = lanes.memory[double_at.step] = np.linspace(0.01, 0.05, lanes.count)
    # From here, the ends of steps are rounded, as from 0 they are not.
    lanes.memory[double_at.time] = time = 0.7
    lanes("advance")
    lanes("dense")
    ends = lanes.memory[double_at.new_time].copy()
    # Lane k has k outputs in the step; the first at its start and the last at its end, or none of them.
    times = np.full((lanes.count, lanes.count + 2), np.inf)
    for k in range(lanes.count):
        inside = np.linspace(time, ends[k], k + 2)[1:-1]
        times[k, :k] = np.linspace(time, ends[k], k) if ends_too else inside
        times[k, k] = time + 2.0 * h[k]
    states = np.full((lanes.count, lanes.count + 1, layout.size), GUARD)
    losses = np.full((lanes.count, lanes.count + 1), GUARD)
    unread = np.full((lanes.count, layout.size), GUARD)
    for control, rows in zip(
        (word_at.time_entry, word_at.row, word_at.loss_row, word_at.spare),
        (times, states, losses, unread),
        strict=True,
    ):
        lanes.point(control, rows)
    lanes.memory[double_at.next_output] = times[:, 0]
    lanes.memory[double_at.limit] = ends
    # Another lane may need attention while this one is in the middle of a step.
    lanes.memory[double_at.limit, -1] = -1.0
    lanes.memory.view(np.int64)[word_at.writer] = WRITERS[kind]
    lanes("write")

    loss = scalar_module(lanes.model).loss
    for k in range(lanes.count):
        written = 0 if k == lanes.count - 1 else k
        assert lanes.memory[double_at.next_output, k] == times[k, written]
        expected = np.full((lanes.count + 1, layout.size), GUARD)
        for m in range(written):
            lanes.memory[double_at.theta] = 1.0 if times[k, m] == ends[k] else (times[k, m] - time) / h[k]
            lanes("evaluate")
            expected[m] = lanes.rows(layout.output_at)[k]
        if kind == "losses":
            assert (states[k] == GUARD).all()
        else:
            np.testing.assert_array_equal(states[k], expected)
        if kind == "states":
            assert (losses[k] == GUARD).all()
        else:
            values = [loss(y, lanes.parameters[k]) for y in expected[:written]]
            np.testing.assert_allclose(losses[k, :written], values, rtol=1e-12)
            assert (losses[k, written:] == GUARD).all()


@pytest.mark.parametrize("step", ["advance", "watch"])
def test_steps_write_what_they_pass(step):
    """Outputs on the way are the same as those written after each step, and nobody is asked."""
    model, end, outputs = Model(4, 2), 0.05, 40
    written = {}
    for writer in (lane_memory.NOTHING, lane_memory.BOTH):
        lanes = make_lanes(model, "tsit5")
        layout = lanes.kernels.layout
        states = np.full((lanes.count, outputs, layout.size), GUARD)
        losses = np.full((lanes.count, outputs), GUARD)
        times = np.linspace(0.01 * end, end, outputs) * np.ones((lanes.count, 1))
        times = np.concatenate([times, np.full((lanes.count, 1), np.inf)], axis=1)
        unread = np.empty((lanes.count, layout.size))
        for control, rows in zip(
            (word_at.time_entry, word_at.row, word_at.loss_row, word_at.spare),
            (times, states, losses, unread),
            strict=True,
        ):
            lanes.point(control, rows)
        lanes.memory[double_at.next_output] = times[:, 0]
        lanes.memory[double_at.time_end] = end
        lanes.memory[double_at.threshold] = -np.inf
        # Many steps.
        lanes.memory[double_at.rtol], lanes.memory[double_at.atol] = 1e-13, 1e-15
        calls = 0
        while lanes.memory[double_at.live].any():
            assert calls < 1000
            lanes.memory.view(np.int64)[word_at.writer] = writer
            lanes(step)
            calls += 1
            accepted = lanes.memory[double_at.accepted] > 0.5
            if writer == lane_memory.NOTHING:
                lanes.memory.view(np.int64)[word_at.writer] = lane_memory.BOTH
                lanes.memory[double_at.limit] = np.where(accepted, lanes.memory[double_at.new_time], -1.0)
                lanes("dense")
                lanes("write")
            lanes("commit")
            # Lanes at their end rest, as if they waited for the next trajectory.
            lanes.memory[double_at.live] = lanes.memory[double_at.time] < end
        written[writer] = states, losses, calls
    (states, losses, calls), (same_states, same_losses, fewer) = written.values()
    assert (states != GUARD).all()
    assert (losses != GUARD).all()
    np.testing.assert_array_equal(states, same_states)
    np.testing.assert_array_equal(losses, same_losses)
    # Attention only at the ends, one lane or several at a time.
    assert fewer <= lanes.count < calls


def test_outputs_of_a_step_with_an_event_wait(lanes):
    """Until when they count is only known when the event is located."""
    layout = lanes.kernels.layout
    rows = np.full((lanes.count, 2, layout.size), GUARD)
    times = np.full((lanes.count, 3), np.inf)
    times[:, 0] = 1e-3
    unread = np.empty((lanes.count, layout.size))
    for control, block in ((word_at.time_entry, times), (word_at.row, rows), (word_at.spare, unread)):
        lanes.point(control, block)
    lanes.memory[double_at.next_output] = times[:, 0]
    lanes.memory[double_at.step] = 2e-3
    lanes.memory[double_at.threshold] = -np.inf
    lanes.memory[double_at.threshold, 1] = np.inf
    lanes.memory.view(np.int64)[word_at.writer] = lane_memory.STATES
    bits = lanes("watch")
    assert bits == 1 << 1
    assert (rows[1] == GUARD).all()
    assert lanes.memory[double_at.next_output, 1] == times[1, 0]
    others = np.arange(lanes.count) != 1
    assert (rows[others, 0] != GUARD).all()
    assert (rows[others, 1] == GUARD).all()
    assert np.isinf(lanes.memory[double_at.next_output, others]).all()


@pytest.mark.parametrize("where", [2.0**-52, 1e-9, 0.3, 0.999, 1.0])
def test_events_are_located_to_rounding(lanes, where):
    count = lanes.count
    lanes.memory[double_at.step] = 0.05
    lanes("watch")
    lanes("dense")
    losses = {}
    for theta in (0.0, where, 1.0):
        lanes.memory[double_at.theta] = theta
        lanes("evaluate")
        lanes("loss")
        losses[theta] = lanes.memory[double_at.loss].copy()
    falling = losses[1.0] < losses[0.0]
    falling[0] = False
    assert falling.any()
    lanes.memory[double_at.threshold] = threshold = np.minimum(
        losses[where], np.nextafter(losses[0.0], -np.inf)
    )
    lanes.memory[double_at.old_loss], lanes.memory[double_at.new_loss] = losses[0.0], losses[1.0]
    lanes.memory[double_at.limit] = np.where(falling, lanes.memory[double_at.new_time], -1.0)
    searches = np.zeros(count, dtype=lane_loop.LANE)
    lane_loop.locate(lanes.kernels.addresses, lanes.memory, searches)
    # Lanes that are not asked for do not move.
    np.testing.assert_array_equal(searches["found"], falling)
    fraction = searches["high"]
    assert (fraction[~falling] == 1.0).all()
    lanes.memory[double_at.theta] = fraction
    lanes("evaluate")
    lanes("loss")
    rounding = 50 * EPSILON * np.maximum(losses[0.0], 1.0)
    assert (lanes.memory[double_at.loss] <= threshold)[falling].all()
    assert (lanes.memory[double_at.loss] >= threshold - rounding)[falling].all()
    slope = np.abs(losses[0.0] - losses[1.0])
    assert (np.abs(fraction - where) <= 2.0**-49 + 5 * rounding / slope)[falling].all()


def test_kernels_stay_in_their_memory(lanes):
    unread = np.empty((lanes.count, lanes.kernels.layout.size))
    for control in (word_at.place, word_at.row, word_at.loss_row, word_at.time_entry, word_at.spare):
        lanes.point(control, unread)
    lanes.memory[double_at.step] = 1e-3
    for name in KERNELS:
        lanes(name)
    assert (lanes.memory[lanes.kernels.layout.component_count] == GUARD).all()
