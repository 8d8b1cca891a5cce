r"""Every symbol of the printed equations is defined, by a sentence before them or by an equation."""

import itertools
import re

import latex_values
import pytest

from derive import Model, latex, latex_for_any_widths
from derive.model import OPTIONS
from derive.odes import FORMS, SUBJECTS
from derive.sector import SectorModel, sector_odes

# Readouts change two numbers alone.
OPTION_SETS = [
    dict(zip(OPTIONS, values, strict=True))
    for values in itertools.product(*(option.values for option in OPTIONS.values()))
    if "sqrt" in values
]
# The words that define a symbol without an equation of its own, or others that do; line breaks are spaces.
MEANINGS = {
    "a": "The readout weights are $a = ",
    "b": "b = ",
    "p": r"f = a\sum_{i=1}^{p} ",
    "p^*": r"y = b\sum_{r=1}^{p^*} ",
    "v": r"f = a\sum_{i=1}^{p} v_i",
    "v^*": r"y = b\sum_{r=1}^{p^*} v^*_r",
    "Q": r"$Q = WW^\top/N$",
    "R": r"$R = WW^{*\top}/N$",
    "T": r"$T = W^*W^{*\top}/N$",
    "C": r"C = \begin{pmatrix} Q & R|covariance $C$ of all",
    "D": r",\qquad D = |block of the weights $D$",
    "z": r"$z = (\lambda, \lambda^*)$",
    "e": "the error $e = f - y$",
    "E": "",
    r"\lambda": r"$\lambda_i = w_i\cdot x/\sqrt{N}$",
    r"\lambda^*": r"$\lambda^*_r = w^*_r\cdot x/\sqrt{N}$",
    r"\xi": r"$\xi \sim \mathcal{N}(0, 1)$",
    r"\sigma": r"$\sigma(z) = ",
    r"\eta": r"with the learning rate $\eta$ and",
    r"\eta_v": r"with the learning rate $\eta_v$",
    r"\gamma": r"(1 - \eta\gamma/N)\,w_i$, which is weight decay",
    "B": "over $B$ fresh samples",
    r"\Delta": r"the variance $\Delta$",
    r"\delta": r"Here $\delta$ marks changes to first order",
    r"\partial": r"$\partial = \partial/\partial ",
    "h": r"$h_k(q) = \mathrm{E}[\sigma^{(k)}(z)]$",
    "q": r"$h_k(q) = \mathrm{E}[\sigma^{(k)}(z)]$",
    "h_k": r"$h_k(q) = \mathrm{E}[\sigma^{(k)}(z)]$",
    "h_k^*": r"$h_k^*(q)$ that of $\sigma^*$",
    "q_k": "Q &= ",
    "m_k": "R &= ",
    r"q_\perp": r"q_\perp\Bigl(1 - ",
}
# What is no symbol: sums with their indices, words, marks, and the indices of brackets.
MARKS = re.compile(
    r"\\sum_(?:\{[^{}]*\}|.)(?:\^\{\d+\})?|[])]_\{(?:ii|\\mathrm\{s[st]\})\}"
    r"|\\(?:operatorname|mathrm|text)\{[A-Za-z ]+\}|\\(?:frac|sqrt|top|dots|q?quad|[Bb]ig[lr])(?![a-z])"
    r"|\\[ ,\\]|'"
)
KEPT_INDEX = r"_v(?![a-z])|_\{v\^\*\}|_\\perp|(?<=[qmh])_k"
INDEX = r"_\{[^{}]*(?:\{[^{}]*\})?[^{}]*\}|_[a-z0-9]"
LETTER = re.compile(rf"(\\[A-Za-z]+|[A-Za-z])(?:({KEPT_INDEX})|{INDEX})?(\^\*|\^\{{\*)?")


def symbols_of(formula):
    """The letters of a formula without most of their indices, but with stars."""
    found = LETTER.findall(MARKS.sub(" ", formula))
    return {letter + index + "^*" * bool(star) for letter, index, star in found}


def undefined(text, equations=None):
    """The symbols of equations that have neither an equation nor a meaning in the text."""
    lines = latex_values.equations(text if equations is None else equations)
    defined = set().union(*(symbols_of(left) for left, _ in lines if not left.startswith(r"\frac")))
    used = set().union(*(symbols_of(right) for _, right in lines))
    words = " ".join(text.split("\n"))
    return {
        name
        for name in used - defined
        if not any(meaning in words for meaning in MEANINGS.get(name, "\0").split("|"))
    }


@pytest.mark.parametrize(
    ("form", "what"),
    # The diffusion matrix is printed in matrices alone.
    [(form, what) for form in FORMS for what in SUBJECTS if form == "matrix" or what != "diffusion"],
)
def test_every_symbol_is_defined(form, what):
    for options in OPTION_SETS:
        text = latex(Model(3, 2, **options), form, what)
        assert undefined(text) == set(), options
        if form != "components":
            text = latex_for_any_widths(what, form=form, **options)
            assert undefined(text) == set(), options


@pytest.mark.parametrize("form", ["matrix", "components"])
@pytest.mark.parametrize("what", ["odes", "loss"])
def test_every_symbol_of_other_activations_is_defined(form, what):
    for options in (
        {"activation": "he3"},
        {
            "activation": "1/3,-1,0,1",
            "teacher_activation": "he2",
            "second_layer": "trained",
            "teacher": "general",
        },
        {"activation": "he4", "constraint": "sphere", "flow": "gradient", "second_layer": "fixed"},
    ):
        assert undefined(latex(Model(2, 1, **options), form, what)) == set(), options


@pytest.mark.parametrize(
    "name", ["a", "Q", "R", "T", "C", "D", "v", "v^*", r"\eta", r"\eta_v", r"\gamma", "B", r"\Delta"]
)
def test_a_missing_definition_is_found(name):
    text = latex(Model(3, 2, teacher="general", second_layer="trained"))
    sentences = text[: text.index(r"\begin{align*}")]
    equations = text.removeprefix(sentences)
    sentences = sentences.replace("\n", " ")
    assert undefined(sentences + equations) == set()
    assert name in undefined(sentences.replace(MEANINGS[name].split("|")[0], "") + equations)


@pytest.mark.parametrize("layer", ["ones", "fixed"])
def test_every_symbol_of_sectors_is_defined(layer):
    odes = sector_odes(SectorModel(2, second_layer=layer))
    for what in ("odes", "loss"):
        assert undefined(odes.latex(what), odes.latex(what, definitions=False)) == set()


def test_definitions_come_first_and_can_be_left_out():
    for form in FORMS:
        bare = latex(Model(3, 2), form, definitions=False)
        assert latex(Model(3, 2), form).endswith(f"\n{bare}")
        assert not re.search("[a-z]{3,} [a-z]{3,}", bare)
