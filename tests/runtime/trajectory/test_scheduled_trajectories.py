"""Learning-rate schedules in runs: the factor at the time of each slope, jumps, starts at any time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from smooth_problems import Problem, equations, integrate_in_fixed_steps

from runtime.start.schedules import Schedule
from runtime.trajectory import solver
from runtime.trajectory.scheduled_parameters import scheduled_parameters
from runtime.trajectory.solver import SolverRules, solve
from runtime.trajectory.tableaux import TABLEAUX

RATE, FIRST = 3.0, 0.01


@pytest.fixture(params=TABLEAUX)
def tableau(request):
    return TABLEAUX[request.param]


def logistic(y, parameters, dy):
    dy[0] = parameters[0] * y[0] * (1.0 - y[0])


def first_entry(y, _):
    return -y[0]


# ∫ g from 0 to t.
INTEGRALS = {
    "exponential:2": lambda t: 2.0 * -np.expm1(-t / 2.0),
    "inverse:2": lambda t: 2.0 * np.log1p(t / 2.0),
    "inverse-sqrt:2": lambda t: 4.0 * (np.sqrt(1.0 + t / 2.0) - 1.0),
    "0:1,1:0.5,1.5:0,2:3": lambda t: np.interp(t, [0, 1, 1.5, 2, 9], [0, 1, 1.25, 1.25, 22.25]),
    "constant": lambda t: t,
}


def solution(word, times, start=0.0):
    """The solution that is FIRST at the start."""
    exponent = RATE * (INTEGRALS[word](times) - INTEGRALS[word](start))
    return 1.0 / (1.0 + (1.0 / FIRST - 1.0) * np.exp(-exponent))[:, None]


def run(word, tableau, times, *, start=0.0, rtol=1e-10, stop_loss=None, function=logistic):
    rules = SolverRules(tableau, rtol, 1e-2 * rtol, stop_loss=stop_loss)
    return solve(
        equations(function, first_entry),
        np.array([FIRST]),
        np.asarray(times, dtype=float),
        np.array([RATE]),
        rules,
        schedule=Schedule.of(word),
        scheduled=(0,),
        start=start,
    )


@pytest.mark.parametrize("start", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("word", INTEGRALS)
def test_a_schedule_is_another_time(tableau, word, start):
    times = start + np.append(0.0, np.sort(np.random.default_rng(0).uniform(0.0, 3.0, 200)))
    found = run(word, tableau, times, start=start)
    assert (found.status, found.end) == ("ok", times[-1])
    np.testing.assert_array_equal(found.states[0], [FIRST])
    np.testing.assert_allclose(found.states, solution(word, times, start), atol=2e-8)


@pytest.mark.parametrize("word", [word for word in INTEGRALS if Schedule.of(word).kind])
def test_fixed_steps_converge_with_the_order_only_with_factors_of_their_stages(tableau, word):
    problem = Problem(logistic, (FIRST,), 4.0, lambda t: solution(word, t), (RATE,))
    times = np.append(np.sort(np.random.default_rng(1).uniform(0.0, 4.0, 300)), 4.0)
    # Wrong: all slopes within a step have the factor at its start.
    late = dataclasses.replace(tableau, c=np.zeros_like(tableau.c))
    orders = []
    for tried, counts in ((tableau, (32, 64) if tableau.order == 5 else (24, 48)), (late, (32, 64))):
        errors = []
        for count in counts:
            states, _ = integrate_in_fixed_steps(problem, tried, count, times, Schedule.of(word))
            deviation = np.abs(states - problem.solution(times)).max(axis=1)
            errors.append((deviation[-1], deviation.max()))
        orders.append(np.log2(np.array(errors[0]) / errors[1]))
    (end, dense), (late_end, late_dense) = orders
    assert end > tableau.order - 0.7
    assert dense > tableau.order - 1.3
    assert late_end < 1.5 > late_dense


def test_dense_output_has_the_factors_of_its_stages():
    """Only the extra stages of DOP853 are evaluated at places of their own."""
    tableau = TABLEAUX["dop853"]
    record = tableau.coefficients.copy()
    assert record["c"][13:16] == pytest.approx([0.1, 0.2, 7.0 / 9.0], abs=1e-15)
    wrong = dataclasses.replace(tableau)
    record["c"][13:16] = 0.0
    wrong.__dict__["coefficients"] = record
    times = np.linspace(0.0, 3.0, 400)
    exact = solution("exponential:2", times)
    right, late = (
        np.abs(run("exponential:2", tried, times, rtol=1e-8).states - exact).max()
        for tried in (tableau, wrong)
    )
    assert right < 1e-6
    assert late > 100 * right


def test_rejected_steps_spoil_no_factor(tableau):
    def steep(y, parameters, dy):
        # The slope has a bump that a long step runs into.
        dy[0] = parameters[0] * (1.0 + 50.0 * np.exp(-(((y[0] - 2.0) / 0.1) ** 2)))

    # As for all autonomous equations, y is a function of ∫ g, which a constant schedule gives.
    word, times = "inverse:2", np.linspace(0.0, 3.0, 40)
    found = run(word, tableau, times, function=steep)
    constant = run("constant", tableau, INTEGRALS[word](times), function=steep)
    assert found.rejected > 0
    np.testing.assert_allclose(found.states, constant.states, atol=1e-7)


def test_slopes_are_taken_within_the_step(tableau):
    places = tableau.coefficients["c"]
    assert (places >= 0.0).all()
    assert (places <= 1.0).all()
    assert places[tableau.b.size] == 1.0


def still(_, __, dy):
    # Steps grow sixfold.
    dy[0] = 0.0


def test_the_last_slope_is_that_at_the_end_and_none_comes_later(tableau, monkeypatch):
    held = []

    def holding(*arguments):
        held.append(scheduled_parameters(*arguments))
        return held[-1]

    monkeypatch.setattr(solver, "scheduled_parameters", holding)
    # Where one step more than doubles the time, the sum of the time and the step may be beyond the end.
    ends = np.random.default_rng(0).uniform(1.0, 9.0, 50)
    for end in ends:
        run("inverse:2", tableau, [end], start=0.01, function=still)
    # The rate of the last slope stays behind. That at the end is the lowest.
    last, lowest = np.array([rows[0, 0] for rows in held]), RATE * (1.0 / (1.0 + ends / 2.0))
    np.testing.assert_allclose(last, lowest, rtol=1e-14)
    assert (last >= lowest).all()


def test_outputs_at_jumps_are_those_of_runs_that_end_there(tableau):
    word, times = "0:1,1:0.5,2:0.25", [0.0, 0.5, 1.0, 1.7, 2.0, 3.0]
    found = run(word, tableau, times)
    first, both = (run(word, tableau, times[: count + 1]) for count in (2, 4))
    np.testing.assert_array_equal(found.states[:3], first.states)
    np.testing.assert_array_equal(found.states[:5], both.states)
    # The stepper starts afresh at a jump, and what it counts adds up.
    rest = run(word, tableau, times[2:], start=1.0)
    assert found.evaluations > both.evaluations > first.evaluations
    assert rest.evaluations < found.evaluations
    without = run(word, tableau, [3.0])
    np.testing.assert_array_equal(without.states[-1], found.states[-1])
    counts = (found.accepted, found.rejected, found.evaluations)
    if tableau is not TABLEAUX["dop853"]:
        # Its extra stages are evaluated where there are outputs within steps.
        assert (without.accepted, without.rejected, without.evaluations) == counts


def test_an_event_after_a_jump_ends_the_run(tableau):
    word, times = "0:1,1:0.5,2.5:4", np.linspace(0.0, 9.0, 91)
    found = run(word, tableau, times, stop_loss=-0.2)
    # y = 0.2 where RATE ∫ g is the difference of its logits.
    integral = (np.log(0.2 / 0.8) - np.log(FIRST / (1.0 - FIRST))) / RATE
    assert (found.status, found.crossed) == ("ok", True)
    assert found.end == pytest.approx(1.0 + (integral - 1.0) / 0.5, abs=1e-7)
    np.testing.assert_array_equal(np.isfinite(found.states[:, 0]), times <= found.end)


def explodes(y, parameters, dy):
    dy[0] = parameters[0] * y[0] * y[0]


def test_divergence_after_a_jump_ends_the_run(tableau):
    times = np.array([0.0, 1.0, 2.0, 40.0, 90.0])
    found = run("0:1,1.5:2,80:1", tableau, times, function=explodes)
    # 1/FIRST = RATE ∫ g.
    assert found.status == "diverged"
    assert found.end == pytest.approx(1.5 + (1.0 / FIRST / RATE - 1.5) / 2.0, rel=1e-4)
    np.testing.assert_array_equal(np.isfinite(found.states[:, 0]), times < found.end)


@pytest.mark.parametrize(("start", "times"), [(2.0, [2.0]), (1.0, [1.0, 4.0]), (0.3, [3.0])])
def test_a_run_from_a_later_time(tableau, start, times):
    word = "0:1,1:0.5,1.5:0,2:3"
    found = run(word, tableau, times, start=start)
    assert (found.status, found.end) == ("ok", times[-1])
    np.testing.assert_allclose(found.states, solution(word, np.array(times), start), atol=2e-8)
