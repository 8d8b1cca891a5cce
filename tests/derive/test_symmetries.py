"""Properties of the drift that hold for any state, by the generated code."""

import dataclasses

import generated_code
import numpy as np
import pytest
from closed_form import OPTION_SETS, magnitude, named, random_point
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from derive import Model
from derive.pipeline import Pipeline
from derive.proof import evaluate_exactly

WIDTHS = [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (4, 2)]
seeds = st.integers(0, 2**32 - 1)
models = st.builds(
    lambda widths, options: Model(*widths, *options), st.sampled_from(WIDTHS), st.sampled_from(OPTION_SETS)
)
property_test = settings(max_examples=40)


def assert_same_drift(model, point, moved, left, right):
    """drift(moved) = left · drift(point) · right, block by block."""
    dQ, dR, *dv = generated_code.drift(model, point)
    moved_dQ, moved_dR, *moved_dv = generated_code.drift(model, moved)
    tolerance = 1e-12 * magnitude(model, point)
    np.testing.assert_allclose(moved_dQ, left @ dQ @ left.T, rtol=0, atol=tolerance)
    np.testing.assert_allclose(moved_dR, left @ dR @ right, rtol=0, atol=tolerance)
    for before, after in zip(dv, moved_dv, strict=True):
        np.testing.assert_allclose(after, np.abs(left) @ before, rtol=0, atol=tolerance)
    module = generated_code.load(model)
    before, after = (module.loss(*generated_code.arguments(model, module, x)) for x in (point, moved))
    np.testing.assert_allclose(after, before, rtol=1e-12)


def unmoved(size, _seed):
    return np.eye(size)


def exchanged(size, seed):
    """A random permutation with random signs: signs of weights do not matter."""
    generator = np.random.default_rng(seed)
    return generator.permutation(np.eye(size)) * generator.choice([-1.0, 1.0], size=size)


def rotated(size, seed):
    # SciPy's group starts at dimension 2; O(1) is the sign.
    return ortho_group.rvs(size, random_state=seed) if size > 1 else np.array([[-1.0]])


@pytest.mark.parametrize(
    ("students", "teachers", "options"),
    [
        # Second-layer weights move with their units, whose signs do not matter.
        (exchanged, unmoved, {}),
        (unmoved, exchanged, {}),
        (rotated, unmoved, {"constraint": "free", "second_layer": "ones"}),
        # An orthonormal teacher is left as it is; a general one turns along.
        (unmoved, rotated, {"second_layer": "ones"}),
    ],
)
@property_test
@given(model=models, seed=seeds)
def test_weights_may_be_turned_into_each_other(students, teachers, options, model, seed):
    model = dataclasses.replace(model, **options)
    point = random_point(model, seed)
    left, right = students(model.p, seed), teachers(model.pstar, seed)
    Q, R, T = left @ point.Q @ left.T, left @ point.R @ right, right.T @ point.T @ right
    v, vstar = (point.v, point.vstar)
    if model.second_layer != "ones":
        v, vstar = np.abs(left) @ v, vstar @ np.abs(right)
    moved = dataclasses.replace(point, Q=Q, R=R, T=T, v=v, vstar=vstar)
    assert_same_drift(model, point, moved, left, right)


@property_test
@given(models.map(lambda model: dataclasses.replace(model, constraint="sphere")), seeds, st.booleans())
def test_sphere_keeps_norms_exactly(model, seed, unrolled):
    module = generated_code.load(model, unrolled)
    dQ, *_ = module.unpack(generated_code.rhs(model, module, random_point(model, seed)))
    assert (np.diag(dQ) == 0.0).all()


@property_test
@given(models.map(lambda model: dataclasses.replace(model, flow="sgd")), st.integers(0, 99))
def test_gradient_flow_is_the_limit_of_small_steps(model, seed):
    """In exact arithmetic: gradient flow is linear in η, and what SGD adds is quadratic."""
    point = random_point(model, seed)
    gradient = dataclasses.replace(model, flow="gradient")

    def exact(which, multiple):
        values = named(which, point)
        for name in {"eta", "eta_second"} & set(which.parameters):
            values[name] *= multiple
        result = evaluate_exactly(Pipeline.of(which).program, values)
        return {name: value for name, value in result.items() if name != "loss"}

    flow, sgd = ({k: exact(which, k) for k in (1, 2, 3)} for which in (gradient, model))
    noise = {k: {name: sgd[k][name] - flow[k][name] for name in flow[k]} for k in flow}
    for k in (2, 3):
        assert flow[k] == {name: k * value for name, value in flow[1].items()}
        assert noise[k] == {name: k**2 * value for name, value in noise[1].items()}
    # One student on the sphere has no Q to move, but its R feels the noise.
    assert any(noise[1].values())
    free_R = {name for name in flow[1] if name.startswith("dR") and model.constraint == "free"}
    second = {name for name in flow[1] if name.startswith("dv")}
    assert all(noise[1][name] == 0 for name in free_R | second)


@property_test
@given(models, seeds)
def test_gradient_flow_feels_no_label_noise(model, seed):
    model = dataclasses.replace(model, flow="gradient")
    point = random_point(model, seed)
    noisy = dataclasses.replace(point, label_noise=point.label_noise + 1)
    assert_same_drift(model, point, noisy, np.eye(model.p), np.eye(model.pstar))


@property_test
@given(models.map(lambda model: dataclasses.replace(model, teacher="orthonormal")), seeds)
def test_orthonormal_teacher_is_the_general_one_at_identity(model, seed):
    point = random_point(model, seed)
    general = dataclasses.replace(model, teacher="general")
    for found, expected in zip(
        generated_code.drift(general, point), generated_code.drift(model, point), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * magnitude(model, point))
