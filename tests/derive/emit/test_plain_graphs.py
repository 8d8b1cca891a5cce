"""The texts of polynomial activations, which people read, say what is derived."""

import dataclasses
import re

import pytest

from derive import Model
from derive.expansion import evaluate
from derive.pipeline import Pipeline
from derive.program import targets

EQUATIONS = """\
Student f = a sum_i sigma(lambda_i), teacher y = b sum_r sigma(lambda*_r) + sqrt(label_noise) xi,
sigma(z) = 1/2 z^2 - z,
loss (f - y)^2 / 2, time alpha = steps / N, with batch samples a step;
overlaps Q = WW'/N, R = WW*'/N, T = W*W*'/N.

Constraint   free norms
Flow         one-pass SGD, with its eta^2 noise
Teacher      orthonormal, T = 1
Readout      mean: a = 1/p, b = 1/p*
Second layer ones: all second-layer weights are 1
eta          learning rate η
label_noise  variance of the label noise Δ
weight_decay weight decay γ
batch        batch size B

# C is the covariance of z = (lambda, lambda*) = (Wx, W*x)/sqrt(N). Indices i and j are students, r is a
# teacher, and m and n are units of either kind. ^k after an entry is its k-th power.
C = [[Q, R], [R', T]]

# moments of the activation and of its derivatives: hk(q) = E[sigma^(k)(z)] for z ~ N(0, q)
h0(q) = 1/2 q
h1(q) = -1
h2(q) = 1

# hk of a student, and ck = d hk of a unit with its weight d in the error f - y
hk_i = hk(Q_ii)
ck_i = a hk(Q_ii) of students, ck_r = -b hk(1) of teachers

# means of products: each term is a graph, whose edges are the powers of C
H_im = h1_i c1_m
    + h2_i c2_m C_im
u_i = h2_i sum_m(c0_m)
M_in = E[e sigma'_i z_n] = sum_m(H_im C_mn) + u_i C_in
N_ij = E[e^2 sigma'_i sigma'_j] = label_noise h1_i h1_j
    + label_noise h2_i h2_j Q_ij
    + h1_i h1_j sum_mn(c0_m c0_n)
    + h2_i h2_j Q_ij sum_mn(c0_m c0_n)
    + 2 h2_i h1_j sum_mn(c1_m c0_n C_im)
    + 2 h1_i h2_j sum_mn(c1_m c0_n C_jm)
    + 2 h2_i h2_j sum_mn(c1_m c1_n C_im C_jn)
    + 2 h2_i h2_j sum_mn(c2_m c0_n C_im C_jm)
    + h1_i h1_j sum_mn(c1_m c1_n C_mn)
    + h2_i h2_j Q_ij sum_mn(c1_m c1_n C_mn)
    + 2 h2_i h1_j sum_mn(c2_m c1_n C_mn C_im)
    + 2 h1_i h2_j sum_mn(c2_m c1_n C_mn C_jm)
    + 2 h2_i h2_j sum_mn(c2_m c2_n C_mn C_im C_jn)
    + 1/2 h1_i h1_j sum_mn(c2_m c2_n C_mn^2)
    + 1/2 h2_i h2_j Q_ij sum_mn(c2_m c2_n C_mn^2)

# the drift
kappa = a eta
decay = eta weight_decay
dR_ir/dalpha = -kappa M_ir - decay R_ir
dQ_ij/dalpha = -kappa M_ij - kappa M_ji + kappa^2 N_ij / batch - 2 decay Q_ij

# the generalisation error, which leaves out the label noise
loss = 1/2 sum_mn(c0_m c0_n)
    + 1/2 sum_mn(c1_m c1_n C_mn)
    + 1/4 sum_mn(c2_m c2_n C_mn^2)
"""


def test_equations():
    assert Pipeline.of(Model(3, 2, activation="0,-1,1/2")).text_of("equations") == EQUATIONS


def test_equations_with_every_other_option():
    model = Model(2, 1, "sphere", "gradient", "general", "sum", "trained", "he3", "he2")
    text = Pipeline.of(model).text_of("equations")
    for line in (
        "sigma(z) = z^3 - 3 z,",
        "sigma*(z) = z^2 - 1,",
        "h*2(q) = 2",
        "ck_i = a v_i hk(Q_ii) of students, ck_r = -b v*_r h*k(T_rr) of teachers",
        "# the drift before rescaling, fR and fQ",
        "fQ_ij = -kappa_i M_ij - kappa_j M_ji - 2 decay Q_ij",
        "E[e sigma_i] = h1_i sum_m(c1_m C_im)",
        "dv_i/dalpha = -eta_second a E[e sigma_i]",
        "dQ_ij/dalpha = fQ_ij - (g_i + g_j) Q_ij",
    ):
        assert line in text.splitlines()
    assert "N_ij" not in text


@pytest.mark.parametrize("activation", ["he3", "he2+he3", "1,1,1,1,1,1,1"])
@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_program_has_a_line_for_each_statement(activation, constraint):
    options = {"teacher": "general", "second_layer": "trained", "constraint": constraint}
    pipeline = Pipeline.of(Model(2, 2, activation=activation, **options))
    lines = [line for line in pipeline.text_of("program").splitlines() if line and line[0] != "#"]
    left = [re.split(r" = |_\(|_[ijr]", line)[0] for line in lines if " = " in line]
    expected = [name for statement in pipeline.program.statements for name in targets(statement)]
    assert sorted(name for name in left if name != "p") == sorted(expected)


def test_lines_of_sums_and_of_pairs():
    text = Pipeline.of(Model(2, 2, activation="he3")).text_of("program")
    assert re.search(r"^u1e1_i = sum_j\(x1_j Q_ij\)", text, re.MULTILINE)
    assert re.search(r"^U3e11Q_\(ij\)k = Qx3_ik Q_jk$", text, re.MULTILINE)
    assert re.search(
        r"^c11111_\(ij\) = sum_k\(S3e11e1Q_\(ij\)k U3e11Q_\(ij\)k\) \+ sum_r\(", text, re.MULTILINE
    )


@pytest.mark.parametrize("activation", ["0,-1,1/2", "he3"])
def test_the_printed_graphs_are_those_of_the_program(activation):
    """With all overlaps and moments of students 1, and no teacher, N is the sum of the coefficients."""
    model = Model(1, 1, activation=activation)
    text = Pipeline.of(model).text_of("equations")
    sums = text[text.index("N_ij") : text.index("# the drift")].strip().splitlines()
    printed = sum(
        _coefficient(line.rpartition(" = ")[2].lstrip("+ ")) for line in sums if "label_noise" not in line
    )
    program = Pipeline.of(model).program.restricted_to(("N",))
    moments = {"h", "x", "y"}
    kept = [
        s for s in program.statements if targets(s)[0][0] not in moments or not targets(s)[0][1:].isdigit()
    ]
    values = {f"{letter}{k}_1": 1.0 for letter in "hx" for k in range(5)} | {
        f"y{k}_1": 0.0 for k in range(5)
    }
    values |= {"Q_1_1": 1.0, "R_1_1": 1.0, "label_noise": 0.0, "a": 1.0, "b": 1.0}

    def combine(terms):
        total = 0.0
        for coefficient, factors in terms:
            product = float(coefficient)
            for factor in factors:
                product *= factor
            total += product
        return total

    whole = dataclasses.replace(program, statements=tuple(kept), outputs=(_noise(program),))
    assert evaluate(whole, values, combine, None)["N_1_1"] == pytest.approx(printed, rel=1e-12)


def _noise(program):
    return next(s.target for s in program.statements if targets(s) == ("N",))


def _coefficient(text):
    first = text.split()[0]
    above, _, below = first.partition("/")
    return int(above) / int(below or 1) if above.isdigit() else 1.0
