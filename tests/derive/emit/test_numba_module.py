"""The generated code against exact arithmetic, and its layout."""

import ast
import importlib.util
import itertools
from fractions import Fraction

import generated_code
import numpy as np
import pytest
from closed_form import (
    CONSTRAINTS,
    FLOWS,
    READOUT_POWERS,
    TEACHERS,
    drift,
    flatten,
    jacobian,
    loss,
    named,
    random_point,
    readouts,
)

from derive import Model
from derive.emit import numba_module
from derive.emit.python_source import number_text
from derive.expansion import evaluate, operation_count
from derive.pipeline import Pipeline
from derive.proof import evaluate_exactly
from derive.tangent import PREFIX

EPSILON = np.finfo(float).eps
# Rounding errors in units of eps times the sum of the absolute values of all products.
TOLERANCE = 4
LINE_LENGTH = 108  # the project's own
SMALL_WIDTHS = [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2)]
FORMS = {"unrolled": True, "loops": False}


@pytest.fixture(params=FORMS)
def unrolled(request):
    return FORMS[request.param]


def absolute_sums(program, values):
    """The program with every term made positive: how large rounding errors can be."""

    def combine(terms):
        return sum(abs(float(c)) * np.prod(factors) for c, factors in terms)

    positive = {name: abs(float(value)) for name, value in values.items()}
    return evaluate(program, positive, combine, lambda value: 1.0 / value)


def assert_rounded(found, program, values, names):
    """`found` equals the exact outputs `names` of `program` to rounding."""
    exact, size = evaluate_exactly(program, values), absolute_sums(program, values)
    for number, name in zip(found, names, strict=True):
        error = abs(Fraction(float(number)) - exact[name])
        assert float(error) <= TOLERANCE * EPSILON * size[name], (program.p, program.pstar, name)


def exact_values(model, module, point):
    # The values are those of the module's own a and b: 1/3 as a double is another exact rational.
    return named(model, point) | {"a": Fraction(float(module.a)), "b": Fraction(float(module.b))}


def assert_functions_rounded(model, module, point):
    """rhs, loss and tangent at `point`, the tangent along a random direction."""
    values = exact_values(model, module, point)
    programs = Pipeline.of(model).functions
    outputs = [f"d{name}" for name in model.state]
    y, parameters = generated_code.arguments(model, module, point)
    assert_rounded(generated_code.rhs(model, module, point), programs["rhs"], values, outputs)
    assert_rounded([module.loss(y, parameters)], programs["loss"], values, ["loss"])
    v = np.random.default_rng(0).normal(size=y.size)
    out = np.full(y.size, np.nan)
    module.tangent(y, parameters, v, out)
    values |= {PREFIX + name: Fraction(float(x)) for name, x in zip(model.state, v, strict=True)}
    assert_rounded(out, programs["tangent"], values, [PREFIX + name for name in outputs])


def test_code_equals_exact_arithmetic_to_rounding(unrolled, options):
    for widths in SMALL_WIDTHS:
        model = Model(*widths, *options)
        for seed in range(2):
            assert_functions_rounded(model, generated_code.load(model, unrolled), random_point(model, seed))


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("teacher", TEACHERS)
def test_large_code_equals_exact_arithmetic_to_rounding(unrolled, constraint, teacher):
    model = Model(12, 5, constraint, teacher=teacher)
    assert_functions_rounded(model, generated_code.load(model, unrolled), random_point(model, seed=4))


def test_jacobian_equals_the_derivative_of_the_closed_form(unrolled, options):
    for widths in ((1, 1), (2, 3), (4, 2)):
        model = Model(*widths, *options)
        point = random_point(model, seed=9)
        found = generated_code.jacobian(model, generated_code.load(model, unrolled), point)
        expected = jacobian(model, point)
        tolerance = 1e-13 * max(1, np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=model.name)


@pytest.mark.parametrize("widths", [(4, 2), (12, 5)])
def test_code_equals_the_closed_form(widths, unrolled):
    for options in itertools.product(CONSTRAINTS, FLOWS, TEACHERS):
        model = Model(*widths, *options)
        module = generated_code.load(model, unrolled)
        point = random_point(model, seed=6)
        expected = flatten(*drift(model, point))
        np.testing.assert_allclose(
            generated_code.rhs(model, module, point), expected, rtol=1e-11, atol=1e-13
        )
        found = module.loss(*generated_code.arguments(model, module, point))
        assert found == pytest.approx(loss(model, point), rel=1e-12)


@pytest.mark.parametrize("readout", READOUT_POWERS)
def test_readout_weights(readout):
    model = Model(3, 7, readout=readout)
    module, (a, b) = generated_code.load(model), readouts(model)
    assert module.a == pytest.approx(a, rel=EPSILON)
    assert module.b == pytest.approx(b, rel=EPSILON)


# --- layout ------------------------------------------------------------------------------


@pytest.mark.parametrize("teacher", TEACHERS)
def test_state_and_parameters_are_laid_out_in_the_order_of_the_model(teacher):
    model = Model(3, 2, teacher=teacher)
    module = generated_code.load(model)
    point = random_point(model, seed=12)
    values = named(model, point)
    y, parameters = generated_code.arguments(model, module, point)
    assert [Fraction(x) for x in y] == [values[name] for name in model.state]
    assert [Fraction(x) for x in parameters] == [values[name] for name in model.parameters]
    assert (model.p, model.pstar) == (module.P, module.PSTAR)
    assert (y.size, parameters.size) == (module.STATE_SIZE, module.PARAMETERS)


@pytest.mark.parametrize("axes", [(), (5,), (2, 3), (0,)])
def test_packing_round_trip_with_leading_axes(axes):
    model = Model(3, 2)
    module = generated_code.load(model)
    generator = np.random.default_rng(1)
    Q0 = generator.normal(size=(*axes, 3, 3))
    Q0 = Q0 + np.swapaxes(Q0, -1, -2)
    R0 = generator.normal(size=(*axes, 3, 2))
    y = module.pack(Q0, R0)
    assert y.shape == (*axes, model.state_size)
    Q1, R1 = module.unpack(y)
    np.testing.assert_array_equal(Q1, Q0)
    np.testing.assert_array_equal(R1, R0)
    np.testing.assert_array_equal(module.pack(Q1, R1), y)


def test_packing_takes_lists_and_integers():
    module = generated_code.load(Model(2, 1))
    y = module.pack([[1, 2], [2, 3]], [[4], [5]])
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, [1, 2, 3, 4, 5])


def test_functions_leave_their_arguments_alone(unrolled):
    model = Model(2, 2, "sphere", teacher="general")
    module = generated_code.load(model, unrolled)
    arguments = generated_code.arguments(model, module, random_point(model, seed=0))
    for array in arguments:
        array.flags.writeable = False
    size = module.STATE_SIZE
    module.rhs(*arguments, np.empty(size))
    module.loss(*arguments)
    module.jacobian(*arguments, np.empty((size, size)))


def test_docstring_lists_state_parameters_and_model(options):
    model = Model(3, 2, *options)
    docstring = ast.get_docstring(ast.parse(generated_code.source(model)))
    words = " ".join(docstring.split())
    assert f"In order: {', '.join(model.state)}." in words
    assert f"{', '.join(model.parameters)}; inverse_batch is 1/batch. " in words
    assert f"Readout {model.readout}:" in words
    v = "; y[12:15] is v" if model.trained else ""
    assert f"y[0:6] is the upper triangle of Q, row by row; y[6:12] is R, row by row{v}. In" in words
    assert "--p 3 --pstar 2" in words
    for option in model.to_dict():
        if option not in ("p", "pstar"):
            value = getattr(model, option)
            written = f"--{option.replace('_', '-')} {value}" in words
            assert written == (value != getattr(Model, option))


def test_comments_on_the_sphere_name_the_drift_before_rescaling():
    text = generated_code.source(Model(2, 1, "sphere"))
    assert "# fR = r0 R + r1 Y\n" in text
    assert "# fQ = q0 Q + q1 X + q2 (CDCDC) = q0 Q + V X - W Y'\n" in text


def test_docstring_of_a_large_model_is_cut():
    docstring = ast.get_docstring(ast.parse(generated_code.source(Model(20, 5))))
    assert "Q_1_1, Q_1_2, Q_1_3, Q_1_4, ..., R_20_5." in " ".join(docstring.split())
    assert len(docstring) < 2000


def test_source_is_plain_text_that_fits_the_screen():
    models = (Model(12, 5), Model(3, 2, "sphere"), Model(9, 4, teacher="general", second_layer="fixed"))
    for unrolled, model in itertools.product(FORMS.values(), models):
        text = generated_code.source(model, unrolled)
        assert text.isascii()
        assert text.endswith("\n")
        assert "\t" not in text
        assert text == "\n".join(line.rstrip() for line in text.split("\n"))
        assert max(map(len, text.splitlines())) <= LINE_LENGTH


def test_operation_count_is_that_of_the_unrolled_text(options):
    model = Model(3, 2, *options)
    functions = {
        node.name: node
        for node in ast.parse(generated_code.source(model, unrolled=True)).body
        if isinstance(node, ast.FunctionDef)
    }
    for name, program in Pipeline.of(model).functions.items():
        operators = [node for node in ast.walk(functions[name]) if isinstance(node, ast.BinOp)]
        assert len(operators) == operation_count(program)


def test_each_function_is_unrolled_within_the_budget_and_looped_above():
    small, large = Model(4, 2), Model(12, 5)
    assert "_add_product" not in generated_code.source(small)
    assert "dQ_1_1 = " in generated_code.source(small)
    assert "dQ_1_1 = " not in generated_code.source(large)
    counts = {name: operation_count(part) for name, part in Pipeline.of(large).functions.items()}
    assert counts["rhs"] > numba_module.UNROLL_BUDGET >= counts["loss"]
    # The loss of the large model is below the budget: its one function has scalars.
    assert "Q_12_12 = y[77]" in generated_code.source(large)


def test_other_activations_are_unrolled_up_to_a_larger_budget():
    small, large = (Model(*widths, activation="he3") for widths in ((4, 2), (8, 4)))
    for model, looped in ((small, False), (large, True)):
        count = operation_count(Pipeline.of(model).functions["rhs"])
        assert count > numba_module.UNROLL_BUDGET
        assert (count > numba_module.POLYNOMIAL_UNROLL_BUDGET) == looped
        assert ("dQ_1_1 = " not in generated_code.source(model)) == looped


def test_numbers_are_printed_exactly():
    for value in (Fraction(1, 2), Fraction(3), Fraction(1, 3), Fraction(10**17 + 1), Fraction(1, 10)):
        text = number_text(value)
        assert eval(text) == float(value)
        assert ("/" in text) == (Fraction(float(value)) != value)


# --- compiled ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "form"),
    [(Model(2, 1), "unrolled"), (Model(2, 2, "sphere", "sgd", "general", "sqrt"), "loops")],
    ids=["unrolled", "loops"],
)
def test_compiled_code_equals_exact_arithmetic(tmp_path, model, form):
    path = tmp_path / "odes.py"
    path.write_text(generated_code.source(model, FORMS[form]), encoding="utf-8")
    specification = importlib.util.spec_from_file_location(f"compiled_{model.name}", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    point = random_point(model, seed=21)
    assert_functions_rounded(model, module, point)
    values = exact_values(model, module, point)
    program = Pipeline.of(model).functions["tangent"]
    columns = generated_code.jacobian(model, module, point).T
    for variable, column in zip(model.state, columns, strict=True):
        unit = {PREFIX + name: Fraction(int(name == variable)) for name in model.state}
        names = [f"{PREFIX}d{name}" for name in model.state]
        assert_rounded(column, program, values | unit, names)
    assert module.rhs.nopython_signatures
    assert list(tmp_path.rglob("*.nbi")), "compiled code is kept on disk"
