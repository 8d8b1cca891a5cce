"""What tiled code keeps in memory: no matrix that is a multiple of another, no copy of a result."""

import itertools
from fractions import Fraction
from typing import Any

import pytest

from derive import Model
from derive.pipeline import Pipeline
from derive.program import (
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    Operand,
    Program,
    Term,
    Vector,
    VectorStatement,
)
from runtime.ensemble.kernels.matrix_placement import MatrixPlacement, Part

OPTIONS = list(itertools.product(["free", "sphere"], ["sgd", "gradient"], ["orthonormal", "general"]))


@pytest.mark.parametrize(("constraint", "flow", "teacher"), OPTIONS)
@pytest.mark.parametrize("layer", ["ones", "fixed", "trained"])
def test_everything_has_one_place(constraint, flow, teacher, layer):
    model = Model(5, 3, constraint=constraint, flow=flow, teacher=teacher, second_layer=layer)
    places = MatrixPlacement(Pipeline.of(model).functions["rhs"], model.parameters)
    kinds = (
        places.state,
        places.parameters,
        places.result,
        places.multiples,
        places.inlined,
        places.scratch,
    )
    for name in (*places.matrices, *places.vectors):
        assert sum(name in kind for kind in kinds) == 1, name
    # After the packed Q comes R, which is read where it is, and then a trained v.
    trained = layer == "trained"
    assert places.state == {"R": 15} | ({"v": 30} if trained else {})
    assert places.result == {"dQ": 0, "dR": 15} | ({"dv": 30} if trained else {})
    weights = [name for name in ("v", "vstar") if name in places.vectors and name not in places.state]
    assert places.parameters == {name: model.parameters.index(f"{name}_1") for name in weights}
    assert places.given == {*weights, *(["T"] if teacher == "general" else [])}


def test_inputs_are_read_in_place_where_symmetric_matrices_are_packed():
    model = Model(5, 3, teacher="general")
    program = Pipeline.of(model).functions["rhs"]
    places = MatrixPlacement(program, model.parameters, packed=True)
    assert places.inputs == {"Q": 0, "R": 15, "T": 2}
    assert (places.state, places.parameters) == ({"Q": 0, "R": 15}, {"T": 2})
    assert set(places.scratch) == {"X", "Y"} | (
        set(MatrixPlacement(program, model.parameters).scratch) - {"Q", "T", "X", "Y"}
    )
    # X is kept as its independent entries.
    order = sorted(places.scratch.items(), key=lambda item: item[1])
    ends = [start for _, start in order[1:]] + [places.components]
    sizes = {name: end - start for (name, start), end in zip(order, ends, strict=True)}
    assert (sizes["X"], sizes["Y"]) == (15, 15)


def test_multiples_of_the_drift():
    places = MatrixPlacement(Pipeline.of(Model(4, 2)).functions["rhs"], ())
    assert set(places.multiples) == {"aQ", "bR", "V", "W"}
    assert set(places.scratch) == {"Q", "X", "Y"}
    assert places.components == 16 + 16 + 8


def test_reciprocals_that_only_tangents_read_have_no_room():
    places = MatrixPlacement(Pipeline.of(Model(4, 2, constraint="sphere")).functions["rhs"], ())
    free = MatrixPlacement(Pipeline.of(Model(4, 2)).functions["rhs"], ())
    sphere_alone = {name for name in places.scratch if name not in places.matrices}
    assert len(sphere_alone) == 1
    assert not [name for name in free.scratch if name not in free.matrices]


def test_substitution_multiplies_coefficients():
    program = Pipeline.of(Model(4, 2)).functions["rhs"]
    places = MatrixPlacement(program, ())
    statement = next(
        s for s in program.statements if isinstance(s, MatrixStatement) and s.target.name == "dQ"
    )
    Q, X, Y, R = (Operand(places.matrices[name]) for name in ("Q", "X", "Y", "R"))
    parts = list(places.parts(statement))
    assert parts == [
        Part(1, ("q0",), (Q,)),
        Part(1, ("q1",), (X,)),
        Part(1, ("q2", "a"), (Q, X)),
        Part(-1, ("q2", "b"), (R, Operand(Y.matrix, transposed=True))),
    ]


def test_a_transposed_multiple_transposes_its_base():
    A, M, S = Matrix("R", "p", "pstar"), Matrix("M", "p", "pstar"), Matrix("S", "p", "p", symmetric=True)
    scaled = MatrixStatement(M, (Term(-1, "a", (Operand(A),)),))
    product = MatrixStatement(S, (Term(1, None, (Operand(M), M.T)),))
    program = Program(3, 2, (A,), ("a",), (scaled, product), (S,))
    assert list(MatrixPlacement(program, ()).parts(product)) == [
        Part(1, ("a", "a"), (Operand(A), Operand(A, True)))
    ]


def test_what_contractions_read_is_kept():
    model = Model(3, 2, teacher="general")
    places = MatrixPlacement(Pipeline.of(model).functions["loss"], model.parameters)
    assert set(places.scratch) == {"Q", "T"}
    assert places.result == {}


@pytest.mark.parametrize("layer", ["fixed", "trained"])
def test_moments_are_computed_where_the_drift_reads_them(layer):
    for flow, moments in (("sgd", {"M", "G", "N"}), ("gradient", {"M", "G"})):
        model = Model(4, 2, flow=flow, second_layer=layer)
        places = MatrixPlacement(Pipeline.of(model).functions["rhs"], model.parameters)
        assert set(places.inlined) == moments


def test_what_is_read_twice_or_turned_or_has_products_on_a_diagonal_is_kept():
    Q, S = Matrix("Q", "p", "p", symmetric=True), Matrix("S", "p", "p", symmetric=True)
    B, d = Matrix("B", "p", "p"), Vector("d", "p")

    def entries(*operands: Operand) -> tuple[EntryTerm, ...]:
        return (EntryTerm(Fraction(1), operands=operands),)

    def inlined(*statements: Any) -> set[str]:
        return set(MatrixPlacement(Program(3, 2, (Q,), (), statements, (S, d)), ()).inlined)

    square = MatrixStatement(B, (Term.of(Q, Q),))
    linear = MatrixStatement(Matrix("L", "p", "p", symmetric=True), (Term.of(Q), Term.of(Q, sign=-1)))
    L, other = linear.target, Matrix("O", "p", "p")
    once, turned = EntryStatement(other, entries(Operand(B))), EntryStatement(other, entries(B.T))
    assert inlined(square, once) == {"B"}
    assert inlined(square, turned) == set()
    assert inlined(square, once, EntryStatement(Matrix("P", "p", "p"), entries(Operand(B)))) == set()
    assert inlined(square, once, VectorStatement(d, entries(Operand(B)))) == set()
    # S is symmetric as L is, but B and O are not.
    reading, on_diagonal = EntryStatement(S, entries(Operand(L))), VectorStatement(d, entries(Operand(L)))
    assert inlined(linear, reading, on_diagonal) == {"L"}
    assert inlined(linear, EntryStatement(other, entries(Operand(L)))) == set()
