"""The program of a model: what is shared, and what is left out."""

import dataclasses

import pytest

from derive import Model
from derive import overlap_program as overlap_program_module
from derive.equations import overlap_equations
from derive.expansion import operation_count
from derive.overlap_program import drift_program, loss_program, overlap_program
from derive.program import MatrixStatement, NormRates, Program, Projection, sources
from derive.scalar_polynomials import ScalarPolynomial


def names_read(program: Program) -> set[str]:
    return set().union(*(sources(statement) for statement in program.statements))


def test_products_are_shared_and_not_expanded():
    """Five products of matrices: aQ·Q, bR·Rᵀ, aQ·R, V·X and W·Yᵀ, whatever the widths."""
    products = [
        term
        for statement in overlap_program(Model(7, 3)).statements
        if isinstance(statement, MatrixStatement)
        for term in statement.terms
        if len(term.operands) == 2
    ]
    assert len(products) == 5
    assert len(overlap_program(Model(7, 3)).statements) == len(overlap_program(Model(30, 20)).statements)


def test_cost_grows_with_the_third_power_of_the_width():
    small, large = (operation_count(overlap_program(Model(p, 1))) for p in (32, 64))
    assert 7 < large / small < 8


def test_gradient_flow_computes_no_second_moment():
    sgd, gradient = overlap_program(Model(4, 2)), overlap_program(Model(4, 2, flow="gradient"))
    assert "label_noise" in sgd.scalars
    assert "label_noise" not in gradient.scalars
    assert names_read(sgd) - names_read(gradient) >= {"label_noise", "V", "W", "q2"}
    assert operation_count(gradient) < operation_count(sgd)


@pytest.mark.parametrize("teacher", ["orthonormal", "general"])
def test_only_a_general_teacher_is_an_input(teacher):
    program = overlap_program(Model(3, 2, teacher=teacher))
    present = teacher == "general"
    assert ("T" in [matrix.name for matrix in program.inputs]) == present
    assert ("T" in names_read(program)) == present


def test_sphere_projects_both_drifts_after_the_norm_rates():
    statements = overlap_program(Model(3, 2, "sphere")).statements
    kinds = [type(s) for s in statements if isinstance(s, (NormRates, Projection))]
    assert kinds == [NormRates, Projection, Projection]
    free = overlap_program(Model(3, 2)).statements
    assert not any(isinstance(s, (NormRates, Projection)) for s in free)


def test_parts_leave_out_what_they_do_not_need():
    assert "loss" not in [
        output for output in drift_program(Model(4, 2)).outputs if isinstance(output, str)
    ]
    read = names_read(loss_program(Model(4, 2, "sphere")))
    assert read.isdisjoint({"eta", "label_noise", "kappa", "X", "Y"})
    # Without the η² term nothing of the drift needs tr(DCDC).
    assert "t" not in names_read(drift_program(Model(4, 2, flow="gradient")))


@pytest.mark.parametrize("part", ["dQ", "dR"])
def test_longer_chains_fail_loudly(monkeypatch, part):
    equations = overlap_equations("sgd")
    longer = {**getattr(equations, part), 3: ScalarPolynomial.name("kappa")}
    changed = dataclasses.replace(equations, **{part: longer})
    monkeypatch.setattr(overlap_program_module, "overlap_equations", lambda _: changed)
    with pytest.raises(NotImplementedError, match="chains"):
        overlap_program(Model(2, 2))
