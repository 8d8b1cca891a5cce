"""The mediocre start: exact solutions of its scalar equation, and the fate of He3."""

import numpy as np
import pytest
from matrix import thinned
from scipy.integrate import solve_ivp

import overlap_ode as oo
from runtime.analysis.exponent.mediocre_start import exponent_of, law_of

SIZES = (100, 10_000, 1_000_000)
SPHERE = {"constraint": "sphere", "flow": "gradient"}


def stretch(antiderivative, n, overlap):
    """Time between the start and the overlap, by an antiderivative of 1 / (dR/dt)."""
    return antiderivative(overlap) - antiderivative(n**-0.5)


# dR/dt = 1 − R², 4R(1 − R²) and 18R²(1 − R²), whose times are known in closed form.
EXACT = {
    "he1": np.arctanh,
    "he2": lambda R: np.log(R / np.sqrt(1.0 - R * R)) / 4.0,
    "he3": lambda R: (np.arctanh(R) - 1.0 / R) / 18.0,
}


@pytest.fixture(scope="module")
def times(generated):
    return oo.information_exponent(n=SIZES, generated=generated)


@pytest.mark.parametrize("activation", EXACT)
def test_times_are_those_of_the_exact_solutions(times, activation):
    found = times.sel(activation=activation)
    exact = [stretch(EXACT[activation], n, 0.5) for n in SIZES]
    np.testing.assert_allclose(found["scaled_time"], exact, rtol=1e-8)
    np.testing.assert_allclose(found["theory"], exact, rtol=1e-12)
    # A factorial too few would be seen.
    assert abs(found["theory"].values[-1] * 2.0 / exact[-1] - 1.0) > 0.5


def test_times_are_of_order_1_ln_n_and_the_root_of_n(times):
    first, second, third = times["scaled_time"].values
    assert first[2] - first[1] < 0.02 * first[1]
    # 4 t grows by ln 10 when N grows a hundredfold.
    np.testing.assert_allclose(4.0 * np.diff(second), np.log(10.0), rtol=1e-2)
    assert 18.0 * third[2] / 1000.0 == pytest.approx(1.0, rel=2e-3)
    assert times["exponent"].values.tolist() == [1, 2, 3]
    assert times["law"].values.tolist() == ["1", "ln N", "N^(1/2)"]


def test_mixed_activation_follows_its_own_scalar_equation(generated):
    """σ = He2 + λ³/6 = λ/2 + He2 + He3/6, integrated by SciPy from the Hermite coefficients by hand."""
    sigma = "-1,0,1,1/6"
    found = oo.information_exponent(sigma, n=10_000, overlap=0.9, generated=generated)

    def drift(_, R):
        return (1.0 - R**2) * (0.25 + 4.0 * R + 18.0 * R**2 / 36.0)

    def arrived(_, R):
        return R[0] - 0.9

    arrived.terminal = True
    exact = solve_ivp(drift, (0.0, 100.0), [0.01], events=arrived, rtol=1e-11, atol=1e-13, method="DOP853")
    assert found["scaled_time"].item() == pytest.approx(exact.t_events[0][0], rel=1e-7)
    assert found["exponent"].item() == 1


@pytest.mark.parametrize(
    ("activation", "exponent", "law"),
    [
        ("quadratic", 2, "ln N"),
        ("he4", 4, "N"),
        ("he5", 5, "N^(3/2)"),
        ("he6", 6, "N^2"),
        ("0,1,0,1", 1, "1"),
    ],
)
def test_exponents_and_laws(activation, exponent, law):
    found = exponent_of(oo.Model(1, 1, activation=activation))
    assert (found, law_of(found)) == (exponent, law)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"activation": ["he3", "0,-3,0,1"]}, "activation: 'he3' is given twice"),
        ({"activation": []}, "activation: names no polynomial"),
        ({"activation": "he7"}, "activation: 'he7' is not quadratic, he1 to he6"),
        ({"n": [1000, 100]}, "n: needs ascending dimensions"),
        ({"n": 4}, "n: 4: the start 1/√N is not below the overlap 0.5"),
        ({"overlap": 1.0}, "overlap: 1 is not less than 1"),
        ({"overlap": float("nan")}, "overlap: nan is not a finite number"),
    ],
)
def test_wrong_arguments_are_named(options, problem, generated):
    with pytest.raises(oo.InputError) as error:
        oo.information_exponent(**options, generated=generated)
    assert str(error.value).startswith(problem)


# --- He3, statement by statement -----------------------------------------------------------------


def test_he3_never_escapes_from_the_other_side(system_of):
    """From R0 = −1/√N the solution is −1/R + artanh R = −1/R0 + artanh R0 + 18 ηα: R stays below 0."""
    system = system_of(1, 1, activation="he3", **SPHERE)
    run = oo.integrate(
        system, np.eye(1), [[-0.01]], eta=1.0, alpha=[0.0, 10.0, 1000.0], rtol=1e-10, atol=1e-14
    )
    R = run["R"].values.ravel()
    np.testing.assert_allclose(
        -1.0 / R + np.arctanh(R), 100.0 - np.arctanh(0.01) + 18.0 * run["alpha"], rtol=1e-7
    )
    assert np.all(R < 0.0)
    assert R[-1] == pytest.approx(-1.0 / 18_100.0, rel=1e-5)


def test_with_noise_he3_is_attracted_by_zero_at_any_learning_rate(system_of):
    """At R = 0 the noise E[e²σ'²] = 9 (372 + 12) = 3456 lets R decay at the rate ½ η² 3456."""
    system = system_of(1, 1, activation="he3", constraint="sphere")
    for eta in (1e-4, 1e-2, 1.0):
        found = oo.solution_spectrum(system, np.eye(1), np.zeros((1, 1)), eta=eta)
        np.testing.assert_allclose(found.eigenvalues, [-1728.0 * eta**2], rtol=1e-10)
        assert found.stable


@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_sgd_escapes_with_he3_only_below_a_learning_rate_of_order_root_n(system_of, n):
    """dR/dα ≈ 18 η R² − 1728 η² R is positive at R = 1/√N for η < 1/(96 √N), and then α is of order N."""
    system = system_of(1, 1, activation="he3", constraint="sphere")
    level = float(system.loss(np.eye(1), [[0.5]]))
    limit = 1.0 / (96.0 * np.sqrt(n))
    arrivals = []
    for part in (0.5, 0.9, 1.1):
        run = oo.integrate(
            system, np.eye(1), [[n**-0.5]], eta=part * limit, alpha=[0.0, 100.0 * n], stop_loss=level
        )
        arrivals.append(run["escape_alpha"].item() / n)
    # With u = √N R and s = α/N: du/ds = part (18/96) (u² − part u), whose time to infinity this is.
    slow = [-np.log(1.0 - part) / (part**2 * 18.0 / 96.0) for part in (0.5, 0.9)]
    np.testing.assert_allclose(arrivals[:2], slow, rtol=2.0 / np.sqrt(n) * 2.0)
    assert np.isnan(arrivals[2])


def test_he3_with_free_norms_collapses_from_small_overlaps(system_of):
    """The norm falls at the rate 18 η, and the loss that is left is that of the teacher, ½ 3! = 3."""
    system = system_of(1, 1, flow="gradient", activation="he3")
    run = oo.integrate(system, np.eye(1), [[0.1]], eta=1.0, alpha=[0.0, 1.0, 1.5], rtol=1e-12, atol=1e-24)
    Q = run["Q"].values.ravel()
    assert np.log(Q[1] / Q[2]) == pytest.approx(0.5 * 18.0, rel=1e-3)
    assert run["loss"].values[-1] == pytest.approx(3.0, abs=1e-6)
    # From a larger overlap the same network learns.
    learned = oo.integrate(system, np.eye(1), [[0.3]], eta=1.0, alpha=[0.0, 5.0])
    assert learned["loss"].values[-1] < 1e-6


# --- even activations ----------------------------------------------------------------------------


@pytest.mark.parametrize(("flow", "eta"), thinned([("gradient", 1.0), ("sgd", 0.002)], 0))
def test_growth_from_the_fixed_point_of_an_even_activation(system_of, flow, eta):
    """σ = λ² + λ⁴/24 keeps R = 0: the run ends at a fixed point, whose Jacobian tells how fast R grows."""
    system = system_of(2, 1, flow=flow, activation="0,0,1,0,1/24")
    end = oo.integrate(
        system, 0.5 * np.eye(2), np.zeros((2, 1)), eta=eta, alpha=[0.0, 30.0 / eta], rtol=1e-11
    )
    Q, R = end["Q"].values[-1], end["R"].values[-1]
    assert not R.any()
    found = oo.solution_spectrum(system, Q, R, eta=eta)
    assert found.residual < 1e-9
    rate = found.eigenvalues[0].real
    assert rate > 0.0
    times = np.array([0.0, 1.0, 2.0]) / eta
    grown = oo.integrate(system, Q, [[1e-7], [0.0]], eta=eta, alpha=times, rtol=1e-11, atol=1e-16)
    measured = np.diff(np.log(grown["R"].values[:, 0, 0])) / np.diff(times)
    np.testing.assert_allclose(measured, rate, rtol=1e-6)


def test_nothing_grows_linearly_at_the_fixed_point_of_he4(system_of):
    system = system_of(2, 1, flow="gradient", activation="he4")
    end = oo.integrate(system, 0.5 * np.eye(2), np.zeros((2, 1)), eta=1.0, alpha=[0.0, 20.0], rtol=1e-12)
    found = oo.solution_spectrum(system, end["Q"].values[-1], end["R"].values[-1], eta=1.0)
    np.testing.assert_allclose(found.eigenvalues[:2], 0.0, atol=1e-9)
    assert np.all(found.eigenvalues[2:].real < -1.0)


def test_modes_at_a_solution_are_not_counted_for_other_activations(system_of):
    """Which null directions are solutions is known for λ² only; `expected_zero_modes` says nothing."""
    from runtime.analysis.landscape.solution_stability import expected_zero_modes

    system = system_of(1, 1, activation="he3", **SPHERE)
    found = oo.solution_spectrum(system, np.eye(1), np.eye(1), eta=0.01)
    assert (found.manifold_modes, found.marginal_modes, found.stable) == (None, None, True)
    assert expected_zero_modes(oo.Model(2, 1, activation="he3")) is None
