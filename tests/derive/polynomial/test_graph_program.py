"""The program made from graphs equals brute force exactly, and published equations to rounding."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from brute_force import drift_and_loss, random_values

from derive import Model
from derive.expansion import expand, operation_count
from derive.model import OPTIONS
from derive.overlap_program import state_of
from derive.pipeline import Pipeline
from derive.program import EntryStatement, targets
from derive.proof import evaluate_exactly
from derive.tangent import PREFIX, differentiate

ACTIVATIONS = [
    Model(2, 2, activation="he1"),
    Model(3, 2, activation="he2"),
    Model(3, 1, activation="he3"),
    Model(2, 2, activation="he4", teacher="general"),
    Model(2, 1, activation="he5"),
    Model(1, 1, activation="he6", teacher="general"),
    Model(2, 2, activation="he1+he2+he3"),
    Model(2, 1, activation="1/3,-2,0.5,3,-1/7", teacher="general"),
    Model(2, 2, activation="he3", teacher_activation="he2"),
    Model(2, 2, activation="he2", teacher_activation="1,-1,0,2/3", teacher="general"),
    Model(2, 2, activation="he1", teacher_activation="he3"),
    Model(2, 1, activation="quadratic", teacher_activation="he4"),
    Model(2, 1, activation="he3", teacher_activation="quadratic"),
]
# Every combination of the other options, with activations that are neither even nor odd.
OPTION_SETS = [
    dict(zip(OPTIONS, values, strict=True))
    for values in itertools.product(*(option.values for option in OPTIONS.values()))
    if values[list(OPTIONS).index("readout")] == "mean"
]


def by_name(model):
    return model.name


def check(model, seed):
    values = random_values(model, seed)
    found = evaluate_exactly(Pipeline.of(model).program, values)
    assert found == drift_and_loss(model, values)
    kept = {"dQ_1_1", "dQ_2_2"} if model.constraint == "sphere" else set()
    assert {name for name, value in found.items() if not value} == kept


@pytest.mark.parametrize("second_layer", ["ones", "trained"])
@pytest.mark.parametrize("model", ACTIVATIONS, ids=by_name)
def test_program_equals_brute_force(model, second_layer):
    options = {**model.to_dict(), "second_layer": second_layer}
    check(Model(**options), seed=3)


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "-".join(options.values()))
def test_program_equals_brute_force_with_every_option(options):
    model = Model(2, 2, **options, activation="0,1,1/2,-1", teacher_activation="1,-1,1")
    check(model, seed=5)


def test_singular_covariances_are_covered():
    """Two students with the same weights, and a teacher that is one of them."""
    model = Model(2, 1, activation="he3", teacher="general")
    values = random_values(model, 1)
    norm = Fraction(3, 2)
    names = ("Q_1_1", "Q_1_2", "Q_2_2", "R_1_1", "R_2_1", "T_1_1")
    values |= dict.fromkeys(names, norm)
    assert evaluate_exactly(Pipeline.of(model).program, values) == drift_and_loss(model, values)


# Numbers of a public code with hand-derived equations of He3, converted to the conventions here.
PUBLISHED = {
    "Q": [[0.9587511915895726, -0.3060979366597483], [-0.3060979366597483, 0.22655346405917426]],
    "R": [[-0.4459974859649339], [0.21664821020336358]],
    "T": [[1.1506157049439536]],
    "v": [0.6841617060917109, -0.42181124943588033],
    "eta": 0.37,
    "label_noise": 0.21,
    "dQ": [[16.14938870768158, -0.038780605998298134], [-0.038780605998298634, 0.28768776963543247]],
    "dR": [[0.8482768522477996], [-0.025078806149381582]],
    "loss": 5.183611395907684,
}


def test_he3_has_the_published_numbers():
    model = Model(2, 1, activation="he3", teacher="general", second_layer="fixed")
    point = PUBLISHED
    values = {"a": 0.5, "b": 1.0, "eta": point["eta"], "label_noise": point["label_noise"]}
    values |= {"weight_decay": 0.0, "inverse_batch": 1.0, "vstar_1": 1.0, "T_1_1": point["T"][0][0]}
    for i in range(2):
        values |= {f"v_{i + 1}": point["v"][i], f"R_{i + 1}_1": point["R"][i][0]}
        values |= {f"Q_{i + 1}_{j + 1}": point["Q"][i][j] for j in range(i, 2)}
    found = evaluate_exactly(
        Pipeline.of(model).program, {name: Fraction(value) for name, value in values.items()}
    )
    expected = {"loss": point["loss"]} | {f"dR_{i + 1}_1": point["dR"][i][0] for i in range(2)}
    expected |= {f"dQ_{i + 1}_{j + 1}": point["dQ"][i][j] for i in range(2) for j in range(i, 2)}
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-12), name


# --- what is known without computing -----------------------------------------------------


def exact(model, values):
    return evaluate_exactly(Pipeline.of(model).program, values)


@pytest.mark.parametrize("second_layer", ["ones", "fixed"])
def test_he2_is_quadratic_where_constants_cancel(second_layer):
    """The error of λ² − 1 is that of λ² minus a Σ v + b Σ v*."""
    options = {"second_layer": second_layer, "teacher": "general"}
    he2, quadratic = (Model(2, 2, activation=name, **options) for name in ("he2", "quadratic"))
    values = random_values(he2, 4)
    v, vstar = (Fraction(5), Fraction(-2)), (Fraction(4), Fraction(2))
    if second_layer == "fixed":
        values |= {"v_1": v[0], "v_2": v[1], "vstar_1": vstar[0], "vstar_2": vstar[1]}
    values["b"] = values["a"] * (sum(v) / sum(vstar) if second_layer == "fixed" else 1)
    assert exact(he2, values) == exact(quadratic, values)
    other = values | {"b": values["b"] + 1}
    differences = {name: x - exact(quadratic, other)[name] for name, x in exact(he2, other).items()}
    assert all(differences.values())


def test_he2_with_a_trained_second_layer_differs_from_quadratic():
    he2, quadratic = (Model(2, 1, activation=n, second_layer="trained") for n in ("he2", "quadratic"))
    values = random_values(he2, 4) | {"v_1": Fraction(5), "v_2": Fraction(-2), "vstar_1": Fraction(3)}
    values["b"] = values["a"]
    one, other = exact(he2, values), exact(quadratic, values)
    assert {name for name in one if one[name] != other[name]} == {"dv_1", "dv_2"}


@pytest.mark.parametrize(
    ("activation", "odd"), [("he4", False), ("he2", False), ("he3", True), ("he5", True)]
)
def test_signs(activation, odd):
    """Even activations do not change with w_1 → −w_1, and odd ones with (w_1, v_1) → (−w_1, −v_1)."""
    model = Model(2, 1, activation=activation, second_layer="trained")
    values = random_values(model, 6)
    turned = {"Q_1_2", "R_1_1", *(["v_1"] if odd else [])}
    reflected = values | {name: -values[name] for name in turned}
    before, after = exact(model, values), exact(model, reflected)
    assert after == {name: -x if name.removeprefix("d") in turned else x for name, x in before.items()}
    assert any(x for name, x in before.items() if name.removeprefix("d") in turned)


def test_he1_is_linear_regression():
    """With f = Σ d_i λ_i the error is a Gaussian, and all means follow from two covariances."""
    model = Model(2, 2, activation="he1", teacher="general", second_layer="fixed")
    values = random_values(model, 2)
    Q = [[values["Q_1_1"], values["Q_1_2"]], [values["Q_1_2"], values["Q_2_2"]]]
    R = [[values[f"R_{i}_{r}"] for r in (1, 2)] for i in (1, 2)]
    T = [[values["T_1_1"], values["T_1_2"]], [values["T_1_2"], values["T_2_2"]]]
    d = [values["a"] * values["v_1"], values["a"] * values["v_2"]]
    f = [values["b"] * values["vstar_1"], values["b"] * values["vstar_2"]]
    with_students = [sum(d[k] * Q[k][j] - f[k] * R[j][k] for k in (0, 1)) for j in (0, 1)]
    with_teachers = [sum(d[k] * R[k][r] - f[k] * T[k][r] for k in (0, 1)) for r in (0, 1)]
    squared = sum(d[k] * with_students[k] - f[k] * with_teachers[k] for k in (0, 1))
    eta, decay = values["eta"], values["eta"] * values["weight_decay"]
    expected = {"loss": squared / 2}
    for i in (0, 1):
        for j in range(i, 2):
            change = -eta * (d[i] * with_students[j] + d[j] * with_students[i]) - 2 * decay * Q[i][j]
            noise = eta**2 * d[i] * d[j] * values["inverse_batch"] * (squared + values["label_noise"])
            expected[f"dQ_{i + 1}_{j + 1}"] = change + noise
        for r in (0, 1):
            expected[f"dR_{i + 1}_{r + 1}"] = -eta * d[i] * with_teachers[r] - decay * R[i][r]
    assert exact(model, values) == expected


# --- the program itself ------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["he6", "1,1,1,1,1,1,1"])
def test_names_of_the_largest_degree_are_unique_and_valid(activation):
    model = Model(2, 2, activation=activation, teacher="general", second_layer="trained")
    tangent = differentiate(Pipeline.of(model).program, state_of(model))
    names = [name for statement in tangent.statements for name in targets(statement)]
    entries = [
        assignment.target for statement in tangent.statements for assignment in expand(tangent, statement)
    ]
    for found in (names, entries):
        assert len(found) == len(set(found))
        assert all(name.isidentifier() and name.isascii() for name in found)


def test_python_compiles_the_longest_sums():
    """Python compiles no sums of a thousand terms; the longest ones are those of the tangent."""
    pipeline = Pipeline.of(
        Model(2, 2, activation="1,1,1,1,1,1,1", teacher="general", second_layer="trained")
    )
    sums = [s for s in pipeline.functions["tangent"].statements if isinstance(s, EntryStatement)]
    assert max(len(statement.terms) for statement in sums) < 500
    compile(pipeline.python, "odes.py", "exec")


def test_gradient_flow_computes_no_noise():
    program = Pipeline.of(Model(4, 2, activation="he3", flow="gradient")).program
    names = {name for statement in program.statements for name in targets(statement)}
    assert "N" not in names
    assert len(names) < 40


@pytest.mark.parametrize(
    "model",
    [
        Model(2, 2, activation="he3", second_layer="trained", teacher="general"),
        Model(2, 1, activation="0,1,1/2,-1", constraint="sphere"),
        Model(2, 1, activation="he4", teacher_activation="he2"),
    ],
    ids=by_name,
)
def test_tangent_equals_the_slope_of_brute_force(model):
    """The complex step on brute force in floating point, against the tangent in exact arithmetic."""
    values = random_values(model, 8)
    direction = {name: Fraction(k + 1, 3) for k, name in enumerate(model.state)}
    tangent = differentiate(Pipeline.of(model).program, state_of(model))
    given = values | {PREFIX + name: slope for name, slope in direction.items()}
    found = evaluate_exactly(tangent, given)
    step = 1e-30
    moved = {
        name: complex(float(value), step * float(direction.get(name, 0))) for name, value in values.items()
    }
    expected = drift_and_loss(model, moved)
    scale = max(abs(float(x)) for x in found.values())
    for name, value in expected.items():
        np.testing.assert_allclose(float(found[PREFIX + name]), value.imag / step, atol=1e-10 * scale)


@pytest.mark.parametrize("teacher", ["orthonormal", "general"])
def test_operations_are_those_of_all_lines(teacher):
    """They are counted from one entry of each statement."""
    for program in Pipeline.of(Model(3, 2, activation="he2+he3", teacher=teacher)).functions.values():
        lines = (line for statement in program.statements for line in expand(program, statement))
        assert operation_count(program) == sum(line.operations for line in lines)
