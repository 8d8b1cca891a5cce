"""Laws with second layers and weight decay: what is proved, under which conditions, and what fails."""

from __future__ import annotations

import itertools
import random

import pytest

from derive import InputError, Model
from derive.invariants import (
    NAMED_SETS,
    Rational,
    laws,
    lie_derivative,
    named_set,
    overlap_ring,
    prove_conserved,
    prove_growth,
    prove_invariant,
    search,
)
from derive.invariants.matrix_algebra import (
    adjugate,
    combination,
    determinant,
    entries,
    product,
    trace,
    transposed,
)

ANY, ALL = "any v, v*", "all 1"
EQUAL, BOTH = "equal v", "equal v, equal v*"
# What every model with a second layer has, whatever its flow.
SYMMETRIC = {"exchanges": (ANY, "any"), "signs": (ANY, "any"), "no alignment": (ANY, "any")}
SYMMETRIC |= {"R moves linearly": (ANY, "any"), "diagonal states": (ANY, "any")}
SYMMETRIC |= {"signs on the diagonal": (ANY, "any"), "solutions": (ANY, "0")}
PLATEAU = {"plateau": (ANY, "any")}
# What equal weights have in common with weights of 1.
ROTATING = {
    "rotations of students": (EQUAL, "any"),
    "polar factor": (EQUAL, "any"),
    "commuting states": (EQUAL, "any"),
    "singular vectors": (EQUAL, "any"),
    "ratios of R": (EQUAL, "any"),
    "sign of the commutator": (EQUAL, "any"),
}
RANKS = {"rank of R": (ANY, "any"), "row space of R": (ANY, "any")}
FLOW = {
    "S moves linearly": (ANY, "any"),
    "growth of K": (EQUAL, "any"),
    "opposite students": ("v_j = -v_i", "any"),
}


def model_of(layer, p, pstar, flow="gradient", **options):
    return Model(p, pstar, flow=flow, second_layer=layer, **options)


@pytest.mark.parametrize(
    ("model", "proved", "refuted"),
    [
        (
            model_of("fixed", 2, 1),
            SYMMETRIC | PLATEAU | ROTATING | RANKS | FLOW | {"integral of the commutator": (EQUAL, "any")},
            set(),
        ),
        (model_of("fixed", 2, 1, "sgd"), SYMMETRIC | PLATEAU | ROTATING | RANKS, set(FLOW)),
        (
            model_of("trained", 2, 1),
            SYMMETRIC
            | RANKS
            | {"plateau": (ANY, "0"), "S moves linearly": (ANY, "any")}
            | {"balance of layers": (ANY, "0"), "decay of the balance": (ANY, "any")},
            {"growth of K", "rotations of students", "polar factor", "commuting states"},
        ),
        (
            model_of("trained", 2, 1, "sgd"),
            SYMMETRIC | RANKS,
            {"growth of K", "rotations of students", "polar factor", "commuting states"}
            | {"S moves linearly", "balance of layers", "decay of the balance"},
        ),
        (
            model_of("fixed", 1, 2),
            {name: value for name, value in SYMMETRIC.items() if name != "solutions"}
            | PLATEAU
            | {
                "integral of one student": (ANY, "any"),
                "growth of K": (ANY, "any"),
                "rank of R": (ANY, "any"),
            }
            | {"sign of minors": (ANY, "any"), "S moves linearly": (ANY, "any")}
            | {"no alignment with a teacher": (ANY, "any")}
            | dict.fromkeys(
                ("row space of R", "minors of R", "shape of K", "rotations of teachers", "polar factor"),
                ("equal v*", "any"),
            ),
            set(),
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_conditions_of_the_laws_of_a_model(model, proved, refuted):
    found = laws(model)
    assert {
        law.name: (law.conditions["weights"], law.conditions["decay"])
        for law in found
        if law.verdict.proved
    } == proved
    assert {law.name for law in found if law.verdict.status == "refuted"} == refuted
    assert not [law.name for law in found if law.verdict.status == "undecided"]
    # A law that needs more than these options says what happens without, or what it would need.
    for law in found:
        narrow = law.conditions["decay"] == "0" or law.conditions["weights"] not in (ANY, "v_j = -v_i")
        if (
            law.name not in ("plateau", "singular vectors", "ratios of R", "sign of the commutator")
            and narrow
        ):
            assert bool(law.otherwise) or "integral" in law.name, law.name


@pytest.mark.parametrize(
    ("options", "name", "needed"),
    [
        ({}, "growth of K", "flow = gradient"),
        ({"constraint": "sphere"}, "polar factor", "constraint = free"),
        ({"constraint": "sphere"}, "growth of K", "flow = gradient"),
        ({"second_layer": "trained"}, "balance of layers", "flow = gradient, gamma = 0"),
        (
            {"second_layer": "trained", "constraint": "sphere"},
            "balance of layers",
            "flow = gradient, constraint = free, gamma = 0",
        ),
        (
            {"second_layer": "trained"},
            "polar factor",
            "second_layer = fixed, equal v",
        ),
        (
            {"second_layer": "fixed", "constraint": "sphere"},
            "rotations of students",
            "constraint = free, equal v",
        ),
    ],
)
def test_laws_that_fail_say_what_they_need(options, name, needed):
    (law,) = (law for law in laws(Model(2, 1, **options)) if law.name == name)
    assert law.verdict.status == "refuted"
    assert law.otherwise == f"it holds with {needed}"


def test_two_conditions_that_do_not_contain_each_other_are_two_laws():
    found = [law for law in laws(model_of("fixed", 2, 2, "sgd")) if law.name == "rank of R"]
    assert [law.conditions["weights"] for law in found] == ["equal v", "equal v*"]
    assert all(law.otherwise == "any v, v*: an R of rank 1 gets rank 2 at an exact point" for law in found)


def test_students_of_equal_weight_rotate_among_students_of_other_weights():
    found = {law.name: law for law in laws(model_of("fixed", 3, 3, "sgd"))}
    for who, symbol in (("students", "v"), ("teachers", "v*")):
        law = found[f"rotations of equal {who}"]
        assert law.verdict.proved
        assert law.conditions["weights"] == f"{symbol}_i = {symbol}_j for these {who}"
        assert found[f"rotations of {who}"].conditions["weights"] == f"equal {symbol}"
    sphere = {law.name: law for law in laws(Model(3, 1, "sphere", second_layer="fixed"))}
    assert sphere["rotations of equal students"].verdict.status == "refuted"


# --- trained second layers -----------------------------------------------------------------------


def balances(model, factor=2):
    ring = overlap_ring(model)
    return [ring.eta_second * ring.Q[i][i] - factor * ring.eta * ring.v[i] ** 2 for i in range(model.p)]


@pytest.mark.parametrize("teacher", ["orthonormal", "general"])
@pytest.mark.parametrize("widths", [(1, 1), (1, 3), (3, 1), (3, 2)])
def test_each_student_keeps_the_balance_of_its_layers(widths, teacher):
    model = model_of("trained", *widths, teacher=teacher)
    for candidate in balances(model):
        assert prove_conserved(candidate, model).proved
        assert prove_conserved(candidate, model, decay=True).status == "refuted"
    for factor in (1, 4, -2):
        assert prove_conserved(balances(model, factor)[0], model).status == "refuted"
    for options in ({"flow": "sgd"}, {"constraint": "sphere"}):
        other = model_of("trained", *widths, teacher=teacher, **options)
        assert prove_conserved(balances(other)[0], other).status == "refuted"


def test_weight_decay_takes_from_the_balance_what_it_takes_from_the_norm():
    model = model_of("trained", 2, 1)
    ring = overlap_ring(model)
    for i, candidate in enumerate(balances(model)):
        slope = lie_derivative(candidate, model, decay=True)
        taken = ring.eta * ring.weight_decay * ring.eta_second * ring.Q[i][i]
        assert slope.denominator == ring.one
        assert slope.numerator == -2 * taken != -taken


def test_search_finds_the_balances_of_both_students():
    found = search(model_of("trained", 2, 1), 2)
    numbers = {name: found.values[name] for name in ("eta", "eta_second")}
    ring = overlap_ring(found.model)
    expected = [ring.substitute(x, numbers) for x in balances(found.model)]
    for polynomial in found.polynomials:
        (scale,) = {
            polynomial[monomial] / wanted[monomial]
            for wanted in expected
            if set(wanted.monoms()) == set(polynomial.monoms())
            for monomial in wanted.monoms()
        }
        assert scale
    assert len(found.polynomials) == 2
    assert search(model_of("trained", 2, 1, "sgd"), 2).polynomials == ()
    assert search(model_of("fixed", 2, 1), 3).polynomials == ()
    with pytest.raises(InputError, match="degree: 2 is not possible: on the sphere a trained v = 0"):
        search(model_of("trained", 2, 1, constraint="sphere"), 2)


# --- weight decay --------------------------------------------------------------------------------


@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_K_does_not_notice_weight_decay(constraint):
    model = Model(2, 2, constraint, "gradient")
    ring = overlap_ring(model)
    S = combination((1, ring.Q), (-1, product(ring.R, transposed(ring.R))))
    N = product(transposed(ring.R), adjugate(S, ring.one), ring.R)
    rate = 8 * ring.a * ring.b * ring.eta
    decayed = rate - 2 * ring.eta * ring.weight_decay
    for number in entries(N):
        assert prove_growth(Rational(number, determinant(S)), rate, model, decay=True).proved
        assert (
            prove_growth(Rational(number, determinant(S)), decayed, model, decay=True).status == "refuted"
        )
        assert prove_conserved(Rational(number, trace(N)), model, decay=True).proved


def test_decay_is_zero_unless_a_claim_is_about_it():
    model = Model(2, 1)
    ring = overlap_ring(model)
    shrinking = lie_derivative(ring.R[0][0], model, decay=True).numerator
    kept = lie_derivative(ring.R[0][0], model).numerator
    assert kept - shrinking == ring.eta * ring.weight_decay * ring.R[0][0]
    sphere = Model(2, 1, "sphere")
    slopes = [
        lie_derivative(overlap_ring(sphere).R[0][0], sphere, decay=x).numerator for x in (True, False)
    ]
    assert slopes[0] == slopes[1]


def test_singular_vectors_do_not_notice_weight_decay():
    model = Model(2, 2)
    R = overlap_ring(model).R
    angle = Rational(R[1][0] - R[0][1], R[0][0] + R[1][1])
    assert prove_conserved(angle, model, "commuting", decay=True).proved
    assert prove_conserved(angle, model, decay=True).status == "refuted"
    ends = {law.name: law for law in laws(model)}
    assert ends["polar factor"].conditions["decay"] == "any"
    assert ends["solutions"].conditions["decay"] == "0"


def test_the_integral_of_two_students_grows_with_weight_decay():
    model = Model(2, 1, flow="gradient")
    ring = overlap_ring(model)
    M = product(ring.R, transposed(ring.R))
    S = combination((1, ring.Q), (-1, M))
    w = (product(ring.Q, M)[0][1] - product(M, ring.Q)[0][1]) ** 4
    N = trace(product(transposed(ring.R), adjugate(S, ring.one), ring.R))
    integral = Rational(w, determinant(S) ** 2 * N**3)
    assert prove_conserved(integral, model).proved
    decay = ring.eta * ring.weight_decay
    assert prove_growth(integral, 4 * decay, model, decay=True).proved
    assert prove_growth(integral, 0 * decay, model, decay=True).status == "refuted"


# --- sets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["fixed", "trained"])
@pytest.mark.parametrize("flow", ["sgd", "gradient"])
@pytest.mark.parametrize("name", sorted(NAMED_SETS))
def test_named_sets_with_unequal_weights(name, flow, layer):
    model = model_of(layer, 2, 1, flow)
    if (name, flow, layer) == ("plateau", "sgd", "trained"):
        with pytest.raises(InputError, match="on: 'plateau': noise and decay move a trained second layer"):
            named_set(name, model)
        return
    wrong = name == "commuting" or (name, flow) == ("teacher-space", "sgd")
    assert prove_invariant(name, model).status == ("refuted" if wrong else "proved")


@pytest.mark.parametrize("layer", ["fixed", "trained"])
def test_norms_of_the_plateau_are_those_of_theory(layer):
    """q_i = b tr(FT)/(a (p + 2) v_i) (the weights of the students have one sign here)."""
    model = model_of(layer, 2, 2, teacher="general")
    ring = overlap_ring(model)
    total = sum(vstar * ring.T[r][r] for r, vstar in enumerate(ring.vstar))
    for q, v in zip((ring.Q[0][0], ring.Q[1][1]), ring.v, strict=True):
        norm = ring.a * (model.p + 2) * v * q - ring.b * total
        assert prove_conserved(norm, model, "plateau").proved
        generators = named_set("plateau", model).generators
        wrong = ring.a * (model.p + 1) * v * q - ring.b * total
        draw = named_set("plateau", model).point
        point = draw(random.Random(1))
        assert ring.value(norm, point) == 0 != ring.value(wrong, point)
        assert all(ring.value(x, point) == 0 for x in generators)


def test_plateaus_with_decay_have_other_norms():
    for model in (Model(2, 1), model_of("fixed", 2, 1)):
        ring = overlap_ring(model)
        assert prove_invariant("plateau", model, decay=True).proved
        sets = [named_set("plateau", model, decay) for decay in (False, True)]
        assert sets[0].generators != sets[1].generators
        gamma = str(ring.weight_decay)
        assert [any(gamma in str(x) for x in found.generators) for found in sets] == [False, True]


def test_opposite_students_keep_their_overlap_and_others_do_not():
    model = model_of("fixed", 2, 1)
    ring = overlap_ring(model)
    slope = lie_derivative(ring.Q[0][1], model).numerator
    assert slope
    v = {"v_1": 3, "v_2": -3}
    assert not ring.substitute(slope, v)
    for other in ({"v_1": 3, "v_2": 3}, {"v_1": 3, "v_2": -2}, {"v_1": 0, "v_2": 3}):
        assert ring.substitute(slope, other)


@pytest.mark.parametrize("layer", ["fixed", "trained"])
def test_exchanges_and_signs_hold_for_every_option(layer):
    for constraint, flow, teacher in itertools.product(
        ("free", "sphere"), ("sgd", "gradient"), ("orthonormal", "general")
    ):
        found = {law.name: law for law in laws(Model(2, 2, constraint, flow, teacher, second_layer=layer))}
        for name in ("exchanges", "signs", "R moves linearly", "no alignment", "solutions"):
            assert found[name].verdict.proved, (name, constraint, flow, teacher)
            assert found[name].conditions["weights"] == ANY
