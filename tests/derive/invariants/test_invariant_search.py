"""The search for conserved quantities: what it finds, and what it rejects."""

from __future__ import annotations

import pytest

from derive import InputError, Model
from derive.invariants import drift_field, overlap_ring, search
from derive.invariants.darboux import DarbouxSearch
from derive.invariants.monomials import NumericField
from derive.invariants.vector_field import VectorField

GRADIENT = {"flow": "gradient"}


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
        (Model(2, 1, **GRADIENT, second_layer="fixed"), 3),
        (Model(1, 2, **GRADIENT, second_layer="fixed"), 2),
        (Model(2, 1, **GRADIENT, second_layer="trained"), 4),
        (Model(1, 1, second_layer="trained"), 2),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_what_is_found_divides_its_lie_derivative(model, degree):
    found = search(model, degree)
    assert found.darboux
    # Norms on the sphere, a general T and no weight decay are numbers in every proof.
    held = {name: value for name, value in found.values.items() if name[0] in "QTw"}
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
def test_search_rejects_other_degrees(degree):
    with pytest.raises(InputError, match=r"degree: .* is not an integer from 1 to 8"):
        search(Model(1, 1), degree)


def test_search_rejects_what_would_take_hours():
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


def test_a_linear_part_that_is_not_triangular_is_rejected():
    ring = overlap_ring(Model(1, 1))
    Q, R = ring.Q[0][0], ring.R[0][0]
    for drift_of_q in (R, Q + 1):
        field = NumericField(VectorField(ring, {"Q_1_1": drift_of_q, "R_1_1": R}, ring.one))
        with pytest.raises(NotImplementedError, match="not triangular"):
            field.blocks(1)
