"""Small overlaps on the way to the plateau: growth and the noise of SGD, against generated equations."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from matrix import thinned
from scipy.integrate import solve_ivp

import derive
from runtime.analysis.plateau.linear_modes import linear_dynamics, teacher_directions
from runtime.analysis.plateau.plateau_noise import SmallOverlaps
from runtime.covariance.fluctuation_system import fluctuations_of
from runtime.start.parameter_values import RunParameters

CORRELATED = np.array([[1.0, 0.4], [0.4, 2.0]])
MIXED = {"student_weights": [1.5, -0.8], "teacher_weights": [0.7, -1.2]}
# Widths, options of the model, run-time parameters.
CASES = [
    (2, 2, {"teacher": "general", "second_layer": "fixed"}, {"T": CORRELATED, **MIXED}),
    (2, 2, {"constraint": "sphere", "second_layer": "fixed"}, MIXED),
    (2, 1, {"readout": "sqrt"}, {}),
    (2, 1, {"flow": "gradient"}, {}),
    (3, 2, {"constraint": "sphere", "teacher": "general"}, {"T": CORRELATED}),
    (4, 2, {}, {}),
    (2, 2, {"teacher": "general"}, {"T": [[1.0, 1.0], [1.0, 1.0]]}),
    (3, 2, {"second_layer": "fixed", "readout": "sum"}, {"student_weights": [1.0, 0.5, -1.0]}),
]
TRAINING = {"eta": 0.4, "label_noise": 0.3, "weight_decay": 0.15, "batch": 3}


def parameters_of(model, **given):
    return RunParameters.of(model, TRAINING | given)


@pytest.mark.parametrize(("p", "pstar", "options", "given"), thinned(CASES, 0, 1, 2, 3))
def test_growth_is_that_of_the_generated_equations(interpreted, p, pstar, options, given):
    """The rates of all overlaps at unequal norms, and d ln qᵢ/dα, by tangents and the right-hand side."""
    one = interpreted(p, pstar, **options)
    parameters = parameters_of(one.model, **given)
    q = np.linspace(0.4, 1.4, p)
    theory = SmallOverlaps.of(parameters)
    linear = linear_dynamics(one, one.pack(np.diag(q), np.zeros((p, pstar))), parameters)
    np.testing.assert_allclose(theory.growth_rate(q), linear.alignment, rtol=1e-11, atol=1e-13)
    dQ = one.rhs(np.diag(q), np.zeros((p, pstar)), **parameters.keywords)[0]
    if not theory.sphere:
        np.testing.assert_allclose(np.diag(dQ), q * theory.relative_drift(q), rtol=1e-11)
    # A batch that divides no noise is seen, and on the sphere a step that keeps no norms.
    if theory.share:
        undivided = dataclasses.replace(theory, share=1.0)
        assert np.max(np.abs(undivided.relative_drift(q) - theory.relative_drift(q))) > 1e-2
    if theory.sphere:
        free = dataclasses.replace(theory, sphere=False)
        assert np.max(np.abs(free.growth_rate(q) - linear.alignment)) > 1e-2


@pytest.mark.parametrize(("p", "pstar", "options", "given"), thinned(CASES, 3))
def test_noise_is_that_of_the_generated_diffusion_matrix(interpreted, p, pstar, options, given):
    """N times the covariance of one step's change of the overlaps along the teachers, at R = 0."""
    one = interpreted(p, pstar, **options)
    parameters = parameters_of(one.model, **given)
    q = np.linspace(0.4, 1.4, p)
    matrix = fluctuations_of(one).diffusion(np.diag(q), np.zeros((p, pstar)), **parameters.keywords)
    places = [one.model.state.index(f"R_{i + 1}_{r + 1}") for i in range(p) for r in range(pstar)]
    of_R = matrix[np.ix_(places, places)].reshape(p, pstar, p, pstar)
    projector = teacher_directions(parameters)[1]
    along = np.einsum("irjs,rk,sl->ikjl", of_R, projector, projector)
    theory = SmallOverlaps.of(parameters)
    expected = np.zeros_like(along)
    for i, row in enumerate(theory.diffusion(q)):
        for k, value in enumerate(row):
            expected[i, k, i, k] = value
    np.testing.assert_allclose(along, expected, rtol=1e-11, atol=1e-13)
    assert (options.get("flow") == "gradient") == (not np.any(expected))
    # What the square of one sample's error is without the fourth moments of i and k is seen.
    _, s, t = theory._loops(q)
    wrong = 4.0 * (theory.students * theory.eta) ** 2 * theory.share * q * (s * s + 2.0 * t + 0.3)
    assert theory.share == 0.0 or np.max(np.abs(wrong[:, None] - theory.diffusion(q))) > 1e-3


@pytest.mark.parametrize(
    ("options", "given", "q0"),
    thinned(
        [
            ({"constraint": "sphere"}, {"eta": 0.3}, 1.5),
            ({}, {"weight_decay": 0.02, "eta": 0.2}, 3.0),
            ({"second_layer": "fixed"}, {"student_weights": [1.0, 0.6], "eta": 0.2}, 0.5),
        ],
        1,
    ),
)
def test_noise_over_signal_is_that_of_the_covariance(interpreted, options, given, q0):
    """dΣ/dα = JΣ + ΣJᵀ + 𝓓 from random weights, with the generated J and 𝓓, over the same without 𝓓."""
    one = interpreted(2, 1, **options)
    parameters = RunParameters.of(one.model, TRAINING | {"weight_decay": 0.0} | given)
    noise, size = fluctuations_of(one), one.model.state_size
    places = [one.model.state.index(name) for name in ("R_1_1", "R_2_1")]
    packed = parameters.packed[0]
    start = np.zeros((size, size))
    start[places, places] = q0

    def drift(_, state):
        y, *covariances = state[:size], *state[size:].reshape(2, size, size)
        rate = np.empty(size)
        one.compiled_rhs(y, packed, rate)
        J = one.jacobian_of_state(y, packed)
        grown = [J @ covariance + covariance @ J.T for covariance in covariances]
        grown[0] += noise.diffusion_at(y, packed)
        return np.concatenate([rate, *(matrix.ravel() for matrix in grown)])

    y = one.pack(q0 * np.eye(2), np.zeros((2, 1)))
    theory = SmallOverlaps.of(parameters)
    # When overlaps have grown by e⁷, about e⁻¹⁴ of the noise over signal is still to come.
    end = 7.0 / np.max(theory.growth_rate(np.ones(2)))
    state = np.concatenate([y, start.ravel(), start.ravel()])
    ends = solve_ivp(drift, (0.0, end), state, rtol=1e-9, atol=1e-12).y[size:, -1].reshape(2, size, size)
    ratio = ends[0][places[0], places[0]] / ends[1][places[0], places[0]] - 1.0
    found = theory.noise_to_signal(q0, np.array([[True], [False]]))[0]
    assert found == pytest.approx(ratio, rel=1e-4)
    # Neither the noise at the start alone nor that on the plateau alone would do, but on the sphere.
    at_start = theory.diffusion(np.full(2, q0)) / (2.0 * theory.growth_rate(np.full(2, q0)) * q0)
    assert (abs(at_start[0, 0] / ratio - 1.0) < 1e-3) == theory.sphere


def test_noise_by_quadrature():
    """D = (κᵢ²/B) E[e² λᵢ² uₖ²] at weights that differ, by nodes that are exact for its degree."""
    model = derive.Model(2, 2, readout="sqrt", second_layer="fixed")
    (a, b), q = derive.readout.weights(model), np.array([0.4, 1.3])
    # Directions of the teacher are in the order of φ.
    d, f = a * np.array(MIXED["student_weights"]), b * np.sort(MIXED["teacher_weights"])
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = weights / weights.sum()
    total = np.zeros((2, 2))
    for index in itertools.product(range(5), repeat=4):
        z, weight = nodes[list(index)], np.prod(weights[list(index)])
        students, teachers = np.sqrt(q) * z[:2], z[2:]
        error = d @ students**2 - f @ teachers**2
        total += weight * (error**2 + 0.2) * np.outer(students**2, teachers**2)
    theory = SmallOverlaps.of(
        RunParameters.of(model, {"eta": 0.3, "label_noise": 0.2, "batch": 5, **MIXED})
    )
    np.testing.assert_allclose(theory.diffusion(q), (2.0 * d[:, None] * 0.3) ** 2 * total / 5, rtol=1e-12)
