"""The proof accepts every model, and rejects every wrong program: it can fail."""

import dataclasses
import itertools
import random
from fractions import Fraction

import pytest
from mutations import mutations

from derive import Model, ProofError, expansion, overlap_odes, proof
from derive.expansion import evaluate
from derive.pipeline import Pipeline
from derive.program import (
    MatrixStatement,
    Operand,
    Projection,
    Term,
)
from derive.proof import evaluate_exactly, prove
from derive.proof_polynomials import no_reciprocal
from derive.scalar_polynomials import ScalarPolynomial

WIDTHS = list(itertools.product(range(1, 5), range(1, 4)))
METHODS = {"polynomial identity": 10**9, "random points": 0}
# One model for each way a statement can differ: sphere or free, with T and without.
MUTATED = [
    Model(2, 2),
    Model(2, 2, "sphere", "sgd", "general"),
    Model(2, 2, "sphere", "gradient"),
    Model(2, 1, "free", "gradient", "general"),
    Model(2, 2, second_layer="trained"),
    Model(2, 2, "sphere", teacher="general", second_layer="fixed"),
]


@pytest.fixture(params=METHODS)
def method(request, monkeypatch):
    """Either method of proof, whatever the size of the model."""
    monkeypatch.setattr(proof, "POLYNOMIAL_BUDGET", METHODS[request.param])
    return request.param


def test_both_routes_agree_for_all_small_widths(options):
    for widths in WIDTHS:
        model = Model(*widths, *options)
        found = prove(model, Pipeline.of(model).program)
        assert found.method == "polynomial identity"
        assert found.compared == model.state_size + 1


def test_both_routes_agree_at_random_points(monkeypatch, options):
    monkeypatch.setattr(proof, "POLYNOMIAL_BUDGET", 0)
    for widths in ((1, 1), (1, 3), (3, 2)):
        model = Model(*widths, *options)
        found = prove(model, Pipeline.of(model).program, seed=5)
        assert (found.method, found.points) == ("random points", proof.RANDOM_POINTS)
        assert found.error_bound_log2 < -100


@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_large_models_are_proved_at_random_points_unasked(constraint):
    model = Model(12, 5, constraint, teacher="general")
    assert proof.component_products(model) > proof.POLYNOMIAL_BUDGET
    assert overlap_odes(model).proof.method == "random points"


def test_size_of_the_polynomials():
    # (2, 1): three entries of dQ and two of dR, each a sum over 3; with η² each of the three of
    # dQ a sum of 6 products over 3² pairs.
    assert proof.component_products(Model(2, 1, flow="gradient")) == 3 * 3 + 2 * 3
    assert proof.component_products(Model(2, 1)) == 3 * 3 + 2 * 3 + 3 * 6 * 9
    assert proof.component_products(Model(3, 2, flow="gradient")) == 6 * 5 + 6 * 5


class Recorded(random.Random):
    """A generator that remembers between what bounds it drew."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.seed_given = seed
        self.bounds: list[tuple[int, int]] = []

    def randint(self, a, b):
        self.bounds.append((a, b))
        return super().randint(a, b)


def test_random_points_are_as_many_as_the_error_bound_says(monkeypatch):
    """The bound of Schwartz and Zippel holds for points drawn from 2^62 values, and no fewer."""
    drawn = []

    def recorded(seed):
        drawn.append(Recorded(seed))
        return drawn[-1]

    monkeypatch.setattr(proof, "POLYNOMIAL_BUDGET", 0)
    monkeypatch.setattr(proof.random, "Random", recorded)
    model = Model(2, 1)
    found = prove(model, Pipeline.of(model).program, seed=7)
    (generator,) = drawn
    assert generator.seed_given == 7
    # Readouts, η and Δ, order parameters, and two vectors that contract students and teachers.
    numbers = 2 + len(model.parameters) + model.state_size + 2 * (model.p + model.pstar)
    assert len(generator.bounds) == found.points * numbers
    assert {b - a + 1 for a, b in generator.bounds} == {2**proof.RANDOM_BITS}
    assert min(a for a, _ in generator.bounds) == 1
    assert found.error_bound_log2 == found.points * (proof.DEGREE_BOUND_LOG2 - proof.RANDOM_BITS)


@pytest.mark.parametrize(
    ("second_layer", "bound"),
    [
        ("ones", proof.DEGREE_BOUND_LOG2),
        ("fixed", proof.WEIGHTED_DEGREE_BOUND_LOG2),
        ("trained", proof.WEIGHTED_DEGREE_BOUND_LOG2),
    ],
)
def test_no_difference_has_a_higher_degree_than_the_bound_allows(second_layer, bound):
    model = Model(2, 2, teacher="general", second_layer=second_layer)
    degrees = dict.fromkeys(("a", "b", *model.parameters, *model.state), 1)

    def highest(terms):
        return max(sum(factors) for _, factors in terms)

    found = evaluate(Pipeline.of(model).program, degrees, highest, no_reciprocal)
    vectors_or_denominators = 2
    clears_denominators = 2
    degree = max(found.values()) + vectors_or_denominators + clears_denominators
    assert 2 ** (bound - 1) < degree <= 2**bound
    drawn = dataclasses.replace(model, p=12, pstar=12)
    assert proof.proof_record(drawn).error_bound_log2 == proof.RANDOM_POINTS * (bound - proof.RANDOM_BITS)


# --- mutations ---------------------------------------------------------------------------


@pytest.mark.parametrize("model", MUTATED, ids=lambda model: model.name)
def test_every_wrong_program_is_rejected(method, model):
    program = Pipeline.of(model).program
    assert prove(model, program).method == method
    accepted, rejected = [], 0
    for what, wrong in mutations(program):
        try:
            prove(model, wrong)
        except ProofError:
            rejected += 1
        else:
            accepted.append(what)
    assert accepted == []
    assert rejected > 100


@pytest.mark.parametrize("model", MUTATED, ids=lambda model: model.name)
def test_mutations_reach_every_output(model):
    """dQ, dR and the loss are each changed by some mutations, and left alone by others."""
    program = Pipeline.of(model).program
    point = {name: Fraction(k + 2, 7) for k, name in enumerate(("a", "b", *model.parameters, *model.state))}
    right = evaluate_exactly(program, point)
    changed = dict.fromkeys({name.split("_")[0] for name in right}, 0)
    for _, wrong in mutations(program):
        found = evaluate_exactly(wrong, point)
        for output in {name.split("_")[0] for name in right if right[name] != found[name]}:
            changed[output] += 1
    assert min(changed.values()) > 5


@pytest.mark.parametrize("half", [Fraction(1), Fraction(-1, 2), Fraction(1, 4)])
def test_wrong_sphere_factor_is_rejected(method, monkeypatch, half):
    """The ½ of g = dQ_ii / (2 Q_ii) stands in the expansion, not in a statement."""
    model = Model(2, 2, "sphere")
    assert prove(model, Pipeline.of(model).program).method == method
    monkeypatch.setattr(expansion, "HALF", half)
    with pytest.raises(ProofError, match=r"dR_1_1|dQ_1_2"):
        prove(model, Pipeline.of(model).program)


@pytest.mark.usefixtures("method")
def test_free_program_is_no_proof_of_the_sphere():
    """The sphere forgotten altogether: its outputs are the free drifts under other names."""
    model = Model(2, 2, "sphere")
    program = Pipeline.of(model).program
    renamed = {"dQ": "fQ", "dR": "fR"}
    statements = []
    for statement in program.statements:
        if isinstance(statement, Projection):
            whole = Term(1, None, (Operand(statement.drift),))
            assert renamed[statement.target.name] == statement.drift.name
            statement = MatrixStatement(statement.target, (whole,))
        statements.append(statement)
    with pytest.raises(ProofError):
        prove(model, dataclasses.replace(program, statements=tuple(statements)))


@pytest.mark.usefixtures("method")
def test_program_of_another_model_is_rejected():
    for right, wrong in (
        (Model(2, 2), Model(2, 2, flow="gradient")),
        (Model(2, 2, flow="gradient"), Model(2, 2)),
        (Model(2, 2, teacher="general"), Model(2, 2)),
    ):
        with pytest.raises(ProofError, match=right.name):
            prove(right, Pipeline.of(wrong).program)


@pytest.mark.usefixtures("method")
@pytest.mark.parametrize(
    ("factor", "problem"),
    [
        (ScalarPolynomial.constant(2), "the two derivations of loss differ"),
        (ScalarPolynomial.name("nothing"), r"the program cannot be compared: KeyError\('nothing'\)"),
    ],
)
def test_the_error_names_model_and_entry(factor, problem):
    model = Model(2, 1)
    program = Pipeline.of(model).program
    loss = next(s for s in program.statements if s.target == "loss")
    wrong = dataclasses.replace(loss, polynomial=factor * loss.polynomial)
    statements = tuple(wrong if s is loss else s for s in program.statements)
    with pytest.raises(ProofError, match=f"p2_pstar1: {problem}"):
        prove(model, dataclasses.replace(program, statements=statements))
