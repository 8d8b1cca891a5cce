"""All methods on the nonstiff DETEST problems, against SciPy's DOP853 at its tightest."""

from __future__ import annotations

import numpy as np
import pytest
from detest_problems import NAMES, T_END, WITH_TIME, function_of, initial_state, nodepy_problem
from scipy.integrate import solve_ivp
from smooth_problems import compiled, equations

from runtime.trajectory.solver import SolverRules, solve
from runtime.trajectory.tableaux import TABLEAUX

TOLERANCES = (1e-4, 1e-6, 1e-8, 1e-10)
NO_PARAMETERS = np.zeros(1)

# Stated multiples of the tolerance that the error at the end may have. tsit5 controls the local
# error closely, so orbits, and oscillators that forget nothing, add up what they collect.
LARGEST = {
    "tsit5": {"A": 3.0, "B": 40.0, "C": 3.0, "D": 900.0, "E": 40.0},
    "prince8": {"A": 0.5, "B": 0.5, "C": 0.5, "D": 1.0, "E": 0.5},
    "dop853": {"A": 50.0, "B": 20.0, "C": 1.0, "D": 300.0, "E": 5.0},
}
# Eccentricity 0.9 at the loosest tolerance: a few steps an orbit.
EXCEPTIONS = {("prince8", "D5", 1e-4): 25.0}


def slope_of(name):
    function = compiled(function_of(name))

    def slope(_, y):
        dy = np.empty_like(y)
        function(np.ascontiguousarray(y), NO_PARAMETERS, dy)
        return dy

    return slope


@pytest.mark.parametrize("name", NAMES)
def test_right_hand_side_is_that_of_nodepy(name):
    problem, generator = nodepy_problem(name), np.random.default_rng(0)
    for _ in range(10):
        y = initial_state(name) + generator.uniform(0.1, 1.0, initial_state(name).size)
        time, state = (y[-1], y[:-1]) if name in WITH_TIME else (generator.uniform(0.0, T_END), y)
        expected = problem.rhs(time, state if np.ndim(problem.u0) else state[0])
        dy = slope_of(name)(0.0, y)
        np.testing.assert_allclose(dy[: state.size], expected, rtol=1e-13, atol=1e-14)
        assert name not in WITH_TIME or dy[-1] == 1.0


def reference(name):
    y0 = initial_state(name)
    return solve_ivp(slope_of(name), (0.0, T_END), y0, "DOP853", rtol=1e-13, atol=1e-14).y[:, -1]


def run(name, method, tolerance):
    """State at the end and evaluations, by our method or SciPy's."""
    y0, tolerances = initial_state(name), {"rtol": tolerance, "atol": tolerance}
    if method not in TABLEAUX:
        result = solve_ivp(slope_of(name), (0.0, T_END), y0, method, **tolerances)
        return result.y[:, -1], result.nfev
    rules = SolverRules(TABLEAUX[method], **tolerances)
    solution = solve(equations(function_of(name)), y0, np.array([T_END]), NO_PARAMETERS, rules)
    assert (solution.status, solution.end) == ("ok", T_END)
    return solution.states[-1], solution.evaluations


def error(state, exact):
    return np.max(np.abs(state - exact) / (1.0 + np.abs(exact)))


@pytest.mark.parametrize("name", NAMES)
def test_error_at_the_end_is_within_the_stated_multiple(name):
    exact = reference(name)
    for method in TABLEAUX:
        for tolerance in TOLERANCES:
            state, _ = run(name, method, tolerance)
            bound = EXCEPTIONS.get((method, name, tolerance), LARGEST[method][name[0]])
            # The second term is the error of the reference.
            assert error(state, exact) < bound * tolerance + 1e-11, (method, tolerance)


@pytest.mark.parametrize(
    ("method", "peer"), [("tsit5", "RK45"), ("prince8", "DOP853"), ("dop853", "DOP853")]
)
def test_work_is_that_of_a_peer_of_the_same_order_at_equal_error(method, peer):
    # A single problem depends on the luck of a step, so all are taken together.
    ratios = []
    for name in NAMES:
        exact = reference(name)
        work = []
        for solver in (method, peer):
            runs = [run(name, solver, 10.0**-digits) for digits in range(4, 11)]
            errors, evaluations = np.array(sorted((error(y, exact), count) for y, count in runs)).T
            work.append((np.log(errors + 1e-16), np.log(evaluations)))
        for target in np.log([1e-6, 1e-7, 1e-8, 1e-9]):
            if all(errors[0] < target < errors[-1] for errors, _ in work):
                own, others = (np.interp(target, *curve) for curve in work)
                ratios.append(own - others)
    assert len(ratios) > 20
    assert np.exp(np.mean(ratios)) < 1.3
