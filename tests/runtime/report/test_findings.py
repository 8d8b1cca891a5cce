"""What a report says: numbers of its model, claims that can fail, sentences for what is missing."""

from __future__ import annotations

import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import xarray
from matrix import thinned

import runtime
from derive import Model
from runtime.analysis.plateau.plateau_curve import plateau
from runtime.problem import Problem
from runtime.report import findings, model_checks, solution_checks
from runtime.report.findings import Unavailable, first_below
from runtime.report.printed_numbers import counted, integer, number
from runtime.report.report_figures import _loss_words
from runtime.report.solution_checks import solution_claims
from runtime.start.parameter_values import RunParameters
from runtime.start.starts import GivenStart
from runtime.trajectory.single_run import integrate_problem

MODELS = {
    "smallest": "--p 1 --pstar 1 --eta 0.05 --alpha 60",
    "default": "--p 4 --pstar 2",
    "more teachers": "--p 2 --pstar 3 --alpha 100",
    "sphere": "--p 2 --pstar 1 --constraint sphere --alpha 50",
    "gradient": "--p 2 --pstar 1 --flow gradient --alpha 50",
    "general": "--p 2 --pstar 2 --teacher general --teacher-correlation 0.3 --label-noise 0.1 --alpha 50",
    "sum": "--p 2 --pstar 1 --readout sum --eta 0.02 --alpha 50",
    "large": "--p 10 --pstar 4 --alpha 20",
    "fixed": "--p 2 --pstar 2 --second-layer fixed --student-weights 1,-0.5 --teacher-weights 1,-0.7"
    " --weight-decay 0.01 --batch 2 --alpha 50",
    "trained": "--p 2 --pstar 1 --second-layer trained --eta-second 0.1 --batch 3 --schedule inverse:50"
    " --alpha 40",
    "opposite": "--p 2 --pstar 2 --second-layer fixed --student-weights 1,-1 --constraint sphere"
    " --alpha 30",
    "decay": "--p 2 --pstar 1 --flow gradient --weight-decay 0.05 --alpha 50",
    "sphere with decay": "--p 2 --pstar 1 --constraint sphere --weight-decay 0.1 --batch 2 --alpha 50",
    "fixed gradient": "--p 2 --pstar 1 --second-layer fixed --student-weights 2,0.5 --flow gradient"
    " --alpha 50",
}
SECTIONS = (
    *("summary", "model", "equations", "trajectory", "plateau", "hessian", "laws", "checks"),
    "provenance",
)


def visible(text):
    """The page as text: no styles, figures or tags."""
    text = re.sub(r"<style.*?</style>|<svg.*?</svg>|<head>.*?</head>", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


@pytest.mark.parametrize("name", thinned(MODELS, 1, 3, 7, 8, 9))
def test_every_section_is_there_and_every_check_holds(report_of, name):
    made = report_of(MODELS[name])
    assert made.code == 0
    ids = [element.attributes.get("id") for element in made.elements if element.tag == "section"]
    assert [name for name in ids if name in SECTIONS] == list(SECTIONS)
    text = visible(made.text)
    assert "checks of this report hold" in text
    assert "fails" not in text
    # What is shown is neither LaTeX nor a number that there is not.
    assert not re.search(r"\\|\$|\b(nan|None|inf|frac|operatorname)\b", text)


def test_numbers_are_those_of_the_analysis(report_of, system_of):
    text = visible(report_of(MODELS["default"]).text)
    point = plateau(system_of(4, 2), 0.4)
    for value in (point.q, point.loss, point.rate):
        assert number(value) in text
    Q, R = runtime.random_overlaps(4, 2)
    run = runtime.integrate(system_of(4, 2), Q, R, eta=0.4, alpha=200.0)
    assert number(run["loss"].values[-1]) in text
    assert "3 999 976" in text
    assert "polynomial identity" in text


def test_large_models_name_where_the_components_are(report_of):
    made = report_of(MODELS["large"])
    text = visible(made.text)
    assert "95 components are left out" in text
    assert "cli latex --p 10 --pstar 4 --form components" in text
    assert "random integer points" in text
    assert made.text.count("<mtr>") < 30
    # The document leaves them out as well.
    small = report_of(MODELS["default"])
    links = [e.attributes["href"] for e in small.elements if e.tag == "a"]
    assert "generated/p4_pstar2/odes.tex" in links
    assert (small.path.parent / "generated" / "p4_pstar2" / "odes.tex").is_file()


def test_a_sentence_tells_why_something_is_missing(report_of):
    runaway = report_of("--p 1 --pstar 1 --eta 3 --alpha 5")
    text = visible(runaway.text)
    assert runaway.code == 1
    assert "there is no plateau: the norms of the students run away" in text
    assert "it diverged" in text
    few = visible(report_of(MODELS["more teachers"]).text)
    assert "2 students cannot represent a teacher of rank 3" in few
    noisy = visible(report_of(MODELS["general"]).text)
    assert "with label noise none of them is stationary" in noisy
    sphere = visible(report_of(MODELS["sphere"]).text)
    assert "On the sphere solutions differ among themselves" in sphere
    wide = visible(report_of("--p 1 --pstar 1 --n 10000000000000000 --alpha 5").text)
    assert "The Hessian is not computed for N above 10¹⁵." in wide


def test_reasons_are_whole_clauses_and_not_parts_of_errors():
    model = Model(1, 2, second_layer="fixed")
    parameters = RunParameters.of(model, {"eta": 0.1, "teacher_weights": [1.0, -1.0]})
    missing = findings._global_minimum(parameters)
    assert missing == Unavailable(
        "No solution without loss is known here: the second layer has 0 negative entries, and the teacher"
        " 1 negative directions."
    )


def test_second_layers_batches_and_schedules_are_named(report_of):
    trained = report_of(MODELS["trained"])
    text = visible(trained.text)
    subtitle = next(e.text for e in trained.elements if e.attributes.get("class") == "subtitle")
    assert "trained second layer" in subtitle
    assert "schedule inverse:50" in subtitle
    for words in (
        "Each step draws a batch of 3 fresh samples",
        "that of the teacher is fixed",
        "v at the start all 1",
        "weights v i (below)",
        "There is no plateau: the second layer moves with the norms",
        "for the learning rates with which the schedule begins",
        "with second-layer weights solutions differ",
    ):
        assert words in text
    *_, overlaps = (element.text for element in trained.elements if element.tag == "desc")
    assert re.search(
        r"^Three line plots.*Below: second-layer weights are between 1 and 1 at the start", overlaps
    )
    fixed = visible(report_of(MODELS["fixed"]).text)
    for words in (
        "the weight decay γ = 0.01 and the batch size B = 2",
        "weights of the first layer decay",
        "1, −0.7",
        "That is because of the noise of SGD and weight decay",
    ):
        assert words in fixed
    plain = visible(report_of(MODELS["default"]).text)
    assert "draws one fresh sample" in plain
    assert "econd layer" not in plain.replace("Second layer of", "")


def test_an_ensemble_is_shown_beside_the_trajectory(report_of):
    made = report_of("--p 1 --pstar 1 --eta 0.05 --alpha 60 --trajectories 20")
    descriptions = " ".join(element.text for element in made.elements if element.tag == "desc")
    assert "Over 20 random starts the last loss has the median" in descriptions


def test_the_last_loss_of_an_ensemble_is_that_of_the_last_time():
    content = SimpleNamespace(
        run=xarray.Dataset({"loss": ("alpha", [1.0, 0.5])}, {"alpha": [0.0, 1.0]}),
        last=(1.0, 0.5),
        plateau=Unavailable("none"),
        start=SimpleNamespace(trajectories=20),
    )
    whole = np.linspace([0.1, 0.2], [0.5, 0.6], 5)
    assert "the median 0.4, between 0.2 and 0.6 in the middle 90 %" in _loss_words(content, whole)
    whole[4, 1] = np.nan
    assert _loss_words(content, whole).endswith("the last loss has the median 0.4.")
    whole[2, 1] = np.nan
    assert "median" not in _loss_words(content, whole)


def test_alternative_texts_have_the_numbers(report_of):
    made = report_of(MODELS["default"])
    loss, overlaps = (element.text for element in made.elements if element.tag == "desc")
    assert "0.6738" in loss
    assert "falls below half of that at alpha = 40.7" in loss
    assert "norms of students" in overlaps


def test_wrong_numbers_fail(system_of):
    """A claim that cannot fail would be no claim."""
    system = system_of(2, 1)
    point = plateau(system, 0.1)
    assert all(claim.holds for claim in model_checks.plateau_claims(system, point))
    wrong = dataclasses.replace(point, loss=point.loss * (1 + 1e-5), rate=point.rate * (1 + 1e-5))
    failed = [claim.name for claim in model_checks.plateau_claims(system, wrong) if not claim.holds]
    assert failed == ["plateau loss", "plateau rate", "escape rate"]


def test_wrong_norms_of_a_weighted_plateau_fail(system_of):
    system = system_of(2, 1, flow="gradient", second_layer="fixed")
    point = plateau(system, 0.1, student_weights=[2.0, 0.5])
    assert [claim.holds for claim in model_checks.plateau_claims(system, point)] == [True, True]
    # Equal norms have the right mean, and nothing else is right about them.
    wrong = dataclasses.replace(point, Q=point.q * np.eye(2))
    assert next(model_checks.plateau_claims(system, wrong)).holds is False


def test_decay_descends_as_well_and_the_loss_alone_does_not(system_of):
    """From a solution the loss climbs, and γ tr Q/2 falls by more."""
    system = system_of(2, 1, flow="gradient")
    start = GivenStart(np.diag([2.0, 0.01]), np.array([[np.sqrt(2.0)], [0.0]]))
    settings = {"alpha": 20.0, "rtol": 1e-8, "atol": 1e-10, "method": "prince8"}
    problem = Problem(system.model, start, {"eta": 0.1, "weight_decay": 0.1}, **settings)
    run = integrate_problem(system, problem)
    assert run["loss"].values[-1] > run["loss"].values[0]
    claims = {claim.name: claim for claim in model_checks.run_claims(system, problem, run)}
    assert claims["descent"].holds
    without = Problem(system.model, start, {"eta": 0.1}, **settings)
    wrong = {claim.name: claim for claim in model_checks.run_claims(system, without, run)}
    assert not wrong["descent"].holds


def decay_of(system, eta, T=None):
    parameters = RunParameters.of(system.model, {"eta": eta, "T": T})
    *_, claim = solution_claims(system, parameters, runtime.largest_stable_eta(system, "solution", T=T))
    assert claim.name == "decay"
    return claim


@pytest.mark.parametrize("eigenvalues", [(1.0, 1.0), (1.3, 0.7), (1.05, 0.95), (1.0, 0.01), (2.0, 0.0)])
@pytest.mark.parametrize("flow", ["sgd", "gradient"])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_loss_decays_as_theory_says(system_of, p, flow, eigenvalues):
    """Exponentially with as many students as the teacher has directions, else as a power law."""
    rank = np.count_nonzero(eigenvalues)
    system, T = system_of(p, 2, flow=flow, teacher="general"), np.diag(eigenvalues)
    if p < rank:
        parameters = RunParameters.of(system.model, {"eta": 0.05, "T": T})
        assert not list(solution_claims(system, parameters, np.inf))
        return
    claim = decay_of(system, 0.05, T)
    assert claim.holds
    assert (claim.prediction == -2.0) == (p > rank)


def test_rates_of_decay_are_those_of_closed_form(system_of):
    """4abη(1 − 2ab(p* + 2)η)·2 for T = 1, where noise slows the trace beyond the teachers, or all of it."""
    for p, eta in ((1, 0.1), (2, 0.3), (2, 0.45)):
        ab = 1.0 / p**2
        noisy = 8.0 * ab * eta * (2.0 * ab * (p + 2) * eta - 1.0)
        claim = decay_of(system_of(p, p), eta)
        assert claim.prediction == pytest.approx(noisy, rel=1e-6)
        assert claim.holds


def test_another_rate_of_decay_fails(system_of, monkeypatch):
    system, original = system_of(2, 2), solution_checks.integrate_problem
    right = decay_of(system, 0.3)
    assert right.holds
    # Gradient flow decays faster: it has no noise.
    other = system_of(2, 2, flow="gradient")
    monkeypatch.setattr(solution_checks, "integrate_problem", lambda _, problem: original(other, problem))
    wrong = decay_of(system, 0.3)
    assert wrong.prediction == right.prediction
    assert not wrong.holds


@pytest.mark.parametrize(
    "options", ["--eta 1e9", "--eta 1e-9", "--eta 0.5 --alpha 0.2", "--flow gradient --eta 1e-12"]
)
def test_claims_hold_for_extreme_learning_rates(report_of, options):
    made = report_of(f"--p 2 --pstar 1 --alpha 3 {options}")
    assert 'class="verdict-holds"' in made.text
    assert 'class="verdict-fails"' not in made.text
    # A trajectory that diverges is told by the exit code too.
    assert made.code == int("it diverged" in visible(made.text))


def test_claims_hold_where_the_plateau_ends(system_of):
    system = system_of(2, 1)
    largest = runtime.largest_stable_eta(system, "plateau")
    point = plateau(system, largest * (1.0 - 1e-15))
    assert all(claim.holds for claim in model_checks.plateau_claims(system, point))


def test_a_run_that_is_not_of_the_equations_fails(system_of):
    system = system_of(2, 1)
    Q, R = runtime.random_overlaps(2, 1, n=100)
    settings = {"eta": 0.1, "alpha": 20.0, "label_noise": 0.0, "T": None, "rtol": 1e-8, "atol": 1e-10}
    values = {name: settings.pop(name) for name in ("eta", "label_noise", "T")}
    problem = Problem(Model(2, 1), GivenStart(Q, R), values, method="prince8", **settings)
    run = runtime.integrate(system, Q, R, eta=0.1, alpha=20.0)
    assert all(claim.holds for claim in model_checks.run_claims(system, problem, run))
    run["loss"] *= 1.001
    run["Q"] *= 0.5
    failed = [claim.name for claim in model_checks.run_claims(system, problem, run) if not claim.holds]
    assert failed == ["another solver", "overlaps of weights"]


def test_a_failed_check_is_the_exit_code(call, monkeypatch):
    monkeypatch.setattr(model_checks, "_GROWTH", 0.0)
    monkeypatch.setattr(model_checks, "_CLOSED_FORM", -1.0)
    code, out, err = call("report --p 1 --pstar 1 --eta 0.05 --alpha 5 --trajectories 0 --json")
    found = json.loads(out)
    assert code == 1
    assert "checks hold" in err
    assert {claim["verdict"] for claim in found["claims"]} == {"holds", "fails"}
    assert found["out"] == "report.html"
    assert found["plateau"]["multiplicity"] == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (-0.25, "−0.25"),
        (1234.5678, "1234.6"),
        (99999.96, "10⁵"),
        (1e-4, "10⁻⁴"),
        (-2.5e-17, "−2.5 × 10⁻¹⁷"),
        (np.inf, "∞"),
        (-np.inf, "−∞"),
        (np.nan, "–"),
    ],
)
def test_numbers_as_text(value, text):
    assert number(value) == text


def test_integers_and_counts():
    assert integer(1234567) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"
    assert (integer(-5), counted(1, "run"), counted(2, "run")) == ("−5", "1 run", "2 runs")


def test_the_escape_is_between_outputs():
    alpha, loss = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.01, np.nan])
    assert first_below(alpha, loss, 0.1) == pytest.approx(1.5)
    assert first_below(alpha, loss, 0.001) is None
    assert first_below(alpha, loss, 2.0) is None
