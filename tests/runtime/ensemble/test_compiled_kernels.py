"""The kernels one by one, against one Runge-Kutta step in NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from vector_code import EPSILON, GUARD, aligned, call, random_lanes, scalar_drift, scalar_module

from derive import Model
from derive.lower import drift_program
from runtime.ensemble.kernels import kernel_emitter, lane_loop
from runtime.ensemble.kernels import lane_memory as at
from runtime.ensemble.kernels.compiled_kernels import KERNELS, CompiledKernels, compile_kernels
from runtime.ensemble.kernels.kernel_emitter import DOUBLED_STATE, program_form
from runtime.ensemble.kernels.looped_tiles import LoopedTiles
from runtime.ensemble.kernels.unrolled_entries import UnrolledEntries
from runtime.ensemble.kernels.written_out_tiles import WrittenOutTiles
from runtime.trajectory.stepper import (
    GROW,
    INTEGRAL,
    LOW_SHARE,
    PROPORTIONAL,
    SAFETY,
    SHRINK,
    SHRINK_NOT_FINITE,
)
from runtime.trajectory.tableaux import TABLEAUX, Tableau
from runtime.vector import jit

RTOL, ATOL = 1e-8, 1e-10
METHODS = tuple(TABLEAUX)
WRITERS = {"states": at.STATES, "losses": at.LOSSES, "both": at.BOTH}
# Polynomials for log₂ and 2ˣ are good to this, which step sizes inherit.
STEP_ACCURACY = 1e-5
MODEL = Model(3, 2, constraint="sphere", teacher="general")


@dataclasses.dataclass
class Lanes:
    """Memory of the kernels with a trajectory in every lane, ready for its first step."""

    model: Model
    tableau: Tableau
    kernels: CompiledKernels
    memory: np.ndarray
    states: np.ndarray
    parameters: np.ndarray

    def __call__(self, name: str) -> int:
        assert name in KERNELS
        return call(self.kernels.compiled, name, self.memory)

    def rows(self, first: int) -> np.ndarray:
        """A block of components of the size of the state, (lane, component)."""
        return self.memory[first : first + self.kernels.layout.size].T

    @property
    def count(self) -> int:
        return self.kernels.lanes

    def point(self, control: int, rows: np.ndarray) -> None:
        """Make a control of each lane the address of a row of its own."""
        assert len(rows) == self.count
        self.memory.view(np.int64)[control] = rows.ctypes.data + np.arange(self.count) * rows.strides[0]

    def slopes(self, lane: int, h: float) -> np.ndarray:
        """All slopes of a step in plain Python: its stages, that at its end, extra ones."""
        a, b = self.tableau.a, self.tableau.b
        slopes: list[np.ndarray] = []
        y, parameters = self.states[lane], self.parameters[lane]
        for weights in [*a, b, *self.tableau.extra]:
            trial = y + h * sum((w * k for w, k in zip(weights, slopes, strict=False)), np.zeros_like(y))
            slopes.append(scalar_drift(self.model, trial, parameters))
        return np.array(slopes)


@pytest.fixture(params=METHODS)
def lanes(request) -> Lanes:
    return make_lanes(MODEL, request.param)


def make_lanes(model: Model, method: str, seed: int = 1) -> Lanes:
    kernels = compile_kernels(model, method, jit.target())
    layout, count = kernels.layout, kernels.lanes
    states, parameters = random_lanes(model, count, seed)
    memory = aligned(layout.component_count + 1, count)
    memory[layout.component_count] = GUARD
    memory[layout.parameters_at : layout.state_at] = parameters.T
    memory[layout.state_at : layout.new_state_at] = states.T
    memory[at.RTOL], memory[at.ATOL] = RTOL, ATOL
    memory[at.TIME_END] = 1e3
    # Why at once: every step then asks for attention, and advance returns after it.
    memory[at.NEXT_OUTPUT] = 0.0
    memory[at.BOUND] = 1e6
    memory[at.FRESH] = memory[at.LIVE] = 1.0
    # No output is due yet.
    memory[at.LIMIT] = -1.0
    lanes = Lanes(model, TABLEAUX[method], kernels, memory, states, parameters)
    lanes("start")
    return lanes


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
        # Why not smaller ones: errors below are rounding, of which no two codes agree.
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


# commit, dense, evaluate, loss, scatter


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


def test_dense_output(lanes):
    layout, tableau = lanes.kernels.layout, lanes.tableau
    steps = np.linspace(0.01, 0.05, lanes.count)
    lanes.memory[at.STEP] = steps
    lanes("advance")
    lanes("dense")
    thetas = np.linspace(0.0, 1.0, lanes.count)
    lanes.memory[at.THETA] = thetas
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
    lanes.memory[at.THETA] = 0.0
    lanes("evaluate")
    lanes("loss")
    loss = scalar_module(lanes.model).loss
    expected = [loss(y, q) for y, q in zip(lanes.states, lanes.parameters, strict=True)]
    np.testing.assert_allclose(lanes.memory[at.LOSS], expected, rtol=1e-12)


@pytest.mark.parametrize("widths", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (4, 2)], ids=str)
def test_scatter(widths):
    # Sizes 2, 3, 5, 7, 12 and 18: less than a vector, and every overlap of the last piece.
    lanes = make_lanes(Model(*widths), "tsit5")
    size = lanes.kernels.layout.size
    lanes.memory[at.THETA] = 0.0
    lanes("evaluate")
    # Rows in another order than the lanes, not aligned, and one that is written by two lanes.
    rows = np.full((lanes.count, size + 3), GUARD)
    places = np.roll(np.arange(lanes.count), 3)
    addresses = rows.ctypes.data + places * rows.strides[0] + rows.itemsize
    lanes.memory.view(np.int64)[at.PLACE] = addresses
    lanes("scatter")
    np.testing.assert_array_equal(rows[places, 1 : size + 1], lanes.states)
    assert (rows[:, 0] == GUARD).all()
    assert (rows[:, size + 1 :] == GUARD).all()


@pytest.mark.parametrize("ends_too", [True, False], ids=["ends", "inside"])
@pytest.mark.parametrize("kind", WRITERS)
def test_write(lanes, kind, ends_too):
    layout = lanes.kernels.layout
    h = lanes.memory[at.STEP] = np.linspace(0.01, 0.05, lanes.count)
    # Why not 0: the ends of steps are then rounded.
    lanes.memory[at.TIME] = time = 0.7
    lanes("advance")
    lanes("dense")
    ends = lanes.memory[at.NEW_TIME].copy()
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
        (at.POSITION, at.ROW, at.LOSS_ROW, at.SPARE), (times, states, losses, unread), strict=True
    ):
        lanes.point(control, rows)
    lanes.memory[at.NEXT_OUTPUT] = times[:, 0]
    lanes.memory[at.LIMIT] = ends
    # Another lane may need attention while this one is in the middle of a step.
    lanes.memory[at.LIMIT, -1] = -1.0
    lanes.memory.view(np.int64)[at.WRITER] = WRITERS[kind]
    lanes("write")

    loss = scalar_module(lanes.model).loss
    for k in range(lanes.count):
        written = 0 if k == lanes.count - 1 else k
        assert lanes.memory[at.NEXT_OUTPUT, k] == times[k, written]
        expected = np.full((lanes.count + 1, layout.size), GUARD)
        for m in range(written):
            lanes.memory[at.THETA] = 1.0 if times[k, m] == ends[k] else (times[k, m] - time) / h[k]
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
    for writer in (at.NOTHING, at.BOTH):
        lanes = make_lanes(model, "tsit5")
        layout = lanes.kernels.layout
        states = np.full((lanes.count, outputs, layout.size), GUARD)
        losses = np.full((lanes.count, outputs), GUARD)
        times = np.linspace(0.01 * end, end, outputs) * np.ones((lanes.count, 1))
        times = np.concatenate([times, np.full((lanes.count, 1), np.inf)], axis=1)
        unread = np.empty((lanes.count, layout.size))
        for control, rows in zip(
            (at.POSITION, at.ROW, at.LOSS_ROW, at.SPARE), (times, states, losses, unread), strict=True
        ):
            lanes.point(control, rows)
        lanes.memory[at.NEXT_OUTPUT] = times[:, 0]
        lanes.memory[at.TIME_END] = end
        lanes.memory[at.THRESHOLD] = -np.inf
        # Many steps.
        lanes.memory[at.RTOL], lanes.memory[at.ATOL] = 1e-13, 1e-15
        calls = 0
        while lanes.memory[at.LIVE].any():
            assert calls < 1000
            lanes.memory.view(np.int64)[at.WRITER] = writer
            lanes(step)
            calls += 1
            accepted = lanes.memory[at.ACCEPTED] > 0.5
            if writer == at.NOTHING:
                lanes.memory.view(np.int64)[at.WRITER] = at.BOTH
                lanes.memory[at.LIMIT] = np.where(accepted, lanes.memory[at.NEW_TIME], -1.0)
                lanes("dense")
                lanes("write")
            lanes("commit")
            # Lanes at their end rest, as if they waited for the next trajectory.
            lanes.memory[at.LIVE] = lanes.memory[at.TIME] < end
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
    for control, block in ((at.POSITION, times), (at.ROW, rows), (at.SPARE, unread)):
        lanes.point(control, block)
    lanes.memory[at.NEXT_OUTPUT] = times[:, 0]
    lanes.memory[at.STEP] = 2e-3
    lanes.memory[at.THRESHOLD] = -np.inf
    lanes.memory[at.THRESHOLD, 1] = np.inf
    lanes.memory.view(np.int64)[at.WRITER] = at.STATES
    bits = lanes("watch")
    assert bits == 1 << 1
    assert (rows[1] == GUARD).all()
    assert lanes.memory[at.NEXT_OUTPUT, 1] == times[1, 0]
    others = np.arange(lanes.count) != 1
    assert (rows[others, 0] != GUARD).all()
    assert (rows[others, 1] == GUARD).all()
    assert np.isinf(lanes.memory[at.NEXT_OUTPUT, others]).all()


@pytest.mark.parametrize("where", [2.0**-52, 1e-9, 0.3, 0.999, 1.0])
def test_events_are_located_to_rounding(lanes, where):
    count = lanes.count
    lanes.memory[at.STEP] = 0.05
    lanes("watch")
    lanes("dense")
    losses = {}
    for theta in (0.0, where, 1.0):
        lanes.memory[at.THETA] = theta
        lanes("evaluate")
        lanes("loss")
        losses[theta] = lanes.memory[at.LOSS].copy()
    falling = losses[1.0] < losses[0.0]
    falling[0] = False
    assert falling.any()
    lanes.memory[at.THRESHOLD] = threshold = np.minimum(losses[where], np.nextafter(losses[0.0], -np.inf))
    lanes.memory[at.NEW_LOSS] = losses[1.0]
    lanes.memory[at.LIMIT] = np.where(falling, lanes.memory[at.NEW_TIME], -1.0)
    fraction = np.full(count, np.nan)
    lane_loop._locate(lanes.kernels.addresses, lanes.memory, fraction)
    # Lanes that are not asked for do not move.
    assert (fraction[~falling] == 1.0).all()
    lanes.memory[at.THETA] = fraction
    lanes("evaluate")
    lanes("loss")
    rounding = 50 * EPSILON * np.maximum(losses[0.0], 1.0)
    assert (lanes.memory[at.LOSS] <= threshold)[falling].all()
    assert (lanes.memory[at.LOSS] >= threshold - rounding)[falling].all()
    slope = np.abs(losses[0.0] - losses[1.0])
    assert (np.abs(fraction - where) <= 2.0**-49 + 5 * rounding / slope)[falling].all()


def test_kernels_stay_in_their_memory(lanes):
    unread = np.empty((lanes.count, lanes.kernels.layout.size))
    for control in (at.PLACE, at.ROW, at.LOSS_ROW, at.POSITION, at.SPARE):
        lanes.point(control, unread)
    lanes.memory[at.STEP] = 1e-3
    for name in KERNELS:
        lanes(name)
    assert (lanes.memory[lanes.kernels.layout.component_count] == GUARD).all()


# The choice of code.


def test_small_systems_have_two_vectors():
    target = jit.target()
    small, large = Model(2, 2), Model(3, 2)
    assert small.state_size <= DOUBLED_STATE < large.state_size
    assert compile_kernels(small, "tsit5", target).lanes == 2 * target.lanes
    assert compile_kernels(large, "tsit5", target).lanes == target.lanes


@pytest.mark.parametrize(
    ("widths", "kind"), [((4, 2), UnrolledEntries), ((8, 4), WrittenOutTiles), ((12, 6), LoopedTiles)]
)
def test_form_of_code_by_size(widths, kind):
    assert program_form(drift_program(Model(*widths))) is kind


@pytest.fixture
def form(monkeypatch):
    """A function that sets the form of code for all sizes."""
    compile_kernels.cache_clear()

    def set_form(kind):
        monkeypatch.setattr(kernel_emitter, "program_form", lambda _program: kind)
        compile_kernels.cache_clear()

    yield set_form
    compile_kernels.cache_clear()


@pytest.mark.parametrize("other", [WrittenOutTiles, LoopedTiles])
def test_one_step_is_the_same_in_all_forms_of_code(form, other):
    model = Model(5, 3, constraint="sphere", teacher="general")
    ways = []
    for kind in (other, UnrolledEntries):
        form(kind)
        lanes = make_lanes(model, "tsit5")
        lanes.memory[at.STEP] = np.linspace(0.01, 0.05, lanes.count)
        lanes("watch")
        ways.append(lanes)
    tiles, lines = ways
    assert tiles.kernels.layout.scratch_count > 0 == lines.kernels.layout.scratch_count
    place = lines.kernels.layout.new_state_at
    np.testing.assert_allclose(tiles.rows(place), lines.rows(place), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(tiles.memory[at.NEW_LOSS], lines.memory[at.NEW_LOSS], rtol=1e-12)
