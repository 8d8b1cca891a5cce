"""The covariance of the overlaps at order 1/N against thousands of runs of the exact chain.

N times the covariance over runs from one start is compared, entry by entry, with the solution of
dΣ/dα = JΣ + ΣJᵀ + 𝓓, and likewise in coordinates in which Σ is the identity, where nothing hides behind
large entries. The same test must reject each wrong 𝓓 of `step_covariance`.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from matrix import thinned
from scipy.stats import norm
from step_covariance import DIVIDED_ONLY, EXCHANGED, LOOP, MEAN_KEPT, SINGLE_NOISE, WRONG, Step

import runtime
from derive import Model
from derive.parameters import scheduled_places
from runtime.covariance.fluctuation_system import fluctuations_of
from runtime.start.schedules import Schedule
from runtime.trajectory.solver import SolverRules, solve
from runtime.trajectory.tableaux import TABLEAUX

# A right 𝓓 fails one of all comparisons of a case with this probability.
LEVEL = 1e-3
RULES = SolverRules(TABLEAUX["prince8"], 1e-9, 1e-12)
# Half steps between two times in the integration of wrong variants, which is right to a thousandth.
HALF_STEPS = 40


@dataclasses.dataclass
class Case:
    """A model, the parameters of its runs, how many there are, and when they are looked at.

    hidden
        Errors that are too small here for so many runs to show.
    """

    widths: tuple[int, int]
    options: dict[str, str]
    parameters: dict[str, object]
    alpha: tuple[float, ...]
    n: int = 10_000
    runs: int = 4000
    schedule: str | None = None
    hidden: tuple[str, ...] = (MEAN_KEPT,)

    @property
    def model(self):
        return Model(*self.widths, **self.options)

    def start(self):
        """Q0, R0 and T: students that know the teachers a little, R0 ≥ 0.1 in size."""
        p, pstar = self.widths
        T = np.eye(pstar)
        if self.model.teacher == "general":
            T = 0.25 * np.ones((pstar, pstar)) + np.diag(np.linspace(1.0, 0.6, pstar))
        R = np.array([[0.5, 0.1], [-0.1, 0.3], [0.2, -0.15], [0.1, 0.4]])[:p, :pstar]
        Q = np.diag(np.linspace(1.0, 1.2, p)) + 0.1 * (np.ones((p, p)) - np.eye(p))
        return Q, R, T

    def given(self):
        """Run-time parameters by the names of users."""
        _, _, T = self.start()
        return self.parameters | ({"T": T} if self.model.teacher == "general" else {})


@dataclasses.dataclass
class Prediction:
    """Σ at the times of a case, by the generated code and by NumPy on its trajectory."""

    case: Case
    system: runtime.System

    def __post_init__(self):
        Q, R, self.T = self.case.start()
        given = self.case.given()
        self.state, self.packed = self.system.packed_state(Q, R, **given)
        self.schedule = Schedule.of(self.case.schedule)
        self.rates = scheduled_places(self.system.model)

    def covariances(self, times):
        """Σ (times, n, n) from the generated code."""
        n = self.state.size
        start = np.concatenate([self.state, np.zeros(n * (n + 1) // 2)])
        solution = self._solved(fluctuations_of(self.system), start, times)
        found = np.zeros((len(times), n, n))
        rows, columns = np.triu_indices(n)
        found[:, rows, columns] = found[:, columns, rows] = solution[:, n:]
        return found

    def _solved(self, equations, start, times):
        solution = solve(
            equations, start, times, self.packed, RULES, schedule=self.schedule, scheduled=self.rates
        )
        assert solution.status == "ok"
        return solution.states

    def _on_grid(self, times):
        """α at the ends and the middles of steps between the times, and states and Jacobians there."""
        ends = np.concatenate([[0.0], times])
        parts = [np.linspace(a, b, HALF_STEPS + 1)[1:] for a, b in itertools.pairwise(ends)]
        grid = np.concatenate([[0.0], *parts])
        states = np.vstack([self.state, self._solved(self.system, self.state, grid[1:])])
        jacobians = [
            self.system.jacobian_of_state(y, self._parameters(alpha))
            for y, alpha in zip(states, grid, strict=True)
        ]
        return grid, states, jacobians

    def wrong(self, times):
        """Name and Σ (times, n, n) of each wrong variant, by Runge and Kutta's method of order 4."""
        grid, states, jacobians = self._on_grid(times)
        steps = [self.step(y, alpha) for y, alpha in zip(states, grid, strict=True)]
        for wrong in ("", *self.seen()):
            noise = [dataclasses.replace(step, wrong=wrong).covariance() for step in steps]
            yield wrong, integrated(jacobians, noise, grid)[HALF_STEPS // 2 :: HALF_STEPS // 2]

    def altered(self, times, name, factor):
        """Σ (times, n, n) with a parameter multiplied by a factor in 𝓓 alone."""
        grid, states, jacobians = self._on_grid(times)
        fluctuations, place = fluctuations_of(self.system), self.system.model.parameters.index(name)
        noise = []
        for y, alpha in zip(states, grid, strict=True):
            packed = self._parameters(alpha)
            packed[place] *= factor
            noise.append(fluctuations.diffusion_at(y, packed))
        return integrated(jacobians, noise, grid)[HALF_STEPS // 2 :: HALF_STEPS // 2]

    def seen(self):
        """The errors that so many runs of the case show."""
        variants = self.step(self.state).wrong_variants()
        return [wrong for wrong in variants if wrong not in self.case.hidden]

    def _parameters(self, alpha):
        packed = self.packed.copy()
        packed[list(self.rates)] *= self.schedule.factors(alpha)
        return packed

    def step(self, y, alpha=0.0):
        """One step at a state."""
        numbers = dict(self.case.parameters)
        factor = float(self.schedule.factors(alpha))
        v, vstar = numbers.get("student_weights"), numbers.get("teacher_weights")
        overlaps = self.system.unpack(y)
        return Step(
            self.system.model,
            *overlaps[:2],
            self.T,
            numbers["eta"] * factor,
            numbers.get("label_noise", 0.0),
            numbers.get("batch", 1.0),
            overlaps[2] if self.system.model.trained else v,
            vstar,
            numbers.get("eta_second", 0.0) * factor,
        )


def integrated(jacobians, noise, grid):
    """Σ after each step, from Jacobians and diffusion matrices at its ends and its middle; 0 at first."""
    sigma = np.zeros_like(noise[0])
    found = [sigma]

    def slope(k, value):
        return jacobians[k] @ value + value @ jacobians[k].T + noise[k]

    for k in range(0, len(noise) - 1, 2):
        step = grid[k + 2] - grid[k]
        first = slope(k, sigma)
        second = slope(k + 1, sigma + 0.5 * step * first)
        third = slope(k + 1, sigma + 0.5 * step * second)
        last = slope(k + 2, sigma + step * third)
        sigma = sigma + step / 6.0 * (first + 2.0 * second + 2.0 * third + last)
        found.append(sigma)
    return np.array(found)


def measured(case):
    """√N times the deviations of the order parameters from their means, (runs, times, n)."""
    Q, R, _ = case.start()
    found = runtime.simulate(
        case.model,
        n=case.n,
        alpha=case.alpha,
        trajectories=case.runs,
        Q0=Q,
        R0=R,
        seed=3,
        schedule=case.schedule,
        **case.given(),
    )
    rows, columns = np.triu_indices(case.model.p)
    parts = [found.Q.values[..., rows, columns], found.R.values.reshape(case.runs, len(case.alpha), -1)]
    if case.model.trained:
        parts.append(found.v.values)
    states = np.concatenate(parts, axis=-1)
    assert np.isfinite(states).all()
    np.testing.assert_allclose(found.alpha.values, case.alpha, rtol=1e-12)
    return np.sqrt(case.n) * (states - states.mean(axis=0))


def largest_deviation(case, samples, sigma):
    """The largest deviation of Σ from sample covariances, over what `LEVEL` allows.

    Each product of two deviations is averaged over runs, so its error is known from the runs themselves.
    """
    deviations = []
    for x, expected in zip(np.swapaxes(samples, 0, 1), sigma, strict=True):
        found = x.T @ x / (len(x) - 1)
        # Norms on the sphere do not fluctuate at all.
        still = np.diag(found) < 1e-12
        if np.any(np.abs(expected[still]) > 1e-9):
            return np.inf
        # The square of a deviation has a share Σ/N of it, which counts where the deviation itself is small.
        values, vectors = np.linalg.eigh(found)
        least = 100.0 * values[-1] ** 2 / case.n
        wide = values > least
        entries = np.eye(len(found))[:, np.diag(found) > least]
        for frame in (entries, vectors[:, wide] / np.sqrt(values[wide])):
            y = x @ frame
            rows, columns = np.triu_indices(y.shape[1])
            error = (y[:, rows] * y[:, columns]).std(axis=0) / np.sqrt(len(y))
            difference = frame.T @ (found - expected) @ frame
            deviations.append(difference[rows, columns] / error)
    together = np.concatenate(deviations)
    return float(np.max(np.abs(together)) / norm.isf(LEVEL / (2 * together.size)))


def signs(p, pstar):
    return {"student_weights": [1.0, -0.6, 0.4][:p], "teacher_weights": [0.9, -0.7][:pstar]}


CASES = {
    "1-1": Case((1, 1), {}, {"eta": 0.1}, (0.5, 2.0, 8.0)),
    "2-1": Case((2, 1), {}, {"eta": 0.3}, (1.0, 4.0, 12.0)),
    "2-1 label noise": Case(
        (2, 1), {"readout": "sum"}, {"eta": 0.05, "label_noise": 20.0}, (0.5, 1.0, 4.0)
    ),
    "4-2": Case((4, 2), {}, {"eta": 0.4}, (1.0, 4.0, 12.0)),
    "3-2 sphere": Case((3, 2), {"constraint": "sphere"}, {"eta": 0.5}, (1.0, 4.0, 12.0)),
    "2-2 general": Case((2, 2), {"teacher": "general"}, {"eta": 0.2}, (1.0, 4.0, 12.0)),
    "2-1 batch": Case((2, 1), {}, {"eta": 0.5, "batch": 4}, (1.0, 4.0, 12.0)),
    "3-2 fixed": Case((3, 2), {"second_layer": "fixed"}, {"eta": 0.3} | signs(3, 2), (1.0, 4.0, 12.0)),
    "2-1 trained": Case(
        (2, 1), {"second_layer": "trained"}, {"eta": 0.2, "eta_second": 0.2} | signs(2, 1), (1.0, 4.0, 12.0)
    ),
    "2-1 decay": Case((2, 1), {}, {"eta": 0.3, "weight_decay": 0.2}, (1.0, 4.0, 12.0)),
    "2-1 schedule": Case((2, 1), {}, {"eta": 0.3}, (1.0, 4.0, 12.0), schedule="inverse:4"),
}
EVERYTHING = {"constraint": "sphere", "second_layer": "trained", "teacher": "general"}
# Together these two show every error. With opposite weights Q_12 varies by e² alone.
QUICK = {
    "2-2 sphere, trained, general, batch": Case(
        (2, 2),
        EVERYTHING,
        {"eta": 1.0, "eta_second": 0.3, "batch": 2, "label_noise": 0.5}
        | {"student_weights": [1.0, -0.6], "teacher_weights": [-1.5, -1.5]},
        (0.1, 0.2, 0.4),
        hidden=(SINGLE_NOISE,),
    ),
    "2-2 sphere, trained, general, label noise": Case(
        (2, 2),
        EVERYTHING,
        {"eta": 0.4, "eta_second": 0.4, "label_noise": 20.0}
        | {"student_weights": [1.0, -1.0], "teacher_weights": [0.8, 0.9]},
        (0.1, 0.2),
    ),
}


@pytest.mark.parametrize("name", thinned(QUICK | CASES, *range(len(QUICK))))
def test_covariance_of_the_chain(name, system_of):
    case = (QUICK | CASES)[name]
    system = system_of(*case.widths, **case.options)
    prediction, samples = Prediction(case, system), measured(case)
    times = np.array(case.alpha)
    derived = prediction.covariances(times)
    assert largest_deviation(case, samples, derived) < 1.0
    variants = dict(prediction.wrong(times))
    np.testing.assert_allclose(variants.pop(""), derived, rtol=1e-3, atol=1e-4 * np.abs(derived).max())
    for what, wrong in variants.items():
        assert largest_deviation(case, samples, wrong) > 1.0, what


def test_the_suite_rejects_every_error(system_of):
    seen = {
        wrong
        for case in QUICK.values()
        for wrong in Prediction(case, system_of(*case.widths, **case.options)).seen()
    }
    assert seen == set(WRONG)


STEPS = {
    "3-2 fixed": CASES["3-2 fixed"],
    "2-2 sphere, trained, general, batch": QUICK["2-2 sphere, trained, general, batch"],
    "2-1 label noise": CASES["2-1 label noise"],
    "2-1 trained": CASES["2-1 trained"],
}


@pytest.mark.parametrize("name", thinned(STEPS, 1))
def test_diffusion_is_the_covariance_of_single_steps(name, system_of):
    """One step of many runs from the same overlaps at a huge N, where |x|²/N is 1.

    Changes by a single sample have a kurtosis of hundreds, and the errors of their moments are unknown; the
    mean of 16 samples is tame.
    """
    n, case = 10**9, STEPS[name]
    parameters = case.parameters | {"batch": 16}
    case = dataclasses.replace(case, n=n, runs=20_000, alpha=(1.0 / n,), parameters=parameters)
    system = system_of(*case.widths, **case.options)
    Q, R, _ = case.start()
    noise = fluctuations_of(system).diffusion(Q, R, **case.given())
    samples = np.sqrt(n) * measured(case)
    assert largest_deviation(case, samples, noise[None]) < 1.0
    step = Prediction(case, system).step(system.packed_state(Q, R, **case.given())[0])
    np.testing.assert_allclose(step.covariance(), noise, rtol=1e-11, atol=1e-12)
    for wrong in (EXCHANGED, LOOP, DIVIDED_ONLY):
        changed = dataclasses.replace(step, wrong=wrong).covariance()
        assert largest_deviation(case, samples, changed[None]) > 1.0


# Steps are small, since changes of degree ten have heavy tails. At η = 0.05, "2-1 he3" has 0.72, 0.85 and
# 0.98 of the predicted variance of Q at N = 2500, 10⁴ and 10⁵.
POLYNOMIAL = {
    "2-1 he3": Case(
        (2, 1),
        {"activation": "he3", "constraint": "sphere"},
        {"eta": 0.01, "label_noise": 10.0, "batch": 2},
        (1.0, 4.0, 10.0),
    ),
    "1-1 he2+he3, trained": Case(
        (1, 1),
        {"activation": "he2+he3", "second_layer": "trained"},
        {"eta": 0.005, "eta_second": 0.02, "label_noise": 30.0}
        | {"student_weights": [0.8], "teacher_weights": [1.0]},
        (1.0, 4.0, 10.0),
    ),
}


@pytest.mark.matrix
@pytest.mark.parametrize("name", POLYNOMIAL)
def test_covariance_of_the_chain_of_polynomial_activations(name, system_of):
    case = POLYNOMIAL[name]
    prediction, samples = Prediction(case, system_of(*case.widths, **case.options)), measured(case)
    times = np.array(case.alpha)
    derived = prediction.covariances(times)
    assert largest_deviation(case, samples, derived) < 1.0
    same = prediction.altered(times, "label_noise", 1.0)
    np.testing.assert_allclose(same, derived, rtol=1e-3, atol=1e-4 * np.abs(derived).max())
    wrong = [("label_noise", 0.0), ("inverse_batch", 1.3)]
    wrong += [("eta_second", 0.8)] if prediction.system.model.trained else []
    for parameter, factor in wrong:
        changed = prediction.altered(times, parameter, factor)
        assert largest_deviation(case, samples, changed) > 1.0, parameter
