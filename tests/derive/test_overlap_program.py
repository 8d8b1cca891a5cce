"""The program of a model: what is shared, and what is left out."""

import dataclasses

import pytest

from derive import Model
from derive.equations import overlap_equations
from derive.expansion import operation_count
from derive.overlap_program import overlap_program
from derive.pipeline import Pipeline
from derive.program import MatrixStatement, NormRates, Program, Projection, sources
from derive.scalar_polynomials import ScalarPolynomial


def names_read(program: Program) -> set[str]:
    return set().union(*(sources(statement) for statement in program.statements))


def test_products_are_shared_and_not_expanded():
    """Five products of matrices: aQ·Q, bR·Rᵀ, aQ·R, V·X and W·Yᵀ, whatever the widths."""
    products = [
        term
        for statement in Pipeline.of(Model(7, 3)).program.statements
        if isinstance(statement, MatrixStatement)
        for term in statement.terms
        if len(term.operands) == 2
    ]
    assert len(products) == 5
    small, large = (Pipeline.of(Model(*widths)).program for widths in ((7, 3), (30, 20)))
    assert len(small.statements) == len(large.statements)


def test_cost_grows_with_the_third_power_of_the_width():
    small, large = (operation_count(Pipeline.of(Model(p, 1)).program) for p in (32, 64))
    assert 7 < large / small < 8


def test_gradient_flow_computes_no_second_moment():
    sgd, gradient = Pipeline.of(Model(4, 2)).program, Pipeline.of(Model(4, 2, flow="gradient")).program
    assert "label_noise" in sgd.scalars
    assert "label_noise" not in gradient.scalars
    assert names_read(sgd) - names_read(gradient) >= {"label_noise", "V", "W", "q2"}
    assert operation_count(gradient) < operation_count(sgd)


@pytest.mark.parametrize("teacher", ["orthonormal", "general"])
def test_only_a_general_teacher_is_an_input(teacher):
    program = Pipeline.of(Model(3, 2, teacher=teacher)).program
    present = teacher == "general"
    assert ("T" in [matrix.name for matrix in program.inputs]) == present
    assert ("T" in names_read(program)) == present


def test_sphere_projects_both_drifts_after_the_norm_rates():
    statements = Pipeline.of(Model(3, 2, "sphere")).program.statements
    kinds = [type(s) for s in statements if isinstance(s, (NormRates, Projection))]
    assert kinds == [NormRates, Projection, Projection]
    free = Pipeline.of(Model(3, 2)).program.statements
    assert not any(isinstance(s, (NormRates, Projection)) for s in free)


def test_parts_leave_out_what_they_do_not_need():
    assert "loss" not in [
        output for output in Pipeline.of(Model(4, 2)).functions["rhs"].outputs if isinstance(output, str)
    ]
    read = names_read(Pipeline.of(Model(4, 2, "sphere")).functions["loss"])
    assert read.isdisjoint({"eta", "label_noise", "kappa", "X", "Y"})
    # Without the η² term nothing of the drift needs tr(DCDC).
    assert "t" not in names_read(Pipeline.of(Model(4, 2, flow="gradient")).functions["rhs"])


@pytest.mark.parametrize("second_layer", ["ones", "trained"])
@pytest.mark.parametrize("part", ["mean", "noise"])
def test_longer_chains_fail_loudly(part, second_layer):
    equations = overlap_equations("sgd")
    longer = {**getattr(equations, part), 3: ScalarPolynomial.name("s")}
    changed = dataclasses.replace(equations, **{part: longer})
    with pytest.raises(NotImplementedError, match="chains"):
        overlap_program(Model(2, 2, second_layer=second_layer), changed)


def test_second_layers_add_nothing_that_grows_with_the_third_power():
    ones, trained = (
        operation_count(Pipeline.of(Model(64, 1, second_layer=layer)).program)
        for layer in ("ones", "trained")
    )
    # They add about 20 operations to each entry of a matrix.
    assert 0 < trained - ones < 30 * 64**2
