"""The printed diffusion matrix, read back into numbers and compared with the generated code."""

import itertools
import re

import latex_values
import numpy as np
import pytest
from pdflatex import needs_pdflatex, overfull_points

import derive
import runtime
from derive.fluctuations.fluctuation_document import fluctuation_document
from derive.fluctuations.fluctuation_latex import diffusion_form
from derive.fluctuations.fluctuation_model import FluctuationModel
from runtime.covariance.fluctuation_system import fluctuations_of

P, PSTAR = 2, 1
ETA, NOISE, BATCH, RATE = 0.3, 0.2, 3.0, 0.7
V, VSTAR = np.array([0.8, -0.5]), np.array([1.3])
Q = np.array([[0.9, 0.2], [0.2, 1.1]])
R = np.array([[0.4], [-0.3]])
COMPONENTS = [(0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (0, 0), (1, 1)]
UNITS = "ijkl"


def _lines(text):
    """(left, right) of every line, whose continuations are part of it."""
    found = []
    for body in re.findall(r"\\begin\{align\*\}\n(.*?)\n\\end\{align\*\}", text, re.DOTALL):
        for line in body.replace(" \\\\\n  &\\quad ", " ").split(" \\\\\n"):
            left, right = line.split(" &= ")
            found.append((left.strip(), right.strip()))
    return dict(found)


class _Printed:
    """The numbers that a printed diffusion matrix has at the state above."""

    def __init__(self, text):
        self.lines = _lines(text)
        C = np.block([[Q, R], [R.T, np.eye(PSTAR)]])
        D = np.diag(np.concatenate([V / P, -VSTAR]))
        self.chains = [C @ np.linalg.matrix_power(D @ C, m) for m in range(5)]
        values = {name: np.trace(np.linalg.matrix_power(D @ C, m)) for m, name in enumerate("stuw", 1)}
        self.values = values | {r"\Delta": NOISE}
        self.kappa = np.concatenate([2 * ETA * V / P, np.zeros(PSTAR)])

    def _number(self, text):
        return latex_values.evaluate(text, self.values)

    def moment(self, power, units):
        """E[e^n z z z z], with the printed pairings and coefficients."""
        pairings = self.lines[r"\mathrm{E}[e^n\,z_iz_jz_kz_l]"]
        found = re.findall(r"K\^m_\{(\w)(\w)\}K\^\{m'\}_\{(\w)(\w)\}", pairings)
        assert len(found) == 3
        total = 0.0
        for first, second in itertools.product(range(power + 1), repeat=2):
            low, high = sorted((first, second))
            if first + second > power:
                continue
            c = self._number(self.lines[f"c^{{({power})}}_{{{low}{high}}}"])
            for pairing in found:
                i, j, k, l = (units[UNITS.index(letter)] for letter in pairing)  # noqa: E741
                total += c * self.chains[first][i, j] * self.chains[second][k, l]
        return total

    def mean(self, power, i, j):
        text = self.lines[rf"\mathrm{{E}}[{'e' if power == 1 else 'e^2'}\,z_iz_j]"]
        total = 0.0
        for number, m in re.findall(r"([^K]*?)\s*K\^(\d)_\{ij\}", text):
            number = number.removeprefix(" + ").strip().removeprefix("+ ")
            total += (self._number(number) if number else 1.0) * self.chains[int(m)][i, j]
        return total

    def change(self, component, number):
        """The mean change: linear and square parts as the line of δ prints them."""
        i, j = component
        if number >= 5:
            assert self.lines[r"\delta v_i"] == r"-\eta_va\,e\,z_i^2"
            return -RATE / P * self.mean(1, i, i)
        printed = r"-(\kappa_i + \kappa_j)\,e\,z_iz_j + \frac{\kappa_i\kappa_j}{B}\,e^2z_iz_j"
        assert self.lines[r"\delta_{ij}"] == printed
        linear = -(self.kappa[i] + self.kappa[j]) * self.mean(1, i, j)
        return linear + self.kappa[i] * self.kappa[j] / BATCH * self.mean(2, i, j)

    def entry(self, A, B):
        """One entry of the diffusion matrix from the line of its block, term by term."""
        left = "ij,kl" if B < 5 else "ij,v_k" if A < 5 else "v_i,v_k"
        text = self.lines[rf"B\,\mathcal{{D}}_{{{left}}}"]
        (i, j), (k, l) = COMPONENTS[A], COMPONENTS[B]  # noqa: E741
        kappa = dict(zip(UNITS, self.kappa[[i, j, k, l]], strict=True))
        total = 0.0
        for sign, term in re.findall(r"(^|[-+] )((?:\([^)]*\)|[^-+(])*)", text):
            if not term.strip():
                continue
            value = -1.0 if sign == "- " else 1.0
            fraction = re.search(r"\\frac\{1\}\{B(?:\^2)?\}", term)
            if fraction:
                value /= BATCH ** (2 if "^2" in fraction.group() else 1)
            for first, second in re.findall(r"\(\\kappa_(\w) \+ \\kappa_(\w)\)", term):
                value *= kappa[first] + kappa[second]
            for letter in re.findall(r"\\kappa_(\w)", re.sub(r"\([^)]*\)", "", term)):
                value *= kappa[letter]
            value *= (RATE / P) ** (2 if r"\eta_v^2a^2" in term else r"\eta_va" in term)
            power = re.search(r"E\}\[e\^(\d)", term)
            if power:
                value *= self.moment(int(power.group(1)), (i, j, k, l))
            else:
                value *= self.change(COMPONENTS[A], A) * self.change(COMPONENTS[B], B)
            total += value
        return total / BATCH


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    model = derive.Model(P, PSTAR, second_layer="trained")
    system = runtime.load(model, tmp_path_factory.mktemp("generated"))
    parameters = {"eta": ETA, "label_noise": NOISE, "batch": BATCH, "eta_second": RATE}
    return fluctuations_of(system).diffusion(
        Q, R, **parameters, student_weights=V, teacher_weights=VSTAR
    ), diffusion_form(model)


def _agrees(text, expected):
    printed = _Printed(text)
    size = len(COMPONENTS)
    found = np.array([[printed.entry(min(A, B), max(A, B)) for B in range(size)] for A in range(size)])
    return np.allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_the_printed_matrix_is_the_generated_one(expected):
    values, text = expected
    assert _agrees(text, values)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"6st + 3\Delta s", r"6st - 3\Delta s"),
        (r"c^{(4)}_{22} &= 384", r"c^{(4)}_{22} &= 192"),
        (r"+ K^m_{ik}K^{m'}_{jl}", r"+ K^m_{ij}K^{m'}_{kl}"),
        (r"- \frac{1}{B}\kappa_i\kappa_j(\kappa_k", r"+ \frac{1}{B}\kappa_i\kappa_j(\kappa_k"),
        (r"\frac{1}{B^2}", r"\frac{1}{B}"),
        (
            r"- \mathrm{E}[\delta_{ij}]\,\mathrm{E}[\delta v_k]",
            r"+ \mathrm{E}[\delta_{ij}]\,\mathrm{E}[\delta v_k]",
        ),
        (r"(s^2 + 2t + \Delta)K^0_{ij}", r"(s^2 + 2t - \Delta)K^0_{ij}"),
        (r"\eta_v^2a^2\,", r"\eta_va\,"),
    ],
)
def test_a_wrong_line_is_noticed(expected, old, new):
    values, text = expected
    assert old in text
    assert not _agrees(text.replace(old, new), values)


def test_gradient_flow_has_no_diffusion():
    assert diffusion_form(derive.Model(3, 2, flow="gradient")) == "\\[\n  \\mathcal{D} = 0\n\\]\n"


def test_latex_of_any_widths_and_what_is_refused():
    for options in ({}, {"constraint": "sphere"}, {"second_layer": "trained"}, {"teacher": "general"}):
        text = derive.latex_for_any_widths("diffusion", definitions=False, **options)
        assert text == diffusion_form(derive.Model(1, 1, **options), any_widths=True)
        assert ("hat" in text) == ("constraint" in options)
    assert r"a = \frac{1}{4}" in derive.latex(derive.Model(4, 2), what="diffusion")
    with pytest.raises(derive.InputError, match="form: 'components': the diffusion matrix"):
        derive.latex(derive.Model(4, 2), "components", "diffusion")
    with pytest.raises(derive.InputError, match="activation: 'he3': the diffusion matrix is printed"):
        derive.latex(derive.Model(1, 1, activation="he3"), what="diffusion")


@needs_pdflatex
@pytest.mark.parametrize(
    "options",
    [{}, {"constraint": "sphere", "second_layer": "trained", "teacher": "general"}, {"flow": "gradient"}],
    ids=str,
)
def test_the_document_compiles_and_fits(options, tmp_path):
    assert overfull_points(fluctuation_document(FluctuationModel(4, 2, **options)), tmp_path) == 0.0
