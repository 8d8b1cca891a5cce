"""Formulas in LaTeX as plain text: what stands for each command, where spaces are, what is an error."""

from __future__ import annotations

import pytest

from derive.plain_formulas import plain_text


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("no formula", "no formula"),
        ("costs $5", "costs $5"),
        (
            r"$\dot{R} = -AR + 4ab\eta D_vRD_{v^*}T$, $A = 2a\eta D_v(s + 2aQD_v) + \eta\gamma$",
            "dR = -AR + 4ab eta v R v* T, A = 2a eta v (s + 2aQ v) + eta gamma",
        ),
        (r"$K = R^\top(Q - RT^{-1}R^\top)^{-1}R$", "K = R'(Q - RT^-1 R')^-1 R"),
        (r"$R^{\top}R$ and $R(R^{\top}R)^{-1/2}$ stay", "R'R and R(R'R)^(-1/2) stay"),
        (r"$w = (Q\,RR^\top - RR^\top Q)_{12}$", "w = (Q RR' - RR' Q)_12"),
        (r"$w^4(\det S)^{-5}(\operatorname{tr} K)^{-2}$", "w^4 (det S)^-5 (tr K)^-2"),
        (r"$\exp(4\eta\gamma\alpha)$ and $\operatorname{tr}(DC)$", "exp(4 eta gamma alpha) and tr(DC)"),
        (r"$|R_{11}|^{2c}\,|f|^{2v^*_1}S^{-(c + 2v^*_1)}$", "|R_11|^(2c) |f|^(2v*_1) S^(-(c + 2v*_1))"),
        (r"$6av\sum_r v^*_rR_{1r}^2/(c + 2v^*_r)$", "6av sum_r v*_r R_1r^2/(c + 2v*_r)"),
        (r"$w_i \to -w_i$, $2(\eta/\eta_v)\,v_i^2$", "w_i -> -w_i, 2(eta/eta_v) v_i^2"),
        (r"$\dot{Q}_{ij} = -2\eta\gamma Q_{ij}$", "dQ_ij = -2 eta gamma Q_ij"),
        (r"$e^{\text{rate}\cdot\alpha}$, $\varepsilon$", "e^(rate alpha), epsilon"),
    ],
)
def test_formulas_as_plain_text(marked, plain):
    assert plain_text(marked) == plain


@pytest.mark.parametrize("formula", [r"$\frac{1}{2}$", "$^2$", "$R_$", r"$\dot$", "$a & b$", r"$x \\\\ y$"])
def test_what_is_not_understood_is_an_error(formula):
    with pytest.raises(ValueError, match=r"has no plain form|without a letter|lacks an argument"):
        plain_text(formula)
