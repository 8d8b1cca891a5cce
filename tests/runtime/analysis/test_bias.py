"""The implicit bias: the closest solution, what the ODEs and SGD find instead, and the theory of both."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
from rejections import rejected
from scipy.optimize import minimize

import derive
import runtime
from derive import readout
from runtime import InputError
from runtime.analysis.bias.bias_figure import bias_drawing
from runtime.analysis.bias.bias_study import (
    BiasStudy,
    RandomWeights,
    UnequalNorms,
    bias_at_finite_n,
    bias_of_norms,
    mean_of,
)
from runtime.analysis.bias.bias_theory import escape_polar, expected_bias, noise_to_signal
from runtime.analysis.bias.closest_solutions import bias_of_run, closest_solution, implicit_bias
from runtime.start.parameter_values import RunParameters

CORRELATED = np.array([[1.0, 0.4], [0.4, 2.0]])
SINGULAR = np.array([[1.0, 1.0], [1.0, 1.0]])


def study_of(system, eta=0.4, T=None, training=None, **others):
    return BiasStudy(system.model, {"eta": eta, "T": T, **(training or {})}, **others)


def parameters_of(model, eta=0.4, **given):
    return RunParameters.of(model, {"eta": eta, **given})


def from_random_weights(system, sizes, **study):
    return bias_at_finite_n(system, RandomWeights(study_of(system, **study), sizes))


def from_unequal_norms(system, conditions=(1.0, 10.0), scale=1e-6, **study):
    return bias_of_norms(system, UnequalNorms(study_of(system, **study), conditions, scale))


def polar(matrices):
    left, _, right = np.linalg.svd(matrices, full_matrices=False)
    return left @ right


def square_root(T):
    values, vectors = np.linalg.eigh(T)
    return vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T


# --- the closest solution --------------------------------------------------------------------


@pytest.mark.parametrize(("p", "T"), [(4, None), (2, None), (3, CORRELATED), (3, SINGULAR), (1, SINGULAR)])
def test_closest_solution_is_the_least_distance_of_explicit_weights(p, T):
    """|W0 − √(b/a) O W*|²/N minimised over isometries O, from several starts."""
    pstar, N, rng = 2, 12, np.random.default_rng(p)
    model = derive.Model(p, pstar, readout="sqrt", teacher="orthonormal" if T is None else "general")
    root = square_root(np.eye(pstar) if T is None else T)
    teachers = np.sqrt(N) * root @ np.linalg.qr(rng.standard_normal((N, pstar)))[0].T
    W = rng.standard_normal((p, N))
    a, b = readout.weights(model)
    # Isometries on the row space of T, of dimension k.
    values, vectors = np.linalg.eigh(root)
    space = vectors[:, values > 1e-8]

    def solution(x):
        return np.sqrt(b / a) * polar(x.reshape(p, -1)) @ space.T @ teachers

    def distance(x):
        return np.sum((W - solution(x)) ** 2) / N

    starts = rng.standard_normal((4, p * space.shape[1]))
    found = min((minimize(distance, x, tol=1e-12) for x in starts), key=lambda result: result.fun)
    closest = closest_solution(model, W @ W.T / N, W @ teachers.T / N, T)
    assert closest.squared_distance == pytest.approx(found.fun, rel=1e-7)
    np.testing.assert_allclose(closest.R, solution(found.x) @ teachers.T / N, atol=1e-4)
    # It has no loss, and is its own closest solution.
    target = solution(found.x)
    assert runtime.sgd.recorder.generalisation_error(
        model, target @ target.T / N, target @ teachers.T / N, teachers @ teachers.T / N
    ) == pytest.approx(0.0, abs=1e-12)


def test_bias_of_explicit_weights():
    """All distances from their definitions; leading axes are runs."""
    p, pstar, N, rng = 4, 2, 30, np.random.default_rng(0)
    model = derive.Model(p, pstar)
    teachers = np.sqrt(N) * np.linalg.qr(rng.standard_normal((N, pstar)))[0].T
    first, last = rng.standard_normal((2, 3, p, N))

    def overlaps(W):
        return W @ np.swapaxes(W, 1, 2) / N, W @ teachers.T / N

    def squared(W, V):
        return np.sum((W - V) ** 2, axis=(1, 2)) / N

    (Q0, R0), (Q, R) = overlaps(first), overlaps(last)
    bias = implicit_bias(model, Q0, R0, Q, R)
    closest, found = (np.sqrt(2.0) * polar(r) @ teachers for r in (R0, R))
    np.testing.assert_allclose(bias.closest, squared(first, closest), rtol=1e-12)
    np.testing.assert_allclose(bias.reached, squared(first, found), rtol=1e-12)
    np.testing.assert_allclose(bias.excess, bias.reached - bias.closest, atol=1e-12)
    np.testing.assert_allclose(bias.remaining, squared(last, found), rtol=1e-12)
    np.testing.assert_allclose(bias.missed, squared(last, closest), rtol=1e-12)
    norms = np.linalg.svd(R0, compute_uv=False).sum(axis=1)
    np.testing.assert_allclose(bias.excess, 2 * np.sqrt(2) * norms * (1 - bias.alignment), atol=1e-12)
    np.testing.assert_allclose(implicit_bias(model, Q0, R0, Q0, R0).alignment, 1.0, rtol=1e-14)


def test_equal_second_layers_rescale_the_solutions():
    """Solutions √(bv*/(av)) O W* have no loss, and the distance is that of explicit weights."""
    p, pstar, N, rng = 3, 2, 20, np.random.default_rng(4)
    model = derive.Model(p, pstar, second_layer="fixed")
    weights = {"student_weights": np.full(p, -0.5), "teacher_weights": np.full(pstar, -2.0)}
    teachers = np.sqrt(N) * np.linalg.qr(rng.standard_normal((N, pstar)))[0].T
    W = rng.standard_normal((p, N))
    closest = closest_solution(model, W @ W.T / N, W @ teachers.T / N, **weights)
    solution = np.sqrt(6.0) * closest.polar @ teachers
    inputs = rng.standard_normal((N, 5))
    student, teacher = (
        scale * np.sum((V @ inputs / np.sqrt(N)) ** 2, axis=0)
        for V, scale in ((solution, -0.5 / p), (teachers, -2.0 / pstar))
    )
    np.testing.assert_allclose(student, teacher, rtol=1e-12)
    np.testing.assert_allclose(closest.R, solution @ teachers.T / N, atol=1e-12)
    assert closest.squared_distance == pytest.approx(np.sum((W - solution) ** 2) / N, rel=1e-12)
    plain = closest_solution(derive.Model(p, pstar), W @ W.T / N, W @ teachers.T / N)
    assert abs(plain.squared_distance - closest.squared_distance) > 1.0


def test_second_layers_without_a_closest_solution_are_rejected():
    fixed, trained = (derive.Model(2, 2, second_layer=name) for name in ("fixed", "trained"))
    Q, R = np.eye(2), np.zeros((2, 2))
    for option, words, model, weights in (
        ("student_weights", "differ", fixed, {"student_weights": [1.0, 2.0]}),
        ("teacher_weights", "differ", fixed, {"teacher_weights": [1.0, -1.0]}),
        ("teacher_weights", "sign", fixed, {"teacher_weights": [-1.0, -1.0]}),
        ("student_weights", "second_layer", derive.Model(2, 2), {"student_weights": [1.0, 1.0]}),
        ("second_layer", "each v has solutions of its own", trained, {}),
    ):
        with rejected(option, words):
            closest_solution(model, Q, R, **weights)
        with rejected(option, words):
            implicit_bias(model, Q, R, Q, R, **weights)
    # The least loss is four times that of weights of ones: ε = b² [(p* − p)²/(p + 2) + p* − p] v*².
    wide = derive.Model(2, 4, second_layer="fixed")
    with rejected("p", r"the least is 0\.75"):
        closest_solution(wide, Q, np.zeros((2, 4)), teacher_weights=np.full(4, 2.0))


def test_runs_that_diverged_are_nan():
    model, Q0, R0 = derive.Model(2, 1), np.array([np.eye(2)] * 2), np.full((2, 2, 1), 0.1)
    R = np.array(R0)
    R[1] = np.nan
    bias = implicit_bias(model, Q0, R0, Q0, R)
    assert np.isfinite(bias.alignment).tolist() == [True, False]
    assert np.isfinite(bias.closest).tolist() == [True, False]


def test_rejections():
    with pytest.raises(InputError, match=r"p: 2 is less than the rank 4 .* the least is 0\.1875"):
        # ε = b² [(p* − p)²/(p + 2) + p* − p] = (4/4 + 2)/16.
        closest_solution(derive.Model(2, 4), np.eye(2), np.zeros((2, 4)))
    with pytest.raises(InputError, match="constraint"):
        closest_solution(derive.Model(4, 2, constraint="sphere"), np.eye(4), np.zeros((4, 2)))
    with pytest.raises(InputError, match="Q: has the shape"):
        closest_solution(derive.Model(4, 2), np.eye(3), np.zeros((4, 2)))
    with pytest.raises(InputError, match="R: has the shape"):
        implicit_bias(derive.Model(4, 2), np.eye(4), np.zeros((4, 2)), np.eye(4), np.zeros((2, 4)))
    with rejected("constraint", "'sphere'"):
        noise_to_signal(parameters_of(derive.Model(4, 2, constraint="sphere")))
    with rejected("T", "unequal eigenvalues"):
        noise_to_signal(parameters_of(derive.Model(4, 2, teacher="general"), T=CORRELATED))
    with pytest.raises(InputError, match="without bound"):
        noise_to_signal(parameters_of(derive.Model(4, 2), 3.0))
    # Norms begin to grow at the rate 4abη p* − 2ηγ without the η² term: γ has to be below 2ab p*.
    decayed = parameters_of(derive.Model(4, 2, flow="gradient"), weight_decay=0.51)
    Q0 = np.diag([1.0, 1.0, 1.0, 0.5])[None]
    with rejected("weight_decay", "norms decay to 0"):
        escape_polar(decayed, Q0, np.zeros((1, 4, 2)))
    assert np.isfinite(escape_polar(decayed.replaced(weight_decay=0.49), Q0, np.ones((1, 4, 2)))).all()


def test_overlaps_that_no_weights_have_are_rejected():
    model = derive.Model(2, 1)
    Q, R, wrong = np.eye(2), np.full((2, 1), 0.1), np.full((2, 1), 0.9)
    cases = [("R0", (Q, wrong, Q, R)), ("Q0", (-Q, R, Q, R)), ("R", (Q, R, Q, wrong)), ("Q", (Q, R, -Q, R))]
    for option, arguments in cases:
        with rejected(option, "positive semi-definite"):
            implicit_bias(model, *arguments)
        with rejected(option, r"trajectory 1 .*positive semi-definite"):
            implicit_bias(model, *(np.stack([x, y]) for x, y in zip((Q, R, Q, R), arguments, strict=True)))
    for option, arguments in (("R", (Q, wrong)), ("Q", (-Q, R))):
        with rejected(option, "positive semi-definite") as caught:
            closest_solution(model, *arguments)
        assert "Q0" not in str(caught.value)


# --- what the ODEs find ---------------------------------------------------------------------------


def test_decay_keeps_the_direction_but_not_the_norm(system_of):
    """The polar factor is that of the start. In gradient flow E = −γ/(2a(p* + 2)) holds norms below b/a."""
    R0 = 0.1 * np.random.default_rng(1).standard_normal((4, 2))
    given = {"eta": 0.4, "alpha": 600.0, "rtol": 1e-11, "weight_decay": 0.1, "batch": 4}
    for flow in ("sgd", "gradient"):
        run = runtime.integrate(system_of(4, 2, flow=flow), np.eye(4), R0, **given)
        bias = bias_of_run(run)
        assert bias["alignment"].item() == pytest.approx(1.0, abs=1e-12)
        assert bias["excess"].item() < 1e-11
        assert bias["missed"].item() == pytest.approx(bias["remaining"].item(), rel=1e-9)
    norm = np.sqrt(2.0 - 0.1 / (2.0 * 4.0 / 16.0))
    assert bias["remaining"].item() == pytest.approx(2 * (np.sqrt(2.0) - norm) ** 2, rel=1e-6)


def test_bias_of_runs_with_second_layers(system_of):
    system = system_of(3, 2, second_layer="fixed")
    R0 = 0.1 * np.random.default_rng(1).standard_normal((3, 2))
    weights = {"student_weights": [0.5] * 3, "teacher_weights": [2.0] * 2}
    run = runtime.integrate(system, np.eye(3), R0, eta=0.2, alpha=[0.0, 300.0], **weights)
    bias = bias_of_run(run)
    assert bias["alignment"].item() == pytest.approx(1.0, abs=1e-6)
    # The solutions have norms of b v*/(a v) = 6 per direction.
    closest = 3 + 12 - 2 * np.sqrt(6.0) * np.linalg.svd(R0, compute_uv=False).sum()
    assert bias["closest"].item() == pytest.approx(closest, rel=1e-12)
    assert bias["remaining"].item() < 0.1
    # Trajectories may each name their weights, but these have to be the same.
    for factor in (1.0, 2.0):
        other = run.assign(student_weights=factor * run["student_weights"])
        of_each = ["Q", "R", "loss", "student_weights"]
        runs = xarray.concat(
            [run, other], "trajectory", data_vars=of_each, coords="minimal", compat="override"
        )
        if factor == 1.0:
            np.testing.assert_array_equal(bias_of_run(runs)["closest"].values, [bias["closest"].item()] * 2)
            continue
        with rejected("student_weights", "differ"):
            bias_of_run(runs)


@pytest.mark.parametrize("flow", ["sgd", "gradient"])
def test_equal_norms_lead_to_the_closest_solution(system_of, flow):
    R0 = 0.1 * np.random.default_rng(1).standard_normal((4, 2))
    run = runtime.integrate(system_of(4, 2, flow=flow), np.eye(4), R0, eta=0.4, alpha=100.0, rtol=1e-11)
    bias = bias_of_run(run)
    assert bias["alignment"].item() == pytest.approx(1.0, abs=1e-12)
    assert bias["excess"].item() < 1e-11
    # Most of the way is along the manifold's normal: the rest decays as 1/α.
    assert bias["remaining"].item() < 0.2
    assert bias["missed"].item() == pytest.approx(bias["remaining"].item(), rel=1e-9)
    assert bias["closest"].item() == pytest.approx(
        4 + 4 - 2 * np.sqrt(2) * np.linalg.svd(R0, compute_uv=False).sum(), rel=1e-14
    )


def test_gradient_flow_weighs_the_start_with_the_inverse_root_of_its_norms():
    """Γ(Q0) ∝ Q0^(−1/2)."""
    model, rng = derive.Model(4, 2, flow="gradient"), np.random.default_rng(2)
    factors, R0 = rng.standard_normal((5, 4, 8)), rng.standard_normal((5, 4, 2))
    Q0 = factors @ np.swapaxes(factors, 1, 2) / 8
    values, vectors = np.linalg.eigh(Q0)
    expected = polar(vectors / np.sqrt(values)[:, None, :] @ np.swapaxes(vectors, 1, 2) @ R0)
    for decay in (0.0, 0.1):
        found = escape_polar(parameters_of(model, weight_decay=decay), Q0, R0)
        np.testing.assert_allclose(found, expected, atol=1e-8)


def test_unequal_norms_lead_elsewhere_as_predicted(system_of):
    study = from_unequal_norms(system_of(4, 2), [1.0, 10.0, 100.0], alpha=200.0, trajectories=32)
    alignment, theory = study["norms_alignment"].values, study["norms_theory"].values
    assert study["norms_solved"].values.all()
    np.testing.assert_allclose(alignment, theory, atol=1e-3)
    np.testing.assert_allclose(alignment[0], 1.0, rtol=1e-12)
    assert (theory[2] < theory[1]).all()
    assert 0.8 < theory[2].mean() < 0.9


def test_unequal_teachers_are_learned_one_by_one_and_the_closest_solution_is_missed(system_of):
    """The largest first, then what is orthogonal to it: the polar factor is not conserved unless T ∝ 1."""
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    T = turn @ np.diag([2.0, 0.5]) @ turn.T
    study = from_unequal_norms(
        system_of(2, 2, teacher="general"),
        [1.0, 5.0],
        T=T,
        eta=0.1,
        alpha=800.0,
        trajectories=16,
        scale=1e-5,
    )
    assert study["norms_solved"].values.all()
    alignment, theory = study["norms_alignment"].values, study["norms_theory"].values
    np.testing.assert_allclose(alignment, theory, atol=1e-3)
    assert alignment.mean() < 0.98
    # From equal norms: Gram and Schmidt on the columns of R0 along the eigenvectors of T.
    R0 = np.random.default_rng(3).standard_normal((5, 3, 2))
    model = derive.Model(3, 2, teacher="general")
    basis, upper = np.linalg.qr(R0 @ turn)
    signs = np.sign(np.diagonal(upper, axis1=1, axis2=2))
    expected = basis * signs[:, None, :] @ turn.T
    found = escape_polar(parameters_of(model, 0.1, T=T), np.tile(np.eye(3), (5, 1, 1)), R0)
    np.testing.assert_allclose(found, expected, atol=1e-12)


# --- what SGD finds ------------------------------------------------------------------------------------


def test_noise_over_signal_is_of_the_order_of_the_learning_rate():
    model = derive.Model(4, 2)
    small, large = (noise_to_signal(parameters_of(model, eta)) for eta in (1e-4, 1e-3))
    assert large / small == pytest.approx(10.0, rel=0.01)
    assert noise_to_signal(parameters_of(derive.Model(4, 2, flow="gradient"))) == 0.0
    assert noise_to_signal(parameters_of(model, label_noise=1.0)) > noise_to_signal(parameters_of(model))
    # At small η noise is that of single samples over B.
    batched = noise_to_signal(parameters_of(model, 1e-4, batch=10))
    assert batched / small == pytest.approx(0.1, rel=0.01)


def test_noise_over_signal_of_version_0_1_0():
    assert noise_to_signal(parameters_of(derive.Model(4, 2))) == pytest.approx(0.36815238911, rel=1e-10)
    others = {"label_noise": 0.5, "batch": 3, "weight_decay": 0.02}
    found = noise_to_signal(parameters_of(derive.Model(4, 2), **others))
    assert found == pytest.approx(0.12986290245, rel=1e-10)


@pytest.mark.parametrize("T", [4.0 * np.eye(2), 2.0 * SINGULAR])
def test_equal_eigenvalues_are_an_orthonormal_teacher(T):
    """One of rank 2 with τ = 4, and one of rank 1 with τ = 4: what b τ is the same for is the same."""
    rank = np.linalg.matrix_rank(T)
    general, plain = derive.Model(4, 2, teacher="general"), derive.Model(4, rank, second_layer="fixed")
    weights = np.full(rank, 4.0 * rank / 2)
    same = parameters_of(plain, 0.05, teacher_weights=weights), parameters_of(general, 0.05, T=T)
    noises = [noise_to_signal(parameters) for parameters in same]
    assert noises[0] == pytest.approx(noises[1], rel=1e-9)
    excesses = [expected_bias(parameters, 0.3, samples=50).excess for parameters in same]
    # b is 1/p*, so τ b/a is the same too.
    assert excesses[0] == pytest.approx(excesses[1], rel=1e-12)


def test_equal_second_layers_are_another_readout():
    """v = c and v* = c*: what c² a²η and c c* abη are the same for is the same."""
    plain, fixed = derive.Model(4, 2), derive.Model(4, 2, second_layer="fixed")
    doubled = parameters_of(fixed, 0.1, student_weights=[2.0] * 4, teacher_weights=[2.0] * 2)
    expected = noise_to_signal(parameters_of(plain, 0.4))
    assert noise_to_signal(doubled) == pytest.approx(expected, rel=1e-9)
    assert expected_bias(doubled, expected, samples=50).excess == pytest.approx(
        expected_bias(parameters_of(plain), expected, samples=50).excess, rel=1e-12
    )


def test_expected_bias_in_its_limits():
    model = parameters_of(derive.Model(4, 2))
    assert expected_bias(model, 0.0, samples=100).alignment == pytest.approx(1.0, abs=1e-12)
    assert expected_bias(model, 0.0, samples=100).excess == pytest.approx(0.0, abs=1e-12)
    lost = expected_bias(model, 1e12, samples=4000)
    assert abs(lost.alignment) < 5 * lost.error
    # A single student and teacher: the sign of G1 + σG2, which agrees with that of G1 with the
    # probability ½ + arctan(1/σ)/π.
    one = expected_bias(parameters_of(derive.Model(1, 1)), 1.0)
    assert one.alignment == pytest.approx(0.5, abs=5 * one.error)


@pytest.mark.parametrize(
    ("eta", "training"),
    [
        (0.1, {}),
        (0.4, {}),
        pytest.param(0.4, {"batch": 3, "weight_decay": 0.02, "label_noise": 0.5}, marks=pytest.mark.matrix),
        pytest.param(0.2, {"T": 2.0 * np.eye(2)}, marks=pytest.mark.matrix),
    ],
)
def test_sgd_from_random_weights_finds_what_theory_expects(system_of, eta, training):
    """At any N; the closest solution only at small learning rates."""
    training = dict(training)
    T = training.pop("T", None)
    one = system_of(4, 2) if T is None else system_of(4, 2, teacher="general")
    study = from_random_weights(
        one, [200, 600], eta=eta, T=T, training=training, alpha=40.0 / eta, trajectories=256, seed=1
    )
    assert study["sgd_solved"].values.mean() > 0.99
    for k in range(2):
        measured = mean_of(study["sgd_alignment"].values[k], study["sgd_solved"].values[k])
        assert abs(measured.value - study.attrs["expected_alignment"]) < 4 * measured.error
    # The excess has corrections of order 1/√N.
    excess = mean_of(study["sgd_excess"].values[1], study["sgd_solved"].values[1])
    expected = study.attrs["expected_excess"] / np.sqrt(600)
    assert abs(excess.value - expected) < 4 * excess.error + 0.1 * expected
    # The ODE from the same starts finds the closest but for Q0's deviation from 1, of order 1/√N.
    misaligned = 1.0 - study["ode_alignment"].values.mean(axis=1)
    assert (misaligned < [3e-3, 1e-3]).all()
    np.testing.assert_array_equal(study["n"].values, [200, 600])


def test_study_of_gradient_flow_has_no_sgd(system_of, tmp_path):
    flow = system_of(4, 2, flow="gradient")
    study = from_random_weights(flow, [100], alpha=100.0, trajectories=4)
    assert not [name for name in study if str(name).startswith("sgd")]
    assert study.attrs["expected_alignment"] == pytest.approx(1.0, abs=1e-12)
    norms = from_unequal_norms(flow, [1.0, 10.0], trajectories=4)
    both = study.assign_coords(norms.coords).assign(norms.data_vars)
    assert bias_drawing(both).save(tmp_path / "bias.svg").stat().st_size > 5000


def test_runs_that_are_too_short_are_not_counted(system_of):
    study = from_random_weights(system_of(4, 2), [100], alpha=0.5, trajectories=4)
    assert not study["sgd_solved"].values.any()
    mean = mean_of(study["sgd_alignment"].values[0], study["sgd_solved"].values[0])
    assert mean.count == 0
    assert np.isnan(mean.value)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"sizes": []}, "n"),
        ({"sizes": [1]}, "n"),
        ({"sizes": [100, 100]}, "n"),
        ({"alpha": 0.001}, "alpha"),
        ({"alpha": 0.0}, "alpha"),
        ({"eta": -1.0}, "eta"),
        ({"trajectories": 0}, "trajectories"),
        ({"q0": 0.0}, "q0"),
        ({"seed": -1}, "seed"),
    ],
)
def test_studies_reject_with_the_argument_s_name(system_of, arguments, option):
    with rejected(option):
        from_random_weights(system_of(4, 2), **({"sizes": [100]} | arguments))


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"conditions": []}, "conditions"),
        ({"conditions": [0.5]}, "conditions"),
        ({"conditions": [2.0, 2.0]}, "conditions"),
        ({"conditions": [1.0, 1e13]}, "conditions"),
        ({"scale": 0.0}, "scale"),
        ({"scale": 10.0}, "scale"),
    ],
)
def test_studies_of_norms_reject_with_the_argument_s_name(system_of, arguments, option):
    with rejected(option):
        from_unequal_norms(system_of(4, 2), **arguments)


def test_bias_of_many_runs_and_of_what_is_no_run(system_of):
    model = derive.Model(4, 2)
    runs = runtime.simulate(model, n=100, alpha=[0.0, 60.0], trajectories=3)
    bias = bias_of_run(runs)
    assert bias["alignment"].dims == ("trajectory",)
    assert (bias["alignment"].values <= 1.0).all()
    with pytest.raises(InputError, match="both start and end"):
        bias_of_run(runs.isel(alpha=[0]))
    with pytest.raises(InputError, match="no attribute p"):
        bias_of_run(runs.drop_attrs())
    final = runtime.integrate_ensemble(
        system_of(4, 2), *runtime.random_overlaps(4, 2, trajectories=2), eta=0.4, output="final"
    )
    with pytest.raises(InputError, match="no states over time"):
        bias_of_run(final)
