"""All forms of a readout say the same: floats, fractions, code, SymPy, LaTeX and words."""

import math
from fractions import Fraction

import pytest
from closed_form import READOUT_POWERS
from hypothesis import given
from hypothesis import strategies as st

from derive import Model
from derive.readout import READOUTS, Readout, weights

POWERS = st.integers(-6, 6).map(lambda halves: Fraction(halves, 2))
WIDTHS = st.integers(1, 256)

# The power with the words, the pair in Unicode, LaTeX on a line of its own and within one.
TEXTS = {
    "-1": (
        "a = 1/p, b = 1/p*",
        "(1/p, 1/p*)",
        r"a = \frac{1}{p},\qquad b = \frac{1}{9}",
        "a = 1/p$, $b = 1/p^*",
    ),
    "0": ("a = b = 1", "(1, 1)", "a = b = 1", "a = b = 1"),
    "-1/2": (
        "a = 1/sqrt(p), b = 1/sqrt(p*)",
        "(1/√p, 1/√p*)",
        r"a = \frac{1}{\sqrt{p}},\qquad b = \frac{1}{\sqrt{9}}",
        r"a = 1/\sqrt{p}$, $b = 1/\sqrt{p^*}",
    ),
    "1/2": (
        "a = sqrt(p), b = sqrt(p*)",
        "(√p, √p*)",
        r"a = \sqrt{p},\qquad b = \sqrt{9}",
        r"a = \sqrt{p}$, $b = \sqrt{p^*}",
    ),
    "-2": (
        "a = 1/p^2, b = 1/(p*)^2",
        "(1/p², 1/(p*)²)",
        r"a = \frac{1}{p^2},\qquad b = \frac{1}{9^2}",
        "a = 1/p^2$, $b = 1/(p^*)^2",
    ),
    "-3/2": (
        "a = 1/(p sqrt(p)), b = 1/(p* sqrt(p*))",
        "(1/(p√p), 1/(p*√p*))",
        r"a = \frac{1}{p\sqrt{p}},\qquad b = \frac{1}{9\sqrt{9}}",
        r"a = 1/(p\sqrt{p})$, $b = 1/(p^*\sqrt{p^*})",
    ),
}


@pytest.mark.parametrize(("power", "texts"), TEXTS.items())
def test_texts(power, texts):
    words, pair, latex, inline = texts
    readout = Readout("any", Fraction(power))
    assert (readout.words, readout.pair, readout.latex("p", "9")) == (words, pair, latex)
    assert readout.inline == f"${inline}$"


@given(POWERS, WIDTHS)
def test_numbers_of_all_forms_agree(power, width):
    readout = Readout("any", power)
    value = readout.value(width)
    assert math.isclose(value, width ** float(power), rel_tol=1e-15)
    assert math.isclose(value * readout.inverse(width), 1.0, rel_tol=1e-15)
    rational, below = readout.parts(width)
    assert rational**2 / below == Fraction(width) ** int(2 * power)
    assert (below == 1) == (math.isqrt(width) ** 2 == width or power.denominator == 1)
    assert readout.exact(width) == (rational if below == 1 else None)
    assert readout.expression(width) ** 2 == Fraction(width) ** int(2 * power)
    # Generated code computes exactly this float, also for a width that is a variable.
    assert eval(readout.code(width)) == value
    assert eval(readout.code("p"), {"p": float(width)}) == value
    assert isinstance(value, float)


def test_known_readouts():
    assert {name: float(readout.power) for name, readout in READOUTS.items()} == READOUT_POWERS
    assert weights(Model(4, 9)) == (1 / 4, 1 / 9)
    assert weights(Model(4, 9, readout="sqrt")) == (1 / 2, 1 / 3)
    assert weights(Model(4, 9, readout="sum")) == (1.0, 1.0)


def test_other_powers_are_a_defect():
    with pytest.raises(ValueError, match="cube: the power -1/3 is not a multiple of 1/2"):
        Readout("cube", Fraction(-1, 3))
