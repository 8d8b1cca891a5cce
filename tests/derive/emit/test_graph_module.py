"""The generated code of polynomial activations, in lines and in loops, against brute force."""

import json

import generated_code
import numpy as np
import pytest
from closed_form import flatten, named, random_point
from polynomial.brute_force import drift_and_loss

from derive import Model
from derive.pipeline import Pipeline

MODELS = [
    Model(2, 1, activation="he3"),
    Model(3, 2, activation="he2+he3"),
    Model(2, 2, activation="he4", teacher="general", second_layer="trained"),
    Model(2, 2, "sphere", activation="he3", teacher_activation="0,1/3,1", second_layer="fixed"),
    Model(2, 1, flow="gradient", activation="1/7,-1,0,1", teacher="general"),
    Model(1, 1, "sphere", activation="he5"),
]


def by_name(model):
    return model.name


@pytest.fixture(params={"lines": True, "loops": False}.items(), ids=lambda item: item[0])
def unrolled(request):
    return request.param[1]


def by_brute_force(model, values):
    names = {name[1:]: x for name, x in drift_and_loss(model, values).items() if name != "loss"}
    return np.array([names[name] for name in model.state])


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_rhs_and_loss(model, unrolled):
    module, point = generated_code.load(model, unrolled), random_point(model, seed=4)
    values = {name: float(value) for name, value in named(model, point).items()}
    expected = by_brute_force(model, values)
    found = generated_code.rhs(model, module, point)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))
    loss = module.loss(*generated_code.arguments(model, module, point))
    assert loss == pytest.approx(drift_and_loss(model, values)["loss"], rel=1e-12)
    assert np.array_equal(generated_code.arguments(model, module, point)[0], flatten(*point.state(model)))


@pytest.mark.parametrize("model", [MODELS[0], *MODELS[2:5]], ids=by_name)
def test_jacobian(model, unrolled):
    """Against the complex step on brute force."""
    module, point = generated_code.load(model, unrolled), random_point(model, seed=2)
    values = {name: float(value) for name, value in named(model, point).items()}
    found = generated_code.jacobian(model, module, point)
    step = 1e-30
    for column, name in enumerate(model.state):
        expected = by_brute_force(model, values | {name: values[name] + 1j * step}).imag / step
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(found[:, column], expected, rtol=0, atol=1e-11 * scale)


def test_blocks_say_which_graphs_they_are():
    source = generated_code.source(Model(4, 2, activation="he3"))
    assert '"""Overlap ODEs of a teacher-student network with polynomial activation, p = 4' in source
    assert "sigma(lambda_i), teacher y = b sum_r sigma(lambda*_r)" in source
    assert "sigma(z) = z^3 - 3 z," in source
    assert "--activation he3" in source
    assert "# c11111_ij = sum_mn (x3, y3)_m (x3, y3)_n C_mn C_im C_jm C_in C_jn for i <= j" in source
    assert "# A3e21_ij = sum_m (x3, y3)_m C_im^2 C_jm" in source
    assert "lambda_i^2" not in source


def test_header_names_both_activations():
    source = generated_code.source(Model(2, 1, activation="he3", teacher_activation="0,-1,1/2"))
    assert "sigma(z) = z^3 - 3 z,\nsigma*(z) = 1/2 z^2 - z,\n" in source
    assert "sigma*(lambda*_r)" in source
    assert "--activation he3 --teacher-activation 0,-1,1/2" in source


def test_manifest_names_the_activations_and_the_operations():
    model = Model(2, 1, activation="he3", teacher_activation="0,-1,1/2")
    manifest = json.loads(Pipeline.of(model).texts()["manifest.json"])
    assert manifest["model"]["activation"] == "he3"
    assert manifest["model"]["teacher_activation"] == "0,-1,1/2"
    assert Model.from_dict(manifest["model"]) == model
    assert set(manifest["operations"]) == {"rhs", "loss", "tangent"}
    assert manifest["proof"]["method"] == "polynomial identity"


def test_he1_follows_the_exact_solution_of_linear_regression():
    """For one unit of each kind R relaxes at the rate η, and 2ε at η(2 − η) to ηΔ/(2 − η)."""
    model = Model(1, 1, activation="he1")
    module = generated_code.load(model, unrolled=True)
    eta, label_noise, end, steps = 0.6, 0.3, 3.0, 300
    parameters = module.pack_parameters(eta=eta, label_noise=label_noise)
    y = module.pack(np.array([[1.4]]), np.array([[0.2]]))
    before = 2 * module.loss(y, parameters)

    def slope(y):
        dy = np.empty(2)
        module.rhs(y, parameters, dy)
        return dy

    h = end / steps
    for _ in range(steps):
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3))
    limit = eta * label_noise / (2 - eta)
    assert 1 - y[1] == pytest.approx((1 - 0.2) * np.exp(-eta * end), rel=1e-8)
    expected = limit + (before - limit) * np.exp(-eta * (2 - eta) * end)
    assert 2 * module.loss(y, parameters) == pytest.approx(expected, rel=1e-8)
