"""The compiled fluctuations of a system: verified when they are loaded, in both forms of code."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matrix import matrix
from step_covariance import Step

import runtime
from derive import InputError, Model
from derive.emit.numba_module import is_unrolled
from derive.fluctuations.cubature_proof import random_rationals
from derive.fluctuations.exact_step import ExactStep
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline
from runtime import LoadError
from runtime.covariance.fluctuation_system import fluctuations_of

UNROLLED, LOOPS = Model(2, 1), Model(5, 3)


def overlaps(model, seed=1):
    factor = np.random.default_rng(seed).normal(size=(model.p, 9)) / 3.0
    return factor @ factor.T, factor[:, : model.pstar]


@pytest.mark.parametrize("model", [UNROLLED, matrix(LOOPS)], ids=lambda model: model.name)
def test_compiled_code_is_the_ode_of_the_covariance(model, system_of):
    tangent = FluctuationPipeline.of(FluctuationModel.of(model)).drift.functions["tangent"]
    assert is_unrolled(model, "tangent", tangent) == (model == UNROLLED)
    system = system_of(model.p, model.pstar)
    fluctuations, n = fluctuations_of(system), model.state_size
    Q, R = overlaps(model)
    numbers = {"eta": 0.3, "label_noise": 0.2, "batch": 2}
    noise = fluctuations.diffusion(Q, R, **numbers)
    expected = Step(model, Q, R, np.eye(model.pstar), 0.3, 0.2, 2).covariance()
    np.testing.assert_allclose(noise, expected, rtol=1e-12, atol=1e-14 * np.abs(expected).max())
    state, packed = system.packed_state(Q, R, **numbers)
    sigma, upper = np.random.default_rng(2).normal(size=(n, n)), np.triu_indices(n)
    sigma = sigma @ sigma.T
    found = np.empty(n + len(upper[0]))
    fluctuations.compiled_rhs(np.concatenate([state, sigma[upper]]), packed, found)
    J = system.jacobian(Q, R, **numbers)
    change = J @ sigma + sigma @ J.T + noise
    np.testing.assert_allclose(found[:n], system.pack(*system.rhs(Q, R, **numbers)), rtol=1e-12)
    np.testing.assert_allclose(found[n:], change[upper], rtol=1e-11, atol=1e-12 * np.abs(change).max())


@pytest.mark.matrix
def test_compiled_cubature_is_the_covariance_of_exact_moments(system_of):
    model = FluctuationModel(1, 1, teacher="general", second_layer="fixed", activation="he3")
    values = random_rationals(model, 1)
    state, parameters = (
        np.array([float(values[name]) for name in names]) for names in (model.state, model.parameters)
    )
    system = system_of(1, 1, teacher="general", second_layer="fixed", activation="he3")
    found, exact = fluctuations_of(system).diffusion_at(state, parameters), ExactStep(model, values)
    scale = np.outer(exact.scales, exact.scales)
    for k, row in enumerate(exact.diffusion):
        np.testing.assert_allclose(found[k], [float(x) for x in row], rtol=0, atol=1e-13 * scale[k].max())


def test_wrong_overlaps_and_parameters_are_rejected(system_of):
    fluctuations = fluctuations_of(system_of(2, 1))
    Q, R = overlaps(UNROLLED)
    with pytest.raises(InputError, match="Q") as error:
        fluctuations.diffusion(np.eye(3), R, eta=0.1)
    assert error.value.option == "Q"
    with pytest.raises(InputError) as error:
        fluctuations.diffusion(Q, R, eta=0.1, eta_second=0.2)
    assert error.value.option == "eta_second"
    with pytest.raises(InputError, match=r"one state is wanted"):
        fluctuations.diffusion(np.stack([Q, Q]), np.stack([R, R]), eta=0.1)
    with pytest.raises(InputError, match="is a Model"):
        fluctuations_of(UNROLLED)


@pytest.mark.parametrize("file", ["odes.py", "odes.tex", "manifest.json"])
def test_edited_files_are_not_executed(tmp_path, file):
    system = runtime.load(UNROLLED, tmp_path)
    folder = FluctuationPipeline.of(FluctuationModel.of(UNROLLED)).write(tmp_path)
    assert fluctuations_of(system).operations > 0
    path = folder / file
    if file == "manifest.json":
        content = json.loads(path.read_text())
        content["operations"]["rhs"] += 1
        path.write_text(json.dumps(content, indent=1) + "\n")
    else:
        path.write_text(path.read_text().replace("4", "5", 1))
    with pytest.raises(LoadError, match=r"cli derive --fluctuations --p 2 --pstar 1"):
        _ = fluctuations_of(system).operations


def test_fluctuations_are_derived_where_they_are_missing(tmp_path):
    system = runtime.load(UNROLLED, tmp_path)
    assert fluctuations_of(system).operations > 0
    assert {path.name for path in tmp_path.iterdir()} >= {"fluctuations_p2_pstar1"}


# --- the command -----------------------------------------------------------------------------


def test_derive_writes_the_fluctuations(call, tmp_path):
    code, out, err = call("derive --fluctuations --p 2 --pstar 1 --constraint sphere")
    assert (code, out) == (0, "generated/fluctuations_p2_pstar1_sphere\n")
    assert "5 order parameters" in err
    assert "two derivations agree in 15 entries (random points)" in err
    code, out, _ = call("derive --fluctuations --p 2 --pstar 1 --json --quiet")
    facts = json.loads(out)
    assert (code, facts["kind"], facts["proof"]["compared"]) == (0, "fluctuations", 15)
    code, out, _ = call("list --json")
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert set(entries) == {"fluctuations_p2_pstar1", "fluctuations_p2_pstar1_sphere"}
    assert not any("problem" in entry for entry in entries.values())
    module = tmp_path / "generated" / "fluctuations_p2_pstar1" / "odes.py"
    module.write_text(module.read_text() + "# edited\n")
    assert "cli derive --fluctuations --p 2 --pstar 1" in call("list")[1]


def test_stages_are_printed(call, tmp_path):
    texts = FluctuationPipeline.of(FluctuationModel(2, 1)).texts()
    for stage, name in (("python", "odes.py"), ("program", "odes.py"), ("latex", "odes.tex")):
        assert call(f"derive --fluctuations --p 2 --pstar 1 --show {stage}") == (0, texts[name], "")
    code, out, _ = call("derive --fluctuations --p 2 --pstar 1 --show equations")
    assert code == 0
    assert r"\mathcal{D}" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--show llvm", "--show llvm does not go with --fluctuations"),
        ("--sector", "--fluctuations does not go with --sector"),
    ],
)
def test_what_does_not_go_with_fluctuations(call, line, words):
    code, out, err = call(f"derive --fluctuations {line}")
    assert (code, out) == (2, "")
    assert words in err
