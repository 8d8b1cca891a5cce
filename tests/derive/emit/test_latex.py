r"""The printed equations: exact text, and pdflatex."""

from fractions import Fraction
from functools import partial

import pytest
from pdflatex import needs_pdflatex, overfull_points

from derive import InputError, Model, latex_for_any_widths, overlap_odes
from derive.emit.latex_components import COMPONENT_LIMIT
from derive.emit.latex_text import ReadoutSums, join, product, product_text, symbol
from derive.odes import latex as latex_with_definitions
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
  \frac{\mathrm{d}R}{\mathrm{d}\alpha} &= -\kappa[sR + 2Y] - \eta\gamma R \\
  \frac{\mathrm{d}Q}{\mathrm{d}\alpha} &= -2\kappa[sQ + 2X] \\
  &\quad + \frac{\kappa^2}{B}[(s^2 + 2t + \Delta)Q + 4sX + 8Z] - 2\eta\gamma Q
\end{align*}
"""
EXPANDED_FORM = r"""\[
  a = \frac{1}{p},\qquad b = \frac{1}{p^*}
\]
\begin{align*}
  \frac{\mathrm{d}R}{\mathrm{d}\alpha} &= -2a\eta[(a\operatorname{tr}(Q) - p^*b - 2b)R + 2aQR] - \eta\gamma R \\
  \frac{\mathrm{d}Q}{\mathrm{d}\alpha} &= -4a\eta[(a\operatorname{tr}(Q) - p^*b)Q + 2aQ^2 - 2bRR^\top] \\
  &\quad + \frac{4a^2\eta^2}{B}[(a^2\operatorname{tr}(Q)^2 + 2a^2\operatorname{tr}(Q^2) \\
  &\quad - 2p^*ab\operatorname{tr}(Q) - 4ab\operatorname{tr}(RR^\top) + p^{*2}b^2 \\
  &\quad + 2p^*b^2 + \Delta)Q + 4a(a\operatorname{tr}(Q) - p^*b)Q^2 \\
  &\quad - 4b(a\operatorname{tr}(Q) - p^*b - 2b)RR^\top + 8a^2Q^3 \\
  &\quad - 8abQRR^\top - 8abRR^\top Q] - 2\eta\gamma Q
\end{align*}
"""  # noqa: E501
SPHERE_FORM = r"""\[
  a = \frac{1}{\sqrt{p}},\qquad b = \frac{1}{\sqrt{p^*}}
\]
\begin{align*}
  \kappa &= 2a\eta \\
  s &= \operatorname{tr}(DC) = a\operatorname{tr} Q - b\operatorname{tr} T \\
  t &= \operatorname{tr}(DCDC) = a^2\operatorname{tr} Q^2 - 2ab\operatorname{tr} RR^\top + b^2\operatorname{tr} T^2 \\
  X &= (CDC)_{\mathrm{ss}} = aQ^2 - bRR^\top \\
  Y &= (CDC)_{\mathrm{st}} = aQR - bRT \\
  G &= -\kappa[sR + 2Y] - \eta\gamma R \\
  F &= -2\kappa[sQ + 2X] - 2\eta\gamma Q \\
  g_i &= \frac{F_{ii}}{2Q_{ii}} \\
  \Gamma &= \operatorname{diag}(g_1,\dots,g_p) \\
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
TRAINED_FORM = r"""\[
  a = b = 1
\]
\begin{align*}
  D_v &= \operatorname{diag}(v_1,\dots,v_p) \\
  D_{v^*} &= \operatorname{diag}(v_1^*,\dots,v_{p^*}^*) \\
  K &= 2a\eta D_v \\
  s &= \operatorname{tr}(DC) = a\operatorname{tr}(D_vQ) - b\operatorname{tr} D_{v^*} \\
  t &= \operatorname{tr}(DCDC) \\
  &= a^2\operatorname{tr}(D_vQD_vQ) - 2ab\operatorname{tr}(D_vRD_{v^*}R^\top) \\
  &\quad + b^2\operatorname{tr} D_{v^*}^2 \\
  X &= (CDC)_{\mathrm{ss}} = aQD_vQ - bRD_{v^*}R^\top \\
  Y &= (CDC)_{\mathrm{st}} = aQD_vR - bRD_{v^*} \\
  Z &= (CDCDC)_{\mathrm{ss}} = aQD_vX - bRD_{v^*}Y^\top \\
  M &= sQ + 2X \\
  S &= \frac{1}{B}[(s^2 + 2t + \Delta)Q + 4sX + 8Z] \\
  \frac{\mathrm{d}R}{\mathrm{d}\alpha} &= -K[sR + 2Y] - \eta\gamma R \\
  \frac{\mathrm{d}Q}{\mathrm{d}\alpha} &= -KM - MK + KSK - 2\eta\gamma Q \\
  \frac{\mathrm{d}v_i}{\mathrm{d}\alpha} &= -a\eta_vM_{ii}
\end{align*}
"""
TRAINED_COMPONENTS = r"""
  \frac{\mathrm{d}Q_{11}}{\mathrm{d}\alpha} &= -2\kappa_{1}M_{11} + \kappa_{1}^2S_{11} - 2\eta\gamma Q_{11} \\
  \frac{\mathrm{d}Q_{12}}{\mathrm{d}\alpha} &= -(\kappa_{1} + \kappa_{2})M_{12} + \kappa_{1}\kappa_{2}S_{12} - 2\eta\gamma Q_{12} \\
  \frac{\mathrm{d}Q_{22}}{\mathrm{d}\alpha} &= -2\kappa_{2}M_{22} + \kappa_{2}^2S_{22} - 2\eta\gamma Q_{22} \\
  \frac{\mathrm{d}R_{11}}{\mathrm{d}\alpha} &= -\kappa_{1}[sR_{11} + 2Y_{11}] - \eta\gamma R_{11} \\
  \frac{\mathrm{d}R_{21}}{\mathrm{d}\alpha} &= -\kappa_{2}[sR_{21} + 2Y_{21}] - \eta\gamma R_{21} \\
  \frac{\mathrm{d}v_{1}}{\mathrm{d}\alpha} &= -\frac{1}{2}\eta_vM_{11} \\
  \frac{\mathrm{d}v_{2}}{\mathrm{d}\alpha} &= -\frac{1}{2}\eta_vM_{22}
\end{align*}
"""  # noqa: E501


def by_name(model):
    return model.name


latex = partial(latex_with_definitions, definitions=False)


# --- exact text --------------------------------------------------------------------------


def test_matrix_form_of_the_default():
    assert overlap_odes(Model(4, 2)).latex(definitions=False) == MATRIX_FORM


def test_matrix_form_for_any_widths_with_every_other_option():
    options = {"constraint": "sphere", "flow": "gradient", "teacher": "general", "readout": "sqrt"}
    assert latex_for_any_widths(definitions=False, **options) == SPHERE_FORM
    numbered = SPHERE_FORM.replace("{p}", "{3}").replace("{p^*}", "{5}")
    assert latex(Model(3, 5, **options)) == numbered


def test_expanded_form():
    """In Q and R alone: two students more would change nothing but p and p*."""
    assert latex_for_any_widths(form="expanded", definitions=False) == EXPANDED_FORM
    assert r"(a\operatorname{tr}(Q) - 7b)R" in latex(Model(3, 5), "expanded")


def test_what_has_no_expanded_form_or_no_components_is_refused():
    with pytest.raises(
        InputError, match="form: 'expanded' is the form of the activation λ² alone; for he3"
    ):
        latex(Model(2, 1, activation="he3"), "expanded")
    with pytest.raises(InputError, match="form: 'components' needs widths; without them"):
        latex_for_any_widths(form="components")


def test_forms_with_a_trained_second_layer():
    assert latex_for_any_widths(definitions=False, readout="sum", second_layer="trained") == TRAINED_FORM
    assert latex(Model(2, 1, second_layer="trained"), "components").endswith(TRAINED_COMPONENTS)


def test_matrix_form_of_the_loss():
    assert latex_for_any_widths("loss", definitions=False) == (
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


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("Q_1_2", "v_2", "s", "kappa_10", "kappa_2"), r"\kappa_{2}\kappa_{10}sv_{2}Q_{12}"),
        (("vstar_1", "R_1_1", "vstar_1", "R_1_1"), "v_{1}^{*2}R_{11}^2"),
        (("inverse_batch", "kappa", "kappa", "t", "X_1_1"), r"\frac{\kappa^2}{B}tX_{11}"),
        (("inverse_batch", "s"), r"\frac{1}{B}s"),
        (("eta", "weight_decay", "Q_1_1"), r"\eta\gamma Q_{11}"),
        ((), ""),
    ],
)
def test_products(names, text):
    assert product(names) == text


def test_terms_of_a_sum():
    terms = [(Fraction(-1), "x"), (Fraction(0), "y"), (Fraction(3, 2), ""), (Fraction(-2), "z")]
    assert join(terms) == r"-x + \frac{3}{2} - 2z"
    fractions = [(Fraction(2), r"\frac{1}{B}s"), (Fraction(-4), r"\frac{\kappa^2}{B}t")]
    assert join(fractions) == r"\frac{2}{B}s - \frac{4\kappa^2}{B}t"


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
    assert sums.sum([(Fraction(1), ("b", "R"))]) == f"{teachers}R"
    half = sums.sum([(Fraction(-1, 2), ("a", "R"))])
    assert half == r"-\frac{1}{2\sqrt{3}}R"


def test_one_teacher_has_no_factor_of_one():
    text = latex(Model(2, 1))
    assert r"a\operatorname{tr} Q - b \\" in text
    assert r"RR^\top + b^2 \\" in text


def test_component_form_of_a_small_model():
    text = latex(Model(2, 1), "components")
    assert text.startswith(COMPONENT_FORM)
    assert text.removeprefix(COMPONENT_FORM).splitlines()[1:4] == [
        r"  \frac{\mathrm{d}Q_{11}}{\mathrm{d}\alpha} &= -2\kappa[sQ_{11} + 2X_{11}] \\",
        r"  &\quad + \frac{\kappa^2}{B}[(s^2 + 2t + \Delta)Q_{11} + 4sX_{11} + 8Z_{11}] \\",
        r"  &\quad - 2\eta\gamma Q_{11} \\",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Q_1_2", "Q_{12}"),
        ("Q_9_10", "Q_{9,10}"),
        ("R_12_3", "R_{12,3}"),
        ("fQ_1_1", "F_{11}"),
        ("g_10", "g_{10}"),
        ("label_noise", r"\Delta"),
        ("weight_decay", r"\gamma"),
        ("eta_second", r"\eta_v"),
        ("v_12", "v_{12}"),
        ("vstar_3", "v_{3}^*"),
        ("partial kappa_1", r"\,\partial \kappa_{1}"),
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


def test_equations_of_a_notebook_are_one_display():
    """The environment `aligned` alone is typeset by notebooks and by the documentation."""
    odes = overlap_odes(Model(2, 1, second_layer="fixed"))
    text = odes._repr_latex_()
    rows = text.removeprefix("$$\\begin{aligned}\n").removesuffix("\n\\end{aligned}$$").split(" \\\\\n")
    assert rows[0].startswith(r"  & C = \begin{pmatrix} Q & R")
    assert rows[1] == r"  & a = \frac{1}{2},\qquad b = 1"
    assert "\\begin{align*}\n" + " \\\\\n".join(rows[2:]) + "\n\\end{align*}\n" in odes.latex()


# --- pdflatex ----------------------------------------------------------------------------


@needs_pdflatex
@pytest.mark.parametrize(
    "model",
    [
        Model(4, 2),
        Model(3, 2, "sphere", "sgd", "general", "sqrt"),
        Model(11, 3, "sphere"),
        Model(32, 8),
        Model(2, 1, second_layer="trained"),
        Model(2, 2, "sphere", "sgd", "general", "sqrt", "trained"),
        Model(9, 4, teacher="general", second_layer="fixed"),
    ],
    ids=by_name,
)
def test_document_compiles_and_fits_the_page(tmp_path, model):
    text = Pipeline.of(model).latex
    jacobians = latex(model, "matrix", "jacobian")
    if model.p < 4:
        jacobians += latex(model, "components", "jacobian")
    end = "\\end{document}\n"
    assert text.endswith(end)
    assert overfull_points(text.removesuffix(end) + jacobians + end, tmp_path) == 0.0
