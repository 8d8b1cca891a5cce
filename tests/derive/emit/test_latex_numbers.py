r"""The printed equations as numbers: every formula is read back and compared with the proved program."""

import itertools
import re
from functools import partial

import latex_values
import numpy as np
import pytest
from matrix import thinned

from derive import Model
from derive.expansion import evaluate
from derive.model import OPTIONS
from derive.odes import latex as latex_with_definitions
from derive.overlap_program import FREE_DQ, FREE_DR, LOSS, drift_of
from derive.parameters import NUMBERS
from derive.pipeline import Pipeline
from derive.readout import weights

# Small enough that f(y + ih) − f(y) has no rounding error, so the derivative is exact.
latex = partial(latex_with_definitions, definitions=False)
STEP = 1e-30
TOLERANCE = 1e-11
OPTION_SETS = [
    dict(zip(OPTIONS, values, strict=True))
    for values in itertools.product(*(option.values for option in OPTIONS.values()))
]
# p* ≥ 10 and p ≥ 10 need commas between indices; some products of the readouts' roots are rational.
COMPONENT_MODELS = [
    Model(1, 1),
    Model(4, 2),
    Model(2, 3, "sphere", "gradient", "general", "sum"),
    Model(3, 2, "sphere", "sgd", "general", "sqrt"),
    Model(4, 1, "free", "sgd", "orthonormal", "sqrt", "fixed"),
    Model(2, 3, "sphere", "sgd", "general", "mean", "trained"),
    Model(2, 2, "free", "sgd", "orthonormal", "sqrt", "trained"),
    Model(2, 11, "sphere", "sgd", "general", "mean"),
    Model(11, 2, "sphere", "sgd", "orthonormal", "mean", "fixed"),
]
# Each sign of their equations is turned round.
SMALL_MODELS = [
    Model(2, 2),
    Model(2, 2, second_layer="trained"),
    Model(2, 2, "sphere", "sgd", "general", "sqrt", "trained"),
    Model(2, 2, "sphere", "gradient", "general", "mean", "ones"),
    Model(2, 2, "free", "gradient", "orthonormal", "mean", "fixed"),
]


def by_name(model):
    return model.name


def evaluated(model, values, outputs):
    """The outputs of the program by the names of their entries."""

    def combine(terms):
        return sum(float(coefficient) * np.prod(factors) for coefficient, factors in terms)

    program = Pipeline.of(model).program.restricted_to(outputs)
    return evaluate(program, values, combine, lambda value: 1 / value)


def random_values(model, seed):
    """The names of a program with numbers of either sign, but for norms and run-time numbers."""
    generator = np.random.default_rng(seed)
    names = (*model.parameters, *model.state)
    sizes = dict(zip(names, generator.uniform(0.3, 0.9, len(names)), strict=True))
    signs = dict(zip(names, generator.choice([-1.0, 1.0], len(names)), strict=True))
    positive = {*(number.code for number in NUMBERS), *(f"Q_{i}_{i}" for i in range(1, model.p + 1))}
    values = {name: size if name in positive else size * signs[name] for name, size in sizes.items()}
    values["inverse_batch"] = 1 / 3
    return values | dict(zip("ab", weights(model), strict=True))


def expected_values(model, values):
    """The drift, also that before the sphere's projection, and the loss."""
    free = (FREE_DQ, FREE_DR) if model.constraint == "sphere" else ()
    return evaluated(model, values, (*free, *drift_of(model), LOSS))


def changes(model, values):
    """The derivatives of the drift, by the order parameter and by the name of the drift."""
    return {
        name: {
            left: value.imag / STEP
            for left, value in expected_values(model, values | {name: values[name] + 1j * STEP}).items()
        }
        for name in model.state
    }


# --- entries -----------------------------------------------------------------------------


def subscripted(name):
    """v_{1}^*, Q_{12}, or Q_{1,10} where an index has two digits: as a mathematician would write."""
    letter, *indices = name.split("_")
    letter, star = ("v", "^*") if letter == "vstar" else (letter, "")
    return f"{letter}_{{{('' if max(map(int, indices)) < 10 else ',').join(indices)}}}{star}"


def component_values(model, values):
    printed = {number.code: number for number in NUMBERS}
    found = {}
    for name in (*model.parameters, *model.state):
        number = printed.get(name)
        left = number.latex if number else subscripted(name)
        found[left] = 1 / values[name] if number and number.reciprocal else values[name]
    return found


def printed_name(name):
    """The left side of an entry of the drift or of the loss."""
    if name == LOSS:
        return r"\varepsilon"
    if name.startswith("f"):
        return subscripted(name.replace("fQ", "F").replace("fR", "G"))
    return rf"\frac{{\mathrm{{d}}{subscripted(name[1:])}}}{{\mathrm{{d}}\alpha}}"


def read_lines(text, values):
    """Evaluate line after line, each left side a new name; a name is given once."""
    new = {}
    for left, right in latex_values.equations(text):
        assert left not in new, left
        new[left] = latex_values.evaluate(right, values | new)
    return new


def check_loops(found, loss):
    """s and t, which gradient flow and the loss do not need both, and the expanded form does not have."""
    assert 0.5 * found["s"] ** 2 + found["t"] == pytest.approx(loss, rel=TOLERANCE, abs=TOLERANCE)


def check_change_of_loops(found, change, expected):
    changed = found["s"] * found.get(f"{change}s", 0) + found.get(f"{change}t", 0)
    assert changed == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)


def check_components(model, text, seed):
    values = random_values(model, seed)
    found = read_lines(text, component_values(model, values))
    expected = expected_values(model, values)
    check_loops(found, expected.pop(LOSS))
    assert {name for name in found if name.startswith(r"\frac")} <= set(map(printed_name, expected))
    for name, value in expected.items():
        assert found[printed_name(name)] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), name


def check_component_loss(model, text, seed):
    values = random_values(model, seed)
    found = read_lines(text, component_values(model, values))[r"\varepsilon"]
    assert found == pytest.approx(expected_values(model, values)[LOSS], rel=TOLERANCE)


def check_component_jacobian(model, text, seed):
    values = random_values(model, seed)
    known = component_values(model, values)
    first, *rest = re.split(r"\\paragraph\{\$\\partial = \\partial/\\partial (.*?)\$:\}\n", text)
    # The text stands alone: the equations that the derivatives refer to come first.
    assert first == latex(model, "components", "odes")
    known |= read_lines(first, known)
    assert rest[::2] == list(map(subscripted, model.state))
    for (variable, expected), section in zip(changes(model, values).items(), rest[1::2], strict=True):
        found = read_lines(section, known)
        names = {rf"\partial {printed_name(name)}": value for name, value in expected.items()}
        assert {name for name in found if "frac" in name} <= set(names)
        check_change_of_loops(known | found, r"\partial ", names.pop(r"\partial \varepsilon"))
        for name, value in names.items():
            # Derivatives that vanish are left out.
            close = pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE)
            assert found.get(name, 0) == close, (variable, name)


@pytest.mark.parametrize("model", COMPONENT_MODELS, ids=by_name)
def test_components(model):
    check_components(model, latex(model, "components"), seed=31)
    check_component_loss(model, latex(model, "components", "loss"), seed=32)


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "-".join(options.values()))
def test_components_of_every_option_set(options):
    model = Model(2, 2, **options)
    check_components(model, latex(model, "components"), seed=33)


@pytest.mark.parametrize("model", COMPONENT_MODELS[:7], ids=by_name)
def test_jacobian_in_components(model):
    check_component_jacobian(model, latex(model, "components", "jacobian"), seed=35)


# --- matrices ----------------------------------------------------------------------------


def matrix_of(model, values, name, kind=""):
    """A matrix or a vector from its entries, whose names begin with `kind` and the name."""
    sizes = {"p": model.p, "r": model.pstar}
    axes = {"Q": "pp", "R": "pr", "T": "rr", "v": "p", "vstar": "r"}[name]
    found = np.empty([sizes[axis] for axis in axes])
    for indices in np.ndindex(found.shape):
        ordered = sorted(indices) if axes in ("pp", "rr") else indices
        found[indices] = values["_".join([kind + name, *(str(k + 1) for k in ordered)])]
    return found


def matrix_values(model, values):
    Q, R = (matrix_of(model, values, name) for name in "QR")
    T = matrix_of(model, values, "T") if model.teacher == "general" else np.eye(model.pstar)
    v, vstar = (
        matrix_of(model, values, name) if model.weighted else np.ones(size)
        for name, size in (("v", model.p), ("vstar", model.pstar))
    )
    known = {"Q": Q, "R": R, "T": T, "C": np.block([[Q, R], [R.T, T]])}
    known["D"] = np.diag([*values["a"] * v, *-values["b"] * vstar])
    for number in NUMBERS:
        if number.belongs_to(model):
            value = values[number.code]
            known[number.latex] = 1 / value if number.reciprocal else value
    return known | ({"D_v": np.diag(v), "D_{v^*}": np.diag(vstar)} if model.weighted else {})


def read_readouts(text):
    readouts = text.split("\\[\n  ")[1].split("\n\\]")[0]
    if readouts == "a = b = 1":
        return {"a": 1, "b": 1}
    pairs = (pair.split(" = ") for pair in readouts.split(r",\qquad "))
    return {name: latex_values.evaluate(value, {}) for name, value in pairs}


DIAGONALS = {
    "D_v": r"\operatorname{diag}(v_1,\dots,v_p)",
    "D_{v^*}": r"\operatorname{diag}(v_1^*,\dots,v_{p^*}^*)",
    r"\Gamma": r"\operatorname{diag}(g_1,\dots,g_p)",
    r"\delta\Gamma": r"\operatorname{diag}(\delta g_1,\dots,\delta g_p)",
}
# What entry i of a vector is made of.
ENTRIES = {"F_{ii}": "F", "Q_{ii}": "Q", r"\delta F_{ii}": r"\delta F", r"\delta Q_{ii}": r"\delta Q"}


def read_matrix_lines(model, text, values):
    """As `read_lines`, for matrices: "s = tr(DC) = …" has two values, which must agree."""
    known = values | read_readouts(text)
    found = set()
    for left, right in latex_values.equations(text):
        name = re.sub(r"^\\delta(?=\\)", r"\\delta ", left)
        assert name not in found, name
        found.add(name)
        if left in DIAGONALS:
            assert right == DIAGONALS[left]
            if "Gamma" in left:
                known[name] = np.diag(known[name.replace(r"\Gamma", "g_i")])
            continue
        if left.endswith("g_i"):
            diagonals = {entry: np.diag(known[of]) for entry, of in ENTRIES.items() if of in known}
            known[name] = latex_values.evaluate(right, known | diagonals)
            continue
        first, *others = (latex_values.evaluate(part, known) for part in right.split(" = "))
        for other in others:
            np.testing.assert_allclose(other, first, rtol=TOLERANCE, atol=TOLERANCE)
        known[name] = first
        if name in ("M", r"\delta M"):
            known[f"{name}_{{ii}}"] = np.diag(first)
    assert {"D_v", "D_{v^*}"} <= found if model.weighted else True
    return known


def check_matrices(model, found, expected, change=""):
    """The matrices and vectors of the drift, or their changes, that were read."""
    kinds = ["Q", "R", *("v" for _ in range(model.trained))]
    left = {kind: rf"\frac{{\mathrm{{d}}{kind}}}{{\mathrm{{d}}\alpha}}" for kind in kinds}
    left |= {"v": left.get("v", "").replace("{d}v", "{d}v_i")}
    pairs = [(left[kind], matrix_of(model, expected, kind, "d")) for kind in kinds]
    for name, matrix in pairs:
        printed = found[change + name]
        np.testing.assert_allclose(printed, matrix, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
    check_free_drift(model, found, expected, change)


def check_free_drift(model, found, expected, change=""):
    """The drift before the sphere's projection, which has letters."""
    for letter, kind in ("FQ", "GR") if model.constraint == "sphere" else ():
        matrix = matrix_of(model, expected, kind, "f")
        np.testing.assert_allclose(found[change + letter], matrix, rtol=TOLERANCE, atol=TOLERANCE)


def check_matrix_odes(model, text, seed):
    values = random_values(model, seed)
    found = read_matrix_lines(model, text, matrix_values(model, values))
    expected = expected_values(model, values)
    check_matrices(model, found, expected)
    if "s" in found:
        check_loops(found, expected[LOSS])


def check_matrix_loss(model, text, seed):
    values = random_values(model, seed)
    found = read_matrix_lines(model, text, matrix_values(model, values))[r"\varepsilon"]
    assert found == pytest.approx(expected_values(model, values)[LOSS], rel=TOLERANCE)


def check_matrix_jacobian(model, text, seed):
    values = random_values(model, seed)
    known = matrix_values(model, values)
    generator = np.random.default_rng(seed)
    direction = dict(zip(model.state, generator.normal(size=model.state_size), strict=True))
    known |= {rf"\delta {name}": matrix_of(model, direction, name) for name in "QR"}
    if model.trained:
        known[r"\delta D_v"] = np.diag(matrix_of(model, direction, "v"))
    derivatives = changes(model, values)
    expected = {
        entry: sum(direction[name] * derivatives[name][entry] for name in model.state)
        for entry in derivatives["Q_1_1"]
    }
    found = read_matrix_lines(model, text, known)
    check_matrices(model, found, expected, r"\delta ")
    if "s" in found:
        check_change_of_loops(found, r"\delta ", expected[LOSS])
    check_free_drift(model, found, expected_values(model, values))


CHECKS = {
    ("matrix", "odes"): check_matrix_odes,
    ("matrix", "loss"): check_matrix_loss,
    ("matrix", "jacobian"): check_matrix_jacobian,
    ("expanded", "odes"): check_matrix_odes,
    ("expanded", "loss"): check_matrix_loss,
    ("expanded", "jacobian"): check_matrix_jacobian,
    ("components", "odes"): check_components,
    ("components", "loss"): check_component_loss,
    ("components", "jacobian"): check_component_jacobian,
}


@pytest.mark.parametrize(
    "options",
    thinned(OPTION_SETS, *range(0, len(OPTION_SETS), 3)),
    ids=lambda options: "-".join(options.values()),
)
def test_matrices(options):
    for (form, what), check in CHECKS.items():
        # One student and one teacher leave out factors of 1 in s and t, which the expanded form lacks.
        for widths in {"matrix": ((1, 1), (3, 2)), "expanded": ((3, 2),)}.get(form, ()):
            model = Model(*widths, **options)
            text = latex(model, form, what)
            assert ("s &=" in text) == (form == "matrix")
            check(model, text, seed=37)


@pytest.mark.parametrize(("form", "what"), CHECKS)
@pytest.mark.parametrize("model", thinned(SMALL_MODELS, 0, 2), ids=by_name)
def test_every_sign_matters(model, form, what):
    """The numbers of a text in which one sign is turned round are others, so that a wrong sign is found."""
    text = latex(model, form, what)
    check = CHECKS[form, what]
    signs = list(re.finditer(r"(?<= )[+-](?= )|(?<=&= )-", text))
    assert signs
    # Components and expanded changes have the same few forms over and over.
    repeated = form == "components" or (form, what) == ("expanded", "jacobian")
    chosen = signs[:: max(len(signs) // 20, 1)] if repeated else signs
    for sign in chosen:
        leading = text[: sign.start()].endswith("&= ")
        turned = "" if leading else {"+": "-", "-": "+"}[sign[0]]
        wrong = text[: sign.start()] + turned + text[sign.end() :]
        with pytest.raises(AssertionError):
            check(model, wrong, 39)
