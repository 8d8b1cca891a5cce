"""Vector code of polynomial activations against the generated scalar code, in all forms."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest
from matrix import matrix
from vector_code import (
    ALLOWED,
    EPSILON,
    Programs,
    assert_equals_scalar_code,
    largest_terms,
    random_lanes,
    scalar_drift,
)

from derive import Model
from derive.pipeline import Pipeline
from derive.program import EntryStatement, PairProducts, Program
from runtime.ensemble.kernels.form_by_size import FORMS
from runtime.vector import jit

TILES = ["written-out tiles", "looped tiles"]
HERMITE = [f"he{degree}" for degree in range(1, 7)]
# The student's activation and the teacher's: even, odd and mixed ones, general coefficients, and a teacher
# of higher and of lower degree.
MIXED = [
    ("he1+he2", "he1"),
    ("he2+he3", "he4"),
    ("1,-1/2,0,1/6", "he2"),
    ("he3", "quadratic"),
    ("quadratic", "he3"),
    ("he4", "he1+he3"),
]
FULL = {"constraint": "sphere", "teacher": "general", "second_layer": "trained"}
OPTIONS = [
    {"constraint": constraint, "flow": flow, "teacher": teacher, "second_layer": layer}
    for constraint, flow, teacher, layer in itertools.product(
        ["free", "sphere"], ["sgd", "gradient"], ["orthonormal", "general"], ["ones", "fixed", "trained"]
    )
]
# Every p and every p* up to 8, and larger ones whose pairs are computed in blocks of every shape.
WIDTHS = [(1, 1), (2, 7), (3, 2), (5, 3)]
WIDE = [(4, 5), (6, 1), (7, 4), (8, 6)]
WIDER = [(1, 8), (8, 8), (9, 4), (12, 6), (16, 5), (7, 70), (3, 120), (24, 6)]


def names(value: object) -> str:
    return "-".join(value.values()) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("activation", HERMITE)
def test_hermite_polynomials(activation, form):
    assert_equals_scalar_code(Model(2, 2, activation=activation), jit.target(), form, seed=1)


@pytest.mark.parametrize(
    ("activations", "form"),
    [
        *itertools.product(MIXED, TILES),
        *(matrix(case) for case in itertools.product(MIXED, ["unrolled entries"])),
        *(matrix(case) for case in itertools.product(itertools.product(HERMITE, HERMITE), FORMS)),
    ],
    ids=str,
)
def test_different_activations(activations, form):
    student, teacher = activations
    model = Model(2, 3, activation=student, teacher_activation=teacher, teacher="general")
    assert_equals_scalar_code(model, jit.target(), form, seed=2)


@pytest.mark.parametrize(
    ("options", "activation", "form"),
    [
        *itertools.product(OPTIONS[::9], ["he2+he3"], FORMS),
        *(matrix(case) for case in itertools.product(OPTIONS, ["he2+he3", "he4"], FORMS)),
    ],
    ids=names,
)
def test_every_option(options, activation, form):
    model = Model(2, 2, activation=activation, **options)
    assert_equals_scalar_code(model, jit.target(), form, seed=3)


@pytest.mark.parametrize(
    ("widths", "activation", "form"),
    [
        *itertools.product(WIDTHS, ["he3"], TILES),
        *(matrix(case) for case in itertools.product(WIDE, ["he3"], TILES)),
        *(matrix(case) for case in itertools.product(WIDER, ["he3"], TILES[1:])),
        *(matrix(case) for case in itertools.product(WIDTHS + WIDE, ["he2+he3", "he4", "he5"], TILES)),
        *(matrix(case) for case in itertools.product(WIDTHS, ["he3", "he4"], ["unrolled entries"])),
    ],
    ids=str,
)
def test_every_width(widths, activation, form):
    assert_equals_scalar_code(Model(*widths, activation=activation, **FULL), jit.target(), form, seed=4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("simd", ["avx2", "baseline"])
def test_every_kind_of_vectors(simd, form):
    assert_equals_scalar_code(Model(3, 2, activation="he3", **FULL), jit.target(simd), form, seed=5)


def changed(program: Program, name: str) -> Program:
    """The program with another coefficient, or with the sides of its products of pairs exchanged."""
    statements = []
    for statement in program.statements:
        if name == "sides" and isinstance(statement, PairProducts):
            statement = dataclasses.replace(statement, left=statement.right, right=statement.left)
        elif isinstance(statement, EntryStatement) and statement.target.name == name:
            first, *rest = statement.terms
            first = dataclasses.replace(first, coefficient=first.coefficient * Fraction(10**9 + 1, 10**9))
            statement = dataclasses.replace(statement, terms=(first, *rest))
        statements.append(statement)
    return dataclasses.replace(program, statements=tuple(statements))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrong", ["N", "sides"])
def test_small_errors_are_found(wrong, form):
    # Graphs whose students i and j have different degrees know which one is first; he5 has some.
    model = Model(2, 1, activation="he5", second_layer="fixed")
    states, parameters = random_lanes(model, jit.target().lanes, seed=6)
    program = Pipeline.of(model).functions["rhs"]
    errors = []
    for each in (program, changed(program, wrong)):
        drifts = Programs(model, jit.target(), form, {"rhs": each})("rhs", states, parameters)
        errors.append(
            max(
                np.max(np.abs(drift - scalar_drift(model, y, values)))
                / (EPSILON * largest_terms(model, y, values)[0])
                for y, values, drift in zip(states, parameters, drifts, strict=True)
            )
        )
    assert errors[0] < ALLOWED < 100.0 < errors[1]
