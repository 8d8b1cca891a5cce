"""The texts of equations and programs, which people read, say what is derived."""

import re

import numpy as np
import pytest

from derive import InputError, Model, SectorModel
from derive.pipeline import Pipeline
from derive.sector.sector_pipeline import SectorPipeline

EQUATIONS = """\
Student f = a sum_i lambda_i^2, teacher y = b sum_r lambda*_r^2 + sqrt(label_noise) xi,
loss (f - y)^2 / 2, time alpha = samples / N; overlaps Q = WW'/N, R = WW*'/N, T = W*W*'/N.

Constraint  free norms
Flow        one-pass SGD, with its eta^2 noise
Teacher     orthonormal, T = 1
Readout     mean: a = 1/p, b = 1/p*
eta         learning rate η
label_noise variance of the label noise Δ

# C is the covariance of (lambda, lambda*) = (Wx, W*x)/sqrt(N), and D has the readout weights.
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
dR/dalpha = -kappa s R - 2 kappa Y
dQ/dalpha = (kappa^2 s^2 + 2 kappa^2 t + kappa^2 label_noise - 2 kappa s) Q\
 + (4 kappa^2 s - 4 kappa) X + 8 kappa^2 Z

# the generalisation error, which leaves out the label noise
loss = 1/2 s^2 + t
"""
SPHERE = """
# the drift before rescaling, fR and fQ
kappa = 2 a eta
fR = -kappa s R - 2 kappa Y
fQ = -2 kappa s Q - 4 kappa X

# rescaling keeps each norm Q_ii and so removes its growth
g_i = fQ_ii / (2 Q_ii)
dR_ir/dalpha = fR_ir - g_i R_ir
dQ_ij/dalpha = fQ_ij - (g_i + g_j) Q_ij
"""
PROGRAM = """\
# A' is the transpose of A, and <A, B> is tr(A'B). The matrix 1 is the identity.
p = 3, p* = 2
given: Q (p, p), R (p, p*), T (p*, p*), a, b, eta

# s = tr(DC)
s = a tr(Q) - b tr(T)

# t = tr(DCDC)
t = a^2 <Q, Q> - 2 a b <R, R> + b^2 <T, T>

# student rows of CD = [aQ, -bR]
aQ = a Q
bR = b R

# X = (CDC) student-student = aQQ - bRR'
X = aQ Q - bR R'

# Y = (CDC) student-teacher = aQR - bRT
Y = aQ R - bR T

# kappa = 2 a eta
kappa = 2 a eta

# fR = r0 R + r1 Y
r0 = -kappa s
r1 = -2 kappa
fR = r0 R + r1 Y

# fQ = q0 Q + q1 X
q0 = -2 kappa s
q1 = -4 kappa
fQ = q0 Q + q1 X

# sphere: rescaling removes the growth fQ_ii / (2 Q_ii)
inverse_i = 1 / Q_ii
g_i = 1/2 fQ_ii inverse_i
dR_ij = fR_ij - g_i R_ij
dQ_ij = fQ_ij - (g_i + g_j) Q_ij, and 0 where i = j

# loss = (s^2 + 2t) / 2
loss = 1/2 s^2 + t
"""
SECTOR = """\
p* = 2, rest = p - p*
given: a, b, eta, label_noise, p

s = a q_perp rest + sum_k (a q_k - b)
t = a^2 q_perp^2 rest + sum_k (-2 a b m_k^2 + a^2 q_k^2 + b^2)

kappa = 2 a eta
r0 = -kappa s
r1 = -2 kappa
c0 = -2 kappa s
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
    assert "\nT           teacher-teacher overlap T\n" in sphere.text_of("equations")
    sector = SectorPipeline.of(SectorModel(2)).text_of("equations")
    assert sector.startswith(EQUATIONS)
    assert "R = sum_k m_k u_k v_k'" in sector
    assert SectorPipeline.of(SectorModel(2, flow="gradient")).text_of("program") == SECTOR


def test_printed_blocks_are_those_of_the_chains():
    """The lines of X, Y and Z, evaluated with NumPy, are the blocks of C(DC)ᵐ that they say they are."""
    V = np.random.default_rng(0).standard_normal((5, 5))
    C, D = V @ V.T, np.diag([0.5] * 3 + [-0.2] * 2)
    chains = {"(CDC)": C @ D @ C, "(CDCDC)": C @ D @ C @ D @ C}
    columns = {"ss": slice(0, 3), "st": slice(3, 5)}
    known = {"a": 0.5, "b": 0.2, "Q": C[:3, :3], "R": C[:3, 3:], "T": C[3:, 3:]}
    for line in Pipeline.of(Model(3, 2)).text_of("equations").splitlines():
        name, *said = line.split(" = ")
        if name in ("X", "Y", "Z"):
            product = re.sub(r"(\w) (\w) (\w)('?)", r"\1 * \2 @ \3\4", said[1]).replace("'", ".T")
            known[name] = eval(product, {}, known)
            chain, _, block = said[0].partition("_")
            np.testing.assert_allclose(known[name], chains[chain][:3, columns[block]], rtol=1e-12)
    assert {"X", "Y", "Z"} <= set(known)


def test_identity_and_signs():
    lines = Pipeline.of(Model(2, 2)).text_of("program").splitlines()
    assert {"V = q1 1 + q2 aQ", "dQ = q0 Q + V X - W Y'", "s = a tr(Q) - 2 b"} <= set(lines)


@pytest.mark.parametrize("pipeline", [Pipeline.of(Model(1, 1)), SectorPipeline.of(SectorModel(1))])
def test_other_stages_are_rejected(pipeline):
    with pytest.raises(InputError, match="stage: 'proof' is not one of equations, program, python, latex"):
        pipeline.text_of("proof")
