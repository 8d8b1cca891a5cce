"""The Riccati solution of gradient flow: against the integrator, and against known invariants."""

from __future__ import annotations

import numpy as np
import pytest

import runtime
from derive import Model
from runtime import InputError
from runtime.analysis.riccati import gradient_flow

TIMES = np.array([0.0, 0.5, 7.0, 30.0, 90.0])


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A function from widths and options to the loaded system of gradient flow."""
    folder = tmp_path_factory.mktemp("generated")
    return lambda p, pstar, **options: runtime.load(Model(p, pstar, flow="gradient", **options), folder)


def weights(p, pstar, seed, general=False, rank=None):
    """Overlaps Q, R, T of random weights; students span `rank` dimensions beyond the teacher's."""
    rng = np.random.default_rng(seed)
    dimensions = pstar + (p if rank is None else rank)
    students = rng.standard_normal((p, dimensions)) / np.sqrt(dimensions)
    teachers = np.eye(pstar, dimensions)
    if general:
        teachers = teachers + 0.3 * rng.standard_normal(teachers.shape)
    return students @ students.T, students @ teachers.T, teachers @ teachers.T


CASES = [
    pytest.param(4, 2, {}, 0.4, id="4-2"),
    pytest.param(2, 3, {"readout": "sqrt", "teacher": "general"}, 0.3, id="2-3-general-sqrt"),
    pytest.param(3, 3, {"readout": "sum", "teacher": "general"}, 0.05, id="3-3-general-sum"),
    pytest.param(6, 1, {}, 0.5, id="6-1"),
]


FIXED = {"second_layer": "fixed"}
MORE_CASES = [
    pytest.param(4, 2, {}, {"eta": 0.4, "weight_decay": 0.1}, id="decay"),
    pytest.param(3, 2, {"teacher": "general"}, {"eta": 0.3, "weight_decay": 0.02}, id="general-decay"),
    pytest.param(
        3, 2, FIXED, {"eta": 0.3, "student_weights": [1.5] * 3, "teacher_weights": [0.4] * 2}, id="fixed"
    ),
    pytest.param(
        3,
        2,
        FIXED,
        {"eta": 0.3, "weight_decay": 0.01, "student_weights": [-0.5] * 3, "teacher_weights": [-2.0] * 2},
        id="both-negative-decay",
    ),
    pytest.param(2, 2, FIXED, {"eta": 0.3, "teacher_weights": [-1.0] * 2}, id="opposite"),
    pytest.param(4, 2, {}, {"eta": 0.4, "schedule": "inverse-sqrt:5", "weight_decay": 0.02}, id="schedule"),
    pytest.param(
        4, 2, {}, {"eta": 0.4, "schedule": "0:1,2:0,20:0.5", "start_alpha": 0.25}, id="pause-and-late-start"
    ),
]


@pytest.mark.parametrize(
    ("p", "pstar", "options", "training"),
    [pytest.param(*case.values[:3], {"eta": case.values[3]}, id=case.id) for case in CASES] + MORE_CASES,
)
def test_integrator_and_riccati_solution_agree(system, p, pstar, options, training):
    derived = system(p, pstar, **options)
    general = options.get("teacher") == "general"
    Q0, R0, T = weights(p, pstar, seed=p + pstar, general=general)
    training = training | {"T": T if general else None, "alpha": TIMES + training.get("start_alpha", 0.0)}
    exact = gradient_flow(derived.model, Q0, R0, **training)
    run = runtime.integrate(derived, Q0, R0, **training, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(exact.Q, run["Q"].values, rtol=0, atol=2e-12)
    np.testing.assert_allclose(exact.R, run["R"].values, rtol=0, atol=2e-12)
    np.testing.assert_allclose(exact.loss, run["loss"].values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(exact.Q[0], Q0, atol=1e-15)
    np.testing.assert_allclose(exact.R[0], R0, atol=1e-15)


def test_decay_alone_is_exponential_and_is_not_that_of_one_side():
    """With students that do not count (v = 0) R decays as e^(−ηγα), and Q twice as fast."""
    model = Model(3, 2, flow="gradient", second_layer="fixed")
    Q0, R0, _ = weights(3, 2, seed=4)
    alpha, rate = np.array([0.0, 3.0, 11.0]), 0.3 * 0.2
    given = {"eta": 0.3, "weight_decay": 0.2, "student_weights": np.zeros(3), "alpha": alpha}
    Q, R, loss = gradient_flow(model, Q0, R0, **given)
    np.testing.assert_allclose(R, np.exp(-rate * alpha)[:, None, None] * R0, rtol=1e-13)
    np.testing.assert_allclose(Q, np.exp(-2 * rate * alpha)[:, None, None] * Q0, rtol=1e-13)
    # Only the teacher is left in the loss: ½ tr² + tr D² with D = 1/p*.
    np.testing.assert_allclose(loss, 1.0, rtol=1e-14)


def test_a_schedule_only_changes_the_time():
    """At ∫g dα the flow at constant rates is where the flow with a schedule is."""
    model = Model(4, 2, flow="gradient")
    Q0, R0, _ = weights(4, 2, seed=3)
    alpha = np.array([1.0, 12.0, 40.0])
    slower = gradient_flow(model, Q0, R0, eta=0.3, alpha=alpha, schedule="exponential:10")
    constant = gradient_flow(model, Q0, R0, eta=0.3, alpha=10.0 * (1.0 - np.exp(-alpha / 10.0)))
    for with_schedule, without in zip(slower, constant, strict=True):
        np.testing.assert_allclose(with_schedule, without, rtol=0, atol=1e-14)
    still = gradient_flow(model, Q0, R0, eta=0.3, alpha=[0.0, 1.0, 2.0], schedule={0: 1, 1e-300: 0})
    np.testing.assert_allclose(still.Q, np.broadcast_to(Q0, (3, 4, 4)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("rank", [0, 1])
def test_deficient_ranks(system, rank):
    """Students in the teacher's span, or one dimension beyond; a teacher that repeats itself."""
    derived = system(4, 2)
    Q0, R0, _ = weights(4, 2, seed=8, rank=rank)
    exact = gradient_flow(derived.model, Q0, R0, eta=0.4, alpha=TIMES)
    run = runtime.integrate(derived, Q0, R0, eta=0.4, alpha=TIMES, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(exact.Q, run["Q"].values, atol=1e-12)
    np.testing.assert_allclose(exact.R, run["R"].values, atol=1e-12)
    general = system(3, 3, readout="sum", teacher="general")
    Q0, R0, T = weights(3, 3, seed=9, general=True)
    # The third teacher is the sum of the others: T has rank 2.
    mix = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    T, R0 = mix @ T[:2, :2] @ mix.T, R0[:, :2] @ mix.T
    exact = gradient_flow(general.model, Q0, R0, T, eta=0.05, alpha=TIMES)
    run = runtime.integrate(general, Q0, R0, T=T, eta=0.05, alpha=TIMES, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(exact.Q, run["Q"].values, atol=1e-12)
    np.testing.assert_allclose(exact.R, run["R"].values, atol=1e-12)


@pytest.mark.parametrize(("p", "pstar"), [(4, 2), (2, 3), (3, 3)])
def test_K_grows_as_an_exponential(p, pstar):
    """K = Rᵀ(Q − RRᵀ)⁻¹R = exp(8abηα) K(0), for T = 1 and any Q0."""
    eta, alpha = 0.3, np.linspace(0.0, 8.0, 5)
    Q0, R0, _ = weights(p, pstar, seed=5)
    Q, R, _ = gradient_flow(Model(p, pstar, flow="gradient"), Q0, R0, eta=eta, alpha=alpha)
    K = np.swapaxes(R, 1, 2) @ np.linalg.solve(Q - R @ np.swapaxes(R, 1, 2), R)
    growth = np.exp(8.0 / (p * pstar) * eta * alpha)
    np.testing.assert_allclose(K, growth[:, None, None] * K[0], rtol=1e-11)


def test_no_overlap_is_a_quadrature():
    """R0 = 0, Q0 = q 1: the quadrature is elementary, q(α) is a logistic curve, R stays 0."""
    p, pstar, eta, q0 = 5, 2, 0.4, 2.5
    alpha = np.array([0.0, 1.0, 10.0, 100.0])
    model = Model(p, pstar, flow="gradient")
    Q, R, _ = gradient_flow(model, q0 * np.eye(p), np.zeros((p, pstar)), eta=eta, alpha=alpha)
    # With the mean readout s = q − 1, and the fixed point is q = p/(p+2).
    end, rate = p / (p + 2), 4 * eta / p
    q = end / (1.0 + (end / q0 - 1.0) * np.exp(-rate * alpha))
    np.testing.assert_allclose(Q, q[:, None, None] * np.eye(p), rtol=0, atol=1e-14)
    assert not np.any(R)


def test_small_losses_keep_their_digits():
    """p = p* = 1 from w ∥ w*: dr/dα = −6ηr(r² − 1) for Q = R² = r², so the loss is known at any size."""
    eta, r0 = 0.05, 0.3
    alpha = np.array([5.0, 20.0, 60.0])
    model = Model(1, 1, flow="gradient")
    Q, R, loss = gradient_flow(model, [[r0**2]], [[r0]], eta=eta, alpha=alpha)
    # 1 − r² from r² = 1/(1 + x): no cancellation.
    x = (1.0 / r0**2 - 1.0) * np.exp(-12.0 * eta * alpha)
    r2, gap = 1.0 / (1.0 + x), x / (1.0 + x)
    np.testing.assert_allclose(R[:, 0, 0] ** 2, r2, rtol=1e-14)
    np.testing.assert_allclose(Q[:, 0, 0], r2, rtol=1e-14)
    # E is right to 1e-14, and the loss is its square: far below the floor of 1e-16.
    assert np.all(np.abs(np.sqrt(loss / 1.5) - gap) < 1e-14)
    assert 0.0 < loss[-1] < 1e-27


def test_students_beyond_the_teacher_make_the_decay_a_power_law():
    """ε ~ α⁻² for p > p*, far beyond the floor of rounded losses; exponential for p = p*."""
    alpha = np.array([300.0, 600.0, 1200.0])
    R0 = 0.05 * np.random.default_rng(6).standard_normal((4, 2))
    slow = gradient_flow(Model(4, 2, flow="gradient"), np.eye(4), R0, eta=0.4, alpha=alpha).loss
    np.testing.assert_allclose(np.diff(np.log(slow)) / np.log(2.0), -2.0, atol=0.06)
    fast = gradient_flow(Model(2, 2, flow="gradient"), np.eye(2), R0[:2], eta=0.4, alpha=alpha[:1]).loss
    assert fast[0] < 1e-25


def test_output_times_do_not_change_the_solution():
    model = Model(4, 2, flow="gradient", readout="sqrt")
    Q0, R0, _ = weights(4, 2, seed=3)
    dense = gradient_flow(model, Q0, R0, eta=0.3, alpha=np.linspace(0.0, 40.0, 161))
    sparse = gradient_flow(model, Q0, R0, eta=0.3, alpha=np.array([0.25, 13.0, 40.0]))
    for many, few in zip(dense, sparse, strict=True):
        np.testing.assert_allclose(many[[1, 52, 160]], few, rtol=0, atol=2e-14)
    start = gradient_flow(model, Q0, R0, eta=0.3, alpha=np.array([0.0]))
    np.testing.assert_allclose(start.Q[0], Q0, atol=1e-15)
    assert gradient_flow(model, Q0, R0, eta=0.3, alpha=1.0).loss.shape == (201,)


def test_large_starts_are_resolved():
    """A norm of 1e8 decays within α ~ 1e-8; the times come back whole."""
    model = Model(3, 2, flow="gradient")
    R0 = np.full((3, 2), 0.1)
    huge = gradient_flow(model, 1e8 * np.eye(3), R0, eta=0.4, alpha=np.array([1.0, 5.0]))
    assert np.isfinite(huge.loss).all()
    assert huge.loss[1] < huge.loss[0] < 10.0


@pytest.mark.parametrize(
    ("model", "option"),
    [
        (Model(2, 1), "flow"),
        (Model(2, 1, "sphere", "gradient"), "constraint"),
        (Model(2, 1, flow="gradient", second_layer="trained"), "second_layer"),
    ],
)
def test_other_dynamics_are_rejected(model, option):
    with pytest.raises(InputError, match="Riccati") as error:
        gradient_flow(model, np.eye(2), np.zeros((2, 1)), eta=0.1, alpha=1.0)
    assert error.value.option == option


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("eta", {"eta": 0.0}),
        ("alpha", {"alpha": np.array([1.0, 1.0])}),
        ("T", {"T": 2 * np.eye(1)}),
        ("Q0", {"Q0": np.eye(3)}),
        ("R0", {"R0": np.full((2, 1), 2.0)}),
        ("weight_decay", {"weight_decay": -0.1}),
        ("student_weights", {"student_weights": [1.0, 1.1]}),
        ("student_weights", {"student_weights": [1.0]}),
        ("schedule", {"schedule": "0:2"}),
        ("start_alpha", {"start_alpha": -1.0}),
    ],
)
def test_wrong_arguments_are_named(option, changed):
    arguments = {"Q0": np.eye(2), "R0": np.zeros((2, 1)), "T": None, "eta": 0.1, "alpha": 1.0}
    model = Model(2, 1, flow="gradient", second_layer="fixed" if "student_weights" in changed else "ones")
    with pytest.raises(InputError) as error:
        gradient_flow(model, **(arguments | changed))
    assert error.value.option == option


def test_small_students_and_teachers_are_not_lost(system):
    """Norms far below the rounding of the others': their own digits count."""
    sizes, T = np.array([1.0, 1e-10]), np.diag([1.0, 1e-20])
    Q0, R0 = np.diag(sizes**2), np.array([[0.1, 0.3], [0.2, 0.1]]) * np.outer(sizes, sizes)
    derived = system(2, 2, teacher="general")
    exact = gradient_flow(derived.model, Q0, R0, T, eta=0.4, alpha=[0.0, 5.0])
    run = runtime.integrate(derived, Q0, R0, T=T, eta=0.4, alpha=[0.0, 5.0], rtol=1e-13, atol=1e-40)
    for name in ("Q", "R"):
        apart = (getattr(exact, name) - run[name].values) / np.outer(sizes, sizes)
        assert np.max(np.abs(apart[0])) < 1e-15
        assert np.max(np.abs(apart[1])) < 1e-10 * np.max(
            np.abs(getattr(exact, name)[1]) / np.outer(sizes, sizes)
        )
