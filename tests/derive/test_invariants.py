"""Conserved quantities: what is proved, what is refuted, and what the search finds."""

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
    drift_field,
    laws,
    lie_derivative,
    named_set,
    overlap_ring,
    prove_conserved,
    prove_growth,
    prove_invariant,
    search,
)
from derive.invariants.darboux import DarbouxSearch
from derive.invariants.ideal import Ideal
from derive.invariants.matrices import (
    adjugate,
    combination,
    determinant,
    entries,
    product,
    trace,
    transposed,
)
from derive.invariants.monomials import NumericField
from derive.invariants.ring import exact_quotient
from derive.invariants.vector_field import VectorField

GRADIENT = {"flow": "gradient"}


def schur(ring):
    """S = Q − RRᵀ and N = Rᵀ adj(S) R, so that K = N / det S."""
    S = combination((1, ring.Q), (-1, product(ring.R, transposed(ring.R))))
    return S, product(transposed(ring.R), adjugate(S, ring.one), ring.R)


def statuses(model):
    return {law.name: law.verdict.status for law in laws(model)}


# --- Lie derivatives ---------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTION_SETS[::3], ids="-".join)
@pytest.mark.parametrize("widths", [(1, 2), (3, 2)])
def test_lie_derivative_is_the_slope_along_the_closed_form(widths, options):
    model = Model(*widths, *options)
    ring, point = overlap_ring(model), random_point(model, seed=3)
    values = named(model, point)
    slopes = flatten(*drift(model, point))
    f = trace(ring.Q) ** 2 - ring.R[0][0] * ring.Q[0][0]
    g = 1 + ring.R[-1][-1] ** 2
    expected = 0.0
    for name, slope in zip(model.state, slopes, strict=True):
        up, down = (float(ring.value(h, values)) for h in (f.derivative(name), g.derivative(name)))
        top, bottom = float(ring.value(f, values)), float(ring.value(g, values))
        expected += slope * (up * bottom - top * down) / bottom**2
    found = lie_derivative(Rational(f, g), model)
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


def test_candidates_of_another_ring_are_refused():
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
    # Proved for gradient flow: the same polynomials, another model.
    flow = Model(2, 2, **GRADIENT)
    ring = overlap_ring(flow)
    S, N = schur(ring)
    assert prove_conserved(Rational(N[0][1], trace(N)), flow).proved
    factor = cofactor(determinant(S), flow)
    a, b, eta = ring.a, ring.b, ring.eta
    assert factor.numerator == 16 * a * eta * (b - a * trace(ring.Q))


def test_laws_of_gradient_flow():
    found = statuses(Model(3, 2, **GRADIENT))
    assert set(found.values()) == {"proved"}
    assert {"growth of K", "shape of K", "polar factor", "commuting states", "solutions"} <= set(found)
    general = statuses(Model(2, 2, teacher="general", **GRADIENT))
    assert set(general.values()) == {"proved"}
    assert "growth of K" in general
    assert "polar factor" not in general


def test_laws_of_sgd_say_what_is_lost():
    found = statuses(Model(3, 2))
    lost = {name for name, status in found.items() if status != "proved"}
    assert lost == {"S moves linearly", "growth of K", "shape of K"}
    assert all(found[name] == "refuted" for name in lost)


def test_laws_of_the_sphere_say_what_is_lost():
    found = statuses(Model(3, 2, "sphere"))
    lost = {name for name, status in found.items() if status == "refuted"}
    assert lost == {
        "S moves linearly",
        "growth of K",
        "shape of K",
        "rotations of students",
        "polar factor",
        "commuting states",
    }
    assert "undecided" not in found.values()
    assert found["norms"] == found["rank of R"] == "proved"
    flow = statuses(Model(2, 2, "sphere", "gradient"))
    assert flow["shape of K"] == "proved"
    assert flow["polar factor"] == "refuted"


def test_one_student_keeps_the_shape_of_K_even_in_sgd():
    # K_rs ∝ R_r R_s, and the row space of R is conserved.
    found = statuses(Model(1, 3))
    assert found["shape of K"] == "proved"
    assert found["growth of K"] == "refuted"


@pytest.mark.parametrize("options", OPTION_SETS[::2], ids="-".join)
def test_no_law_is_undecided(options):
    for widths in ((1, 1), (2, 2)):
        assert "undecided" not in statuses(Model(*widths, *options)).values()


# --- singular vectors and polar factor -------------------------------------------------------


@pytest.mark.parametrize("flow", ["sgd", "gradient"])
@pytest.mark.parametrize("widths", [(2, 1), (3, 1), (2, 2), (2, 3), (4, 2)])
def test_polar_factor_is_conserved_from_equal_norms(widths, flow):
    found = statuses(Model(*widths, flow=flow))
    for name in ("rotations of students", "diagonal states", "signs on the diagonal", "polar factor"):
        assert found[name] == "proved"
    assert found["commuting states"] == found["singular vectors"] == "proved"


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


def test_row_space_of_R_is_conserved_in_every_model_with_an_orthonormal_teacher():
    for options in (("free", "sgd"), ("sphere", "sgd"), ("free", "gradient")):
        found = statuses(Model(2, 3, *options))
        assert found["minors of R"] == found["sign of minors"] == "proved"
    model = Model(2, 3, teacher="general")
    ring = overlap_ring(model)
    minors = [ring.R[0][i] * ring.R[1][j] - ring.R[0][j] * ring.R[1][i] for i, j in ((0, 1), (0, 2))]
    assert prove_conserved(Rational(*minors), model).status == "refuted"


def test_rows_of_teachers_that_are_no_eigenvectors_mix():
    model = Model(2, 1, teacher="general")
    with pytest.raises(InputError, match="on: 'commuting' is defined for an orthonormal teacher"):
        prove_invariant("commuting", model)


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


def test_exact_division_of_long_polynomials():
    ring = overlap_ring(Model(3, 2))
    long = determinant(combination((1, ring.Q), (-1, product(ring.R, transposed(ring.R)))))
    factor = ring.Q[0][0] * ring.a / 3 + ring.R[2][1]
    assert exact_quotient(long * factor, long) == factor
    assert exact_quotient(long * factor + ring.b, long) is None
    assert exact_quotient(ring.zero, long) == 0
    assert exact_quotient(ring.a * ring.b, ring.a) == ring.b
    assert exact_quotient(ring.a, ring.b) is None


def test_ideal_membership():
    ring = overlap_ring(Model(2, 1))
    x, y, z = ring.Q[0][0], ring.Q[0][1], ring.Q[1][1]
    ideal = Ideal([x**2 + y**2 - z, x * y - z])
    member = (x**2 + y**2 - z) * (y - 3) + (x * y - z) * x**2
    assert ideal.contains(member)
    # A member that plain division does not see: S-polynomial of the two.
    assert ideal.contains(y * (x**2 + y**2 - z) - x * (x * y - z))
    assert ideal.contains(x) is False
    assert ideal.contains(member + 1) is False
    linear = Ideal([x - y, y - 2 * z, x**2 - z])
    assert linear.contains(4 * z**2 - z)
    assert linear.contains(z) is False
    many = overlap_ring(Model(4, 2))
    large = Ideal(
        [q * r - 1 for q, r in zip(many.context.gens()[:8], many.context.gens()[8:16], strict=True)]
    )
    assert large.contains(many.context.gen(0)) is None


# --- search -------------------------------------------------------------------------------------


def test_search_finds_the_integral_of_two_students():
    found = search(Model(2, 1, **GRADIENT), 3)
    assert found.complete
    assert found.polynomials == ()
    assert [f.label for f in found.darboux] == [
        "det(S), S = Q - RR'",
        "N_11, N = R' adj(S) R",
        "(QRR' - RR'Q)_12",
    ]
    assert all(f.symbolic for f in found.darboux)
    (integral,) = found.first_integrals
    assert dict(integral.powers) in ({0: -2, 1: -3, 2: 4}, {0: 2, 1: 3, 2: -4})
    assert (integral.rate, integral.symbolic) == (0, True)
    ring = overlap_ring(found.model)
    assert found.growing.rate in [sign * 8 * ring.a * ring.b * ring.eta for sign in (1, -1)]


@pytest.mark.parametrize(
    ("model", "degree"),
    [
        (Model(1, 2, **GRADIENT), 3),
        (Model(1, 1, **GRADIENT, readout="sqrt"), 2),
        (Model(2, 2, **GRADIENT, readout="sqrt"), 3),
        (Model(2, 3), 2),
        (Model(1, 2, "sphere"), 3),
        (Model(2, 1, "sphere", "gradient"), 3),
        (Model(2, 1, teacher="general", **GRADIENT), 3),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_what_is_found_divides_its_lie_derivative(model, degree):
    found = search(model, degree)
    assert found.darboux
    held = {
        name: value for name, value in found.values.items() if name not in ("a", "b", "eta", "label_noise")
    }
    field = drift_field(model).with_values(held)
    for f in found.darboux:
        here = field if f.symbolic else field.with_values(found.values)
        assert here.along(f.polynomial) == f.cofactor * f.polynomial
        assert 1 <= overlap_ring(model).degree(f.polynomial) <= degree
    for integral in found.first_integrals:
        rate = sum(n * found.darboux[i].cofactor for i, n in integral.powers)
        assert found.model == model
        assert (rate == 0) == integral.symbolic
        assert integral.rate == 0


def test_one_student_is_integrable():
    found = search(Model(1, 3, **GRADIENT), 2)
    # p* integrals for p* + 1 order parameters: the orbit is known.
    assert len(found.first_integrals) == 3
    assert "the unstable manifold of the plateau" in {f.label for f in found.darboux}
    assert statuses(Model(1, 3, **GRADIENT))["integral of one student"] == "proved"


def test_search_in_sgd_finds_det_R_and_the_commutator():
    found = search(Model(2, 2), 3)
    assert [f.label for f in found.darboux] == ["det R", "(QRR' - RR'Q)_12"]
    assert not found.complete
    assert found.first_integrals == ()


def test_no_polynomial_is_conserved_in_three_students():
    found = search(Model(3, 1, **GRADIENT), 2)
    assert (found.polynomials, found.darboux, found.first_integrals, found.growing) == ((), (), (), None)
    # Known polynomials of a higher degree are long, and not tried.
    assert search(Model(4, 2), 1).darboux == ()


@pytest.mark.parametrize("degree", [0, -1, 9, True, 2.0, "2"])
def test_search_refuses_other_degrees(degree):
    with pytest.raises(InputError, match=r"degree: .* is not an integer from 1 to 8"):
        search(Model(1, 1), degree)


def test_search_refuses_what_would_take_hours():
    with pytest.raises(InputError, match=r"degree: 5 means .* monomials for p4_pstar2, more than 2000"):
        search(Model(4, 2), 5)


def test_search_on_a_field_with_known_invariants():
    """dQ = 2Q + Q², dR = R + QR: Q, Q + 2 and R are Darboux polynomials; (Q + 2) Q / R² is conserved."""
    ring = overlap_ring(Model(1, 1))
    Q, R = ring.Q[0][0], ring.R[0][0]
    field = NumericField(VectorField(ring, {"Q_1_1": 2 * Q + Q**2, "R_1_1": R + Q * R}, ring.one))
    finder = DarbouxSearch(field, Q, [])
    for degree in (1, 2):
        finder.extend(degree)
    # Q(Q + 2) and R² have the same cofactor, but both are products of the three.
    expected = [(Q, (2, 1)), (R, (1, 1)), (Q + 2, (0, 1))]
    assert len(finder.found) == len(expected)
    assert all((f.polynomial, f.cofactor) in expected for f in finder.found)
    assert finder.conserved(2) == []
    rotation = VectorField(ring, {"Q_1_1": R**2, "R_1_1": -Q * R}, ring.one)
    assert DarbouxSearch(NumericField(rotation), ring.zero, []).conserved(2) == [Q**2 + R**2]


def test_a_linear_part_that_is_not_diagonal_is_refused():
    ring = overlap_ring(Model(1, 1))
    Q, R = ring.Q[0][0], ring.R[0][0]
    for drift_of_q in (R, Q + 1):
        field = NumericField(VectorField(ring, {"Q_1_1": drift_of_q, "R_1_1": R}, ring.one))
        with pytest.raises(NotImplementedError, match="not diagonal"):
            field.blocks(1)
