"""The Hessian and zero-loss solutions with second-layer weights, against explicit weights and the ODEs."""

from __future__ import annotations

import numpy as np
import pytest
from dense_hessian import free_hessian, loss, sphere_hessian

import derive
import runtime
from derive import readout
from runtime import InputError
from runtime.analysis.landscape.critical_points import critical_point, flat_directions, solution
from runtime.analysis.landscape.hessian_spectra import hessian_spectrum, spectra_along
from runtime.analysis.landscape.hessian_study import HessianStudy, hessian_of_study
from runtime.analysis.landscape.local_hessian import LocalHessian, landscape_parameters
from runtime.analysis.landscape.solution_stability import (
    expected_zero_modes,
    largest_stable_eta,
    solution_spectrum,
)
from runtime.analysis.landscape.zero_loss_solutions import zero_loss_solution
from runtime.analysis.plateau.plateau_curve import plateau
from runtime.start.chosen_start import ChosenStart
from runtime.start.teacher_directions import Teacher

T = np.array([[1.0, 0.4], [0.4, 2.0]])
V, TEACHERS = [1.0, -0.5, 2.0], [1.5, -0.7]
LAYERS = {"student_weights": np.array(V), "teacher_weights": np.array(TEACHERS)}


def explicit(n, seed=0):
    """Random students (3, n) over √N, and teachers (2, n) with overlaps T."""
    rng = np.random.default_rng(seed)
    teachers = np.linalg.cholesky(T) @ np.linalg.qr(rng.standard_normal((n, 2)))[0].T
    return rng.standard_normal((3, n)) / np.sqrt(n), teachers


def repeated(spectrum):
    return np.sort(np.repeat(spectrum.eigenvalues, spectrum.multiplicities))


@pytest.mark.parametrize("readout_of", ["mean", "sqrt"])
@pytest.mark.parametrize(("constraint", "oracle"), [("free", free_hessian), ("sphere", sphere_hessian)])
@pytest.mark.parametrize("n", [4, 7])
def test_spectrum_is_that_of_the_dense_hessian(constraint, oracle, readout_of, n):
    model = derive.Model(
        3, 2, constraint=constraint, teacher="general", readout=readout_of, second_layer="fixed"
    )
    students, teachers = explicit(n)
    a, b = readout.weights(model)
    dense = oracle(students, teachers, a * np.array(V), b * np.array(TEACHERS))
    overlaps = students @ students.T, students @ teachers.T
    spectrum = hessian_spectrum(model, *overlaps, n, T, tolerance=1e-10, **LAYERS)
    np.testing.assert_allclose(repeated(spectrum), np.linalg.eigvalsh(dense), atol=1e-9)
    # A sign that is lost is noticed.
    wrong = hessian_spectrum(
        model, *overlaps, n, T, tolerance=1e-10, student_weights=np.abs(V), teacher_weights=TEACHERS
    )
    assert np.max(np.abs(repeated(wrong) - np.linalg.eigvalsh(dense))) > 0.01


@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_gradient_is_the_drift_of_gradient_flow(interpreted, constraint):
    options = {"flow": "gradient", "constraint": constraint, "teacher": "general", "second_layer": "fixed"}
    flow = interpreted(3, 2, **options)
    Q, R = runtime.random_overlaps(3, 2, n=50, constraint=constraint, T=T)
    parameters, teacher = landscape_parameters(flow.model, {"T": T, **LAYERS}), Teacher.from_overlaps(T)
    local = LocalHessian.at(parameters, Q, R, teacher, 50, span=True)
    dQ, dR = flow.rhs(Q, R, 0.3, T=T, **LAYERS)
    gradient, students = local.gradient, local.students
    np.testing.assert_allclose(-0.3 * gradient[:, :2] @ teacher.factor.T, dR, atol=1e-14)
    np.testing.assert_allclose(-0.3 * (gradient @ students.T + students @ gradient.T), dQ, atol=1e-14)


def test_weights_of_one_are_the_model_without_weights():
    Q, R = runtime.random_overlaps(4, 2, n=30)
    models = derive.Model(4, 2, second_layer="fixed"), derive.Model(4, 2)
    fixed, ones = (hessian_spectrum(model, Q, R, 30) for model in models)
    np.testing.assert_allclose(repeated(fixed), repeated(ones), atol=1e-15)
    assert fixed.blocks == ones.blocks


def test_hessian_at_the_plateau_of_gradient_flow(interpreted):
    """Deviations of the overlaps grow with −η times its eigenvalues, where these are not zero."""
    flow = interpreted(3, 2, flow="gradient", second_layer="fixed", teacher="general")
    point = plateau(flow, 0.4, T=T, **LAYERS)
    spectrum = hessian_spectrum(flow.model, point.Q, point.R, 100, T, **LAYERS)
    assert spectrum.stationary
    assert spectrum.classification == "saddle"
    # Each rate of A = R projector is that of a step along the teachers.
    rates = np.sort(point.dynamics.alignment.ravel())
    along = np.array(spectrum.blocks) == "teachers"
    found = -0.4 * np.repeat(spectrum.eigenvalues[along], spectrum.multiplicities[along])
    np.testing.assert_allclose(np.sort(found), rates, atol=1e-14)


def test_hessian_at_the_plateau_of_decay_is_that_of_the_loss_alone(interpreted):
    """There ∇ε = −γV; flow and decay together have the rates −η(λ + γ)."""
    flow, decay = interpreted(4, 2, flow="gradient"), 0.1
    study = HessianStudy(flow.model, {"eta": 0.4, "weight_decay": decay}, ChosenStart(), n=50)
    assert study.state is None
    spectrum, _ = hessian_of_study(study, flow)
    point = plateau(flow, 0.4, weight_decay=decay)
    assert spectrum.gradient == pytest.approx(decay * np.sqrt(4.0 * point.q), rel=1e-12)
    assert not spectrum.stationary
    along = np.array(spectrum.blocks) == "teachers"
    np.testing.assert_allclose(-0.4 * (spectrum.eigenvalues[along] + decay), point.rate, rtol=1e-12)


def test_spectra_along_a_run(system_of):
    flow = system_of(3, 2, flow="gradient", second_layer="fixed")
    Q0, R0 = runtime.random_overlaps(3, 2, n=100, seed=1)
    run = runtime.integrate(flow, Q0, R0, eta=0.3, alpha=[0.0, 20.0], **LAYERS)
    spectra = spectra_along(run, 20)
    np.testing.assert_array_equal(spectra["student_weights"], V)
    for k in range(2):
        states = run["Q"].values[k], run["R"].values[k]
        one = hessian_spectrum(flow.model, *states, 20, tolerance=0.0, **LAYERS)
        outside = np.repeat(spectra["outside"].values[k], spectra["outside_multiplicity"].item())
        found = np.sort(np.append(spectra["inside"].values[k], outside))
        np.testing.assert_allclose(found, repeated(one), atol=1e-9)


# --- zero-loss solutions ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 0, 3])
@pytest.mark.parametrize(
    ("v", "vstar"),
    [
        ([1.0, -0.5, 2.0, -3.0], [1.5, -0.7]),
        ([1.0, 1.0, 1.0, 0.3], [1.0, 2.0]),
        ([-1.0, -2.0, 3.0, -1.0], [-1.5, -0.7]),
    ],
)
def test_zero_loss_solutions(interpreted, v, vstar, seed):
    one = interpreted(4, 2, second_layer="fixed", teacher="general")
    layers = {"student_weights": v, "teacher_weights": vstar}
    Q, R = zero_loss_solution(one.model, T, seed, **layers)
    assert abs(one.loss(Q, R, T=T, **layers)) < 1e-14
    dQ, dR = one.rhs(Q, R, 0.3, T=T, **layers)
    assert max(np.max(np.abs(dQ)), np.max(np.abs(dR))) < 1e-13
    spectrum = hessian_spectrum(one.model, Q, R, 30, T, **layers)
    assert (spectrum.negative, spectrum.stationary) == (0, True)
    # HᵀD_vV + VᵀD_vH = 0: pk − k(k+1)/2 directions along the teachers, (p − k)(N − k) beyond.
    assert spectrum.flat == 4 * 2 - 3 + (4 - 2) * (30 - 2)
    stability = solution_spectrum(one, Q, R, 0.01, T=T, **layers)
    assert stability.stable
    assert stability.manifold_modes is not None
    largest = largest_stable_eta(one, "solution", Q=Q, R=R, T=T, **layers)
    for factor, stable in ((0.99, True), (1.01, False)):
        assert solution_spectrum(one, Q, R, factor * largest, T=T, **layers).stable == stable


def test_flat_directions_of_students_of_both_signs_may_have_no_loss_at_all():
    """Two students beyond the teachers, of opposite signs, cancel each other: w₁ = w₂."""
    v, b, teachers = np.array([1.0, 1.0, -1.0]), 1.0, np.eye(1, 4)
    students = np.array([[np.sqrt(3.0), 0, 0, 0], [0, 1.3, 0, 0], [0, 1.3, 0, 0]])
    assert loss(students, teachers, v / 3.0, b) < 1e-30
    assert loss(students * [[1], [1], [1.1]], teachers, v / 3.0, b) > 1e-3


def test_too_few_students_of_a_sign():
    model = derive.Model(3, 2, second_layer="fixed")
    with pytest.raises(InputError, match=r"^student_weights: has 0 negative entries, .* 1 negative"):
        zero_loss_solution(model, student_weights=[1.0, 2.0, 3.0], teacher_weights=[1.0, -1.0])
    with pytest.raises(InputError, match=r"^student_weights: has 1 positive entries, .* 2 positive"):
        HessianStudy(model, {"eta": 0.4}, ChosenStart(student_weights=[1.0, -2.0, -3.0]), place="solution")
    # A teacher without weight needs no student.
    Q, _ = zero_loss_solution(model, student_weights=[1.0, -2.0, -3.0], teacher_weights=[1.0, 0.0])
    assert np.count_nonzero(Q) == 1


def test_rejects(interpreted, tmp_path):
    fixed, sphere = (derive.Model(3, 2, constraint=c, second_layer="fixed") for c in ("free", "sphere"))
    for call in (solution, lambda m: critical_point(m, 0, 3), lambda m: flat_directions(m, 10)):
        with pytest.raises(InputError, match=r"^second_layer: 'fixed': .* only where"):
            call(fixed)
    with pytest.raises(InputError, match=r"^constraint: 'sphere': solutions with norms of 1"):
        zero_loss_solution(sphere)
    with pytest.raises(InputError, match=r"^Q: is required with second-layer weights"):
        largest_stable_eta(interpreted(3, 2, second_layer="fixed"), "solution")
    with pytest.raises(InputError, match=r"^weight_decay: 0\.1: with weight decay no zero-loss solution"):
        largest_stable_eta(interpreted(4, 2), "solution", weight_decay=0.1)
    assert expected_zero_modes(fixed) is None
    trained = derive.Model(3, 2, second_layer="trained")
    for call in (
        lambda: hessian_spectrum(trained, np.eye(3), np.zeros((3, 2)), 10),
        lambda: zero_loss_solution(trained),
        lambda: largest_stable_eta(runtime.load(trained, tmp_path), "solution", eta_second=1.0),
        lambda: HessianStudy(trained, {"eta": 0.4}, ChosenStart()),
    ):
        with pytest.raises(InputError, match=r"^second_layer: 'trained': the loss depends on w and v"):
            call()
    with pytest.raises(InputError, match=r"^student_weights: is not a parameter of p3_pstar2"):
        hessian_spectrum(derive.Model(3, 2), np.eye(3), np.zeros((3, 2)), 10, student_weights=V)


def test_batches_raise_the_largest_stable_eta(interpreted):
    """The noise is that of η/B: solutions are stable up to B/(2ab(p*+2))."""
    one = interpreted(4, 2)
    single, several = (largest_stable_eta(one, "solution", batch=batch) for batch in (1, 5))
    assert several == pytest.approx(5.0 * single, rel=1e-10)
