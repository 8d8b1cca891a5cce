"""The plateau with second-layer weights: formulas of gradient flow, long runs, dense Jacobians, limits."""

from __future__ import annotations

import numpy as np
import pytest

import derive
import runtime
from derive import readout
from runtime import InputError
from runtime.analysis.landscape.solution_stability import largest_stable_eta
from runtime.analysis.plateau.fixed_point import NoPlateauError
from runtime.analysis.plateau.linear_modes import ALIGNMENT, NORM, LinearDynamics
from runtime.analysis.plateau.plateau_curve import largest_plateau_eta, plateau
from runtime.analysis.plateau.weighted_norms import NormDynamics
from runtime.start.parameter_values import RunParameters

UNEQUAL = np.array([[1.0, 0.3], [0.3, 2.0]])
MIXED = [1.0, 0.5, -0.7]
GENERAL = {"teacher": "general"}
# Options of the model (3, 2) and run-time parameters.
CASES = [
    ({}, {"eta": 0.3, "student_weights": MIXED, "teacher_weights": [1.0, 0.3]}),
    ({"flow": "gradient"}, {"eta": 0.4, "student_weights": MIXED, "teacher_weights": [1.0, -0.3]}),
    (
        GENERAL,
        {"eta": 0.1, "student_weights": [1.0, 0.5, -1.7], "teacher_weights": [1.0, -0.6], "T": UNEQUAL}
        | {"weight_decay": 0.05, "batch": 3, "label_noise": 0.2},
    ),
    ({"readout": "sqrt"}, {"eta": 0.05, "student_weights": [2.0, 1.0, 1.0], "weight_decay": 0.1}),
    # Students of both signs are active, and none would be in gradient flow.
    ({}, {"eta": 0.1, "student_weights": [1.0, 0.5, -1.7], "teacher_weights": [1.0, -1.0]}),
    (
        GENERAL | {"constraint": "sphere"},
        {"eta": 0.1, "student_weights": MIXED, "teacher_weights": [1.0, -0.6], "T": UNEQUAL, "batch": 2},
    ),
]


@pytest.fixture
def system(interpreted):
    """For tests of a few states; those that integrate take `system_of`, which compiles."""
    return lambda p, pstar, **options: interpreted(p, pstar, second_layer="fixed", **options)


def norms_of_flow(v, vstar, T, a, b):
    """q_i = b tr(D_v* T)/(a (n + 2) v_i) for the n students with its sign, 0 for others (PHYSICS 11)."""
    output = b * np.trace(np.diag(vstar) @ T)
    active = np.sign(v) == np.sign(output)
    return np.where(active, output / (a * (active.sum() + 2) * np.asarray(v)), 0.0)


@pytest.mark.parametrize("readout_of", ["mean", "sum", "sqrt"])
@pytest.mark.parametrize("vstar", [[1.0, 0.3], [1.0, -0.8], [0.2, -2.0]])
def test_norms_of_gradient_flow(system, vstar, readout_of):
    flow = system(4, 2, flow="gradient", readout=readout_of, **GENERAL)
    v = [1.0, 0.25, -0.5, -3.0]
    a, b = readout.weights(flow.model)
    point = plateau(flow, 0.3, T=UNEQUAL, student_weights=v, teacher_weights=vstar)
    expected = norms_of_flow(v, vstar, UNEQUAL, a, b)
    np.testing.assert_allclose(point.norms, expected, rtol=1e-14, atol=0.0)
    assert 0 < np.sum(expected == 0.0) < 4
    # With all students in place of the active ones the drift would not vanish.
    wrong = expected * (np.sum(expected > 0.0) + 2) / (4 + 2)
    drift = flow.rhs(np.diag(wrong), point.R, 0.3, T=UNEQUAL, student_weights=v, teacher_weights=vstar)
    assert np.max(np.abs(drift[0])) > 1e-4


def test_rates_of_gradient_flow(system):
    """4ηa b v_i φ, φ of D_v* T, for active students, whatever γ; T = 1 here, where φ = v*_r."""
    flow, v, vstar = system(3, 2, flow="gradient"), np.array(MIXED), np.array([1.0, -0.3])
    a, b = readout.weights(flow.model)
    for decay in (0.0, 0.02):
        point = plateau(flow, 0.4, student_weights=v, teacher_weights=vstar, weight_decay=decay)
        expected = 4.0 * 0.4 * a * b * np.outer(v[:2], vstar)
        np.testing.assert_allclose(point.dynamics.alignment[:2], expected[:, ::-1], rtol=1e-13)
        assert point.rate == pytest.approx(expected[0, 0], rel=1e-13)
        assert point.multiplicity == 1


@pytest.mark.parametrize(("options", "parameters"), CASES)
def test_spectrum_is_that_of_the_dense_jacobian(system, options, parameters):
    one = system(3, 2, **options)
    point = plateau(one, **parameters)
    dense = np.linalg.eigvals(one.jacobian(point.Q, point.R, **parameters))
    np.testing.assert_allclose(
        np.sort_complex(point.spectrum.astype(complex)), np.sort_complex(dense), rtol=0.0, atol=1e-14
    )
    assert point.residual < 1e-15
    assert point.multiplicity == point.dynamics.leading.count


def test_derived_equations_of_the_norms_are_the_generated_ones(system):
    """Away from the plateau too; without the students' own slope they would not be."""
    one, parameters = system(3, 2, **GENERAL), CASES[2][1]
    norms = NormDynamics.of(RunParameters.of(one.model, parameters))
    q, eta, theta = np.array([0.3, 0.5, 1.1]), 0.1, 0.1 / 3
    drift = np.diag(one.rhs(np.diag(q), np.zeros((3, 2)), **parameters)[0])
    growth, slopes, _ = norms.growth(q, theta)
    np.testing.assert_allclose(eta * growth * q, drift, rtol=1e-13)
    wrong, _, _ = norms.growth(q, 0.1)
    assert np.max(np.abs(eta * wrong * q - drift)) > 1e-3 * np.max(np.abs(drift))
    h = 1e-6
    numeric = [
        (norms.growth(q + h * e, theta)[0] - norms.growth(q - h * e, theta)[0]) / (2 * h) for e in np.eye(3)
    ]
    np.testing.assert_allclose(slopes, np.transpose(numeric), atol=1e-8)
    jacobian = one.jacobian(np.diag(q), np.zeros((3, 2)), **parameters)
    diagonal = [0, 3, 5]
    np.testing.assert_allclose(
        eta * norms.rates(q, theta), jacobian[np.ix_(diagonal, diagonal)], atol=1e-14
    )


def test_weights_of_one_are_the_model_without_weights(system, interpreted):
    for options, eta in (({}, 0.4), ({"flow": "gradient"}, 0.4), ({"constraint": "sphere"}, 0.2)):
        fixed, ones = (plateau(make(4, 2, **options), eta, 0.1, batch=2) for make in (system, interpreted))
        np.testing.assert_allclose(fixed.Q, ones.Q, rtol=1e-13)
        np.testing.assert_allclose(fixed.spectrum, ones.spectrum, atol=1e-14)
        assert (fixed.multiplicity, fixed.stable) == (ones.multiplicity, ones.stable)
        assert fixed.loss == pytest.approx(ones.loss, rel=1e-13)
    # f = a Σ c λ² is the model without weights at c η, with students √c w.
    twice = {"student_weights": [2.0] * 4}
    assert largest_plateau_eta(system(4, 2), **twice) == pytest.approx(0.6, rel=1e-11)
    for where in ("plateau", "escape"):
        assert largest_stable_eta(system(4, 2), where, **twice) == pytest.approx(0.6, rel=1e-11)


def test_positive_teacher_weights_are_a_general_teacher(system, interpreted):
    """T = diag(v*)."""
    fixed = plateau(system(3, 2), 0.2, teacher_weights=[1.5, 0.5])
    general = plateau(interpreted(3, 2, **GENERAL), 0.2, T=np.diag([1.5, 0.5]))
    assert fixed.q == pytest.approx(general.q, rel=1e-13)
    assert fixed.loss == pytest.approx(general.loss, rel=1e-13)
    assert fixed.rate == pytest.approx(general.rate, rel=1e-12)


@pytest.mark.parametrize(("options", "parameters"), [CASES[0], CASES[1], CASES[2], CASES[4]])
def test_norms_relax_to_the_plateau(system, system_of, options, parameters):
    point = plateau(system(3, 2, **options), **parameters)
    one = system_of(3, 2, second_layer="fixed", **options)
    slowest = max(mode.rate for mode in point.modes if mode.name == NORM)
    run = runtime.integrate(
        one,
        0.8 * np.eye(3),
        np.zeros((3, 2)),
        alpha=[0.0, 28.0 / -slowest],
        rtol=1e-12,
        atol=1e-16,
        **parameters,
    )
    np.testing.assert_allclose(run["Q"].values[-1], point.Q, atol=1e-9)
    assert run["loss"].values[-1] == pytest.approx(point.loss, rel=1e-9)


def test_trajectories_leave_along_the_leading_mode(system, system_of):
    """R grows at the plateau's rate, by the student and in the direction that lead."""
    options, parameters = CASES[2]
    point = plateau(system(3, 2, **options), **parameters)
    one = system_of(3, 2, second_layer="fixed", **options)
    # A student of norm 0 has no overlaps.
    R0 = 1e-12 * np.random.default_rng(0).standard_normal((3, 2)) * (point.norms[:, None] > 0.0)
    alpha = np.array([0.0, 100.0, 110.0])
    run = runtime.integrate(one, point.Q, R0, alpha=alpha, rtol=1e-12, atol=1e-26, **parameters)
    leading = point.dynamics.leading
    size = leading.size(run["R"].values)
    assert np.log(size[2] / size[1]) / 10.0 == pytest.approx(point.rate, rel=1e-7)
    others = run["R"].values[2] - leading.overlaps(
        np.where(leading.mask, run["R"].values[2] @ leading.projector, 0.0)
    )
    assert np.linalg.norm(others) < 0.02 * np.linalg.norm(run["R"].values[2])


def test_students_of_both_signs_where_the_mean_output_is_zero(system):
    """a v_i q_i = C (κ_i − Σκ/(p+2))/2 to first order in η, with C = b² tr(D_v* T)² and κ = 2aηv."""
    one, eta, v = system(2, 2), 1e-5, np.array([1.0, -1.0])
    a, b = readout.weights(one.model)
    point = plateau(one, eta, student_weights=v, teacher_weights=[1.0, -1.0])
    np.testing.assert_allclose(a * v * point.norms, a * eta * 2.0 * b**2 * v, rtol=1e-4)


def test_norms_run_away_beyond_the_largest_eta(system, system_of):
    weights = {"student_weights": MIXED, "teacher_weights": [1.0, 0.3]}
    largest = largest_plateau_eta(system(3, 2), **weights)
    last = plateau(system(3, 2), largest * (1.0 - 1e-9), **weights)
    assert last.stable
    # So much noise sustains the student of the other sign, too.
    assert np.all(last.norms > 0.1)
    with pytest.raises(NoPlateauError, match=r"^eta: .* the norms of the students run away"):
        plateau(system(3, 2), largest * (1.0 + 1e-9), **weights)
    one = system_of(3, 2, second_layer="fixed")
    for factor, stays in ((0.99, True), (1.01, False)):
        run = runtime.integrate(one, last.Q, last.R, eta=factor * largest, alpha=5000.0, **weights)
        assert (run["status"].item() == "ok") == stays


def test_noise_sustains_norms_that_decay_would_shrink(system, interpreted):
    """At γ = 0.6 the norms of (4, 2) shrink to zero below η = 0.4, and not above."""
    for one in (system(4, 2), interpreted(4, 2)):
        with pytest.raises(NoPlateauError, match=r"^weight_decay: 0\.6 leaves no plateau.* shrink to zero"):
            plateau(one, 0.39, weight_decay=0.6)
        assert plateau(one, 0.41, weight_decay=0.6).q > 0.0
        largest = largest_plateau_eta(one, weight_decay=0.6)
        assert largest_stable_eta(one, "plateau", weight_decay=0.6) == pytest.approx(largest, rel=1e-11)
        # So much decay and noise: R has the rate κ (2b − κ(1 + 2b²)/2 …) < 0 wherever there is a plateau.
        assert largest_stable_eta(one, "escape", weight_decay=3.0) == 0.0
    flow = interpreted(4, 2, flow="gradient")
    assert largest_stable_eta(flow, weight_decay=0.6) == 0.0
    assert largest_stable_eta(flow, weight_decay=0.4) == np.inf


@pytest.mark.parametrize(
    ("v", "least", "ends"),
    [
        # Students of opposite signs align in gradient flow, and not with enough noise.
        ([1.0, 0.5, -1.0, 2.0], 0.4, ("plateau", "escape")),
        ([3.0, 1.0, -2.0, 2.0], 0.1, ("plateau", "escape")),
        ([1.0, 1.0, 1.0, -1.0], 0.5, ("plateau",)),
        # Above, R decays too.
        ([1.0, 1.0, 1.0, -1.0], 0.5, ("escape",)),
        ([0.3, 0.15, -0.3, 0.6], 1.0, ("escape",)),
    ],
)
def test_largest_eta_on_the_sphere_ends_an_interval(system, v, least, ends):
    one = system(4, 2, constraint="sphere", readout="sqrt")
    given = {"label_noise": 0.3, "batch": 4, "student_weights": v}
    assert not plateau(one, least, **given).stable
    for where in ends:
        largest = largest_stable_eta(one, where, **given)
        for factor, holds in ((1.0 - 1e-9, True), (1.0 + 1e-9, False)):
            point = plateau(one, factor * largest, **given)
            assert (point.stable and (where == "plateau" or point.rate > 0.0)) == holds


def test_no_limit_or_no_plateau_that_attracts_on_the_sphere(system):
    weights = {"student_weights": [0.3, 0.15, -0.3, 0.6], "batch": 4}
    one = system(4, 2, constraint="sphere", readout="sqrt")
    assert largest_stable_eta(one, **weights) == np.inf
    assert plateau(one, 1e4, **weights).stable
    flow = system(4, 2, constraint="sphere", readout="sqrt", flow="gradient")
    assert largest_stable_eta(flow, **weights) == 0.0
    assert largest_stable_eta(flow) == np.inf


@pytest.mark.matrix
def test_largest_eta_where_newton_steps_end_close_to_the_plateau(system):
    one = system(4, 2)
    given = {"label_noise": 0.3, "batch": 4, "student_weights": [1.0, 1.0, 1.0, -1.0]}
    largest = largest_stable_eta(one, **given)
    assert largest == pytest.approx(largest_plateau_eta(one, **given), rel=1e-11)
    assert plateau(one, largest, **given).stable
    with pytest.raises(NoPlateauError, match="run away"):
        plateau(one, largest * (1.0 + 1e-9), **given)


@pytest.mark.parametrize(
    ("options", "weights", "message"),
    [
        (
            {"flow": "gradient"},
            {"teacher_weights": [1.0, -1.0]},
            r"^teacher_weights: have tr\(D_v\* T\) = 0: .* the norms of the students decay as 1/α$",
        ),
        (
            {"flow": "gradient"},
            {"teacher_weights": [-1.0, -1.0]},
            r"^student_weights: have none with the sign of .*, the norms of the students shrink to zero$",
        ),
        (
            {"flow": "gradient"},
            {"teacher_weights": [-1.0, -1.0], "weight_decay": 0.1},
            r"^student_weights: have none with the sign of b tr\(D_v\* T\) = -1: ",
        ),
        ({}, {"student_weights": [1.0, 0.0, 1.0]}, r"^student_weights: hold a 0: .* keeps the norm"),
        ({}, {"weight_decay": 5.0}, r"^weight_decay: 5 leaves no plateau"),
        ({}, {"student_weights": [1.0, 2.0]}, r"^student_weights: has the shape"),
    ],
)
def test_rejects(system, options, weights, message):
    with pytest.raises(InputError, match=message):
        plateau(system(3, 2, **options), 0.1, **weights)


def test_a_trained_second_layer_has_no_plateau(tmp_path):
    """Nothing is derived to find that out."""
    one = runtime.load(derive.Model(2, 1, second_layer="trained"), tmp_path)
    for call in (
        lambda: plateau(one, 0.1, eta_second=0.1),
        lambda: plateau(one, [0.1, 0.2], eta_second=0.1),
        lambda: largest_stable_eta(one, eta_second=0.1),
        lambda: largest_plateau_eta(one, eta_second=0.1),
    ):
        with pytest.raises(
            NoPlateauError, match=r"^second_layer: 'trained': there is no plateau, .* family$"
        ):
            call()


def test_stationary_states_of_a_trained_second_layer_are_a_family(interpreted):
    """v_i q_i = b tr T/(a (p + 2)), with any v, in gradient flow; SGD has no such states."""
    v = np.array([0.4, 1.0, 2.5])
    for flow, stationary in (("gradient", True), ("sgd", False)):
        one = interpreted(3, 2, flow=flow, second_layer="trained")
        a, b = readout.weights(one.model)
        Q = np.diag(b * 2.0 / (a * 5.0 * v))
        drift = one.rhs(Q, np.zeros((3, 2)), 0.3, eta_second=0.2, student_weights=v)
        assert (max(np.max(np.abs(part)) for part in drift) < 1e-15) == stationary


def test_a_trained_second_layer_on_the_sphere_has_the_plateau_of_a_fixed_one(interpreted, system):
    """That of v_i = b tr(D_v* T)/(a (p + 2) Q_ii), as the refusal says."""
    one = interpreted(3, 2, constraint="sphere", second_layer="trained")
    with pytest.raises(
        NoPlateauError,
        match=r"^second_layer: 'trained': .*v_i = b tr\(diag\(v\*\) ?T\)/\(a\(p \+ 2\)Q_ii\)$",
    ):
        plateau(one, 0.1, eta_second=0.1)
    a, b = readout.weights(one.model)
    norms, vstar = np.array([0.5, 1.0, 2.0]), [1.0, 0.4]
    v = b * sum(vstar) / (a * 5.0 * norms)
    point = plateau(
        system(3, 2, constraint="sphere"), 0.1, norms=norms, student_weights=v, teacher_weights=vstar
    )
    drift = one.rhs(point.Q, point.R, 0.1, eta_second=0.2, student_weights=v, teacher_weights=vstar)
    assert max(np.max(np.abs(part)) for part in drift) < 1e-15
    moved = one.rhs(point.Q, point.R, 0.1, eta_second=0.2, student_weights=1.1 * v, teacher_weights=vstar)
    assert np.max(np.abs(moved[2])) > 1e-3


def test_modes_that_oscillate_come_in_pairs():
    """No plateau that we know has them; the matrix of its norms need not be symmetric."""
    values = np.array([-3.0, -1.0 - 2.0j, -1.0 + 2.0j, -3.0])
    modes = LinearDynamics((("norm", values),), *(np.zeros((1, 1)),) * 5).modes
    assert [(m.rate, m.frequency, m.multiplicity) for m in modes] == [(-3, 0, 2), (-1, -2, 1), (-1, 2, 1)]


def test_modes_of_alignment_are_the_largest(system):
    point = plateau(system(3, 2), **CASES[0][1])
    alignment = [mode.rate for mode in point.modes if mode.name == ALIGNMENT]
    assert point.rate == max(alignment) == np.max(point.dynamics.alignment)
