"""The bias at order 1/N: the mean of a step, and the mean over whole runs, by exact sums over inputs."""

import dataclasses
import itertools
from functools import cache

import closed_form
import generated_code
import numpy as np
import pytest
from mutations import mutations
from sphere_chain import bias
from step_means import MeanStep, mean_step_of_weights

from derive import Model, ProofError
from derive.fluctuations.bias_program import LENGTH, PAIR
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline
from derive.fluctuations.fluctuation_proof import prove_bias

OPTIONS = list(
    itertools.product(closed_form.CONSTRAINTS, closed_form.TEACHERS, ["ones", *closed_form.SECOND_LAYERS])
)


@cache
def text_of(model):
    return FluctuationPipeline.of(FluctuationModel.of(model)).python


def module_of(model, changed=()):
    """The module in plain Python, of which parts of the text are changed."""
    text = text_of(model)
    for old, new in changed:
        assert old in text
        text = text.replace(old, new)
    return generated_code.execute(text)


def packed(model, point):
    """State and parameters as the generated functions take them."""
    return generated_code.arguments(model, generated_code.load(model), point)


def model_of(constraint, teacher, second_layer, *, widths=(2, 1)):
    return Model(*widths, constraint, teacher=teacher, second_layer=second_layer)


def weights_of(model, point):
    """The weights in D, and κ."""
    a, b = closed_form.readouts(model)
    v, vstar = np.broadcast_to(point.v, model.p), np.broadcast_to(point.vstar, model.pstar)
    return np.concatenate([a * v, -b * vstar]), 2.0 * a * point.eta * v


def difference_from_sums(model, point, changed=(), nodes=7):
    """The largest difference of step_bias from sums over inputs, in units of the largest entry."""
    d, kappa = weights_of(model, point)
    step = MeanStep(
        point.Q, point.R, point.T, d, kappa, noise=point.label_noise, batch=int(point.batch), nodes=nodes
    )
    expected = step.beyond(
        closed_form.drift(model, point),
        decay=point.eta * point.weight_decay,
        sphere=model.constraint == "sphere",
        second=point.eta_second * closed_form.readouts(model)[0],
    )
    expected = closed_form.flatten(*expected[: 2 + model.trained])
    found = np.full(model.state_size, np.nan)
    module_of(model, changed).step_bias(*packed(model, point), found)
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


def point_of(model, batch=1.0):
    """A point at which steps are small enough that three N tell the orders in 1/N apart."""
    p, second = model.p, model.second_layer != "ones"
    return closed_form.Point(
        np.array([[1.2, 0.2], [0.2, 0.8]])[:p, :p],
        np.array([[0.5], [-0.1]])[:p],
        np.array([[1.3 if model.teacher == "general" else 1.0]]),
        eta=0.3,
        label_noise=0.2,
        weight_decay=0.5,
        batch=batch,
        v=np.array([1.5, -0.7]) if second else 1.0,
        vstar=np.array([0.8]) if second else 1.0,
        eta_second=0.4,
    )


@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_mean_of_a_step(options):
    model = model_of(*options)
    assert difference_from_sums(model, point_of(model)) < 1e-5


@pytest.mark.parametrize("constraint", closed_form.CONSTRAINTS)
def test_mean_of_a_step_with_a_batch(constraint):
    model = model_of(constraint, "orthonormal", "ones", widths=(1, 1))
    assert difference_from_sums(model, point_of(model, batch=2.0)) < 1e-5


_BATCH = (("inverse_batch * L[i, j]", "L[i, j]"), ("(1.0 - inverse_batch) * MM[i, j]", "0.0"))
_DECAY = (
    ("decay * (decay * y[A]", "decay * (0.0"),
    ("- 2.0 * mean[A])", ")"),
    ("-= decay * mean[A]", "-= 0.0"),
)
_SPHERE = (
    ("0.5 * (y[A] * growth[unit] +", "0.5 * ("),
    ("+ noise[A, B] / y[B])", ")"),
    ("0.375", "0.25"),
    ("0.25 * y[A] * noise[B, k]", "0.0 * noise[B, k]"),
    ("noise[A, B] += mean[A] * mean[B]", "pass"),
    ("_free_diffusion(y, parameters, noise)", "diffusion(y, parameters, noise)"),
)


@pytest.mark.parametrize(
    ("constraint", "batch", "wrong"),
    [
        *(("free", 2.0, wrong) for wrong in _BATCH),
        *(("free", 1.0, wrong) for wrong in (*_DECAY, ("l_0 = 2.0 * label", "l_0 = 6.0 * label"))),
        *(("sphere", 1.0, wrong) for wrong in _SPHERE),
    ],
    ids=str,
)
def test_a_wrong_mean_of_a_step_is_told_apart(constraint, batch, wrong):
    model = model_of(constraint, "orthonormal", "ones", widths=(1 if batch > 1 else 2, 1))
    assert difference_from_sums(model, point_of(model, batch), [wrong]) > 1e-3


@pytest.mark.parametrize(("widths", "n", "batch"), [((2, 2), 3, 1), ((2, 1), 2, 2)])
def test_mean_of_a_step_on_weights_whose_overlaps_are_singular(widths, n, batch):
    """Fewer dimensions than units: |x|² and the products of a batch are what the weights say."""
    model, generator = Model(*widths, teacher="general", second_layer="fixed"), np.random.default_rng(5)
    w, teacher = generator.normal(size=(model.p, n)), generator.normal(size=(model.pstar, n))
    point = closed_form.Point(
        *(x @ y.T / n for x, y in ((w, w), (w, teacher), (teacher, teacher))),
        eta=0.3,
        label_noise=0.2,
        batch=float(batch),
        v=generator.normal(size=model.p),
        vstar=generator.normal(size=model.pstar),
    )
    d, kappa = weights_of(model, point)
    exact = mean_step_of_weights(w, teacher, d, kappa, point.label_noise, batch)
    b = np.empty(model.state_size)
    module_of(model).step_bias(*packed(model, point), b)
    beyond = closed_form.unflatten(model, b)[0]
    dQ = closed_form.drift(model, point)[0]
    assert np.abs(exact - dQ - beyond / n).max() < 1e-12 * np.abs(exact).max()
    assert np.abs(beyond).max() > 0.1 * np.abs(dQ).max()


def solution(changed, alpha, R0, eta, noise):
    """R, the loss, and N times the bias of both, at α = `alpha` on the sphere (RK4)."""
    model = Model(1, 1, "sphere")
    module = module_of(model, changed)
    point = closed_form.Point(np.eye(1), R0 * np.eye(1), np.eye(1), eta, noise)
    start, parameters = packed(model, point)
    y, steps = np.concatenate([start, np.zeros(5)]), 100

    def slope(state):
        out = np.empty_like(state)
        module.rhs_with_bias(state, parameters, out)
        return out

    h = alpha / steps
    for _ in range(steps):
        first = slope(y)
        second = slope(y + h / 2 * first)
        third = slope(y + h / 2 * second)
        y = y + h / 6 * (first + 2 * second + 2 * third + slope(y + h * third))
    return y[1], generated_code.load(model).loss(y, parameters), y[6], module.loss_bias(y, parameters)


RUN = {"alpha": 2.0, "R0": 0.7, "eta": 0.05, "noise": 0.2}


@cache
def exact_bias(R, loss):
    """N times the bias of R and of the loss 2(1 − R²), from the transition operator."""
    functions = (lambda R: R, lambda R: 2.0 * (1.0 - R * R))
    return bias(RUN["R0"], RUN["alpha"], (R, loss), functions, eta=RUN["eta"], noise=RUN["noise"])


def test_mean_over_whole_runs():
    R, loss, *found = solution((), **RUN)
    assert loss == pytest.approx(2.0 * (1.0 - R * R), rel=1e-12)
    np.testing.assert_allclose(found, exact_bias(R, loss), rtol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        ("y[5 + i] - 0.5 * dy[i]", "y[5 + i]"),
        ("y[5 + i] - 0.5 * dy[i]", "-0.5 * dy[i]"),
        ("step_bias(y, parameters, bias)", "pass"),
        ("bias[i] += 0.5 * change[i]", "pass"),
        ("bias[i] += 0.5 * change[i]", "bias[i] += change[i]"),
        ("dy[k] = product[i, j] + product[j, i] + noise[i, j]", "dy[k] = 0.0; k += 0"),
    ],
    ids=str,
)
def test_a_wrong_mean_over_whole_runs_is_told_apart(wrong):
    R, loss, *found = solution([wrong], **RUN)
    assert np.all(np.abs(found / exact_bias(R, loss) - 1.0) > 1e-2)


def test_a_wrong_bias_of_the_loss_is_told_apart():
    for wrong in (
        ("bias = loss_tangent(y, parameters, y[5 : 5 + STATE_SIZE])", "bias = 0.0"),
        ("bias += 0.5 * second_loss_tangent", "bias += 0.0 * second_loss_tangent"),
    ):
        R, loss, _, found = solution([wrong], **RUN)
        assert abs(found / exact_bias(R, loss)[1] - 1.0) > 1e-2


def jacobian_at(model, point, y):
    state = dict(zip("QRv", closed_form.unflatten(model, y), strict=False))
    return closed_form.jacobian(model, dataclasses.replace(point, **state))


def test_second_order_of_the_drift_in_all_order_parameters(options):
    """The change of m against differences of Jacobians of the closed form, with many order parameters."""
    model = Model(3, 2, *options)
    generator, n = np.random.default_rng(2), model.state_size
    point = closed_form.random_point(model, seed=4)
    y, parameters = packed(model, point)
    module, m = module_of(model), generator.normal(size=n)
    root = generator.normal(size=(n, n)) / n
    if model.constraint == "sphere":
        root[[model.state.index(f"Q_{i}_{i}") for i in (1, 2, 3)]] = 0.0
    covariance = root @ root.T
    state = np.concatenate([y, covariance[np.triu_indices(n)], m])
    found = np.empty_like(state)
    module.rhs_with_bias(state, parameters, found)
    drift, b, sgd = found[:n], np.zeros(n), model.flow == "sgd"
    if sgd:
        module.step_bias(y, parameters, b)
    expected = b + jacobian_at(model, point, y) @ (m - 0.5 * sgd * drift)
    for direction in root.T:
        h = 1e-4 / np.abs(direction).max()
        after, before = (jacobian_at(model, point, y + s * h * direction) for s in (1, -1))
        expected += 0.5 * (after - before) @ direction / (2 * h)
    assert np.abs(found[-n:] - expected).max() < 1e-6 * np.abs(expected).max()
    extended = found.copy()
    module.rhs(state, parameters, extended)
    assert np.array_equal(extended, found)


@pytest.mark.parametrize("options", [("free", "general", "trained"), ("sphere", "general", "fixed")])
def test_wrong_moments_of_the_mean_are_not_proved(options):
    model = FluctuationModel.of(model_of(*options))
    pipeline = FluctuationPipeline(model)
    prove_bias(model, pipeline.bias_program)

    def is_proved(wrong):
        try:
            prove_bias(model, wrong)
        except ProofError:
            return False
        return True

    wrong = list(mutations(pipeline.bias_program))
    assert [what for what, program in wrong if is_proved(program)] == []
    assert len(wrong) > 50
    assert {LENGTH, PAIR} <= set(pipeline.bias_program.outputs)
