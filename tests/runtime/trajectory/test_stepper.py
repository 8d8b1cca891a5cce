"""The compiled loop: convergence, dense output, resumption, and trajectories that end early."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from smooth_problems import SOLVABLE, Problem, equations, integrate_in_fixed_steps

from derive import Model
from runtime.trajectory import solver
from runtime.trajectory.solver import DIVERGENCE_GROWTH, SolverRules, blow_up_of, solve
from runtime.trajectory.tableaux import TABLEAUX

NAMES = {tableau: name for name, tableau in TABLEAUX.items()}
TOLERANCES = 10.0 ** np.arange(-4.0, -11.5, -0.5)
# Errors below this are rounding errors, and of the reference.
ROUNDING = 1e-13


@pytest.fixture(params=TABLEAUX)
def tableau(request):
    return TABLEAUX[request.param]


def random_times(t_end, count=300):
    return np.append(np.sort(np.random.default_rng(0).uniform(0.0, t_end, count)), t_end)


def run(problem, tableau, times, rtol=1e-8, atol=1e-10):
    _, y0, parameters = problem.arguments()
    return solve(equations(problem.function), y0, times, parameters, SolverRules(tableau, rtol, atol))


@pytest.fixture(scope="module")
def overlap_problem(system, start):
    """The (4, 2) system and a reference by SciPy at its tightest tolerance."""
    from scipy.integrate import solve_ivp

    y0, parameters, times = system.pack(*start), system.parameters(0.4), random_times(100.0)

    def slope(_, y):
        dy = np.empty_like(y)
        system.compiled_rhs(y, parameters, dy)
        return dy

    exact = solve_ivp(slope, (0.0, 100.0), y0, "DOP853", t_eval=times, rtol=1e-13, atol=1e-17).y.T
    return system, y0, parameters, times, exact


def errors_by_tolerance(tableau, system, y0, parameters, times, exact):
    """Tolerances; error at the end and largest error of dense output, relative; evaluations."""
    rows = []
    for tolerance in TOLERANCES:
        solution = solve(system, y0, times, parameters, SolverRules(tableau, tolerance, 1e-3 * tolerance))
        assert solution.status == "ok"
        errors = np.abs(solution.states - exact).max(axis=1) / np.abs(exact).max()
        rows.append((tolerance, errors[-1], errors.max(), solution.evaluations))
    return np.array([row for row in rows if row[1] > ROUNDING]).T


def slope_of(x, y):
    """d log y / d log x."""
    return np.polyfit(np.log(x), np.log(y), 1)[0]


# Stated bands: error ~ tolerance^m with m at most, and error ~ evaluations^−k with k within so
# much of the order. dop853 does better than its order: its leading error coefficients are tiny.
STEEPEST = {"tsit5": 1.25, "prince8": 1.25, "dop853": 1.3}
ORDER_BAND = {"tsit5": 1.3, "prince8": 1.3, "dop853": 2.2}
# Stated band of the error of dense output over that of the steps. It is tight for tsit5; a step
# of prince8 is far better than its tolerance, which leaves room for the continuous extension;
# that of dop853 is known to be worse than its steps.
DENSE_BAND = {"tsit5": 20.0, "prince8": 20.0, "dop853": 100.0}
# And of that error over the tolerance.
LARGEST_DENSE = {"tsit5": 3.0, "prince8": 3.0, "dop853": 200.0}


def check_convergence(tableau, tolerances, end, dense, evaluations):
    assert tolerances.size >= 6
    assert 0.75 < slope_of(tolerances, end) < STEEPEST[NAMES[tableau]]
    assert 0.7 < slope_of(tolerances, dense) < STEEPEST[NAMES[tableau]]
    assert slope_of(evaluations, end) == pytest.approx(-tableau.order, abs=ORDER_BAND[NAMES[tableau]])
    assert (dense < LARGEST_DENSE[NAMES[tableau]] * tolerances).all()


@pytest.mark.parametrize("name", SOLVABLE)
def test_error_is_proportional_to_tolerance(tableau, name):
    problem = SOLVABLE[name]
    times = random_times(problem.t_end)
    _, *start = problem.arguments()
    rows = errors_by_tolerance(tableau, equations(problem.function), *start, times, problem.solution(times))
    check_convergence(tableau, *rows)


def test_error_of_overlaps_is_proportional_to_tolerance(tableau, overlap_problem):
    check_convergence(tableau, *errors_by_tolerance(tableau, *overlap_problem))


@pytest.mark.parametrize("name", ["decay", "oscillator", "logistic"])
def test_fixed_steps_converge_with_the_order(tableau, name):
    problem = SOLVABLE[name]
    counts = (64, 128) if tableau.order == 5 else (20, 40)
    times = random_times(problem.t_end)
    exact = problem.solution(times)
    errors = []
    for count in counts:
        states, ends = integrate_in_fixed_steps(problem, tableau, count, times)
        assert len(ends) == count
        deviation = np.abs(states - exact).max(axis=1)
        errors.append((deviation[-1], deviation.max()))
    end, dense = np.log2(np.array(errors[0]) / errors[1])
    assert -0.3 < end - tableau.order < 1.0
    # Inside a step the local error is of the order of the continuous extension plus one.
    assert -0.7 < dense - tableau.order < 1.0


@pytest.mark.parametrize("name", SOLVABLE)
def test_dense_output_is_as_good_as_the_steps(tableau, name):
    problem = SOLVABLE[name]
    times = random_times(problem.t_end, 2000)
    rtol, exact = 1e-8, problem.solution(times)
    dense = np.abs(run(problem, tableau, times, rtol=rtol).states - exact).max()
    ends, states = recorded_steps(problem, tableau)
    assert ends.size < times.size / 5
    at_ends = np.abs(states - problem.solution(ends)).max()
    assert dense < DENSE_BAND[NAMES[tableau]] * at_ends
    assert dense < rtol * np.abs(exact).max()


def recorded_steps(problem, tableau):
    """Ends of the steps of the adaptive loop, and the states there."""
    ends, states = [], []
    advance = solver.stepper.advance

    def recording(*arguments):
        status = advance(*arguments)
        memory, time = arguments[4], float(arguments[5]["time"])
        if not ends or time > ends[-1]:
            ends.append(time)
            states.append(memory.y.copy())
        return status

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver.stepper, "advance", recording)
        patch.setattr(solver, "_CHUNK_OPERATIONS", 0.0)
        run(problem, tableau, np.array([problem.t_end]))
    return np.array(ends), np.array(states)


def test_outputs_at_step_ends_are_the_states_there(tableau):
    problem = SOLVABLE["oscillator"]
    ends, states = recorded_steps(problem, tableau)
    np.testing.assert_array_equal(run(problem, tableau, ends).states, states)
    # An instant earlier they come from the polynomial, which must meet the same states.
    inside = np.append(np.nextafter(ends[:-1], 0.0), ends[-1])
    np.testing.assert_allclose(run(problem, tableau, inside).states, states, rtol=0, atol=1e-13)


def test_outputs_do_not_change_the_steps(tableau):
    problem = SOLVABLE["logistic"]
    few = run(problem, tableau, np.array([problem.t_end]))
    many = run(problem, tableau, random_times(problem.t_end, 5000))
    np.testing.assert_array_equal(many.states[-1], few.states[-1])
    assert (many.accepted, many.rejected) == (few.accepted, few.rejected)
    # Every step has outputs inside, for which some tableaux need stages of their own.
    assert many.evaluations == few.evaluations + len(tableau.extra) * many.accepted


def test_the_output_at_zero_is_the_start_and_needs_no_step(tableau):
    problem = SOLVABLE["oscillator"]
    np.testing.assert_array_equal(run(problem, tableau, np.array([0.0, 0.5])).states[0], problem.y0)
    solution = run(problem, tableau, np.array([0.0]))
    np.testing.assert_array_equal(solution.states, [problem.y0])
    assert (solution.status, solution.end, solution.accepted) == ("ok", 0.0, 0)


@pytest.mark.parametrize("last", [1e-300, 0.1, 1.0 / 3.0, np.nextafter(5.0, 6.0), 1234.5])
def test_last_time_is_hit_exactly(tableau, last):
    solution = run(SOLVABLE["decay"], tableau, np.array([last]))
    assert solution.status == "ok"
    assert solution.end == last
    np.testing.assert_allclose(solution.states[-1], np.exp(-last), rtol=1e-6, atol=1e-9)


def test_any_last_time_is_hit_exactly(tableau):
    # The sum of the steps would miss some of these by a rounding error.
    for last in np.random.default_rng(3).uniform(0.1, 20.0, 300):
        solution = run(SOLVABLE["oscillator"], tableau, np.array([last]), rtol=1e-4)
        assert (solution.status, solution.end) == ("ok", last)
        assert np.isfinite(solution.states).all()


@pytest.mark.parametrize("name", ["oscillator", "logistic"])
def test_resumed_after_every_step_is_the_same_run(tableau, name, monkeypatch):
    problem = SOLVABLE[name]
    times = random_times(problem.t_end, 100)
    results = {}
    for operations in (0.0, 1e15):
        monkeypatch.setattr(solver, "_CHUNK_OPERATIONS", operations)
        results[operations] = run(problem, tableau, times)
    stepwise, at_once = results.values()
    np.testing.assert_array_equal(stepwise.states, at_once.states)
    assert stepwise.accepted == at_once.accepted > 5
    assert stepwise.evaluations == at_once.evaluations


def test_counters_count_the_calls(tableau):
    solution = run(SOLVABLE["oscillator"], tableau, np.array([20.0]))
    stages = tableau.b.size
    # One call before the start, one to size the first step; the slope at the end of a rejected
    # step is needed only where its error estimate uses it.
    expected = (
        2
        + stages * solution.accepted
        + solution.rejected * (stages if tableau.e[-1] != 0.0 else stages - 1)
    )
    assert solution.evaluations == expected


# Right-hand sides that no solver gets through, or only just.


def square(y, _, dy):
    dy[0] = y[0] ** 2


def eleventh_power(y, _, dy):
    dy[0] = y[0] ** 11


def cube(y, _, dy):
    dy[0] = y[0] ** 3


def falls_into_logarithm(y, _, dy):
    dy[0] = np.log(y[0]) - 1.0


def not_a_number_from_one_half(y, _, dy):
    dy[0] = 1.0 if y[0] < 0.5 else np.nan


def pole(y, _, dy):
    dy[0] = 1.0 / (1.0 - y[1])
    dy[1] = 1.0


def falls_into_pole(y, _, dy):
    dy[0] = -1.0 / y[0]


def integrable_singularity(y, _, dy):
    dy[0] = 1.0 / np.sqrt(np.abs(1.0 - y[1]))
    dy[1] = 1.0


def jump(y, _, dy):
    dy[0] = 1.0 if y[1] < 0.5 else -2.0
    dy[1] = 1.0


def nowhere_a_number(y, _, dy):
    dy[0] = np.nan * y[0]


def infinite(y, _, dy):
    dy[0] = y[0] * np.inf


def still(y, _, dy):
    dy[0] = 0.0 * y[0]


def run_function(function, y0, times, tableau):
    return solve(equations(function), np.array(y0), times, np.zeros(1), SolverRules(tableau, 1e-8, 1e-10))


def check_nan_behind(solution):
    reached = solution.times <= solution.end
    assert np.isfinite(solution.states[reached]).all()
    assert np.isnan(solution.states[~reached]).all()
    assert reached.any()
    assert not reached.all()


# Activations whose drifts are of these degrees, or of higher ones.
NAMED = {2: "quadratic", 3: "quadratic", 11: "he6"}


@pytest.mark.parametrize(("function", "power"), [(square, 2), (cube, 3), (eleventh_power, 11)])
def test_blow_up_in_finite_time_is_diverged(tableau, function, power):
    """The drift of activations of degree 6 has the degree 11: steps vanish where y has grown 30-fold."""
    times, blow_up = np.linspace(0.0, 2.0, 41), 1.0 / (power - 1)
    rules = SolverRules(tableau, 1e-8, 1e-10, blow_up=blow_up_of(Model(1, 1, activation=NAMED[power])))
    solution = solve(equations(function), np.array([1.0]), times, np.zeros(1), rules)
    assert solution.status == "diverged"
    assert solution.end == pytest.approx(blow_up, rel=0.01)
    check_nan_behind(solution)
    before = times[times < 0.9 * blow_up]
    exact = (1.0 - before / blow_up) ** -blow_up
    np.testing.assert_allclose(solution.states[: before.size, 0], exact, rtol=1e-6)


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_divergence_is_growth_a_million_fold(tableau, size):
    growth = Problem(SOLVABLE["growth"].function, (size,), 30.0, np.exp, (1.0,))
    solution = run(growth, tableau, np.linspace(0.0, 30.0, 301))
    assert solution.status == "diverged"
    assert 0.0 <= solution.end - np.log(DIVERGENCE_GROWTH) < 1.0
    check_nan_behind(solution)


@pytest.mark.parametrize("function", [falls_into_logarithm, not_a_number_from_one_half])
def test_undefined_right_hand_side_is_diverged(tableau, function, time_limit):
    start, last = ([1.0], 0.59634736) if function is falls_into_logarithm else ([0.0], 0.5)
    with time_limit(60.0):
        solution = run_function(function, start, np.linspace(0.0, 2.0, 41), tableau)
    assert solution.status == "diverged"
    assert solution.end == pytest.approx(last, abs=1e-6)
    check_nan_behind(solution)


@pytest.mark.parametrize("function", [nowhere_a_number, infinite])
def test_start_without_a_finite_slope_is_diverged(tableau, function, time_limit):
    with time_limit(60.0):
        solution = run_function(function, [1.0], np.array([0.0, 1.0]), tableau)
    assert (solution.status, solution.end) == ("diverged", 0.0)


@pytest.mark.parametrize(("function", "singular"), [(pole, 1.0), (falls_into_pole, 0.5)])
def test_pole_is_step_too_small(tableau, function, singular, time_limit):
    with time_limit(60.0):
        start = [0.0, 0.0] if function is pole else [1.0]
        solution = run_function(function, start, np.linspace(0.0, 2.0, 41), tableau)
    assert solution.status == "step_too_small"
    assert solution.end == pytest.approx(singular, abs=1e-6)
    check_nan_behind(solution)


@pytest.mark.parametrize(("function", "last"), [(integrable_singularity, 4.0), (jump, -2.5)])
def test_singularity_that_can_be_crossed_is_crossed(tableau, function, last, time_limit):
    with time_limit(60.0):
        solution = run_function(function, [0.0, 0.0], np.linspace(0.0, 2.0, 41), tableau)
    assert (solution.status, solution.end) == ("ok", 2.0)
    # Not the tolerance: an error estimate means nothing across a kink.
    assert solution.states[-1, 0] == pytest.approx(last, abs=1e-5)


@pytest.mark.parametrize("y0", [0.0, 1.0])
def test_nothing_moves_at_rest(tableau, y0):
    solution = run_function(still, [y0], np.linspace(0.0, 1e6, 5), tableau)
    assert solution.status == "ok"
    np.testing.assert_array_equal(solution.states, y0)
    assert solution.accepted < 50


INTERRUPTED = """
import os, signal, sys, threading
import numpy as np
import runtime

system = runtime.load(sys.argv[1])
start = runtime.random_overlaps(4, 2, seed=1)
runtime.integrate(system, *start, eta=0.4, alpha=1.0)

try:
    # The signal comes from a thread, while compiled code runs.
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    runtime.integrate(system, *start, eta=0.4, alpha=1e14)
except KeyboardInterrupt:
    print("stopped")
"""


def test_ctrl_c_stops_a_long_integration(system):
    # The tests may run without the package installed.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    child = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(system.folder)],
        env=environment,
        capture_output=True,
        text=True,
        # The work would take days.
        timeout=250,
        check=True,
    )
    assert child.stdout == "stopped\n"
