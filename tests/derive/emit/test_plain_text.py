"""The texts of equations and programs, which people read, say what is derived."""

import re

import numpy as np
import pytest

from derive import InputError, Model, SectorModel
from derive.pipeline import Pipeline
from derive.sector.sector_pipeline import SectorPipeline

EQUATIONS = """\
Student f = a sum_i lambda_i^2, teacher y = b sum_r lambda*_r^2 + sqrt(label_noise) xi,
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

# C is the covariance of (lambda, lambda*) = (Wx, W*x)/sqrt(N), and D has the weights of the units.
# The block of C of students with students is ss, that of students with teachers st.
# A' is the transpose of A, and <A, B> is tr(A'B).
C = [[Q, R], [R', T]], D = diag(a, ..., a, -b, ..., -b)
s = tr(DC) = a tr(Q) - b tr(T)
t = tr(DCDC) = a^2 <Q, Q> - 2 a b <R, R> + b^2 <T, T>
X = (CDC)_ss = a Q Q - b R R'
Y = (CDC)_st = a Q R - b R T
Z = (CDCDC)_ss = a Q X - b R Y'

# the drift
kappa = 2 a eta
kappa2 = kappa^2 / batch
decay = eta weight_decay
dR/dalpha = (-kappa s - decay) R - 2 kappa Y
dQ/dalpha = (kappa2 s^2 + 2 kappa2 t + kappa2 label_noise - 2 kappa s - 2 decay) Q\
 + (4 kappa2 s - 4 kappa) X + 8 kappa2 Z

# the generalisation error, which leaves out the label noise
loss = 1/2 s^2 + t
"""
SPHERE = """
# the drift before rescaling, fR and fQ
kappa = 2 a eta
decay = eta weight_decay
fR = (-kappa s - decay) R - 2 kappa Y
fQ = (-2 kappa s - 2 decay) Q - 4 kappa X

# rescaling keeps each norm Q_ii and so removes its growth
g_i = fQ_ii / (2 Q_ii)
dR_ir/dalpha = fR_ir - g_i R_ir
dQ_ij/dalpha = fQ_ij - (g_i + g_j) Q_ij
"""
TRAINED = """
C = [[Q, R], [R', T]], D = diag(d, -f), d = a v, f = b v*
s = tr(DC) = sum_i(d_i Q_ii) - sum_r(f_r T_rr)
t = tr(DCDC) = sum_ij(d_i d_j Q_ij Q_ij) - 2 sum_ir(d_i f_r R_ir R_ir) + sum_rs(f_r f_s T_rs T_rs)
X = (CDC)_ss = Q diag(d) Q - R diag(f) R'
Y = (CDC)_st = Q diag(d) R - R diag(f) T
Z = (CDCDC)_ss = Q diag(d) X - R diag(f) Y'

# the blocks of the moments E[e zz'], z = (lambda, lambda*), and of E[e^2 zz'] / batch
M = E[e zz']_ss = s Q + 2 X
G = E[e zz']_st = s R + 2 Y
N = E[e^2 zz']_ss / batch = ((s^2 + 2 t + label_noise) Q + 4 s X + 8 Z) / batch

# the drift
kappa_i = 2 eta d_i
decay = eta weight_decay
dR_ir/dalpha = -kappa_i G_ir - decay R_ir
dQ_ij/dalpha = -kappa_i M_ij - kappa_j M_ij + kappa_i kappa_j N_ij - 2 decay Q_ij
dv_i/dalpha = -eta_second a M_ii

# the generalisation error, which leaves out the label noise
loss = 1/2 s^2 + t
"""
WEIGHTED_PROGRAM = """
# D = diag(d, -f) with d = a v, f = b v*
d_i = a v_i
f_r = b vstar_r

# s = tr(DC)
s = sum_i(d_i Q_ii) - sum_r(f_r)

# t = tr(DCDC)
t = sum_ij(d_i d_j Q_ij Q_ij) - 2 sum_ir(d_i f_r R_ir R_ir) + sum_r(f_r f_r)

# student rows of CD = [aQ, -bR] = [Q diag(d), -R diag(f)]
aQ_ij = d_j Q_ij
bR_ir = f_r R_ir
"""
PROGRAM = """\
# A' is the transpose of A, and <A, B> is tr(A'B). The matrix 1 is the identity.
p = 3, p* = 2
given: Q (p, p), R (p, p*), T (p*, p*), a, b, eta, weight_decay

# s = tr(DC)
s = a tr(Q) - b tr(T)

# t = tr(DCDC)
t = a^2 <Q, Q> - 2 a b <R, R> + b^2 <T, T>

# student rows of CD = [aQ, -bR]
aQ = a Q
bR = b R

# X = (CDC) student-student = aQ Q - bR R'
X = aQ Q - bR R'

# Y = (CDC) student-teacher = aQ R - bR T
Y = aQ R - bR T

# kappa = 2 a eta
kappa = 2 a eta

# decay = eta weight_decay
decay = eta weight_decay

# fR = r0 R + r1 Y
r0 = -kappa s - decay
r1 = -2 kappa
fR = r0 R + r1 Y

# fQ = q0 Q + q1 X
q0 = -2 kappa s - 2 decay
q1 = -4 kappa
fQ = q0 Q + q1 X

# sphere: rescaling removes the growth fQ_ii / (2 Q_ii)
inverse_i = 1 / Q_ii
g_i = 1/2 fQ_ii inverse_i
dR_ir = fR_ir - g_i R_ir
dQ_ij = fQ_ij - (g_i + g_j) Q_ij, and 0 where i = j

# loss = (s^2 + 2t) / 2
loss = 1/2 s^2 + t
"""
SECTOR = """\
p* = 2, rest = p - p*
given: a, b, eta, label_noise, weight_decay, inverse_batch, p

s = a q_perp rest + sum_k (a q_k - b)
t = a^2 q_perp^2 rest + sum_k (-2 a b m_k^2 + a^2 q_k^2 + b^2)

kappa = 2 a eta
decay = eta weight_decay
r0 = -kappa s - decay
r1 = -2 kappa
c0 = -2 kappa s - 2 decay
c1 = -4 kappa

# in each direction k
x_k = -b m_k^2 + a q_k^2
y_k = a m_k q_k - b m_k
dq_k = c1 x_k + c0 q_k
dm_k = r1 y_k + m_k r0

# outside all directions
x_perp = a q_perp^2
dq_perp = c1 x_perp + c0 q_perp

# loss = (s^2 + 2t) / 2
loss = 1/2 s^2 + t
"""


def test_texts():
    assert Pipeline.of(Model(4, 2)).text_of("equations") == EQUATIONS
    sphere = Pipeline.of(Model(3, 2, "sphere", "gradient", "general"))
    assert sphere.text_of("program") == PROGRAM
    assert SPHERE in sphere.text_of("equations")
    assert "\nT            teacher-teacher overlap T\n" in sphere.text_of("equations")
    sector = SectorPipeline.of(SectorModel(2)).text_of("equations")
    assert sector.startswith(EQUATIONS)
    assert "R = sum_k m_k u_k v_k'" in sector
    assert SectorPipeline.of(SectorModel(2, flow="gradient")).text_of("program") == SECTOR


def test_texts_with_second_layers():
    trained = Pipeline.of(Model(4, 2, second_layer="trained")).text_of("equations")
    assert trained.endswith(TRAINED)
    assert "\neta_second      learning rate of the second layer η_v\n" in trained
    fixed = Pipeline.of(Model(4, 2, second_layer="fixed")).text_of("program")
    assert WEIGHTED_PROGRAM in fixed
    assert "\ngiven: Q (p, p), R (p, p*), v (p), vstar (p*), a, b, eta" in fixed
    noiseless = Pipeline.of(Model(4, 2, flow="gradient", second_layer="fixed")).text_of("equations")
    assert "dQ_ij/dalpha = -kappa_i M_ij - kappa_j M_ij - 2 decay Q_ij\n" in noiseless


@pytest.mark.parametrize("second_layer", ["ones", "trained"])
def test_printed_equations_have_the_numbers_of_sgd(second_layer):
    """Every line, evaluated with NumPy: blocks, moments, and the drift from moments of the error."""
    generator = np.random.default_rng(0)
    factor = generator.standard_normal((5, 5))
    C = factor @ factor.T
    v, vstar = (
        (np.ones(3), np.ones(2)) if second_layer == "ones" else map(generator.standard_normal, (3, 2))
    )
    a, b, eta, label_noise, weight_decay, batch, eta_second = 0.5, 0.2, 0.3, 0.4, 0.7, 3, 0.6
    D = np.diag([*a * v, *-b * vstar])
    s, t = np.trace(D @ C), np.trace(D @ C @ D @ C)
    chains = [C, C @ D @ C, C @ D @ C @ D @ C]
    first = s * C + 2 * chains[1]
    second = ((s**2 + 2 * t + label_noise) * C + 4 * s * chains[1] + 8 * chains[2]) / batch
    kappa, decay = 2 * eta * a * v, eta * weight_decay
    Q, R = C[:3, :3], C[:3, 3:]
    expected = {"s": s, "t": t, "X": chains[1][:3, :3], "Y": chains[1][:3, 3:], "Z": chains[2][:3, :3]}
    dQ = -(kappa[:, None] + kappa) * first[:3, :3] + np.outer(kappa, kappa) * second[:3, :3] - 2 * decay * Q
    dR = -kappa[:, None] * first[:3, 3:] - decay * R
    expected |= {"dQ": dQ, "dR": dR}
    if second_layer == "trained":
        expected |= {"M": first[:3, :3], "G": first[:3, 3:], "N": second[:3, :3]}
        expected["dv"] = -eta_second * a * np.diag(first)[:3]
    known = {"a": a, "b": b, "d": a * v, "f": b * vstar, "eta": eta, "label_noise": label_noise}
    known |= {"weight_decay": weight_decay, "batch": batch, "eta_second": eta_second}
    known |= {"Q": Q, "R": R, "T": C[3:, 3:], "np": np}
    found = {}
    text = Pipeline.of(Model(3, 2, second_layer=second_layer)).text_of("equations")
    for line in text[text.index("C = [[") :].splitlines()[1:]:
        if line and not line.startswith("#"):
            left, *_, right = line.split(" = ")
            name = re.split("[_/]", left)[0]
            found[name] = known[name] = eval(as_numpy(right), {}, known)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12, err_msg=name)
    assert found["loss"] == pytest.approx(0.5 * s**2 + t, rel=1e-12)


# How NumPy writes what the text writes; entries become arrays that are multiplied element by element.
NUMPY = (
    (r"<(\w), (\w)>", r"np.sum(\1 * \2)"),
    (r"tr\((\w)\)", r"np.trace(\1)"),
    (r"sum_\w+\(", "np.sum("),
    # An entry of a vector that belongs to the rows of the matrix after it.
    (r"\b(d|f|kappa)_([ir])\b(?=[^+-]* [A-Z]_\2(?!\2))", r"\1[:, None]"),
    (r"\b(d|f|kappa)_[ijrs]\b", r"\1"),
    (r"\b([A-Z])_(ii|rr)\b", r"np.diag(\1)"),
    (r"\b([A-Z])_\w\w\b", r"\1"),
    (r"(\w) diag\((\w)\) (\w)", r"\1 @ np.diag(\2) @ \3"),
    (r"\b([ab]) ([A-Z]) ([A-Z])", r"\1 * \2 @ \3"),
    (r"([A-Z])'", r"\1.T"),
    (r"\^", "**"),
    (r"(?<=[\w\])]) (?=[\w(])", " * "),
)


def as_numpy(text):
    for pattern, replacement in NUMPY:
        text = re.sub(pattern, replacement, text)
    return text


def test_identity_and_signs():
    lines = Pipeline.of(Model(2, 2)).text_of("program").splitlines()
    assert {"V = q1 1 + q2 aQ", "dQ = q0 Q + V X - W Y'", "s = a tr(Q) - 2 b"} <= set(lines)


@pytest.mark.parametrize("pipeline", [Pipeline.of(Model(1, 1)), SectorPipeline.of(SectorModel(1))])
def test_other_stages_are_rejected(pipeline):
    with pytest.raises(InputError, match="stage: 'proof' is not one of equations, program, python, latex"):
        pipeline.text_of("proof")
