"""Trajectories that end where their loss comes down: at the right time, also in a dip within one step."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from smooth_problems import SOLVABLE, equations

from runtime.trajectory import solver, stepper
from runtime.trajectory.solver import SolverRules, solve
from runtime.trajectory.tableaux import TABLEAUX

TIMES = np.linspace(0.0, 20.0, 401)


@pytest.fixture(params=TABLEAUX)
def tableau(request):
    return TABLEAUX[request.param]


def first_entry(y, _):
    return y[0]


def no_number(y, _):
    return np.nan * y[0]


def run(problem, tableau, stop_loss, *, loss=first_entry, y0=None, times=TIMES, rtol=1e-8):
    _, start, parameters = problem.arguments()
    rules = SolverRules(tableau, rtol, 1e-2 * rtol, stop_loss=stop_loss)
    y0 = start if y0 is None else np.array(y0)
    return solve(equations(problem.function, loss), y0, times, parameters, rules)


@pytest.mark.parametrize("stop_loss", [0.9, 0.5, 1e-3])
def test_decay_ends_at_the_threshold(tableau, stop_loss):
    solution = run(SOLVABLE["decay"], tableau, stop_loss)
    assert (solution.status, solution.crossed) == ("ok", True)
    assert solution.end == pytest.approx(-np.log(stop_loss), abs=1e-6)


def test_outputs_end_at_the_event_and_are_those_of_a_run_without(tableau):
    solution, free = (run(SOLVABLE["decay"], tableau, stop) for stop in (0.1, None))
    reached = solution.times <= solution.end
    assert 40 < reached.sum() < 60
    np.testing.assert_array_equal(solution.states[reached], free.states[reached])
    assert np.isnan(solution.states[~reached]).all()


@pytest.mark.parametrize("loss", [first_entry, no_number])
def test_a_threshold_that_is_not_reached_changes_nothing(tableau, loss):
    solution, free = (run(SOLVABLE["oscillator"], tableau, stop, loss=loss) for stop in (-1.1, None))
    np.testing.assert_array_equal(solution.states, free.states)
    assert (solution.status, solution.end, solution.crossed) == ("ok", 20.0, False)
    assert (solution.accepted, solution.rejected) == (free.accepted, free.rejected)


def no_number_on_the_way(y, _):
    return np.nan if 0.5 < y[0] < 0.9 else y[0]


@pytest.mark.parametrize(("stop_loss", "place"), [(0.95, 0.95), (0.7, 0.5), (0.3, 0.3)])
def test_a_loss_that_is_no_number_on_the_way_hides_no_event(tableau, stop_loss, place):
    solution = run(SOLVABLE["decay"], tableau, stop_loss, loss=no_number_on_the_way)
    assert solution.crossed
    assert solution.end == pytest.approx(-np.log(place), abs=1e-6)


def no_number_at_first(y, _):
    return np.nan if y[0] > 0.9999 else y[0]


def test_a_loss_that_is_no_number_at_the_start_hides_no_event(tableau):
    solution = run(SOLVABLE["decay"], tableau, 0.99995, loss=no_number_at_first)
    assert solution.crossed
    assert solution.end == pytest.approx(-np.log(0.9999), abs=1e-6)


@pytest.mark.parametrize("stop_loss", [1.0, 2.0])
@pytest.mark.parametrize("times", [TIMES, TIMES[1:], TIMES[:1]], ids=["from 0", "later", "at 0 alone"])
def test_a_low_loss_at_the_start_is_an_event_at_zero(tableau, stop_loss, times):
    solution = run(SOLVABLE["oscillator"], tableau, stop_loss, times=times)
    assert (solution.status, solution.end, solution.crossed) == ("ok", 0.0, True)
    assert (solution.accepted, solution.rejected) == (0, 0)
    np.testing.assert_array_equal(np.isfinite(solution.states).all(axis=1), times == 0.0)


def test_without_a_threshold_the_loss_is_not_even_asked_for(tableau):
    class WithoutLoss(SimpleNamespace):
        @property
        def compiled_loss(self):
            raise AssertionError

    rhs, y0, parameters = SOLVABLE["decay"].arguments()
    rules = SolverRules(tableau, 1e-8, 1e-10)
    solution = solve(WithoutLoss(compiled_rhs=rhs, operations=1000), y0, TIMES, parameters, rules)
    assert (solution.status, solution.crossed) == ("ok", False)


# A dip: cos(t + shift) comes down to the threshold and rises again.


@pytest.mark.parametrize("share", [0.03, 0.01, 1e-3])
def test_a_dip_within_one_step_is_found(tableau, share):
    """Its first side is, although the loss may be above the threshold at the ends of all steps near it."""
    stop_loss = -1.0 + share
    inside_steps = 0
    for shift in np.linspace(0.0, 2.0, 41):
        y0 = [np.cos(shift), -np.sin(shift)]
        solution = run(SOLVABLE["oscillator"], tableau, stop_loss, y0=y0, times=TIMES[-1:], rtol=1e-3)
        assert solution.crossed
        assert solution.end == pytest.approx(np.arccos(stop_loss) - shift, abs=0.03)
        ends = ends_of_steps(tableau, y0)
        inside_steps += not any(np.cos(end + shift) <= stop_loss for end in ends[ends < 5.0])
    # Some dips are in the middle of a step, and would not be found at its ends.
    assert inside_steps > 3


def ends_of_steps(tableau, y0):
    """Ends of the steps of a run without events."""
    ends, advance = [], stepper.advance.compile()

    def recording(*arguments):
        status = advance(*arguments)
        ends.append(float(arguments[5]["time"]))
        return status

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "_CHUNK_OPERATIONS", 0.0)
        patch.setattr(stepper, "advance", recording)
        run(SOLVABLE["oscillator"], tableau, None, y0=y0, times=TIMES[-1:], rtol=1e-3)
    return np.unique(ends)
