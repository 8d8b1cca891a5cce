"""The covariance beside the ODE: other integrations, what stays so, its dataset and its warning."""

from __future__ import annotations

import re

import matrix
import numpy as np
import pytest
from rejections import rejected
from scipy.integrate import solve_ivp

import runtime
from derive import Model
from runtime.covariance.fluctuation_run import FluctuationProblem, linear_line
from runtime.covariance.fluctuation_system import fluctuations_of
from runtime.covariance.spread import loss_gradients
from runtime.problem import Problem
from runtime.start.starts import GivenStart

WEIGHTS = np.array([[1.0, 0.3, -0.2], [0.2, 0.9, 0.5]])
Q0, R0 = WEIGHTS @ WEIGHTS.T, WEIGHTS[:, :1] * 0.8
TRAINED = {"second_layer": "trained"}
# Options of the model, and parameters.
CASES = {
    "free": ({}, {"label_noise": 0.1, "schedule": "inverse:3"}),
    "trained": (TRAINED, {"eta_second": 0.2, "student_weights": [1.0, -0.5], "weight_decay": 0.2}),
    "sphere": ({"constraint": "sphere"}, {"batch": 4}),
    "teacher": ({"teacher": "general"}, {"T": [[0.7]], "batch": 3}),
}


def covariance_of(size, seed=0):
    factor = np.random.default_rng(seed).standard_normal((size, size))
    return factor @ factor.T


@pytest.mark.parametrize("case", matrix.thinned(CASES, 0, 1))
def test_it_is_what_scipy_integrates(system_of, case):
    """SciPy's LSODA on J and 𝓓 evaluated separately, with the learning rates times the schedule."""
    options, given = CASES[case]
    given = dict(given)
    system, times = system_of(2, 1, **options), np.array([0.0, 0.5, 2.0, 5.0])
    size = system.model.state_size
    start = None if case == "sphere" else covariance_of(size)
    run = runtime.fluctuations(system, Q0, R0, eta=0.3, alpha=times, covariance=start, **given)
    schedule = given.pop("schedule", None)
    parts = fluctuations_of(system)

    def slope(alpha, y):
        eta = 0.3 / (1.0 + alpha / 3.0) if schedule else 0.3
        state, sigma = y[:size], y[size:].reshape(size, size)
        packed, rate = system.parameters(eta=eta, **given), np.empty(size)
        system.compiled_rhs(state, packed, rate)
        J = system.jacobian_of_state(state, packed)
        return np.concatenate([rate, (J @ sigma + sigma @ J.T + parts.diffusion_at(state, packed)).ravel()])

    y0, _ = system.packed_state(Q0, R0, eta=0.3, **given)
    first = np.zeros((size, size)) if start is None else start
    solution = solve_ivp(
        slope, (0.0, 5.0), np.append(y0, first), method="LSODA", t_eval=times, rtol=1e-10, atol=1e-12
    )
    expected = solution.y[size:].T.reshape(-1, size, size)
    np.testing.assert_allclose(run.covariance.values, expected, rtol=1e-6, atol=1e-7)
    # A Σ without the noise, or without what the flow does to it, would be found out.
    assert np.abs(expected[-1] - first).max() > 1e-2


@pytest.mark.parametrize("activation", matrix.thinned(["quadratic", "he3"], 0))
def test_without_noise_it_is_carried_by_the_flow(system_of, activation):
    """In gradient flow Σ = MΣ0Mᵀ, where M = ∂y(α)/∂y(0) comes from differences of trajectories."""
    system = system_of(2, 1, flow="gradient", activation=activation)
    eta = 0.3 if activation == "quadratic" else 0.02
    size, times, step = system.model.state_size, [0.0, 4.0], 1e-4
    start = covariance_of(size)
    run = runtime.fluctuations(system, Q0, R0, eta=eta, alpha=times, covariance=start)
    y0, _ = system.packed_state(Q0, R0, eta=eta)

    def end(y):
        Q, R = system.unpack(y)
        found = runtime.integrate(system, Q, R, eta=eta, alpha=times, rtol=1e-12, atol=1e-13)
        return system.pack(found.Q.values[-1], found.R.values[-1])

    M = np.array([(end(y0 + step * e) - end(y0 - step * e)) / (2 * step) for e in np.eye(size)]).T
    np.testing.assert_allclose(run.covariance.values[-1], M @ start @ M.T, rtol=1e-5, atol=1e-6)
    assert np.abs(run.covariance.values[-1] - start).max() > 0.1


@pytest.mark.parametrize("activation", matrix.thinned(["quadratic", "he3"], 0))
def test_gradient_flow_from_one_start_has_no_spread(system_of, activation):
    system = system_of(2, 1, flow="gradient", activation=activation)
    run = runtime.fluctuations(system, Q0, R0, eta=0.1, alpha=5.0, n=10)
    for name in ("covariance", "Q_std", "R_std", "loss_std", "linear_n"):
        assert not run[name].values.any()
    assert np.isnan(run.linear_until.item())


@pytest.mark.parametrize("constraint", matrix.thinned(["free", "sphere"], 0))
def test_it_is_a_covariance_and_the_ode_is_that_of_integrate(system_of, constraint):
    system = system_of(2, 1, constraint=constraint)
    run = runtime.fluctuations(system, Q0, R0, eta=0.2, alpha=60.0, label_noise=0.1)
    alone = runtime.integrate(system, Q0, R0, eta=0.2, alpha=60.0, label_noise=0.1)
    for name in alone.data_vars.keys() - {"steps", "rejected", "evaluations"}:
        np.testing.assert_array_equal(run[name], alone[name])
    sigma = run.covariance.values
    assert np.array_equal(sigma, sigma.transpose(0, 2, 1))
    eigenvalues = np.linalg.eigvalsh(sigma)
    assert np.all(eigenvalues[:, 0] > -1e-8 * (1.0 + eigenvalues[:, -1]))
    norms = [system.model.state.index(f"Q_{i}_{i}") for i in (1, 2)]
    largest = np.abs(sigma[1:, norms]).max()
    assert largest < 1e-9 if constraint == "sphere" else largest > 0.1
    assert run.component.values.tolist() == run.component_.values.tolist() == list(system.model.state)
    deviation = np.sqrt(run.covariance.sel(component="R_2_1", component_="R_2_1"))
    np.testing.assert_allclose(run.R_std.sel(i=2, r=1), deviation, rtol=1e-12)
    deviation = np.sqrt(run.covariance.sel(component="Q_1_2", component_="Q_1_2"))
    np.testing.assert_allclose(run.Q_std.sel(i=2, j=1), deviation, rtol=1e-12)
    added = ("covariance", "Q_std", "R_std", "loss_std", "linear_n")
    assert all(run[name].attrs["units"] == "1" and run[name].attrs["long_name"] for name in added)


@pytest.mark.parametrize(
    ("activation", "degree"),
    matrix.thinned([("quadratic", 2), ("he3", 3), ("0,1,1/2,0,1/3", 4)], 0),
)
@pytest.mark.parametrize("second_layer", ["ones", "trained"])
def test_the_loss_is_differentiated_to_rounding(system_of, activation, degree, second_layer):
    """Along a line the loss is a polynomial, which a fit to many of its points differentiates."""
    system = system_of(2, 1, flow="gradient", activation=activation, second_layer=second_layer)
    given = {"eta_second": 0.1, "student_weights": [1.0, -0.5]} if second_layer == "trained" else {}
    y, packed = system.packed_state(Q0, R0, eta=0.1, **given)
    (found,) = loss_gradients(system, y[None], packed)
    points = np.linspace(-1.0, 1.0, 9)
    for direction, slope in zip(np.eye(y.size), found, strict=True):
        values = [system.compiled_loss(y + t * direction, packed) for t in points]
        fit = np.polynomial.Polynomial.fit(points, values, 8)
        assert slope == pytest.approx(fit.deriv()(0.0), rel=1e-11, abs=1e-11)
        assert np.abs(fit.convert().coef[max(2, degree) + 1 :]).max() < 1e-10
    assert np.all(np.abs(found) > 1e-4)


def test_the_loss_of_quadratic_networks_by_its_formula(system_of):
    """dε = s tr(D dC) + 2 tr(DCD dC) and its variance, against the losses of Gaussian states."""
    system, n = system_of(2, 1), 10**8
    run = runtime.fluctuations(system, Q0, R0, eta=0.3, alpha=[0.0, 3.0])
    C = np.block([[run.Q.values[1], run.R.values[1]], [run.R.values[1].T, np.eye(1)]])
    D = np.diag([0.5, 0.5, -1.0])
    G = np.trace(D @ C) * D + 2.0 * D @ C @ D
    gradient = np.array([G[0, 0], 2 * G[0, 1], G[1, 1], 2 * G[0, 2], 2 * G[1, 2]])
    sigma = run.covariance.values[1]
    assert run.loss_std[1].item() == pytest.approx(np.sqrt(gradient @ sigma @ gradient), rel=1e-7)
    mean = system.pack(run.Q.values[1], run.R.values[1])
    rng = np.random.default_rng(1)
    drawn = rng.multivariate_normal(mean, sigma / n, size=4000, method="cholesky")
    losses = system.packed_losses(drawn, system.parameters(eta=0.3))
    assert np.sqrt(n) * losses.std() == pytest.approx(run.loss_std[1].item(), rel=0.05)


# --- starts -----------------------------------------------------------------------------------


def test_runs_are_continued_with_their_covariance(system_of):
    """Through a jump of the schedule, in the middle of the first part."""
    system, given = system_of(2, 1, **TRAINED), {"eta": 0.3, "eta_second": 0.2, "schedule": "0:1,1:0.3"}
    whole = runtime.fluctuations(system, Q0, R0, alpha=[0.0, 2.0, 6.0], **given)
    Q, R = whole.Q.values[1], whole.R.values[1]
    rest = runtime.fluctuations(
        system,
        Q,
        R,
        alpha=[2.0, 6.0],
        start_alpha=2.0,
        student_weights=whole.v.values[1],
        covariance=whole.covariance.values[1],
        **given,
    )
    np.testing.assert_allclose(rest.covariance[-1], whole.covariance[-1], rtol=1e-6, atol=1e-9)
    assert rest.attrs["start_alpha"] == 2.0
    assert rest.attrs["start_covariance"] == "given"
    constant = runtime.fluctuations(system, Q0, R0, alpha=[0.0, 6.0], eta=0.3, eta_second=0.2)
    assert np.abs(constant.covariance[-1] - whole.covariance[-1]).max() > 1e-2


@pytest.mark.matrix
def test_noise_over_signal_on_the_plateau(system):
    """V/Γ² at (4, 2, 0.4) is 1.36815: the exact chain escapes as much earlier (docs/fluctuations.md)."""
    times, tiny = [0.0, 60.0], 1e-7
    random = runtime.fluctuations(
        system, np.eye(4), np.zeros((4, 2)), eta=0.4, alpha=times, covariance="random weights"
    )
    directions = np.random.default_rng(0).standard_normal((4, 2))
    signal = runtime.integrate(system, np.eye(4), tiny * directions, eta=0.4, alpha=times, atol=1e-13)
    growth = signal.R.values[-1] / (tiny * directions)
    np.testing.assert_allclose(random.R_std.values[-1] ** 2 / growth**2, 1.36815, atol=2e-4)


def test_where_the_linear_theory_fails(system):
    given = {"eta": 0.4, "alpha": 40.0, "covariance": "random weights"}
    start = np.eye(4), np.zeros((4, 2))
    with pytest.warns(UserWarning, match="the linear theory fails at N = 10000: .* never escapes") as found:
        run = runtime.fluctuations(system, *start, n=10_000, **given)
    assert found[0].filename == __file__
    until = run.linear_until.item()
    shown = float(re.search(r"alpha = (\S+) on", str(found[0].message))[1])
    assert shown == pytest.approx(until, rel=1e-5)
    # From there on two standard deviations of R reach √(Q_ii T_rr), and not before.
    reached = 2.0 * run.R_std.values[:, 0, 0] / 100.0 >= np.sqrt(run.Q.values[:, 0, 0])
    assert np.array_equal(reached, run.alpha.values >= until)
    # R grows at the rate 0.17082, so that ten times the N takes ln(10)/(2 rate) longer.
    with pytest.warns(UserWarning, match="N = 100000"):
        later = runtime.fluctuations(system, *start, n=100_000, **given)
    assert later.linear_until.item() - until == pytest.approx(np.log(10) / 0.34164, abs=0.21)
    np.testing.assert_array_equal(later.linear_n, run.linear_n)
    # Nothing is said of an N that is not given, and from R0 = 0.1 all is well at this N.
    assert "linear_until" not in runtime.fluctuations(system, *start, **given)
    R = 0.1 * np.random.default_rng(0).standard_normal((4, 2))
    fine = runtime.fluctuations(system, np.eye(4), R, eta=0.4, alpha=60.0, n=10_000)
    assert np.isnan(fine.linear_until.item())


@pytest.mark.parametrize(("n", "largest"), [(1000, 1e9), (10**9, 1e11), (None, 300 * 1e-8 * 2.0**52)])
def test_a_covariance_that_is_too_large_is_not_followed(system, n, largest):
    """From R0 of rank one the ODE goes to a saddle, where steps would be the smaller the more Σ grows."""
    R = 0.1 * np.ones((4, 2)) * np.arange(1, 5)[:, None] / 4
    problem = Problem(
        system.model,
        GivenStart(np.eye(4), R),
        {"eta": 0.4},
        alpha=200.0,
        rtol=1e-8,
        atol=1e-10,
        method="tsit5",
    )
    run = FluctuationProblem(problem, None, n).run(system)
    known = np.isfinite(run["loss_std"].values)
    assert run["status"].values == "ok"
    assert np.isfinite(run["loss"].values).all()
    assert 0 < known.sum() < known.size
    assert np.isinf(run["linear_n"].values[~known]).all()
    assert 1e-3 * largest < np.abs(run["covariance"].values[known]).max() <= largest
    if n is not None:
        assert linear_line(run).startswith("from alpha = ")
        assert "R0 = 0" not in linear_line(run)


def test_a_trajectory_that_diverges_ends_the_covariance(system_of):
    run = runtime.fluctuations(
        system_of(2, 1), np.eye(2), np.full((2, 1), 0.1), eta=100.0, alpha=[0.0, 1e-6, 1.0, 2.0]
    )
    assert run.status.item() == "diverged"
    assert np.isfinite(run.covariance.values[1]).all()
    for name in ("covariance", "R_std", "loss_std", "linear_n"):
        assert np.isnan(run[name].values[2:]).all()
    late = runtime.fluctuations(
        system_of(2, 1), np.eye(2), np.full((2, 1), 0.1), eta=100.0, alpha=[1.0, 2.0]
    )
    assert np.isnan(late.covariance.values).all()


# --- what is not allowed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "given", "option", "words"),
    [
        ({}, {"method": "scipy:LSODA"}, "method", "is not one of prince8|'scipy:LSODA' is not"),
        ({}, {"n": 0}, "n", "0 is not"),
        ({}, {"n": 1.5}, "n", "1.5"),
        ({}, {"covariance": "random weights"}, "covariance", "has the mean"),
        ({}, {"student_weights": [1.0, 1.0]}, "student_weights", "is not a parameter of"),
    ],
)
def test_wrong_arguments_are_named(system_of, options, given, option, words):
    with rejected(option, words):
        runtime.fluctuations(system_of(2, 1, **options), Q0, R0, eta=0.3, **given)


def test_memory_is_bounded_before_the_work(system_of, monkeypatch):
    monkeypatch.setattr("runtime.covariance.fluctuation_run.LARGEST_ARRAYS", 2**20)
    with rejected("alpha", "has 10000 times, at which the covariance would take"):
        runtime.fluctuations(system_of(2, 1), Q0, R0, eta=0.3, alpha=np.linspace(0.0, 1.0, 10_000))


def test_a_model_is_no_system():
    with rejected("system", "is a Model"):
        runtime.fluctuations(Model(2, 1), Q0, R0, eta=0.3)
