"""The proof of graphs accepts every model, rejects every wrong program, and says no more than it proves."""

import dataclasses
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from brute_force import Gaussian, drift_and_loss, random_values
from mutations import mutations

from derive import InputError, Model, ProofError
from derive.expansion import evaluate
from derive.pipeline import Pipeline
from derive.polynomial import component_drift, component_moments, graph_proof
from derive.polynomial.component_drift import Residues
from derive.polynomial.graph_proof import (
    component_products,
    graph_proof_record,
    primes_for,
    prove_graphs,
)
from derive.polynomial.noise_graphs import NoiseGraph
from derive.proof import evaluate_exactly
from derive.proof_polynomials import no_reciprocal

METHODS = {"polynomial identity": 10**12, "random points": 0}
MUTATED = [
    ("random points", Model(2, 1, activation="he3")),
    ("random points", Model(2, 1, activation="he2", teacher_activation="1,1,1", second_layer="fixed")),
    (
        "random points",
        Model(2, 1, "sphere", activation="0,1,1/2", second_layer="trained", teacher="general"),
    ),
    ("polynomial identity", Model(2, 1, "sphere", activation="0,1,1/2", teacher="general")),
    ("polynomial identity", Model(2, 1, flow="gradient", activation="he4", second_layer="trained")),
]


def by_name(model):
    return model.name


@pytest.fixture(params=METHODS)
def method(request, monkeypatch):
    """Either method of proof, whatever the size of the model."""
    monkeypatch.setattr(graph_proof, "POLYNOMIAL_BUDGET", METHODS[request.param])
    return request.param


@pytest.mark.parametrize("activation", ["he1", "he2", "he3", "he4", "1,-2,1/2,3"])
@pytest.mark.parametrize("widths", [(1, 1), (1, 2), (2, 1)])
def test_both_routes_agree(method, activation, widths):
    model = Model(*widths, activation=activation)
    found = prove_graphs(model, Pipeline.of(model).program)
    assert (found.method, found.compared) == (method, model.state_size + 1)
    assert found == graph_proof_record(model)


def test_small_models_are_identities_unasked_and_wide_ones_are_not():
    assert graph_proof_record(Model(2, 1, activation="he3")).method == "polynomial identity"
    assert graph_proof_record(Model(2, 1, activation="he4")).method == "polynomial identity"
    wide = graph_proof_record(Model(8, 4, activation="he4"))
    assert (wide.method, wide.points) == ("random points", graph_proof.POINTS)
    assert wide.error_bound_log2 < -100


def test_every_option_is_proved(options):
    model = Model(2, 1, *options, activation="he3", teacher_activation="0,1,1")
    assert prove_graphs(model, Pipeline.of(model).program).method == "polynomial identity"


@pytest.mark.parametrize(("method", "model"), MUTATED, indirect=["method"])
def test_every_wrong_program_is_rejected(method, monkeypatch, model):
    program = Pipeline.of(model).program
    route_1 = component_drift.component_drift
    computed = []

    def once(*arguments):
        # All proofs have the same points, so that route 1 is computed once.
        if not computed:
            computed.append(route_1(*arguments))
        return computed[0]

    monkeypatch.setattr(component_drift, "component_drift", once)
    assert prove_graphs(model, program).method == method
    values = random_values(model, 7)
    right = evaluate_exactly(program, values)
    accepted, rejected, equal = [], 0, 0
    for what, changed in mutations(program):
        try:
            prove_graphs(model, changed)
        except ProofError:
            rejected += 1
        else:
            # Some moments are constants, so that it does not matter which unit they belong to.
            same = evaluate_exactly(changed, values) == right
            equal += same
            accepted += [] if same else [what]
    assert accepted == []
    assert rejected > 150
    assert equal < rejected / 4


@pytest.mark.usefixtures("method")
@pytest.mark.parametrize(
    "model", [Model(2, 1, activation="he3"), Model(2, 1, activation="he4")], ids=by_name
)
def test_a_missing_symmetry_factor_is_rejected(monkeypatch, model):
    """The 1/Πn! of all graphs at once; and without it the weights of one graph alone are caught above."""
    monkeypatch.setattr(NoiseGraph, "symmetry_factor", property(lambda _: Fraction(1)))
    with pytest.raises(ProofError, match="dQ_1_1"):
        prove_graphs(model, Pipeline(model).program)


@pytest.mark.usefixtures("method")
def test_program_of_another_model_is_rejected():
    he3 = Model(2, 1, activation="he3")
    others = (
        {"activation": "he3+he1"},
        {"flow": "gradient"},
        {"teacher": "general"},
        {"teacher_activation": "he2"},
    )
    for options in others:
        other = Model(**{**he3.to_dict(), **options})
        for right, wrong in ((he3, other), (other, he3)):
            with pytest.raises(ProofError, match=re.escape(right.name)):
                prove_graphs(right, Pipeline.of(wrong).program)


def test_parts_of_the_noise_are_put_together(monkeypatch):
    """Wide models are computed in parts, and the numbers are those of brute force, modulo the primes."""
    monkeypatch.setattr(component_moments, "TOGETHER", 1)
    model = Model(3, 2, activation="he3", second_layer="fixed", teacher="general")
    primes = primes_for(model.activations)
    values = random_values(model, 1)
    residues = Residues(primes)
    given = {name: residues.number(value) for name, value in values.items()}
    found = component_drift.component_drift(model, given, residues)
    for name, value in drift_and_loss(model, values).items():
        assert found[name].tolist() == residues.number(value).tolist(), name


def test_moments_with_the_same_unit_twice():
    """Indices that coincide, and a moment that does not depend on one of them."""
    C = [[Fraction(2), Fraction(1, 3)], [Fraction(1, 3), Fraction(-5)]]
    h, one = [Fraction(1), Fraction(2), Fraction(0), Fraction(1)], [Fraction(3)]
    residues = Residues(primes_for(Model(1, 1).activations))
    entries = np.array([[residues.number(x) for x in row] for row in C])
    k = np.array([0, 0, 1])
    m = np.array([0, 1, 1])
    covariance = {(0, 0): entries[k, k], (0, 1): entries[k, m], (1, 1): entries[m, m]}
    for second in (h, one):
        found = component_moments.moment(residues, [h, second], covariance)
        expected = [Gaussian(C).mean((h, k[x]), (second, m[x])) for x in range(3)]
        assert found.tolist() == [residues.number(x).tolist() for x in expected]


# --- what the record says ----------------------------------------------------------------


@pytest.mark.parametrize("second_layer", ["ones", "fixed", "trained"])
@pytest.mark.parametrize(
    ("activation", "teacher"),
    [("he1", None), ("he3", None), ("he4", "he2"), ("he2", "he5"), ("1,1,1,1", None)],
)
def test_the_degree_is_that_of_the_program(second_layer, activation, teacher):
    options = {"activation": activation, "teacher_activation": teacher, "second_layer": second_layer}
    model = Model(2, 2, teacher="general", **options)
    degrees = dict.fromkeys(("a", "b", *model.parameters, *model.state), 1)

    def highest(terms):
        return max(sum(factors) for _, factors in terms)

    found = evaluate(Pipeline.of(model).program, degrees, highest, no_reciprocal)
    assert max(found.values()) <= graph_proof.degree_bound(model) <= max(found.values()) + 3


def test_the_bound_is_that_of_the_points():
    model = Model(8, 4, activation="he4", second_layer="fixed")
    primes = primes_for(model.activations)
    bound = sum(math.log2(graph_proof.degree_bound(model) / prime) for prime in primes)
    assert graph_proof_record(model).error_bound_log2 == math.ceil(bound)


def test_no_prime_divides_a_number_of_the_activation():
    usual = primes_for(Model(1, 1).activations)
    assert len(set(usual)) == graph_proof.POINTS
    assert usual[0] == 2**31 - 1
    model = Model(2, 1, activation=f"1/{usual[0]},1,{usual[2]},1")
    primes = primes_for(model.activations)
    assert {usual[0], usual[2]}.isdisjoint(primes)
    assert len(set(primes)) == graph_proof.POINTS
    assert prove_graphs(model, Pipeline.of(model).program).compared == model.state_size + 1


def test_points_are_drawn_modulo_their_primes(monkeypatch):
    drawn = []

    class Recorded(graph_proof.random.Random):
        def randint(self, a, b):
            drawn.append((a, b))
            return super().randint(a, b)

    monkeypatch.setattr(graph_proof.random, "Random", Recorded)
    monkeypatch.setattr(graph_proof, "POLYNOMIAL_BUDGET", 0)
    model = Model(2, 1, activation="he2")
    prove_graphs(model, Pipeline.of(model).program)
    names = 2 + len(model.parameters) + model.state_size
    assert drawn == [(1, prime - 1) for prime in primes_for(model.activations)] * names


# --- limits ------------------------------------------------------------------------------


def test_models_that_take_too_long_are_refused_before_any_work(monkeypatch):
    model = Model(200, 100, activation="he4")
    monkeypatch.setattr("derive.pipeline.graph_program", lambda _: pytest.fail("the program was made"))
    with pytest.raises(InputError) as refused:
        Pipeline.of(model)
    message = str(refused.value)
    assert "p = 200, p* = 100 with he4 needs 8e+11 products" in message
    assert "\n" not in message
    Pipeline.of(Model(200, 100))


def test_the_counted_products_are_those_that_are_summed():
    model = Model(2, 1, activation="he3", flow="gradient")
    # For 2 students, 3 units z and 3 units of the error: the pairings of (x³ − 3x)(3y² − 3) z are those
    # of x³y²z (xx xy yz, xx yy xz and xy xy xz), of x³z, of xy²z (xy yz and yy xz) and of xz.
    assert component_products(model) == 2 * 3 * 3 * (3 + 1 + 2 + 1)
    assert component_products(dataclasses.replace(model, flow="sgd")) > 10 * component_products(model)
