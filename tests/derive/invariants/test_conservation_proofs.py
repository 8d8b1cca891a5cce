"""Conserved quantities and invariant sets: what is proved, and what is refuted."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from closed_form import OPTION_SETS, drift, flatten, named, random_point

from derive import InputError, Model
from derive.invariants import (
    NAMED_SETS,
    InvariantSet,
    Rational,
    cofactor,
    lie_derivative,
    named_set,
    overlap_ring,
    prove_conserved,
    prove_growth,
    prove_invariant,
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

GRADIENT = {"flow": "gradient"}


def schur(ring):
    """S = Q − RRᵀ and N = Rᵀ adj(S) R, so that K = N / det S."""
    S = combination((1, ring.Q), (-1, product(ring.R, transposed(ring.R))))
    return S, product(transposed(ring.R), adjugate(S, ring.one), ring.R)


# --- Lie derivatives ---------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTION_SETS[::3], ids="-".join)
@pytest.mark.parametrize("widths", [(1, 2), (3, 2)])
def test_lie_derivative_is_the_slope_along_the_closed_form(widths, options):
    model = Model(*widths, *options)
    ring, point = overlap_ring(model), random_point(model, seed=3)
    values = named(model, point)
    slopes = flatten(*drift(model, point))
    f = trace(ring.Q) ** 2 - ring.R[0][0] * ring.Q[0][0]
    if model.trained:
        f += 3 * ring.v[0] ** 2 * ring.Q[0][0]
    g = 1 + ring.R[-1][-1] ** 2
    expected = 0.0
    for name, slope in zip(model.state, slopes, strict=True):
        up, down = (float(ring.value(h, values)) for h in (f.derivative(name), g.derivative(name)))
        top, bottom = float(ring.value(f, values)), float(ring.value(g, values))
        expected += slope * (up * bottom - top * down) / bottom**2
    found = lie_derivative(Rational(f, g), model, decay=True)
    value = float(ring.value(found.numerator, values) / ring.value(found.denominator, values))
    assert value == pytest.approx(expected, rel=1e-11, abs=1e-13)


def test_lie_derivative_is_linear_and_obeys_the_product_rule():
    model = Model(2, 1)
    ring = overlap_ring(model)
    f, g = ring.Q[0][1] * ring.R[0][0], ring.Q[1][1] ** 2 + ring.eta

    def rate(candidate):
        found = lie_derivative(candidate, model)
        assert found.denominator == ring.one
        return found.numerator

    assert rate(f + 3 * g) == rate(f) + 3 * rate(g)
    assert rate(f * g) == rate(f) * g + f * rate(g)
    assert rate(ring.one) == rate(ring.eta) == 0


def test_candidates_of_another_ring_are_rejected():
    model = Model(2, 1)
    for candidate in (overlap_ring(Model(2, 2)).Q[0][0], 3, "Q_1_1"):
        with pytest.raises(
            InputError, match="candidate: is not made of polynomials of the ring of p2_pstar1"
        ):
            lie_derivative(candidate, model)
    ring = overlap_ring(model)
    with pytest.raises(InputError, match="denominator 0"):
        prove_conserved(Rational(ring.one, ring.zero), model)
    with pytest.raises(InputError, match="constant"):
        cofactor(ring.one, model)
    with pytest.raises(InputError, match="rate: is not a polynomial"):
        prove_growth(overlap_ring(model).a, 2, model)


# --- K in gradient flow --------------------------------------------------------------------


@pytest.mark.parametrize("constraint", ["free", "sphere"])
@pytest.mark.parametrize("widths", [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2)])
def test_K_grows_at_one_rate_in_gradient_flow(widths, constraint):
    model = Model(*widths, constraint, "gradient")
    ring = overlap_ring(model)
    S, N = schur(ring)
    rate = 8 * ring.a * ring.b * ring.eta
    for number in entries(N):
        assert prove_growth(Rational(number, determinant(S)), rate, model).proved
        assert prove_growth(Rational(number, determinant(S)), 2 * rate, model).status == "refuted"
        assert prove_conserved(Rational(number, trace(N)), model).proved


def test_K_is_not_conserved_in_shape_with_the_noise_of_sgd():
    model = Model(2, 2)
    ring = overlap_ring(model)
    S, N = schur(ring)
    assert prove_conserved(Rational(N[0][1], trace(N)), model).status == "refuted"
    assert cofactor(determinant(S), model) is None
    # For gradient flow, another model, the same polynomials are conserved.
    flow = Model(2, 2, **GRADIENT)
    ring = overlap_ring(flow)
    S, N = schur(ring)
    assert prove_conserved(Rational(N[0][1], trace(N)), flow).proved
    factor = cofactor(determinant(S), flow)
    a, b, eta = ring.a, ring.b, ring.eta
    assert factor.numerator == 16 * a * eta * (b - a * trace(ring.Q))


# --- singular vectors and polar factor -------------------------------------------------------


def test_ratios_of_R_are_conserved_where_Q_commutes_and_only_there():
    model = Model(3, 1)
    ring = overlap_ring(model)
    for i, j in itertools.permutations(range(3), 2):
        ratio = Rational(ring.R[i][0], ring.R[j][0])
        assert prove_conserved(ratio, model, "commuting").proved
        assert prove_conserved(ratio, model).status == "refuted"
    wrong = Rational(ring.R[0][0], ring.R[1][0] + ring.Q[0][0])
    assert prove_conserved(wrong, model, "commuting").status == "refuted"


def test_angle_of_the_polar_factor_of_two_by_two():
    model = Model(2, 2)
    ring = overlap_ring(model)
    R = ring.R
    angle = Rational(R[1][0] - R[0][1], R[0][0] + R[1][1])
    assert prove_conserved(angle, model, "commuting").proved
    assert prove_conserved(angle, model).status == "refuted"
    wrong = Rational(R[1][0] + R[0][1], R[0][0] + R[1][1])
    assert prove_conserved(wrong, model, "commuting").status == "refuted"


def test_row_space_of_R_turns_if_the_teacher_is_not_orthonormal():
    model = Model(2, 3, teacher="general")
    ring = overlap_ring(model)
    minors = [ring.R[0][i] * ring.R[1][j] - ring.R[0][j] * ring.R[1][i] for i, j in ((0, 1), (0, 2))]
    assert prove_conserved(Rational(*minors), model).status == "refuted"


# --- sets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", ["sgd", "gradient"])
@pytest.mark.parametrize("name", sorted(NAMED_SETS))
def test_named_sets_are_invariant(name, flow):
    for widths in ((2, 1), (2, 2)):
        verdict = prove_invariant(name, Model(*widths, flow=flow))
        # The η² term moves students out of the space of the teachers.
        wanted = "refuted" if (name, flow) == ("teacher-space", "sgd") else "proved"
        assert verdict.status == wanted


@pytest.mark.parametrize("constraint", ["free", "sphere"])
@pytest.mark.parametrize("name", ["no-alignment", "plateau", "solutions"])
def test_stationary_sets_are_invariant_for_a_general_teacher_too(name, constraint):
    model = Model(2, 1, constraint, teacher="general")
    assert prove_invariant(name, model).proved
    if name != "no-alignment":
        ring = overlap_ring(model)
        assert prove_conserved(ring.Q[0][1] + ring.R[0][0], model, name).proved


def test_sets_that_are_not_invariant_refute_every_claim_on_them():
    model = Model(2, 1)
    ring = overlap_ring(model)
    half = InvariantSet("half", "R_1_1 = 1/2", (2 * ring.R[0][0] - 1,))
    assert prove_invariant(half, model).status == "undecided"
    verdict = prove_conserved(ring.R[0][0], model, half)
    assert not verdict.proved
    on_it = InvariantSet(
        "half",
        "R_1_1 = 1/2",
        (2 * ring.R[0][0] - 1,),
        lambda generator: {
            **dict.fromkeys(ring.names, Fraction(generator.randint(1, 5))),
            "R_1_1": Fraction(1, 2),
        },
    )
    assert prove_invariant(on_it, model).status == "refuted"
    assert prove_conserved(ring.R[0][0], model, on_it).status == "refuted"
    assert prove_conserved(ring.Q[0][0], Model(2, 1, "sphere"), "commuting").status == "refuted"


def test_a_source_of_points_that_are_not_on_the_set_is_noticed():
    model = Model(1, 1)
    ring = overlap_ring(model)
    wrong = InvariantSet(
        "R = 0", "R = 0", (ring.R[0][0],), lambda _: dict.fromkeys(ring.names, Fraction(1))
    )
    with pytest.raises(AssertionError, match="is not on it"):
        prove_invariant(wrong, model)


def test_sets_and_candidates_that_make_no_sense():
    model = Model(2, 1)
    ring = overlap_ring(model)
    with pytest.raises(InputError, match="on: 'nowhere' is not one of no-alignment, plateau, commuting"):
        prove_invariant("nowhere", model)
    with pytest.raises(InputError, match="on: 'solutions' needs p >= p"):
        prove_invariant("solutions", Model(1, 2))
    with pytest.raises(InputError, match="on: 'commuting' is defined for an orthonormal teacher"):
        prove_invariant("commuting", Model(2, 1, teacher="general"))
    with pytest.raises(InputError, match="a denominator that vanishes on the set 'no-alignment'"):
        prove_conserved(Rational(ring.Q[0][0], ring.R[0][0]), model, "no-alignment")
    for name in ("commuting", "singular-basis"):
        with pytest.raises(InputError, match="is every state"):
            named_set(name, Model(1, 1))
    other = InvariantSet("x", "x", (overlap_ring(Model(1, 1)).R[0][0],))
    with pytest.raises(InputError, match="a generator of another ring"):
        prove_invariant(other, model)


def test_eigenvectors_of_Q_stay_where_nothing_is_aligned():
    model = Model(2, 1)
    Q = overlap_ring(model).Q
    angle = Rational(Q[0][1], Q[0][0] - Q[1][1])
    assert prove_conserved(angle, model, "no-alignment").proved
    assert prove_conserved(angle, model).status == "refuted"
    assert prove_conserved(Q[0][1], model, "no-alignment").status == "refuted"
