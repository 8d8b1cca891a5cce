r"""The printed equations: exact text, numbers read back from the text, and pdflatex."""

import re
from fractions import Fraction

import latex_values
import numpy as np
import pytest
from closed_form import drift, jacobian, loss, magnitude, random_point, readouts
from pdflatex import needs_pdflatex, overfull_points
from table_numbers import numbers

from derive import InputError, Model, latex_for_any_widths, overlap_odes
from derive.emit.latex_components import COMPONENT_LIMIT
from derive.emit.latex_text import ReadoutSums, join, product_text, symbol
from derive.odes import latex
from derive.parameters import PARAMETERS
from derive.pipeline import Pipeline

MATRIX_FORM = r"""\[
  a = \frac{1}{4},\qquad b = \frac{1}{2}
\]
\begin{align*}
  \kappa &= 2a\eta \\
  s &= \operatorname{tr}(DC) = a\operatorname{tr} Q - 2b \\
  t &= \operatorname{tr}(DCDC) = a^2\operatorname{tr} Q^2 - 2ab\operatorname{tr} RR^\top + 2b^2 \\
  X &= (CDC)_{\mathrm{ss}} = aQ^2 - bRR^\top \\
  Y &= (CDC)_{\mathrm{st}} = aQR - bR \\
  Z &= (CDCDC)_{\mathrm{ss}} = aQX - bRY^\top \\
  \frac{\mathrm{d}R}{\mathrm{d}\alpha} &= -\kappa[sR + 2Y] \\
  \frac{\mathrm{d}Q}{\mathrm{d}\alpha} &= -2\kappa[sQ + 2X] + \kappa^2[(s^2 + 2t + \Delta)Q + 4sX + 8Z]
\end{align*}
"""
SPHERE_FORM = r"""\[
  a = \frac{1}{\sqrt{p}},\qquad b = \frac{1}{\sqrt{p^*}}
\]
\begin{align*}
  \kappa &= 2a\eta \\
  s &= \operatorname{tr}(DC) = a\operatorname{tr} Q - b\operatorname{tr} T \\
  t &= \operatorname{tr}(DCDC) = a^2\operatorname{tr} Q^2 - 2ab\operatorname{tr} RR^\top + b^2\operatorname{tr} T^2 \\
  X &= (CDC)_{\mathrm{ss}} = aQ^2 - bRR^\top \\
  Y &= (CDC)_{\mathrm{st}} = aQR - bRT \\
  G &= -\kappa[sR + 2Y] \\
  F &= -2\kappa[sQ + 2X] \\
  \Gamma &= \operatorname{diag}(g_1,\dots,g_p),\qquad g_i = \frac{F_{ii}}{2Q_{ii}} \\
  \frac{\mathrm{d}R}{\mathrm{d}\alpha} &= G - \Gamma R \\
  \frac{\mathrm{d}Q}{\mathrm{d}\alpha} &= F - \Gamma Q - Q\Gamma
\end{align*}
"""  # noqa: E501
COMPONENT_FORM = r"""\begin{align*}
  \kappa &= \eta \\
  s &= \frac{1}{2}(Q_{11} + Q_{22}) - 1 \\
  t &= \frac{1}{4}(Q_{11}^2 + 2Q_{12}^2 + Q_{22}^2) - (R_{11}^2 + R_{21}^2) + 1
\end{align*}
\begin{align*}
  X_{11} &= \frac{1}{2}(Q_{11}^2 + Q_{12}^2) - R_{11}^2 \\
  X_{12} &= \frac{1}{2}(Q_{11}Q_{12} + Q_{12}Q_{22}) - R_{11}R_{21} \\
  X_{22} &= \frac{1}{2}(Q_{12}^2 + Q_{22}^2) - R_{21}^2 \\
  Y_{11} &= \frac{1}{2}(Q_{11}R_{11} + Q_{12}R_{21}) - R_{11} \\
  Y_{21} &= \frac{1}{2}(Q_{12}R_{11} + Q_{22}R_{21}) - R_{21} \\
  Z_{11} &= \frac{1}{2}(Q_{11}X_{11} + Q_{12}X_{12}) - R_{11}Y_{11} \\
  Z_{12} &= \frac{1}{2}(Q_{11}X_{12} + Q_{12}X_{22}) - R_{11}Y_{21} \\
  Z_{22} &= \frac{1}{2}(Q_{12}X_{12} + Q_{22}X_{22}) - R_{21}Y_{21}
\end{align*}
"""
DRIFT_Q = r"\frac{\mathrm{d}Q}{\mathrm{d}\alpha}"
DRIFT_R = r"\frac{\mathrm{d}R}{\mathrm{d}\alpha}"

# p* ≥ 10 and p ≥ 10 need commas between indices; sqrt with p p* = 4 has a rational product.
COMPONENT_MODELS = [
    Model(1, 1),
    Model(4, 2),
    Model(2, 3, "sphere", "gradient", "general", "sum"),
    Model(3, 2, "sphere", "sgd", "general", "sqrt"),
    Model(4, 1, "free", "sgd", "orthonormal", "sqrt"),
    Model(2, 8, "free", "gradient", "general", "sqrt"),
    Model(2, 11, "sphere", "sgd", "general", "mean"),
    Model(11, 2, "sphere", "sgd", "orthonormal", "mean"),
]


def by_name(model):
    return model.name


# --- exact text --------------------------------------------------------------------------


def test_matrix_form_of_the_default():
    assert overlap_odes(Model(4, 2)).latex() == MATRIX_FORM


def test_matrix_form_for_any_widths_with_every_other_option():
    options = {"constraint": "sphere", "flow": "gradient", "teacher": "general", "readout": "sqrt"}
    assert latex_for_any_widths(**options) == SPHERE_FORM
    numbered = SPHERE_FORM.replace("{p}", "{3}").replace("{p^*}", "{5}")
    assert latex(Model(3, 5, **options)) == numbered


def test_matrix_form_of_the_loss():
    assert latex_for_any_widths("loss") == (
        "\\[\n  a = \\frac{1}{p},\\qquad b = \\frac{1}{p^*}\n\\]\n\\begin{align*}\n"
        "  s &= \\operatorname{tr}(DC) = a\\operatorname{tr} Q - p^*b \\\\\n"
        "  t &= \\operatorname{tr}(DCDC) = a^2\\operatorname{tr} Q^2"
        " - 2ab\\operatorname{tr} RR^\\top + p^*b^2 \\\\\n"
        "  \\varepsilon &= \\frac{1}{2}s^2 + t\n\\end{align*}\n"
    )


@pytest.mark.parametrize(
    ("left", "right", "text"),
    [
        (r"\kappa", "X", r"\kappa X"),
        (r"\kappa", r"\varepsilon", r"\kappa\varepsilon"),
        (r"\kappa", "[X]", r"\kappa[X]"),
        (r"\kappa^2", "X", r"\kappa^2X"),
        (r"\delta s", "R", r"\delta s\,R"),
    ],
)
def test_commands_swallow_no_letters(left, right, text):
    assert product_text(left, right) == text


def test_terms_of_a_sum():
    terms = [(Fraction(-1), "x"), (Fraction(0), "y"), (Fraction(3, 2), ""), (Fraction(-2), "z")]
    assert join(terms) == r"-x + \frac{3}{2} - 2z"


@pytest.mark.parametrize(
    ("p", "pstar", "teachers"),
    [
        (3, 2, r"\frac{1}{\sqrt{2}}"),
        (3, 4, r"\frac{1}{2}"),
        (3, 1, ""),
        (3, 32, r"\frac{1}{\sqrt{32}}"),
    ],
)
def test_readouts_with_roots_as_numbers(p, pstar, teachers):
    sums = ReadoutSums(Model(p, pstar, readout="sqrt"))
    assert sums.sum([(Fraction(1), ("b", "R"))], {"R": "R"}) == f"{teachers}R"
    half = sums.sum([(Fraction(-1, 2), ("a", "R"))], {"R": "R"})
    assert half == r"-\frac{1}{2\sqrt{3}}R"


def test_one_teacher_has_no_factor_of_one():
    text = latex(Model(2, 1))
    assert r"a\operatorname{tr} Q - b \\" in text
    assert r"RR^\top + b^2 \\" in text


def test_component_form_of_a_small_model():
    text = latex(Model(2, 1), "components")
    assert text.startswith(COMPONENT_FORM)
    assert text.removeprefix(COMPONENT_FORM).splitlines()[1] == (
        r"  \frac{\mathrm{d}Q_{11}}{\mathrm{d}\alpha} &= -2\kappa[sQ_{11} + 2X_{11}]"
        r" + \kappa^2[(s^2 + 2t + \Delta)Q_{11} + 4sX_{11} + 8Z_{11}] \\"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Q_1_2", "Q_{12}"),
        ("Q_9_10", "Q_{9,10}"),
        ("R_12_3", "R_{12,3}"),
        ("fQ_1_1", "F_{11}"),
        ("g_10", "g_{10}"),
        ("label_noise", r"\Delta"),
        ("s", "s"),
    ],
)
def test_symbols(name, text):
    assert symbol(name) == text


def test_components_of_large_models():
    """Written out when asked for; left out of the document with a word, and never the Jacobian."""
    model = Model(16, 5)
    assert model.state_size > COMPONENT_LIMIT
    assert r"\frac{\mathrm{d}R_{16,5}}{\mathrm{d}\alpha} &= " in latex(model, "components")
    assert latex(model, "components", "loss").count("R_{16,5}") == 1
    with pytest.raises(InputError, match=r"form: .* jacobian .* matrix form"):
        latex(model, "components", "jacobian")
    document = Pipeline.of(model).latex
    assert "X_{11}" not in document
    assert f"The {model.state_size} components are left out" in document
    assert "cli latex -{}-p 16 -{}-pstar 5" in document


# --- numbers read back -------------------------------------------------------------------


def subscripted(name, *indices):
    """Q_{12}, or Q_{1,10} where an index has two digits: as a mathematician would write."""
    return f"{name}_{{{('' if max(indices) < 10 else ',').join(map(str, indices))}}}"


def state_symbols(model):
    return [subscripted(kind, int(i), int(j)) for kind, i, j in (name.split("_") for name in model.state)]


def latex_numbers(model, point):
    values = numbers(model, point.eta, point.label_noise)
    return {PARAMETERS[name].latex: value for name, value in values.items()}


def component_values(model, point):
    values = latex_numbers(model, point)
    for name, matrix in (("Q", point.Q), ("R", point.R), ("T", point.T)):
        for (i, j), value in np.ndenumerate(matrix):
            if name == "R" or i <= j:
                values[subscripted(name, i + 1, j + 1)] = value
    if model.teacher == "orthonormal":
        return {name: value for name, value in values.items() if not name.startswith("T")}
    return values


def read_lines(text, values):
    """Evaluate line after line, each left side a new name; a name is given once."""
    new = {}
    for left, right in latex_values.equations(text):
        assert left not in new, left
        new[left] = latex_values.evaluate(right, values | new)
    return new


def drift_entries(model, point):
    dQ, dR = drift(model, point)
    entries = {}
    for name, matrix in (("Q", dQ), ("R", dR)):
        for (i, j), value in np.ndenumerate(matrix):
            if name == "R" or i <= j:
                symbol = subscripted(name, i + 1, j + 1)
                entries[rf"\frac{{\mathrm{{d}}{symbol}}}{{\mathrm{{d}}\alpha}}"] = value
    return entries


@pytest.mark.parametrize("model", COMPONENT_MODELS, ids=by_name)
def test_component_text_has_the_numbers_of_the_closed_form(model):
    point = random_point(model, seed=31)
    values = component_values(model, point)
    found = read_lines(latex(model, "components"), values)
    expected = drift_entries(model, point)
    assert {name for name in found if name.startswith(r"\frac")} == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-13 * magnitude(model, point)), name
    found = read_lines(latex(model, "components", "loss"), values)
    assert found[r"\varepsilon"] == pytest.approx(loss(model, point), rel=1e-12)


def test_component_text_of_every_option_set(options):
    model = Model(2, 2, *options)
    point = random_point(model, seed=33)
    found = read_lines(latex(model, "components"), component_values(model, point))
    for name, value in drift_entries(model, point).items():
        assert found[name] == pytest.approx(value, abs=1e-13 * magnitude(model, point)), name


@pytest.mark.parametrize(
    "model", [*COMPONENT_MODELS[:5], Model(2, 10, "sphere", "sgd", "orthonormal", "sqrt")], ids=by_name
)
def test_component_jacobian_has_the_numbers_of_the_closed_form(model):
    point = random_point(model, seed=35)
    values = component_values(model, point)
    expected = jacobian(model, point)
    tolerance = 1e-13 * max(1.0, np.abs(expected).max())
    sections = re.split(
        r"\\paragraph\{\$\\partial = \\partial/\\partial (.*?)\$:\}\n",
        latex(model, "components", "jacobian"),
    )
    # The text stands alone: the equations that the derivatives refer to come first.
    assert sections[0] == latex(model, "components", "odes")
    values |= read_lines(sections[0], values)
    assert sections[1::2] == state_symbols(model)
    rows = [rf"\partial \frac{{\mathrm{{d}}{name}}}{{\mathrm{{d}}\alpha}}" for name in state_symbols(model)]
    for column, text in enumerate(sections[2::2]):
        found = read_lines(text, values)
        assert {name for name in found if "frac" in name} <= set(rows)
        for row, name in enumerate(rows):
            # Derivatives that vanish are left out.
            assert found.get(name, 0) == pytest.approx(expected[row, column], abs=tolerance), name


def matrix_values(model, point):
    a, b = readouts(model)
    C = np.block([[point.Q, point.R], [point.R.T, point.T]])
    D = np.diag([a] * model.p + [-b] * model.pstar)
    return {"Q": point.Q, "R": point.R, "T": point.T, "C": C, "D": D, **latex_numbers(model, point)}


def read_readouts(text):
    line = text.split("\\[\n  ")[1].split("\n\\]")[0]
    if line == "a = b = 1":
        return {"a": 1, "b": 1}
    return {
        name: latex_values.evaluate(value, {})
        for name, value in (x.split(" = ") for x in line.split(r",\qquad "))
    }


def read_matrix_lines(text, values):
    """As `read_lines`, for matrices: "s = tr(DC) = …" has two values, which must agree."""
    known = values | read_readouts(text)
    for left, right in latex_values.equations(text):
        if left == r"\Gamma":
            assert right == r"\operatorname{diag}(g_1,\dots,g_p),\qquad g_i = \frac{F_{ii}}{2Q_{ii}}"
            known[left] = np.diag(np.diag(known["F"]) / (2 * np.diag(known["Q"])))
            continue
        if left == r"\delta\Gamma":
            vector, rate = right.split(r",\qquad \delta g_i = ")
            assert vector == r"\operatorname{diag}(\delta g_1,\dots,\delta g_p)"
            known[r"\delta \Gamma"] = np.diag(
                [_rate_change(rate, known, i) for i in range(len(known["Q"]))]
            )
            continue
        first, *others = (latex_values.evaluate(part, known) for part in right.split(" = "))
        for other in others:
            np.testing.assert_allclose(other, first, rtol=1e-12, atol=1e-13)
        known[left.replace(r"\delta\frac", r"\delta \frac")] = first
    return known


def _rate_change(right, known, i):
    diagonal = {
        r"\delta F_{ii}": r"\delta F",
        r"\delta Q_{ii}": r"\delta Q",
        "Q_{ii}": "Q",
        "g_i": r"\Gamma",
    }
    return latex_values.evaluate(right, {name: known[matrix][i, i] for name, matrix in diagonal.items()})


def test_matrix_text_has_the_numbers_of_the_closed_form(options):
    for widths in ((1, 1), (1, 2), (3, 1), (3, 2)):
        model = Model(*widths, *options)
        point = random_point(model, seed=37)
        values = matrix_values(model, point)
        found = read_matrix_lines(latex(model), values)
        tolerance = 1e-13 * magnitude(model, point)
        for name, expected in zip((DRIFT_Q, DRIFT_R), drift(model, point), strict=True):
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=tolerance, err_msg=model.name)
        found = read_matrix_lines(latex(model, what="loss"), values)
        assert found[r"\varepsilon"] == pytest.approx(loss(model, point), rel=1e-12), model.name


@pytest.mark.parametrize("widths", [(1, 1), (3, 2)])
def test_matrix_jacobian_is_the_change_along_a_direction(widths, options):
    model = Model(*widths, *options)
    point = random_point(model, seed=39)
    generator = np.random.default_rng(39)
    dQ, dR = generator.normal(size=(model.p, model.p)), generator.normal(size=(model.p, model.pstar))
    dQ = dQ + dQ.T
    values = matrix_values(model, point) | {r"\delta Q": dQ, r"\delta R": dR}
    found = read_matrix_lines(latex(model, what="jacobian"), values)
    expected = jacobian(model, point)
    upper = np.triu_indices(model.p)
    change = expected @ np.concatenate([dQ[upper], dR.ravel()])
    printed = np.concatenate([found[rf"\delta {DRIFT_Q}"][upper], found[rf"\delta {DRIFT_R}"].ravel()])
    np.testing.assert_allclose(printed, change, rtol=0, atol=1e-12 * max(1.0, np.abs(change).max()))


def test_lines_are_wrapped_where_the_reader_expects_it():
    lines = latex(Model(11, 2), "components").splitlines()
    wrapped = [line for line in lines if line.startswith(r"  &\qquad ")]
    assert wrapped
    assert all(re.match(r"  &\\qquad [+-] ", line) for line in wrapped)


# --- pdflatex ----------------------------------------------------------------------------


@needs_pdflatex
@pytest.mark.parametrize(
    "model",
    [Model(4, 2), Model(3, 2, "sphere", "sgd", "general", "sqrt"), Model(11, 3, "sphere"), Model(32, 8)],
    ids=by_name,
)
def test_document_compiles_and_fits_the_page(tmp_path, model):
    text = Pipeline.of(model).latex
    jacobians = latex(model, "matrix", "jacobian")
    if model.p < 4:
        jacobians += latex(model, "components", "jacobian")
    end = "\\end{document}\n"
    assert text.endswith(end)
    assert overfull_points(text.removesuffix(end) + jacobians + end, tmp_path) <= 5.0
