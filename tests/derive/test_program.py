"""Programs: the expansion of statements, their cost, and their value against the closed form."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from closed_form import drift, flatten, loss, magnitude, named, random_point

from derive import Model
from derive.expansion import (
    Assignment,
    entry,
    entry_names,
    evaluate,
    expand,
    operand_entry,
    operation_count,
)
from derive.overlap_program import DQ, DR, DV, LOSS
from derive.pipeline import Pipeline
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    NormRates,
    Operand,
    Program,
    Projection,
    ProjectionTangent,
    ScalarStatement,
    Term,
    Vector,
    VectorStatement,
    sources,
    targets,
)
from derive.proof import evaluate_exactly
from derive.scalar_polynomials import ScalarPolynomial

S = Matrix("S", "p", "p", symmetric=True)
M = Matrix("M", "p", "pstar")
N = Matrix("N", "p", "pstar")
U = Matrix("U", "p", "p", symmetric=True)
V = Matrix("V", "pstar", "pstar")
G = Matrix("G", "p", "p")
X, Z = Vector("x", "p"), Vector("z", "p")
Y = Vector("y", "pstar")


def program_of(*statements, outputs=(), inputs=(S, M)):
    return Program(p=2, pstar=3, inputs=inputs, scalars=("c",), statements=statements, outputs=outputs)


def test_both_halves_of_a_symmetric_matrix_share_names():
    assert entry(S, 2, 1) == entry(S, 1, 2) == "S_1_2"
    assert entry(M, 2, 1) == "M_2_1"
    assert operand_entry(M.T, 3, 2) == "M_2_3"
    assert not S.T.transposed


def test_independent_entries_in_the_order_of_the_state():
    model = Model(3, 2)
    program = Pipeline.of(model).program
    names = [name for part in program.inputs for name in entry_names(program, part)]
    assert tuple(names) == model.state
    assert program.outputs == (DQ, DR, LOSS)
    drift_names = [name for part in (DQ, DR) for name in entry_names(program, part)]
    assert drift_names == [f"d{name}" for name in model.state]


def test_a_trained_second_layer_comes_last_in_the_state():
    model = Model(2, 3, second_layer="trained")
    program = Pipeline.of(model).program
    assert program.outputs == (DQ, DR, DV, LOSS)
    names = [name for part in program.inputs for name in entry_names(program, part)]
    assert tuple(names) == (*model.state, "vstar_1", "vstar_2", "vstar_3")
    assert [program.size_of(part) for part in (DQ, DR, DV)] == [3, 6, 2]


def test_entries_and_vectors_term_by_term():
    term = EntryTerm(Fraction(3), ("c",), (X,), (Y,), (Operand(M), Operand(N)))
    statement = EntryStatement(M, (term,))
    assignments = {x.target: x.terms for x in expand(program_of(statement), statement)}
    assert assignments["M_2_3"] == ((3, ("c", "x_2", "y_3", "M_2_3", "N_2_3")),)
    assert sources(statement) == {"c", "x", "y", "M", "N"}
    diagonal = VectorStatement(X, (EntryTerm(Fraction(-1), rows=(X,), operands=(Operand(S),)),))
    assignments = {x.target: x.terms for x in expand(program_of(diagonal), diagonal)}
    assert assignments == {f"x_{i}": ((-1, (f"x_{i}", f"S_{i}_{i}")),) for i in (1, 2)}
    assert targets(diagonal) == ("x",)


def test_weighted_sums_over_entries():
    """Halves of a symmetric matrix are added only where both have the same weights."""
    one = ScalarPolynomial.constant(1)

    def terms(*contraction):
        statement = ScalarStatement("t", ScalarPolynomial(), (Contraction(one, *contraction),))
        return next(expand(program_of(statement), statement)).terms

    assert terms(None, None, (X, X)) == ((1, ("x_1", "x_1")), (1, ("x_2", "x_2")))
    assert terms(S, None, (X,)) == ((1, ("x_1", "S_1_1")), (1, ("x_2", "S_2_2")))
    assert terms(S, S, (X,), (X,))[1] == (2, ("x_1", "x_2", "S_1_2", "S_1_2"))
    both = terms(S, S, (X,), (Z,))
    assert both[1:3] == ((1, ("x_1", "z_2", "S_1_2", "S_1_2")), (1, ("x_2", "z_1", "S_1_2", "S_1_2")))


def test_product_of_matrices_entry_by_entry():
    statement = MatrixStatement(S, (Term(-1, "c", (Operand(M), M.T)), Term(1, "c", ())))
    assignments = {x.target: x.terms for x in expand(program_of(statement), statement)}
    assert list(assignments) == ["S_1_1", "S_1_2", "S_2_2"]
    assert assignments["S_1_2"] == tuple((-1, ("c", f"M_1_{k}", f"M_2_{k}")) for k in (1, 2, 3))
    assert assignments["S_1_1"][-1] == (1, ("c",))


@pytest.mark.parametrize(
    ("statement", "removed"),
    [
        (Projection(DQ, S, U, "g", sides=2), [("g", "U")]),
        (ProjectionTangent(DQ, S, (("dg", U), ("g", G)), sides=2), [("dg", "U"), ("g", "G")]),
    ],
)
def test_projections_leave_an_exact_zero_on_the_diagonal(statement, removed):
    assignments = {x.target: x.terms for x in expand(program_of(statement), statement)}
    assert list(assignments) == ["dQ_1_1", "dQ_1_2", "dQ_2_2"]
    assert assignments["dQ_1_1"] == assignments["dQ_2_2"] == ()
    products = [(-1, (f"{rates}_{k}", f"{matrix}_1_2")) for k in (1, 2) for rates, matrix in removed]
    assert assignments["dQ_1_2"] == ((1, ("S_1_2",)), *products)
    assert sources(statement) == {"S"}.union(*removed)


def test_contractions_of_symmetric_and_other_matrices():
    """⟨A, B⟩ is the sum over all entries, whichever of them have one name."""
    indices = list(itertools.product((1, 2), repeat=2))
    values = {
        f"{matrix.name}_{i}_{j}": Fraction(3 * i + 5 * j + k, 7)
        for k, matrix in enumerate((S, U, G))
        for i, j in indices
    }
    for matrix in (S, U):
        values[f"{matrix.name}_2_1"] = values[f"{matrix.name}_1_2"]
    one = ScalarPolynomial({(): 1})
    for left in (S, G):
        for right in (S, U, G):
            statement = ScalarStatement("s", ScalarPolynomial(), (Contraction(one, left, right),))
            program = program_of(statement, outputs=("s",), inputs=(S, U, G))
            both = (left.name, right.name)
            expected = sum(math.prod(values[f"{name}_{i}_{j}"] for name in both) for i, j in indices)
            assert evaluate_exactly(program, values) == {"s": expected}
            assert sources(statement) == {left.name, right.name}


def test_products_of_transposed_rectangles():
    statement = MatrixStatement(V, (Term(1, None, (M.T, Operand(N))),))
    (first, *_) = expand(program_of(statement), statement)
    assert first.terms == ((1, ("M_1_1", "N_1_1")), (1, ("M_2_1", "N_2_1")))
    assert sources(statement) == {"M", "N"}


def test_norm_rates_divide_once():
    statement = NormRates("g", "inverse", S, S)
    lines = list(expand(program_of(statement), statement))
    assert [line.target for line in lines] == ["inverse_1", "g_1", "inverse_2", "g_2"]
    assert [line.reciprocal for line in lines] == [True, False, True, False]
    assert targets(statement) == ("g", "inverse")


def test_restriction_keeps_what_the_outputs_need_and_no_more():
    double = ScalarStatement("d", 2 * ScalarPolynomial.name("c"))
    unused = ScalarStatement("unused", ScalarPolynomial.name("d"))
    scaled = MatrixStatement(N, (Term(1, "d", (Operand(M),)),))
    program = program_of(double, unused, scaled, outputs=(N, "unused"))
    assert program.restricted_to([N]).statements == (double, scaled)
    assert program.restricted_to(["unused"]).statements == (double, unused)
    assert program.restricted_to(["d"]).outputs == ("d",)
    assert sources(scaled) == {"d", "M"}


@pytest.mark.parametrize(
    ("terms", "reciprocal", "operations"),
    [
        ((), False, 0),
        (((Fraction(1), ("x",)),), False, 0),
        (((Fraction(-1), ("x",)),), False, 0),
        (((Fraction(2), ("x",)),), False, 1),
        (((Fraction(1), ("x", "y")), (Fraction(-1), ("z",))), False, 2),
        (((Fraction(1, 2), ("x", "y")), (Fraction(-3), ())), False, 3),
        (((Fraction(1), ("x",)),), True, 1),
    ],
)
def test_operations_of_one_assignment(terms, reciprocal, operations):
    assert Assignment("target", terms, reciprocal).operations == operations


def test_operation_count_equals_that_of_the_expansion(options):
    for widths in ((1, 1), (1, 3), (2, 2), (5, 3)):
        program = Pipeline.of(Model(*widths, *options)).program
        by_expansion = sum(
            assignment.operations
            for statement in program.statements
            for assignment in expand(program, statement)
        )
        assert operation_count(program) == by_expansion, widths


def test_program_in_floats_equals_the_closed_form(options):
    def combine(terms):
        return sum(float(c) * math.prod(factors) for c, factors in terms)

    for widths in ((1, 1), (1, 2), (2, 1), (2, 3), (4, 2)):
        model = Model(*widths, *options)
        point = random_point(model, seed=17)
        values = {name: float(value) for name, value in named(model, point).items()}
        results = evaluate(Pipeline.of(model).program, values, combine, lambda value: 1.0 / value)
        found = [results[f"d{name}"] for name in model.state]
        expected = flatten(*drift(model, point))
        tolerance = 1e-13 * magnitude(model, point)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=model.name)
        assert results["loss"] == pytest.approx(loss(model, point), rel=1e-12), model.name


def test_evaluation_in_rationals_is_exact():
    model = Model(2, 2, "sphere", teacher="general")
    values = named(model, random_point(model, seed=1))
    results = evaluate_exactly(Pipeline.of(model).program, values)
    assert set(results) == {f"d{name}" for name in model.state} | {LOSS}
    assert all(isinstance(value, (int, Fraction)) for value in results.values())
    # Scaling the weights scales homogeneous parts exactly: without a student the loss is the teacher's.
    for name in model.state:
        values[name] = Fraction(0)
    trace = values["T_1_1"] + values["T_2_2"]
    square = values["T_1_1"] ** 2 + 2 * values["T_1_2"] ** 2 + values["T_2_2"] ** 2
    alone = evaluate_exactly(Pipeline.of(model).program.restricted_to([LOSS]), values)
    assert alone == {LOSS: values["b"] ** 2 * (trace**2 + 2 * square) / 2}
