"""The texts of equations and programs, which people read, say what is derived."""

import pytest

from derive import InputError, Model, SectorModel
from derive.pipeline import Pipeline
from derive.sector.sector_pipeline import SectorPipeline

EQUATIONS = """\
C = [[Q, R], [R', T]] is the covariance of all pre-activations, D = diag(a, ..., -b, ...).
ss and st are the blocks of students with students, and of students with teachers.

a = 1/p, b = 1/p*
kappa = 2 a eta
s = tr(DC)
t = tr(DCDC)
dR/dalpha = -kappa s (C)_st - 2 kappa (CDC)_st
dQ/dalpha = (kappa^2 s^2 + 2 kappa^2 t + kappa^2 label_noise - 2 kappa s) (C)_ss\
 + (4 kappa^2 s - 4 kappa) (CDC)_ss + 8 kappa^2 (CDCDC)_ss
loss = 1/2 s^2 + t
"""
PROGRAM = """\
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
    assert sphere.text_of("equations").endswith("removes the growth of norms, as rescaling does.\n")
    assert SectorPipeline.of(SectorModel(2, flow="gradient")).text_of("program") == SECTOR


def test_identity_and_signs():
    lines = Pipeline.of(Model(2, 2)).text_of("program").splitlines()
    assert {"V = q1 1 + q2 aQ", "dQ = q0 Q + V X - W Y'", "s = a tr(Q) - 2 b"} <= set(lines)


@pytest.mark.parametrize("pipeline", [Pipeline.of(Model(1, 1)), SectorPipeline.of(SectorModel(1))])
def test_other_stages_are_rejected(pipeline):
    with pytest.raises(InputError, match="stage: 'proof' is not one of equations, program, python, latex"):
        pipeline.text_of("proof")
