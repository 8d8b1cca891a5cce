"""The cubature of polynomial activations: its nodes, and its code against exact moments and the program."""

import dataclasses
import json
import math
import re
from fractions import Fraction
from pathlib import Path

import closed_form
import generated_code
import numpy as np
import pytest
from matrix import thinned
from numpy.polynomial import hermite_e

import derive
from derive import InputError, ProofError
from derive.fluctuations.cubature_module import cubature_function
from derive.fluctuations.cubature_points import LARGEST_CUBATURE, cubature_size, normal_rule
from derive.fluctuations.cubature_proof import compare_cubature, prove_cubature
from derive.fluctuations.fluctuation_document import fluctuation_document
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_module import fluctuation_module
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline


def model_of(p, pstar, activation, options=(), teacher_activation=None):
    return FluctuationModel(
        p, pstar, *options, activation=activation, teacher_activation=teacher_activation
    )


# --- nodes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 7, 11, 23])
def test_nodes_and_weights_are_those_of_gauss(count):
    """All moments up to the degree 2 count − 1, in exact sums of the rounded numbers; not the next one."""
    nodes, weights = normal_rule(count)

    def moment(power):
        pairs = zip(nodes, weights, strict=True)
        return float(sum(Fraction(w) * Fraction(x) ** power for x, w in pairs))

    for power in range(0, 2 * count, 2):
        assert moment(power) == pytest.approx(math.prod(range(power - 1, 0, -2)), rel=1e-13)
        assert moment(power + 1) == 0.0
    assert moment(2 * count) != pytest.approx(math.prod(range(2 * count - 1, 0, -2)), rel=1e-8)
    expected_nodes, expected_weights = hermite_e.hermegauss(count)
    order = np.argsort(nodes)
    np.testing.assert_allclose(np.array(nodes)[order], expected_nodes, rtol=1e-14, atol=1e-15)
    expected_weights = expected_weights / expected_weights.sum()
    np.testing.assert_allclose(np.array(weights)[order], expected_weights, rtol=1e-12)


def test_sizes_of_grids():
    sizes = {
        (widths, activation): cubature_size(model_of(*widths, activation)).points
        for widths, activation in [((1, 1), "he3"), ((2, 1), "he3"), ((4, 2), "he3"), ((2, 1), "he2+he3")]
    }
    assert sizes == {
        ((1, 1), "he3"): 6 * 7,
        ((2, 1), "he3"): 6 * 11 * 7,
        ((4, 2), "he3"): 6 * 11**3 * 7**2,
        ((2, 1), "he2+he3"): 11**2 * 7,
    }
    # A teacher of a higher degree needs more nodes of students too; two parities need the whole grid.
    mixed = cubature_size(model_of(2, 1, "he2", teacher_activation="he3"))
    assert (mixed.student_nodes, mixed.teacher_nodes, mixed.halved) == (9, 7, False)


def test_the_numbers_of_points_in_the_docs():
    page = (Path(derive.__file__).parent.parent / "docs" / "fluctuations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (he\d) \| (\d), (\d) \| ([\d ]+) \|$", page, re.MULTILINE)
    assert len(rows) == 4
    for activation, p, pstar, points in rows:
        assert cubature_size(model_of(int(p), int(pstar), activation)).points == int(
            points.replace(" ", "")
        )


def test_too_many_points_are_refused_in_one_line():
    with pytest.raises(
        InputError, match=r"needs 1\.9e\+07 points of a cubature .* at most 2e\+06"
    ) as error:
        model_of(4, 4, "he3")
    assert error.value.option == "activation"
    assert "\n" not in str(error.value)
    assert cubature_size(model_of(4, 2, "he3")).points <= LARGEST_CUBATURE
    # Gradient flow needs none.
    model_of(8, 4, "he3", ("free", "gradient"))


# --- the code --------------------------------------------------------------------------------

OPTIONS = [options for options in closed_form.OPTION_SETS if options[1] == "sgd"]
ACTIVATIONS = [
    ("he1", None),
    ("he2", "he3"),
    ("he3", None),
    ("1,1/2,1/3,1/6", "he1+he3"),
    ("he4", "quadratic"),
    ("he1", "he3"),
    ("he6", None),
]


@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_cubature_is_exact_with_every_option(options):
    prove_cubature(model_of(2, 1, "he3", options, "he2"))


@pytest.mark.parametrize(("activation", "teacher"), thinned(ACTIVATIONS, 0, 1, 3, 4, 5))
def test_cubature_is_exact_for_every_activation(activation, teacher):
    for seed in range(2):
        model = model_of(3, 3, activation, ("sphere", "sgd", "general", "mean", "trained"), teacher)
        prove_cubature(model, seed)


@pytest.mark.parametrize(("activation", "teacher"), [("he3", None), ("he1", "he3")])
def test_one_node_less_is_not_exact(activation, teacher, monkeypatch):
    model = model_of(2, 1, activation, ("free", "sgd", "general", "mean", "fixed"), teacher)
    size = cubature_size(model)
    for field in ("student", "teacher"):
        fewer = getattr(size, f"{field}_nodes") - 2
        count = model.p if field == "student" else model.pstar
        points = (fewer + 1) // 2 * fewer ** (count - 1) if field == "student" else fewer**count
        changed = dataclasses.replace(size, **{f"{field}_nodes": fewer, f"{field}_points": points})
        monkeypatch.setattr("derive.fluctuations.cubature_module.cubature_size", lambda _, c=changed: c)
        with pytest.raises(ProofError, match="cubature and exact moments of"):
            prove_cubature(model)


# Each is one term, factor or sign of the emitted text.
EDITS = [
    ("* square[B] * fourth", "* square[B] * fourth * 2.0"),
    ("+ 3.0 * label_noise * label_noise", "+ label_noise * label_noise"),
    ("(e * e + 6.0 * label_noise)", "(e * e + 3.0 * label_noise)"),
    ("(e * e + 3.0 * label_noise)", "(e * e + label_noise)"),
    ("squared = e * e + label_noise", "squared = e * e"),
    ("kick[i] * z[j] + kick[j] * z[i]", "kick[i] * z[j] + kick[i] * z[j]"),
    ("kick[i] * kick[j] * inverse_batch", "kick[i] * kick[j]"),
    ("- mean[A] * mean[B]", ""),
    ("total -= linear[A]", "total += linear[A]"),
    ("* third[s]", "* third[0]"),
    ("second[r, s] + square", "second[0, 0] + square"),
    ("eta_second * a * sigma[i]", "eta_second * a * z[i]"),
    ("weight *= 2.0", "weight *= 1.0"),
    ("L[k, k] = np.sqrt(left)", "L[k, k] = left"),
    ("_remove_growth(y, out)", "pass"),
    ("e = output", "e = 0.9 * output"),
]


@pytest.mark.parametrize(("text", "wrong"), EDITS)
def test_every_wrong_text_is_rejected(text, wrong):
    model = model_of(2, 1, "he3", ("sphere", "sgd", "general", "mean", "trained"))
    whole = "\n\n".join(cubature_function(model))
    place = whole.rindex(text)
    with pytest.raises(ProofError, match="cubature and exact moments of"):
        compare_cubature(model, [whole[:place] + wrong + whole[place + len(text) :]], 0)


def run(model, text, point):
    """𝓓 by a module's text in plain Python."""
    module = generated_code.execute(text)
    parameters = np.array(list(closed_form.packed_parameters(model, point).values()))
    found = np.full((model.state_size, model.state_size), np.nan)
    module.diffusion(closed_form.flatten(*point.state(model)), parameters, found)
    return found


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]], ids="-".join)
def test_cubature_of_the_quadratic_model_is_its_program(options):
    model = model_of(2, 2, "quadratic", options)
    stages = FluctuationPipeline.of(model)
    point = closed_form.random_point(model, 3)
    text = fluctuation_module(model, stages.drift.functions, cubature_function(model))
    expected = run(model, stages.python, point)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(run(model, text, point), expected, rtol=1e-12, atol=1e-13 * scale)


def test_singular_covariances_are_no_exception():
    """Two students with the same weights, which are those of the teacher."""
    model = model_of(2, 1, "he2")
    text = FluctuationPipeline.of(model).python
    numbers = {"eta": 0.1, "label_noise": 0.3}

    def at(angle):
        W = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
        return closed_form.Point(W @ W.T, W[:, :1], np.eye(1), **numbers)

    singular, near = run(model, text, at(0.0)), run(model, text, at(1e-7))
    assert np.isfinite(singular).all()
    assert np.linalg.eigvalsh(singular)[-1] > 0.01
    np.testing.assert_allclose(singular, near, rtol=1e-6, atol=1e-6 * np.abs(near).max())
    np.testing.assert_allclose(singular[0], singular[2], rtol=1e-12)


def test_files_say_what_was_done():
    model = model_of(2, 1, "he3", ("sphere",))
    stages = FluctuationPipeline(model)
    assert stages.proof == stages.proof_record
    assert stages.proof.method == "cubature to rounding"
    content = json.loads(stages.texts()["manifest.json"])
    assert content["proof"] == {
        "method": "cubature to rounding",
        "compared": 15,
        "points": 1,
        "error_bound_log2": None,
    }
    assert "sums over 462 points of a cubature" in stages.python
    for words in ("by cubature", "11\nnodes in each direction of a student", "462 points"):
        assert words in stages.latex
    assert "subsection*{The diffusion matrix}" not in fluctuation_document(model)


@pytest.mark.usefixtures("no_stages")
def test_a_wrong_cubature_never_becomes_files(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "derive.fluctuations.cubature_proof.cubature_function",
        lambda model: [text.replace("3.0", "2.0") for text in cubature_function(model)],
    )
    with pytest.raises(ProofError, match="cubature and exact moments of"):
        FluctuationPipeline(model_of(2, 1, "he3")).write(tmp_path)
    assert list(tmp_path.iterdir()) == []
