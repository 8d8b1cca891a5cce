"""The LaTeX document of a system, which compiles as it is: conventions, matrix form, components."""

from __future__ import annotations

from derive.emit.header import derive_command
from derive.emit.latex_components import COMPONENT_LIMIT, component_form
from derive.emit.latex_matrix import Conventions, matrix_form
from derive.model import Model
from derive.version import written_by

_CONSTRAINT = {
    "free": "Norms are free.",
    "sphere": (
        r"After each step every student is rescaled to its norm (spherical constraint): "
        r"$F$, $G$ are the free drifts of $Q$, $R$."
    ),
}
FLOW_SENTENCES = {
    "sgd": r"The terms in $\kappa^2$ are the noise of one-pass SGD.",
    "gradient": r"Gradient flow on the population loss: the terms in $\kappa^2$ are dropped.",
}
_TEACHER = {
    "orthonormal": r"The teacher is orthonormal, $T = 1$.",
    "general": r"The teacher's overlaps $T$ are constant parameters.",
}


PROBLEM = r"""Student $f = a\sum_{i=1}^{p} \lambda_i^2$ with $\lambda_i = w_i\cdot x/\sqrt{N}$, teacher
$y = b\sum_{r=1}^{p^*} \lambda_r^{*2} + \sqrt{\Delta}\,\xi$ with
$\lambda^*_r = w^*_r\cdot x/\sqrt{N}$, inputs $x \sim \mathcal{N}(0, 1_N)$, loss
$\ell = \frac{1}{2}(f - y)^2$, one-pass SGD $w_i \leftarrow w_i - \eta\,\partial\ell/\partial w_i$,
time $\alpha = \text{samples}/N$. Order parameters $Q = WW^\top/N$, $R = WW^{*\top}/N$,"""


def _components(model: Model) -> str:
    if model.state_size <= COMPONENT_LIMIT:
        return component_form(model, "odes")
    command = derive_command(model).replace("cli derive", "cli latex") + " --form components"
    return (
        f"The {model.state_size} components are left out here;\n"
        rf"\texttt{{{command.replace('--', '-{}-')}}} prints them." + "\n"
    )


def document_start(command: str, *settings: str) -> str:
    """The preamble of a document that plain pdflatex compiles (amsmath and geometry only)."""
    lines = "".join(f"{setting}\n" for setting in settings)
    return rf"""% {written_by()}, regenerate with
%   {command}
\documentclass[a4paper,10pt]{{article}}
\usepackage[margin=20mm]{{geometry}}
\usepackage{{amsmath}}
{lines}\setlength{{\parindent}}{{0pt}}
\setlength{{\parskip}}{{1ex}}
\begin{{document}}
"""


def odes_document(model: Model) -> str:
    """The document of a system: its conventions, the matrix form and the components."""
    conventions = Conventions.of(model)
    start = document_start(derive_command(model), r"\allowdisplaybreaks")
    return rf"""{start}
\section*{{Overlap ODEs of a quadratic teacher--student network,
\mbox{{$p = {model.p}$, $p^* = {model.pstar}$}}}}

{PROBLEM}
$T = W^*W^{{*\top}}/N$; generalisation error $\varepsilon$. After arXiv:2604.03068.
{FLOW_SENTENCES[model.flow]} {_TEACHER[model.teacher]} {_CONSTRAINT[model.constraint]}

With
\[
  C = \begin{{pmatrix}} Q & R \\ R^\top & T \end{{pmatrix}},\qquad
  D = \operatorname{{diag}}(\underbrace{{a,\dots,a}}_{{p}},\underbrace{{-b,\dots,-b}}_{{p^*}}),
\]
Wick's theorem gives each moment as closed loops $\operatorname{{tr}}(DC)^m$ times one open chain
$C(DC)^m$; the subscripts ss and st name their student--student and
student--teacher blocks.

\subsection*{{Matrix form}}
{matrix_form(conventions, "odes", model)}
\subsection*{{Generalisation error}}
{matrix_form(conventions, "loss", model)}
\subsection*{{Components}}
{_components(model)}
\end{{document}}
"""
