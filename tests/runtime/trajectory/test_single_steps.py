"""One step of the compiled loop at a time, against its formulas written out in NumPy.

The numbers are those of the literature and of `runtime.trajectory.stepper`'s comments, not its constants.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from smooth_problems import compiled, memory_of

from runtime.start.schedule_kinds import CONSTANT
from runtime.trajectory.controller import DIVERGED, FINISHED, RUNNING, STEP_TOO_SMALL
from runtime.trajectory.stepper import POSITION, Limits, advance
from runtime.trajectory.tableaux import TABLEAUX

RTOL, ATOL = 1e-6, 1e-8
EPSILON = 2.0**-52
# Errors below are rounding, of which no two codes agree.
SMALLEST_ERROR = 1e-5


@pytest.fixture(params=TABLEAUX)
def tableau(request):
    return TABLEAUX[request.param]


# --- right-hand sides ------------------------------------------------------------------------


def pendulum(y, parameters, dy):
    dy[0] = parameters[0] * y[1]
    dy[1] = -parameters[0] * np.sin(y[0])


def steady(y, parameters, dy):
    dy[0] = parameters[0]
    dy[1] = 0.0 * y[1]


def ends_at_one(y, parameters, dy):
    dy[0] = parameters[0] if y[0] < 1.0 else np.nan
    dy[1] = -y[1]


def steepens(y, parameters, dy):
    dy[0] = parameters[0] + 1e3 * max(y[0] - 0.5, 0.0)
    dy[1] = 0.0 * y[1]


def bursts(y, parameters, dy):
    """Infinite but at the start."""
    dy[0] = parameters[0] if y[0] == 0.5 else np.inf
    dy[1] = 0.0 * y[1]


def slope(function, y, parameters):
    dy = np.empty_like(y)
    with np.errstate(all="ignore"):
        function(y, parameters, dy)
    return dy


def norm(x, y, new, rtol=RTOL, atol=ATOL):
    """Root mean square in units of the tolerance."""
    return np.sqrt(np.mean((x / (atol + rtol * np.maximum(np.abs(y), np.abs(new)))) ** 2))


# --- a trajectory, of the compiled loop and of the formulas ----------------------------------


@dataclasses.dataclass
class Trajectory:
    """All that a trajectory carries from step to step."""

    step: float
    y: tuple[float, ...] = (0.5, 1.5)
    time: float = 0.0
    last_error: float = 1.0
    failed_before: int = 0
    not_finite: int = 0
    accepted: int = 0
    rejected: int = 0
    # A trajectory that has not begun would have its first step chosen by the loop.
    begun: int = 1
    evaluations: int = 1
    next_output: int = 0


FIELDS = tuple(field.name for field in dataclasses.fields(Trajectory) if field.name != "y")


def compiled_step(tableau, function, before, times, bound=1e6, parameters=(1.0,)):
    """Status, trajectory and outputs after one step of the compiled loop."""
    parameters, memory = np.array(parameters), memory_of(before.y, times, tableau)
    position = np.zeros((), dtype=POSITION)
    for name in FIELDS:
        position[name] = getattr(before, name)
    memory.work[0] = slope(function, memory.y, parameters)
    limits, packed = Limits(RTOL, ATOL, bound, -np.inf, 1, times[-1], CONSTANT, np.inf), parameters[None]
    status = advance(compiled(function), packed, tableau.coefficients, limits, memory, position[()])
    after = Trajectory(y=tuple(memory.y), **{name: position[name].item() for name in FIELDS})
    # What the next step starts with.
    if after.accepted > before.accepted:
        np.testing.assert_array_equal(memory.work[0], slope(function, memory.y, parameters))
    return status, after, memory.outputs


def expected_step(tableau, function, before, times, parameters=(1.0,)):
    """The same by the formulas; and the error."""
    y, parameters = np.array(before.y), np.array(parameters)
    last = before.time + 1.0000001 * before.step >= times[-1]
    h = times[-1] - before.time if last else before.step
    slopes = [slope(function, y, parameters)]
    for row in tableau.a[1:]:
        slopes.append(slope(function, y + h * row[: len(slopes)] @ slopes, parameters))
    new = y + h * tableau.b @ slopes
    slopes.append(slope(function, new, parameters))
    error = norm(h * tableau.e @ slopes, y, new)
    if tableau.e_low.size and error > 0.0:
        low = norm(h * tableau.e_low @ slopes, y, new)
        error = error**2 / np.sqrt(error**2 + 0.01 * low**2)
    after = dataclasses.replace(before, evaluations=before.evaluations + len(slopes) - 1)
    exponent = 1.0 / (tableau.error_order + 1)
    outputs = np.full((len(times), y.size), np.nan)
    if not error <= 1.0:
        after.rejected += 1
        after.failed_before = True
        after.not_finite = not np.isfinite(error)
        after.step = h * (0.1 if after.not_finite else max(0.2, 0.9 * error**-exponent))
        # Where the error needs no slope at the end, none was computed.
        after.evaluations -= tableau.e[-1] == 0.0
        return after, outputs, error
    after.accepted += 1
    after.y, after.time = tuple(new), times[-1] if last else before.time + h
    after.failed_before = after.not_finite = False
    after.last_error = max(error, 1e-10)
    factor = 0.9 * after.last_error ** (-0.7 * exponent) * before.last_error ** (0.4 * exponent)
    factor = min(max(factor, 0.2), 1.0 if before.failed_before else 6.0)
    after.step = h * factor
    if any(before.time <= time < after.time for time in times[before.next_output :]):
        for row in tableau.extra:
            slopes.append(slope(function, y + h * row[: len(slopes)] @ slopes, parameters))
            after.evaluations += 1
    for k in range(before.next_output, len(times)):
        if times[k] <= after.time:
            theta = (times[k] - before.time) / h
            weights = tableau.p @ theta ** np.arange(1, tableau.p.shape[1] + 1)
            inside = times[k] < after.time
            outputs[k] = y + h * (weights @ np.array(slopes)) if inside else new
            after.next_output = k + 1
    return after, outputs, error


def check_step(tableau, function, before, times, rtol=1e-5, **options):
    """Both agree; returns trajectory and error. Errors are differences: a part of their digits is lost."""
    status, after, outputs = compiled_step(tableau, function, before, times, **options)
    expected, dense, error = expected_step(tableau, function, before, times)
    assert after.step == pytest.approx(expected.step, rel=rtol)
    assert after.last_error == pytest.approx(expected.last_error, rel=10 * rtol)
    np.testing.assert_allclose(after.y, expected.y, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(outputs, dense, rtol=1e-13, atol=1e-14)
    for field in dataclasses.fields(Trajectory):
        if field.name not in ("step", "last_error", "y"):
            assert getattr(after, field.name) == getattr(expected, field.name), field.name
    assert status == (FINISHED if after.time == times[-1] else RUNNING)
    return after, error


# --- steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("failed_before", [False, True])
@pytest.mark.parametrize("last_error", [1.0, 0.03, 1e-7])
def test_steps_of_all_sizes(tableau, last_error, failed_before):
    errors = []
    for step in np.geomspace(0.02, 6.0, 40):
        before = Trajectory(step, last_error=last_error, failed_before=failed_before)
        _, _, error = expected_step(tableau, pendulum, before, [100.0])
        if error > SMALLEST_ERROR:
            errors.append(check_step(tableau, pendulum, before, [100.0])[1])
    errors = np.array(errors)
    assert (errors < 0.5).sum() > 3
    assert ((errors > 1.0) & (errors < 10.0)).any()
    # Beyond that, a step shrinks by no more than a factor 5.
    assert (errors > 4.5 ** (tableau.error_order + 1)).any()


def test_steps_grow_sixfold_at_most(tableau):
    after, _ = check_step(tableau, steady, Trajectory(0.01, last_error=0.5), [100.0])
    assert after.step == pytest.approx(0.06, rel=1e-14)
    assert after.last_error == 1e-10
    after, _ = check_step(tableau, steady, Trajectory(0.01, failed_before=True), [100.0])
    assert after.step == 0.01


def test_counters_go_on(tableau):
    before = Trajectory(
        0.01, time=3.0, failed_before=True, accepted=7, rejected=3, evaluations=90, next_output=2
    )
    times = [1.0, 2.0, 3.0 + 1e-9, 100.0]
    after, _ = check_step(tableau, steady, before, times)
    assert (after.accepted, after.rejected, after.next_output) == (8, 3, 3)


@pytest.mark.parametrize("not_finite", [False, True])
def test_steps_into_nothing_are_a_tenth_then(tableau, not_finite):
    before = Trajectory(1.0, not_finite=not_finite)
    after, error = check_step(tableau, ends_at_one, before, [100.0])
    assert np.isnan(error)
    assert after.not_finite
    assert after.step == 0.1
    # A step that is finite again forgets it, accepted or not.
    small, _ = check_step(tableau, ends_at_one, dataclasses.replace(after, step=0.3), [100.0])
    assert not small.not_finite
    large, error = check_step(tableau, pendulum, dataclasses.replace(after, step=6.0), [100.0])
    assert error > 1.0
    assert not large.not_finite


@pytest.mark.parametrize("left", [0.7, 1.0, 1.00000009])
def test_the_last_step_ends_at_the_last_time(tableau, left):
    shortened = 0
    for step in np.geomspace(0.05, 2.0, 60):
        before, times = Trajectory(step, time=2.0), [2.0 + left * step]
        if expected_step(tableau, pendulum, before, times)[2] > SMALLEST_ERROR:
            after, error = check_step(tableau, pendulum, before, times)
            assert (after.time == times[-1]) == (error <= 1.0)
            shortened += error <= 1.0 and after.time < before.time + step
    assert (shortened > 0) == (left < 1.0)


def test_the_last_time_is_met_where_a_sum_would_miss_it(tableau):
    start, end = 0.134, 1.683
    assert start + (end - start) != end
    after, _ = check_step(tableau, steady, Trajectory(5.0, time=start), [end], rtol=1e-2)
    assert after.time == end


def test_no_sliver_of_a_step_is_left_but_a_bit(tableau):
    after, _ = check_step(tableau, steady, Trajectory(0.03125, time=2.0), [2.0 + 0.03125 * 1.00000011])
    assert after.time == 2.03125


def test_outputs_inside_a_step(tableau):
    times = [*np.linspace(0.0, 0.2, 9), 0.2 * (1 + 2 * EPSILON), 0.35, 100.0]
    before = Trajectory(0.2)
    status, after, outputs = compiled_step(tableau, pendulum, before, times)
    # The start is no part of a step.
    np.testing.assert_array_equal(outputs[0], before.y)
    expected, dense, _ = expected_step(tableau, pendulum, dataclasses.replace(before, next_output=1), times)
    np.testing.assert_allclose(outputs[1:], dense[1:], rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(outputs[8], after.y)
    assert np.isnan(outputs[9:]).all()
    assert (status, after.next_output) == (RUNNING, 9)
    assert after.evaluations == expected.evaluations == 1 + tableau.b.size + len(tableau.extra)


def test_an_output_at_the_end_of_a_step_needs_no_polynomial(tableau):
    _, after, outputs = compiled_step(tableau, pendulum, Trajectory(0.25), [0.25, 100.0])
    np.testing.assert_array_equal(outputs[0], after.y)
    assert after.evaluations == 1 + tableau.b.size


# --- ends ------------------------------------------------------------------------------------


def status_of(before, times=(100.0,), function=steady, **options):
    return compiled_step(TABLEAUX["tsit5"], function, before, list(times), **options)[0]


def test_nothing_is_done_at_the_end():
    before = Trajectory(0.1, time=5.0)
    status, after, _ = compiled_step(TABLEAUX["tsit5"], steady, before, [5.0])
    assert (status, after.accepted, after.y) == (FINISHED, 0, before.y)


@pytest.mark.parametrize(
    ("time", "end", "smallest"),
    [
        (1.0, 100.0, 16 * EPSILON),
        (32.0, 100.0, 16 * 32 * EPSILON),
        # At the start, of a time that is lost beside the end, or beside 1e10 if that is further.
        (0.0, 100.0, 16 * 100 * EPSILON**2),
        (0.0, 1e10, 16 * 1e10 * EPSILON**2),
        (0.0, 1e12, 16 * 1e10 * EPSILON**2),
    ],
)
def test_steps_that_resolve_nothing_end_it(time, end, smallest):
    assert status_of(Trajectory(smallest, time=time), [end]) == STEP_TOO_SMALL
    assert status_of(Trajectory(1.01 * smallest, time=time), [end]) == RUNNING


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, STEP_TOO_SMALL),
        ({"not_finite": True}, DIVERGED),
        ({"step": np.nan}, DIVERGED),
        ({"y": (999.0, -999.0)}, STEP_TOO_SMALL),
        ({"y": (1.0, -1001.0)}, DIVERGED),
        ({"y": (np.nan, 1.0)}, DIVERGED),
    ],
)
def test_why_it_ended(changes, status):
    before = dataclasses.replace(Trajectory(0.0), **changes)
    assert status_of(before, bound=1e6) == status


@pytest.mark.parametrize(("bound", "status"), [(1.5, RUNNING), (np.nextafter(1.5, 0.0), DIVERGED)])
def test_the_bound_may_be_reached(bound, status):
    assert status_of(Trajectory(0.01), bound=bound) == status
    assert status_of(Trajectory(0.01, y=(0.5, -1.5)), bound=bound) == status


def test_the_bound_is_that_of_all_entries():
    assert status_of(Trajectory(0.01, y=(0.1, -0.25)), bound=0.26) == RUNNING
    assert status_of(Trajectory(0.01, y=(0.1, -0.25)), bound=0.24) == DIVERGED


# --- the first step --------------------------------------------------------------------------


def expected_first_step(function, y, parameters, order, rtol, atol, span):
    """Hairer, Nørsett, Wanner, Solving ODEs I, sec. II.4, "Starting step size", (a) to (f)."""
    f0 = slope(function, y, parameters)
    d0, d1 = norm(y, y, y, rtol, atol), norm(f0, y, y, rtol, atol)
    h0 = min(1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1, span)
    d2 = norm(slope(function, y + h0 * f0, parameters) - f0, y, y, rtol, atol) / h0
    h1 = max(1e-6, 1e-3 * h0) if max(d1, d2) <= 1e-15 else (0.01 / max(d1, d2)) ** (1.0 / (order + 1))
    return min(100.0 * h0, h1, span)


def first_step(tableau, function, y, parameters, atol, span):
    """The step that the loop chooses for a new trajectory, before it takes any."""
    memory, position = memory_of(y, [span], tableau), np.zeros((), dtype=POSITION)
    limits, packed = Limits(RTOL, atol, np.inf, -np.inf, 0, span, CONSTANT, np.inf), parameters[None]
    advance(compiled(function), packed, tableau.coefficients, limits, memory, position[()])
    assert position["evaluations"] == 2
    np.testing.assert_array_equal(memory.work[0], slope(function, y, parameters))
    return position["step"].item()


@pytest.mark.parametrize(
    ("function", "y", "parameter", "atol", "span"),
    [
        (pendulum, (0.5, 1.5), 1.0, 1e-8, 1e3),
        (pendulum, (0.5, 1.5), 1e-12, 1e-8, 1e6),  # slow: a hundred times the trial
        (pendulum, (3.0, 1e-7), 40.0, 1e-8, 1e3),
        (steepens, (0.5, 1.5), 1.0, 1e-8, 1e3),  # the curvature is larger than the speed
        (pendulum, (0.5, 1.5), 1.0, 1e-8, 1e-3),  # the trial would pass the end
        (pendulum, (0.5, 1.5), 1.0, 1e-8, 3e-2),  # the step would
        (steady, (1e-15, 0.0), 1.0, 1e-8, 1e3),  # no size
        (steady, (0.5, 1.5), 1e-14, 1e-8, 1e3),  # no speed to speak of
        (steady, (0.5, 1.5), 0.0, 1e-8, 1e3),  # none at all
        (steady, (0.5, 1.5), 1e-14, 1e3, 1e3),
        (pendulum, (0.5, 1.5), 3e-4, 1e2, 1e3),
    ],
)
def test_first_step(tableau, function, y, parameter, atol, span):
    y, parameters = np.array(y), np.array([parameter])
    step = first_step(tableau, function, y, parameters, atol, span)
    expected = expected_first_step(function, y, parameters, tableau.order, RTOL, atol, span)
    assert step == pytest.approx(expected, rel=1e-9)
    assert 0.0 < step <= span


def test_first_step_where_the_slope_or_the_next_is_infinite(tableau):
    y = np.array([0.5, 1.5])
    assert np.isnan(first_step(tableau, bursts, np.array([0.4, 1.5]), np.ones(1), ATOL, 1.0))
    # The trial step alone is known to be possible, at its start.
    trial = 0.01 * norm(y, y, y) / norm(slope(bursts, y, np.ones(1)), y, y)
    assert first_step(tableau, bursts, y, np.ones(1), ATOL, 1.0) == pytest.approx(trial, rel=1e-14)
