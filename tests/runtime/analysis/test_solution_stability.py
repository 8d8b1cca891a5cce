"""Spectra at solutions and other states, and the learning rates up to which solutions are stable."""

from __future__ import annotations

import numpy as np
import pytest
from matrix import matrix

import derive
import runtime
from derive import readout
from runtime import InputError
from runtime.analysis.landscape.solution_stability import (
    ZeroModes,
    expected_zero_modes,
    largest_stable_eta,
    solution_spectrum,
)
from runtime.analysis.landscape.zero_loss_solutions import zero_loss_solution
from runtime.analysis.plateau.plateau_curve import plateau

SPHERE_WIDTHS = [(3, 2), (4, 2)]


@pytest.fixture
def system(interpreted):
    """For tests of a few states; those that integrate take `system_of`, which compiles."""
    return interpreted


@pytest.mark.parametrize(
    ("p", "pstar", "flow"), [(1, 1, "sgd"), (3, 3, "sgd"), (4, 2, "sgd"), (7, 3, "sgd"), (4, 2, "gradient")]
)
def test_zero_modes_of_solutions(system, p, pstar, flow):
    one = system(p, pstar, flow=flow)
    spectrum = solution_spectrum(one, *zero_loss_solution(one.model, seed=5), 0.05)
    expected = expected_zero_modes(one.model)
    assert expected == ZeroModes(pstar * (2 * p - pstar - 1) // 2, (p - pstar) * (p - pstar + 1) // 2)
    assert spectrum.zero_modes == spectrum.null_directions == expected.count
    assert (spectrum.manifold_modes, spectrum.marginal_modes) == (expected.manifold, expected.marginal)
    assert spectrum.eigenvalues.size == one.model.state_size
    assert spectrum.stable
    assert spectrum.slowest < 0.0
    assert spectrum.residual < 1e-15


def test_all_solutions_with_free_norms_are_alike(system):
    one = system(4, 2)
    spectra = [
        solution_spectrum(one, *zero_loss_solution(one.model, seed=seed), 0.3).eigenvalues.real
        for seed in (None, 0, 1)
    ]
    np.testing.assert_allclose(np.sort(spectra[1]), np.sort(spectra[0]), atol=1e-13)
    np.testing.assert_allclose(np.sort(spectra[2]), np.sort(spectra[0]), atol=1e-13)


def test_rates_at_a_solution(system):
    """Q − RRᵀ decays at 4bκ(1 − 2bκ), its trace at 4bκ(1 − (p*+2)bκ), and at 2bκ towards other
    students, with κ = 2aη; none of it depends on p but through a."""
    p, pstar, eta = 7, 3, 0.3
    kappa, b = 2.0 * eta / p, 1.0 / pstar
    one = system(p, pstar)
    spectrum = solution_spectrum(one, *zero_loss_solution(one.model), eta)
    rates = -spectrum.eigenvalues.real
    for rate, count in (
        (4 * b * kappa * (1 - 2 * b * kappa), pstar * (pstar + 1) // 2 - 1),
        (4 * b * kappa * (1 - (pstar + 2) * b * kappa), 1),
        (2 * b * kappa, pstar * (p - pstar)),
    ):
        assert np.sum(np.abs(rates - rate) < 1e-12) == count


def test_rotations_of_the_students_are_null_directions(system):
    one = system(4, 2)
    Q, R = zero_loss_solution(one.model, seed=1)
    generator = np.random.default_rng(0).standard_normal((4, 4))
    generator -= generator.T
    direction = one.pack(generator @ Q - Q @ generator, generator @ R)
    change = one.jacobian(Q, R, 0.3) @ direction
    assert np.abs(change).max() < 1e-14 * np.abs(direction).max() * 100


@pytest.mark.parametrize(("p", "pstar"), SPHERE_WIDTHS)
def test_solutions_on_the_sphere_are_tight_frames(system, p, pstar):
    """Their manifold has p* p − p*(p*+1)/2 − (p − 1) dimensions."""
    one = system(p, pstar, constraint="sphere")
    Q, R = zero_loss_solution(one.model, seed=3)
    np.testing.assert_allclose(np.diag(Q), 1.0, rtol=1e-12)
    np.testing.assert_allclose(R.T @ R, p / pstar * np.eye(pstar), atol=1e-12)
    spectrum = solution_spectrum(one, Q, R, 0.2)
    assert spectrum.manifold_modes == p * pstar - pstar * (pstar + 1) // 2 - (p - 1)
    assert spectrum.eigenvalues.size == one.model.state_size - p
    assert expected_zero_modes(one.model) is None
    assert spectrum.stable
    Q, _ = zero_loss_solution(one.model, seed=None)
    np.testing.assert_allclose(np.diag(Q), 1.0, rtol=1e-12)


def test_singular_teacher(system):
    """Two teachers of rank 1: the zero modes are those of one, and R stays in the range of T."""
    T = np.array([[1.0, 0.5], [0.5, 0.25]])
    one = system(3, 2, teacher="general")
    spectrum = solution_spectrum(one, *zero_loss_solution(one.model, T), 0.05, T=T)
    assert expected_zero_modes(one.model, T) == ZeroModes(2, 3)
    assert (spectrum.manifold_modes, spectrum.marginal_modes) == (2, 3)
    assert spectrum.eigenvalues.size == one.model.state_size - 3


@pytest.mark.parametrize("T", [np.eye(3), 0.7 * np.eye(3) + 0.3, np.diag([1.0, 2.0, 1.0])])
def test_solutions_are_continuous_in_the_teacher(system, T):
    """Whatever its eigenvectors, which are anything where eigenvalues are equal."""
    one = system(4, 3, teacher="general")
    Q, R = zero_loss_solution(one.model, T, seed=2)
    assert abs(one.loss(Q, R, T)) < 1e-14
    near = T + 1e-10 * np.cos(np.add.outer(np.arange(3), np.arange(3)))
    for found, expected in zip(zero_loss_solution(one.model, near, seed=2), (Q, R), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize(
    ("p", "pstar", "options"),
    [(1, 1, {}), (4, 2, {}), (3, 3, {}), matrix((7, 3, {})), (3, 3, {"readout": "sum"})],
)
def test_largest_stable_eta_of_solutions(system, p, pstar, options):
    one = system(p, pstar, **options)
    a, b = readout.weights(one.model)
    largest = largest_stable_eta(one, "solution")
    assert largest == pytest.approx(1.0 / (2.0 * a * b * (pstar + 2)), rel=1e-10)


def test_trajectories_leave_solutions_beyond_that_eta(system_of):
    one = system_of(4, 2)
    Q, R = zero_loss_solution(one.model)
    largest = largest_stable_eta(one, "solution")
    # Noise along what was learned: Q − RRᵀ ∝ RRᵀ.
    for factor, grows in ((0.99, False), (1.01, True)):
        run = runtime.integrate(
            one, Q * (1.0 + 1e-7), R, eta=factor * largest, alpha=np.array([0.0, 300.0]), rtol=1e-12
        )
        assert (run["loss"].values[1] > 10.0 * run["loss"].values[0]) == grows


def test_stability_on_the_sphere_is_that_of_the_given_solution(system):
    one = system(4, 2, constraint="sphere")
    largest = largest_stable_eta(
        one, "solution", **dict(zip("QR", zero_loss_solution(one.model), strict=True))
    )
    assert largest == pytest.approx(1.0, rel=1e-10)
    with pytest.raises(InputError, match=r"^Q: is required on the sphere"):
        largest_stable_eta(one, "solution")


def test_other_states_have_spectra_without_classes(system):
    one = system(4, 2)
    point = plateau(one, 0.4)
    spectrum = solution_spectrum(one, point.Q, point.R, 0.4)
    np.testing.assert_allclose(spectrum.eigenvalues.real, point.spectrum, atol=1e-14)
    assert (spectrum.stable, spectrum.zero_modes, spectrum.manifold_modes) == (False, 0, None)
    assert solution_spectrum(one, np.eye(4), 0.1 * np.eye(4, 2), 0.4).residual > 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": "saddle"}, r"^where: 'saddle' is not one of plateau, escape, solution"),
        ({"where": "solution", "label_noise": 0.1}, r"^label_noise: 0\.1: with label noise no"),
        ({"where": "solution", "Q": np.eye(4)}, r"^R: is missing"),
        ({"where": "solution", "Q": np.eye(4), "R": np.zeros((4, 2))}, r"^Q: and R are not a zero-loss"),
        ({"where": "plateau", "R": np.zeros((4, 2))}, r"^R: goes with where='solution'"),
    ],
)
def test_largest_stable_eta_rejects(system, arguments, message):
    with pytest.raises(InputError, match=message):
        largest_stable_eta(system(4, 2), **arguments)


def test_zero_loss_solution_rejects(system):
    with pytest.raises(InputError, match=r"^p: 2 students cannot represent a teacher of rank 3"):
        zero_loss_solution(system(2, 3).model)
    with pytest.raises(
        InputError, match=r"^readout: 'sum': zero-loss solutions have norms of sum 2, not p = 4"
    ):
        zero_loss_solution(derive.Model(4, 2, constraint="sphere", readout="sum"))
