"""Writes the LaTeX document of a system: conventions, matrix form and components."""

from __future__ import annotations

from derive.emit.header import derive_command
from derive.emit.latex_components import COMPONENT_LIMIT, component_form
from derive.emit.latex_matrix import matrix_form
from derive.equations import OverlapEquations
from derive.model import Model
from derive.version import written_by

_CONSTRAINT = {
    "free": "Norms are free.",
    "sphere": (
        "On the sphere, every student is rescaled to its norm after each step;\n"
        r"$F$ and $G$ are the drifts of $Q$ and $R$ before rescaling."
    ),
}
FLOW_SENTENCES = {
    "sgd": r"The terms in $\kappa^2$ are the noise of one-pass SGD.",
    "gradient": r"This is gradient flow on the population loss, without terms in $\kappa^2$.",
}
_TEACHER = {
    "orthonormal": r"The teacher is orthonormal, $T = 1$.",
    "general": r"The teacher's overlaps $T$ are constant parameters.",
}

# The words on teacher and T follow, since they differ between systems and sectors.
PROBLEM = r"""The student is $f = a\sum_{i=1}^{p} \lambda_i^2$ with
$\lambda_i = w_i\cdot x/\sqrt{N}$, the teacher
$y = b\sum_{r=1}^{p^*} \lambda_r^{*2} + \sqrt{\Delta}\,\xi$ with
$\lambda^*_r = w^*_r\cdot x/\sqrt{N}$. The inputs are $x \sim \mathcal{N}(0, 1_N)$ and the loss is
$\ell = \frac{1}{2}(f - y)^2$. A step of one-pass SGD is
$w_i \leftarrow w_i - \eta\,\partial\ell/\partial w_i$ on a fresh sample, and the time is
$\alpha = \text{samples}/N$. The generalisation error $\varepsilon$ is the mean loss without label
noise. The order parameters are $Q = WW^\top/N$"""


def _components(model: Model, equations: OverlapEquations) -> str:
    if model.state_size <= COMPONENT_LIMIT:
        return component_form(model, equations, "odes")
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


def odes_document(model: Model, equations: OverlapEquations) -> str:
    """The document of a system: its conventions, the matrix form and the components."""
    start = document_start(derive_command(model), r"\allowdisplaybreaks")
    return rf"""{start}
\section*{{Overlap ODEs of a quadratic teacher--student network,
\mbox{{$p = {model.p}$, $p^* = {model.pstar}$}}}}

{PROBLEM},
$R = WW^{{*\top}}/N$ and $T = W^*W^{{*\top}}/N$. After arXiv:2604.03068.
{FLOW_SENTENCES[model.flow]} {_TEACHER[model.teacher]}
{_CONSTRAINT[model.constraint]}

With
\[
  C = \begin{{pmatrix}} Q & R \\ R^\top & T \end{{pmatrix}},\qquad
  D = \operatorname{{diag}}(\underbrace{{a,\dots,a}}_{{p}},\underbrace{{-b,\dots,-b}}_{{p^*}}),
\]
Wick's theorem makes each moment a sum of products of closed loops $\operatorname{{tr}}((DC)^m)$
and one open chain $C(DC)^m$. The subscripts ss and st stand for the student--student and
student--teacher blocks.

\subsection*{{Matrix form}}
{matrix_form(model, equations, "odes")}
\subsection*{{Generalisation error}}
{matrix_form(model, equations, "loss")}
\subsection*{{Components}}
{_components(model, equations)}
\end{{document}}
"""
