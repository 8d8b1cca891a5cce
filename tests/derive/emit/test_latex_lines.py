r"""Lines of equations fit a column of a paper: their widths, where they end, and what pdflatex says."""

import itertools
import re

import pytest
from matrix import thinned
from pdflatex import needs_pdflatex, overfull_in_a_column, widths_of

from derive import Model, latex, latex_for_any_widths
from derive.emit.latex_lines import COLUMN, align, printed_width
from derive.model import OPTIONS
from derive.odes import SUBJECTS
from derive.sector import SectorModel, sector_odes

OPTION_SETS = [
    dict(zip(OPTIONS, values, strict=True))
    for values in itertools.product(*(option.values for option in OPTIONS.values()))
]
FORMULAS = [
    r"-2\kappa[sQ + 2X] + \frac{\kappa^2}{B}[(s^2 + 2t + \Delta)Q + 4sX + 8Z] - 2\eta\gamma Q",
    r"a^2\operatorname{tr}(D_vQD_vQ) - 2ab\operatorname{tr}(D_vRD_{v^*}R^\top)",
    r"b^2\operatorname{tr} D_{v^*}^2",
    r"\frac{\mathrm{d}Q_{10,11}}{\mathrm{d}\alpha}",
    r"\frac{1}{2\sqrt{3}}(Q_{11}^2 + 2Q_{12}^2 + R_{2,11}^2) + v_{1}^{*2}M_{12}",
    r"\operatorname{diag}(v_1^*,\dots,v_{p^*}^*)",
    r"\frac{1}{6}h_{3,i}h_{1,j}Q_{ij}\sum_{m,n} c_{3,m}c_{3,n}C_{im}C_{jn}C_{mn}^2",
    r"\mathrm{E}[e^2\sigma'(\lambda_i)\sigma'(\lambda_j)]",
    r"\frac{\delta F_{ii} - 2 g_i\,\delta Q_{ii}}{2Q_{ii}}",
    r"\sum_{k=1}^{2} (a^2q_k^2 + b^2 - 2abm_k^2) + (p - 2)a^2q_\perp^2",
    "".join("abcdefghijklmnopqrstuvwxyz"),
    "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    r"\alpha\gamma\delta\eta\kappa\lambda\partial\sigma\varepsilon\xi\Delta\Gamma\perp\top",
]


@needs_pdflatex
def test_widths_are_close_upper_bounds(tmp_path):
    measured = widths_of(FORMULAS, tmp_path)
    assert len(measured) == len(FORMULAS)
    for text, width in zip(FORMULAS, measured, strict=True):
        assert width <= printed_width(text) <= 1.12 * width, text


def test_lines_end_before_signs_and_outside_of_brackets_where_they_can():
    lines = latex(Model(11, 2), "components").splitlines()
    continued = [line for line in lines if line.startswith("  &")]
    assert continued
    assert all(re.match(r"  &\\quad [+-] ", line) for line in continued)
    text = align([("x", " + ".join(["a(b + c)"] * 12)), ("y", f"({' + '.join(['abcdefgh'] * 12)})")])
    first, second = text.split("  y &=")
    assert len(first.splitlines()) > 2
    assert all(line.count("(") == line.count(")") for line in first.splitlines())
    # A bracket that is longer than a line ends in another line.
    assert "(" in second.splitlines()[0]
    assert ")" not in second.splitlines()[0]


def test_a_name_has_a_line_of_its_own_before_its_value_is_broken():
    text = align([("t", r"\operatorname{tr}(DCDC) = " + " + ".join(["abcdefgh"] * 5))])
    assert text.splitlines()[1:-1] == [
        r"  t &= \operatorname{tr}(DCDC) \\",
        r"  &= abcdefgh + abcdefgh + abcdefgh \\",
        r"  &\quad + abcdefgh + abcdefgh",
    ]


def test_fractions_are_not_broken():
    held = rf"\frac{{{' + '.join(['abc'] * 12)}}}{{2}}"
    assert printed_width(held) > COLUMN
    assert held in align([("x", f"y + {held}")])


def printed(form, options):
    """All that is printed in a form, with numbers and symbols for the widths."""
    for what in SUBJECTS:
        # The diffusion matrix is printed in matrices alone.
        if what == "diffusion" and form != "matrix":
            continue
        # Indices have two digits where the Jacobian is not written out.
        width = (2, 11) if form != "components" or what != "jacobian" else (2, 2)
        yield latex(Model(*width, **options), form, what)
        if form != "components":
            yield latex_for_any_widths(what, form=form, **options)


@needs_pdflatex
@pytest.mark.parametrize("form", ["matrix", "expanded"])
def test_matrices_of_every_option_set_fit_a_column(form, tmp_path):
    # Readouts differ in their first line alone.
    options = [options for options in OPTION_SETS if options["readout"] == "sqrt"]
    assert overfull_in_a_column((text for some in options for text in printed(form, some)), tmp_path) == 0.0


@needs_pdflatex
@pytest.mark.parametrize(
    "options", thinned(OPTION_SETS, 0, len(OPTION_SETS) - 1), ids=lambda options: "-".join(options.values())
)
def test_components_fit_a_column(options, tmp_path):
    assert overfull_in_a_column(printed("components", options), tmp_path) == 0.0


@needs_pdflatex
def test_a_wide_line_would_be_found(tmp_path):
    wide = "\\begin{align*}\n  x &= " + " + ".join(["abcdefgh"] * 6) + "\n\\end{align*}"
    assert overfull_in_a_column([latex(Model(2, 1)), wide], tmp_path) > 10.0


@needs_pdflatex
@pytest.mark.parametrize(
    ("student", "teacher"), thinned([("he3", None), ("1/3,-1,0,1", "he2"), ("0,1,1/2,3/7,1", None)], 1)
)
def test_other_activations_fit_a_column(student, teacher, tmp_path):
    found = []
    for options in (
        {},
        {"constraint": "sphere", "teacher": "general", "second_layer": "trained", "readout": "sqrt"},
        {"flow": "gradient", "second_layer": "fixed"},
    ):
        given = {**options, "activation": student, "teacher_activation": teacher}
        found += [latex(Model(2, 1, **given), "components", what) for what in ("odes", "loss")]
        found += [latex_for_any_widths(what, **given) for what in ("odes", "loss")]
    assert overfull_in_a_column(found, tmp_path) == 0.0


@needs_pdflatex
def test_sectors_fit_a_column(tmp_path):
    found = []
    for layer, flow, readout in (
        ("ones", "sgd", "mean"),
        ("fixed", "sgd", "sqrt"),
        ("fixed", "gradient", "sum"),
    ):
        odes = sector_odes(SectorModel(12, second_layer=layer, flow=flow, readout=readout))
        found += [odes.latex(what) for what in ("odes", "loss")]
    assert overfull_in_a_column(found, tmp_path) == 0.0
