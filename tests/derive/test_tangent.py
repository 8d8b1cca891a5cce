"""The derivative of the program against dual numbers, exactly."""

import dataclasses
import random
from fractions import Fraction

import pytest
from closed_form import named, random_point

from derive import Model
from derive.expansion import evaluate
from derive.overlap_program import Q, R, T, state_of
from derive.pipeline import Pipeline
from derive.program import Contraction, Matrix, ScalarStatement, targets
from derive.proof import evaluate_exactly
from derive.scalar_polynomials import ScalarPolynomial
from derive.tangent import PREFIX, SECOND_PREFIX, differentiate


@dataclasses.dataclass(frozen=True)
class Dual:
    """value + slope·ε with ε² = 0: differentiation by arithmetic alone."""

    value: Fraction
    slope: Fraction

    def __add__(self, other):
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other):
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    def inverse(self):
        return Dual(1 / self.value, -self.slope / self.value**2)


@dataclasses.dataclass(frozen=True)
class Jet:
    """value + first·δ + second·ε + both·δε with δ² = ε² = 0."""

    value: Fraction
    first: Fraction
    second: Fraction
    both: Fraction = Fraction(0)

    def __mul__(self, other):
        return Jet(
            self.value * other.value,
            self.value * other.first + self.first * other.value,
            self.value * other.second + self.second * other.value,
            self.value * other.both
            + self.first * other.second
            + self.second * other.first
            + self.both * other.value,
        )

    def inverse(self):
        inverse = 1 / self.value
        both = 2 * self.first * self.second * inverse**3 - self.both * inverse**2
        return Jet(inverse, -self.first * inverse**2, -self.second * inverse**2, both)


def along_jets(program, values, first, second):
    """Second derivatives of the outputs of `program` by name."""

    def combine(terms):
        total = [Fraction(0)] * 4
        for coefficient, factors in terms:
            product = Jet(coefficient, Fraction(0), Fraction(0))
            for factor in factors:
                product = product * factor
            total = [x + y for x, y in zip(total, dataclasses.astuple(product), strict=True)]
        return Jet(*total)

    zero = Fraction(0)
    jets = {name: Jet(x, first.get(name, zero), second.get(name, zero)) for name, x in values.items()}
    return {name: jet.both for name, jet in evaluate(program, jets, combine, Jet.inverse).items()}


def along_duals(program, values, direction):
    """Slopes of the outputs of `program` by name."""

    def combine(terms):
        total = Dual(Fraction(0), Fraction(0))
        for coefficient, factors in terms:
            product = Dual(coefficient, Fraction(0))
            for factor in factors:
                product = product * factor
            total = total + product
        return total

    duals = {name: Dual(value, direction.get(name, Fraction(0))) for name, value in values.items()}
    return {name: dual.slope for name, dual in evaluate(program, duals, combine, Dual.inverse).items()}


def test_tangent_program_equals_dual_numbers_exactly(options):
    generator = random.Random(7)
    for widths in ((1, 1), (1, 3), (3, 1), (3, 2)):
        model = Model(*widths, *options)
        values = named(model, random_point(model, seed=7))
        direction = {name: Fraction(generator.randint(1, 9), 4) for name in model.state}
        given = values | {PREFIX + name: slope for name, slope in direction.items()}
        for part in (Pipeline.of(model).functions["rhs"], Pipeline.of(model).functions["loss"]):
            tangents = evaluate_exactly(differentiate(part, state_of(model)), given)
            expected = along_duals(part, values, direction)
            assert {name.removeprefix(PREFIX): value for name, value in tangents.items()} == expected
            assert any(expected.values())


def test_constants_have_no_tangent():
    """T and the parameters are held: their changes are zero and must not be computed."""
    program = differentiate(Pipeline.of(Model(2, 2, "sphere", teacher="general")).functions["rhs"], (Q, R))
    names = {target for statement in program.statements for target in targets(statement)}
    assert names.isdisjoint({PREFIX + name for name in ("kappa", "q2", "r1", "T", "eta", "inverse")})
    assert [matrix.name for matrix in program.inputs] == ["Q", "R", "T", "t_Q", "t_R"]


def test_values_that_only_the_original_outputs_need_are_left_out():
    program = differentiate(Pipeline.of(Model(2, 2)).functions["rhs"], (Q, R))
    names = {target for statement in program.statements for target in targets(statement)}
    assert names.isdisjoint({"dQ", "dR"})
    assert {"t_dQ", "t_dR", "q0", "X"} <= names


def test_derivative_along_the_teacher():
    """Not used by the generator, but `along` is an argument: T can change too."""
    model = Model(2, 2, teacher="general")
    values = named(model, random_point(model, seed=2))
    direction = {"T_1_1": Fraction(1), "T_1_2": Fraction(-2), "T_2_2": Fraction(3)}
    given = values | {PREFIX + name: slope for name, slope in direction.items()}
    tangents = evaluate_exactly(differentiate(Pipeline.of(model).functions["rhs"], (T,)), given)
    expected = along_duals(Pipeline.of(model).functions["rhs"], values, direction)
    assert {name.removeprefix(PREFIX): value for name, value in tangents.items()} == expected


def test_second_derivatives_equal_jets_exactly(options):
    generator = random.Random(8)
    for widths in ((1, 2), (3, 2)):
        model = Model(*widths, *options)
        values = named(model, random_point(model, seed=8))
        first, second = (
            {name: Fraction(generator.randint(-9, 9), 4) for name in model.state} for _ in range(2)
        )
        given = values | {PREFIX + name: slope for name, slope in first.items()}
        given |= {SECOND_PREFIX + name: slope for name, slope in second.items()}
        for part in (Pipeline.of(model).functions["rhs"], Pipeline.of(model).functions["loss"]):
            tangent = differentiate(part, state_of(model))
            found = evaluate_exactly(differentiate(tangent, state_of(model), SECOND_PREFIX), given)
            expected = along_jets(part, values, first, second)
            prefix = SECOND_PREFIX + PREFIX
            assert {name.removeprefix(prefix): value for name, value in found.items()} == expected
            assert any(expected.values())


def test_a_contraction_of_two_matrices_has_both_parts():
    one, other = ScalarPolynomial.constant(1), Matrix("Other", "p", "p", symmetric=True)
    mixed = ScalarStatement("m", ScalarPolynomial(), (Contraction(one, Q, other),))
    program = dataclasses.replace(Pipeline.of(Model(2, 2)).program, statements=(mixed,), outputs=("m",))
    (derived,) = differentiate(program, (Q, other)).statements
    parts = [(part.left.name, part.right.name) for part in derived.contractions]
    assert parts == [("t_Q", "Other"), ("Q", "t_Other")]


def test_what_has_no_derivative_fails_loudly():
    one, s = ScalarPolynomial.constant(1), ScalarPolynomial.name("s")
    changing = ScalarStatement("s", ScalarPolynomial(), (Contraction(one, Q, None),))
    scaled = ScalarStatement("m", ScalarPolynomial(), (Contraction(s, Q, None),))
    program = Pipeline.of(Model(2, 2)).program
    broken = dataclasses.replace(program, statements=(changing, scaled), outputs=("m",))
    with pytest.raises(NotImplementedError, match="changing coefficient"):
        differentiate(broken, (Q, R))
    sphere = Pipeline.of(Model(2, 2, "sphere")).functions["rhs"]
    with pytest.raises(NotImplementedError, match="the change of fQ, which does not change"):
        differentiate(sphere, (T,))
