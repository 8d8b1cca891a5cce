"""MathML: every equation that can be printed is converted, and says what the LaTeX says."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from functools import partial

import pytest

from derive import Model
from derive.invariants import laws
from derive.model import OPTIONS
from derive.odes import FORMS, SUBJECTS, latex, latex_for_any_widths, overlap_odes
from derive.sector import SectorModel, sector_odes
from runtime.report.mathml import ConversionError, display, inline

COMMANDS = {
    "α": r"\alpha",
    "Δ": r"\Delta",
    "δ": r"\delta",
    "γ": r"\gamma",
    "η": r"\eta",
    "ε": r"\varepsilon",
    "κ": r"\kappa",
    "Γ": r"\Gamma",
    "σ": r"\sigma",
    "⊤": r"\top",
    "∂": r"\partial",
    "∑": r"\sum",
    "→": r"\to",
    "…": r"\dots",
    "−": "-",
    "⏟": r"\underbrace",
}
FUNCTION = "\N{FUNCTION APPLICATION}"


def back(element: ET.Element) -> str:
    """LaTeX of a MathML element, with braces around every script and fraction."""
    parts = [back(child) for child in element]
    if element.tag in ("mi", "mn", "mo", "mtext"):
        text = element.text or ""
        return "" if text == FUNCTION else "".join(COMMANDS.get(c, c) + " " for c in text)
    if element.tag == "mspace":
        return ""
    if element.tag == "mfrac":
        return rf"\frac {{ {parts[0]} }} {{ {parts[1]} }} "
    if element.tag == "msqrt":
        return rf"\sqrt {{ {''.join(parts)} }} "
    if element.tag == "msub":
        return rf"{parts[0]}_ {{ {parts[1]} }} "
    if element.tag == "msup":
        return rf"{parts[0]}^ {{ {parts[1]} }} "
    if element.tag == "msubsup":
        return rf"{parts[0]}_ {{ {parts[1]} }} ^ {{ {parts[2]} }} "
    if element.tag == "mover":
        return rf"\dot {{ {parts[0]} }} "
    if element.tag in ("mtr", "mtable"):
        return "".join(parts)
    assert element.tag in ("math", "mrow", "mtd"), element.tag
    return "".join(parts)


def tokens(text: str) -> list[str]:
    """Commands, letters and marks; without spaces, upright words without their commands."""
    text = re.sub(r"\\(?:operatorname|mathrm|text)\{([a-z]*)\}", r" \1 ", text)
    text = re.sub(r"\\begin\{align\*\}|\\end\{align\*\}|\\\[|\\\]|\\,|\\q?quad|\\\\|&", " ", text)
    # A script or an argument of one token has no braces in LaTeX.
    text = re.sub(r"\^\\top", r"^{\\top}", text)
    text = re.sub(r"([_^])([A-Za-z0-9*])", r"\1{\2}", text)
    return re.findall(r"\\[A-Za-z]+|\S", text)


# Reports do not print the diffusion matrix.
REPORTED = [what for what in SUBJECTS if what != "diffusion"]
bare = partial(latex, definitions=False)
bare_for_any_widths = partial(latex_for_any_widths, definitions=False)


def equations_of(options: dict[str, str]) -> list[str]:
    texts = [bare_for_any_widths(what, **options) for what in REPORTED]
    one, several = Model(1, 1, **options), Model(2, 3, **options)
    texts += [bare(one, form, what) for form in FORMS for what in REPORTED]
    # The Jacobian's components of several are its entries over again, and many.
    texts += [bare(several, form, what) for form in FORMS for what in ("odes", "loss")]
    return texts


@pytest.mark.parametrize(
    "options",
    [
        dict(zip(OPTIONS, values, strict=True))
        for values in itertools.product(*(option.values for option in OPTIONS.values()))
        # Second layers enter each readout in the same way.
        if "mean" in values or "ones" in values
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_every_equation_says_in_mathml_what_it_says_in_latex(options):
    for text in equations_of(options):
        converted = "".join(back(ET.fromstring(m)) for kind, m in display(text) if kind == "equations")
        expected = re.sub(r"\\paragraph\{.*?\}\n", "", text)
        assert tokens(converted) == tokens(expected)


def test_headings_of_the_jacobian_are_kept():
    kinds = [kind for kind, _ in display(bare(Model(2, 1), "components", "jacobian"))]
    assert kinds.count("heading") == Model(2, 1).state_size


@pytest.mark.parametrize("flow", OPTIONS["flow"].values)
def test_the_sector_s_equations_are_converted(flow):
    for what in ("odes", "loss"):
        assert list(display(sector_odes(SectorModel(2, flow=flow)).latex(what, definitions=False)))


@pytest.mark.parametrize(
    "model",
    [Model(4, 2), Model(2, 1, second_layer="trained"), Model(2, 2, activation="0,1,0,-1/6")],
    ids=lambda model: model.name,
)
def test_what_notebooks_show_of_equations_is_converted(model):
    shown = overlap_odes(model)._repr_latex_().strip("$").replace("{aligned}", "{align*}")
    matrices = re.findall(r"\\begin\{pmatrix\}(.*?)\\end", shown)
    rows = [ET.fromstring(m) for _, m in display(shown)]
    tables = [table for root in rows for table in root.iter("mtable") if table.get("class") != "aligned"]
    converted = [tokens("".join(map(back, table.iter("mtd")))) for table in tables]
    assert converted == [tokens(matrix) for matrix in matrices] != []
    with pytest.raises(ConversionError, match="one &"):
        list(display(shown.replace("&=", "&= &", 1)))


@pytest.mark.parametrize(
    "text", [r"\nonsense", r"\begin{align*}x\end{align*}", r"\frac{1}", "a & b", r"a \\[2pt] b"]
)
def test_what_is_not_understood_is_an_error_and_never_shown(text):
    with pytest.raises(ConversionError):
        inline(text)


def test_text_between_equations_is_an_error():
    with pytest.raises(ConversionError, match="between"):
        list(display("\\[a\\] and \\[b\\]"))


def test_signs_functions_and_transposes_are_set_as_in_tex():
    text = inline(r"-a\operatorname{tr} Q^2 = -b\operatorname{tr}(RR^\top)")
    assert text.count('form="prefix"') == 2
    assert text.count(f"<mo>{FUNCTION}</mo>") == 2
    assert "<mi>tr</mi>" in text
    assert 'lspace="0"' in text
    assert re.search(rf"{FUNCTION}</mo><mspace[^>]*></mspace><msup>", text)
    assert f'{FUNCTION}</mo><mo stretchy="false">(' in text


def test_bars_open_and_close_in_turn():
    root = ET.fromstring(inline(r"2\,|x|^2 + |y| \|z\|"))
    bars = [element for element in root.iter("mo") if element.text in tuple("|‖")]
    assert [bar.get("form") for bar in bars] == ["prefix", "postfix"] * 3
    assert all(bar.get("lspace") == bar.get("rspace") == "0" for bar in bars)


@pytest.mark.parametrize("activation", ["quadratic", "he3"])
def test_a_table_is_split_into_equations_and_long_ones_into_pieces(activation):
    model = Model(2, 1, activation=activation)
    text = bare(model, "components", "odes")
    pieces = [m for _, m in display(text)]
    sizes = [m.count("<mtr>") for m in pieces]
    assert max(sizes) <= 4
    continued = ['class="continued"' in m for m in pieces]
    assert continued == [re.search("<mtable[^>]*><mtr><mtd></mtd>", m) is not None for m in pieces]
    tables = re.findall(r"\{align\*\}\n(.*?)\n\\end", text, re.DOTALL)
    lines = [line.strip() for body in tables for line in body.split(" \\\\\n")]
    assert sum(sizes) == len(lines)
    assert continued.count(False) == sum(not line.startswith("&") for line in lines)
    # Only the equations of he3 are longer than one piece.
    assert any(continued) == (not model.quadratic)


LAWS = [
    {"p": 1, "pstar": 2, "flow": "gradient", "second_layer": "fixed"},
    {"p": 1, "pstar": 1, "constraint": "sphere", "second_layer": "trained"},
    {"p": 2, "pstar": 1},
    {"p": 2, "pstar": 2, "flow": "gradient"},
    {"p": 2, "pstar": 2, "flow": "gradient", "teacher": "general"},
    {"p": 2, "pstar": 1, "flow": "gradient", "second_layer": "trained"},
    {"p": 2, "pstar": 2, "second_layer": "fixed"},
]


@pytest.mark.parametrize("options", LAWS, ids=lambda options: "-".join(map(str, options.values())))
def test_every_law_says_in_mathml_what_it_says_in_latex(options):
    """And in plain text, where no LaTeX is left of any of them."""
    found = laws(Model(**options))
    assert found
    for law in found:
        marked = (law.statement_latex, law.on_latex, law.restrictions_latex)
        for latex_text, plain in zip(marked, (law.statement, law.on, law.restrictions), strict=True):
            for formula in re.findall(r"\$(.*?)\$", latex_text):
                # MathML has the index before the power.
                expected = re.sub(r"\^\*_(\w)", r"_\1^*", re.sub(r"\\(det|exp)", r" \1 ", formula))
                assert tokens(back(ET.fromstring(inline(formula)))) == tokens(expected)
            assert not re.search(r"[\\${}]", plain)
            assert "$" not in re.sub(r"\$[^$]+\$", "", latex_text)
