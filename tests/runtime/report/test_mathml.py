"""MathML: every equation that can be printed is converted, and says what the LaTeX says."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from functools import partial

import pytest

from derive import Model
from derive.model import OPTIONS
from derive.odes import FORMS, SUBJECTS, latex, latex_for_any_widths
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


bare = partial(latex, definitions=False)
bare_for_any_widths = partial(latex_for_any_widths, definitions=False)


def equations_of(options: dict[str, str]) -> list[str]:
    texts = [bare_for_any_widths(what, **options) for what in SUBJECTS]
    one, several = Model(1, 1, **options), Model(2, 3, **options)
    texts += [bare(one, form, what) for form in FORMS for what in SUBJECTS]
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


def test_a_long_table_is_split_for_printing():
    text = bare(Model(4, 2), "components", "odes")
    pieces = [m for _, m in display(text)]
    sizes = [m.count("<mtr>") for m in pieces]
    assert max(sizes) <= 6 + 2
    # No piece begins within an equation.
    assert not any(re.search("<mtable[^>]*><mtr><mtd></mtd>", m) for m in pieces)
    tables = re.findall(r"\{align\*\}\n(.*?)\n\\end", text, re.DOTALL)
    lines = sum(body.count(" \\\\\n") + 1 for body in tables)
    assert sum(sizes) == lines
