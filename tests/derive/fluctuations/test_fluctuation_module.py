"""The generated module of the fluctuations, as plain Python, against the step in NumPy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import closed_form
import generated_code
import numpy as np
import pytest
from matrix import thinned
from step_covariance import Step

import derive
from derive.emit import numba_module
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline

ROOT = Path(derive.__file__).parent.parent
GENERATE = """
import sys
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline
print(FluctuationPipeline(FluctuationModel(3, 2, "sphere", second_layer="trained")).texts())
"""


SGD = [options for options in closed_form.OPTION_SETS if options[1] == "sgd"]
by_options = pytest.mark.parametrize("options", SGD, ids="-".join)


def model_of(options, p=3, pstar=2):
    return FluctuationModel(p, pstar, *options)


def source(model, unrolled=None):
    with pytest.MonkeyPatch.context() as patch:
        if unrolled is not None:
            patch.setattr(numba_module, "UNROLL_BUDGET", 10**9 if unrolled else 0)
        return FluctuationPipeline(model).python


def step(model, point):
    numbers = point.eta, point.label_noise, point.batch
    layers = (np.broadcast_to(x, width) for x, width in ((point.v, model.p), (point.vstar, model.pstar)))
    return Step(model, point.Q, point.R, point.T, *numbers, *layers, point.eta_second)


def packed(model, point):
    parameters = np.array(list(closed_form.packed_parameters(model, point).values()))
    return closed_form.flatten(*point.state(model)), parameters


def diffusion_at(model, module, point):
    found = np.full((model.state_size, model.state_size), np.nan)
    module.diffusion(*packed(model, point), found)
    return found


@by_options
def test_diffusion_is_the_covariance_of_a_step(options):
    model = model_of(options)
    module = generated_code.execute(source(model))
    for seed in range(2):
        point = closed_form.random_point(model, seed)
        found = diffusion_at(model, module, point)
        expected = step(model, point).covariance()
        scale = np.abs(
            step(FluctuationModel(**{**model.to_dict(), "constraint": "free"}), point).covariance()
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * scale.max())
        np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-15 * scale.max())
        assert np.linalg.eigvalsh(found)[0] > -1e-13 * scale.max()
        # Norms on the sphere do not change.
        if model.constraint == "sphere":
            norms = [model.state.index(f"Q_{i}_{i}") for i in range(1, model.p + 1)]
            assert not found[norms].any()


@pytest.mark.parametrize(("p", "pstar"), [(1, 1), (1, 3), (4, 2)])
def test_diffusion_at_other_widths(p, pstar):
    model = model_of(("sphere", "sgd", "general", "mean", "trained"), p, pstar)
    point = closed_form.random_point(model, 5)
    found = diffusion_at(model, generated_code.execute(source(model)), point)
    np.testing.assert_allclose(found, step(model, point).covariance(), rtol=1e-11, atol=1e-12)


@by_options
def test_the_mean_that_is_subtracted_is_the_drift(options):
    """Both come from the same change of a step; weight decay moves the mean alone."""
    model, kept = model_of(options), []
    text, mean = source(model), "total = -mean[A] * mean[B]"
    assert text.count(mean) == 1
    module = generated_code.execute(text.replace(mean, f"KEPT.append(mean); {mean}"))
    module.diffusion.__globals__["KEPT"] = kept
    point = closed_form.random_point(model, 3)
    diffusion_at(model, module, point)
    one = step(model, point)
    found = one.rescaling() @ kept[0]
    if model.constraint == "free":
        decay = point.eta * point.weight_decay
        overlaps = model.state_size - model.p * model.trained
        weight = np.where(np.arange(model.state_size) < model.p * (model.p + 1) // 2, 2.0, 1.0)
        found[:overlaps] -= decay * (weight * packed(model, point)[0])[:overlaps]
    expected = closed_form.flatten(*closed_form.drift(model.base, point))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * np.abs(kept[0]).max())


@pytest.mark.parametrize("unrolled", [True, False])
@pytest.mark.parametrize("place", thinned(range(len(closed_form.OPTION_SETS)), 0, 31, 35))
def test_the_right_hand_side_is_the_ode_of_the_covariance(place, unrolled):
    model = model_of(closed_form.OPTION_SETS[place], 2, 2)
    module = generated_code.execute(source(model, unrolled))
    point, n = closed_form.random_point(model, 4), model.state_size
    state, parameters = packed(model, point)
    factor = np.random.default_rng(1).normal(size=(n, n))
    sigma, upper = factor @ factor.T, np.triu_indices(n)
    found = np.full(model.extended_size, np.nan)
    module.rhs(np.concatenate([state, sigma[upper]]), parameters, found)
    drift = closed_form.flatten(*closed_form.drift(model.base, point))
    J = closed_form.jacobian(model.base, point)
    expected = J @ sigma + sigma @ J.T
    if model.flow == "sgd":
        expected += step(model, point).covariance()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found[:n], drift, rtol=1e-12, atol=1e-13 * scale)
    np.testing.assert_allclose(found[n:], expected[upper], rtol=1e-11, atol=1e-12 * scale)


@pytest.mark.parametrize("activation", ["quadratic", "he3"])
def test_gradient_flow_makes_no_fluctuations(activation):
    model = FluctuationModel(2, 1, "free", "gradient", activation=activation)
    module, n = generated_code.execute(source(model)), model.state_size
    state, parameters = packed(model, closed_form.random_point(model, 4))
    found = np.full(model.extended_size, np.nan)
    module.rhs(np.concatenate([state, np.zeros(n * (n + 1) // 2)]), parameters, found)
    assert found[:n].all()
    assert not found[n:].any()


def test_the_manifest_states_model_proof_and_files():
    model = model_of(("sphere", "sgd", "general", "mean", "trained"))
    texts = FluctuationPipeline.of(model).texts()
    content = json.loads(texts["manifest.json"])
    assert (content["kind"], content["name"]) == ("fluctuations", model.name)
    assert FluctuationModel.from_dict(content["model"]) == model
    assert content["proof"] == FluctuationPipeline.of(model).proof.to_dict()
    assert content["state"] == list(model.state)
    assert set(content["operations"]) == {"rhs", "diffusion", "rhs_with_bias"}


@pytest.mark.parametrize("seed", thinned(["0", "12345"], 1))
def test_the_text_is_the_same_under_any_hash_seed(seed):
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", GENERATE]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    model = FluctuationModel(3, 2, "sphere", second_layer="trained")
    assert result.stdout == f"{FluctuationPipeline(model).texts()}\n"
