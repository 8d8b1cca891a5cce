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
from derive.tangent import PREFIX, differentiate


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


def test_what_has_no_derivative_fails_loudly():
    one, s = ScalarPolynomial.constant(1), ScalarPolynomial.name("s")
    other = Matrix("Other", "p", "p", symmetric=True)
    mixed = ScalarStatement("m", ScalarPolynomial(), (Contraction(one, Q, other),))
    changing = ScalarStatement("s", ScalarPolynomial(), (Contraction(one, Q, None),))
    scaled = ScalarStatement("m", ScalarPolynomial(), (Contraction(s, Q, None),))
    program = Pipeline.of(Model(2, 2)).program
    for statements, problem in (
        ((mixed,), "two different matrices"),
        ((changing, scaled), "changing coefficient"),
    ):
        broken = dataclasses.replace(program, statements=statements, outputs=("m",))
        with pytest.raises(NotImplementedError, match=problem):
            differentiate(broken, (Q, R))
    tangent = differentiate(Pipeline.of(Model(2, 2, "sphere")).functions["rhs"], (Q, R))
    with pytest.raises(NotImplementedError, match="no derivative of NormRatesTangent"):
        differentiate(tangent, (Q, R))
