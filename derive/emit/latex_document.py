"""Writes the LaTeX document of a system: conventions, matrix form and components."""

from __future__ import annotations

from derive.emit.activation_text import is_polynomial, teacher_letter
from derive.emit.header import derive_command
from derive.emit.latex_components import COMPONENT_LIMIT, component_form
from derive.emit.latex_matrix import matrix_form
from derive.equations import OverlapEquations
from derive.model import DerivableModel, Model
from derive.version import written_by

CONSTRAINT = {
    "free": "Norms are free.",
    "sphere": (
        "On the sphere, every student is rescaled to its norm after each step, which undoes the decay;\n"
        r"$F$ and $G$ are the drifts of $Q$ and $R$ before rescaling."
    ),
}
_FLOW = {
    "sgd": r"The terms in ${noise}$ are the noise of SGD.",
    "gradient": r"This is gradient flow on the population loss, without terms in ${noise}$.",
}
TEACHER = {
    "orthonormal": r"The teacher is orthonormal, $T = 1$.",
    "general": r"The teacher's overlaps $T$ are constant parameters.",
}
SECOND_LAYER = {
    "ones": "",
    "fixed": "\nThe second-layer weights $v_i$ and $v^*_r$ are constant parameters of any sign.",
    "trained": r"""
The second layer is trained, $v_i \leftarrow v_i - (\eta_v/N)\,\partial\ell/\partial v_i$ in each step.
That of the teacher, $v^*_r$, is constant. Weights may have any sign.""",
}


def flow_sentence(model: DerivableModel) -> str:
    """What the option `flow` of a model means for its equations."""
    noise = r"\kappa_i\kappa_j" if model.weighted and model.kind == "system" else r"\kappa^2"
    return _FLOW[model.to_dict()["flow"]].format(noise=noise)


def problem_sentences(model: DerivableModel) -> str:
    """The problem up to what is said about R and T, which differs between systems and sectors."""
    v, vstar = ("v_i", r"v^*_r") if model.weighted else ("", "")
    student, teacher = r"\lambda_i^2", r"\lambda_r^{*2}"
    if is_polynomial(model):
        student, teacher = r"\,\sigma(\lambda_i)", rf"\,{teacher_letter(model)}(\lambda_r^*)"
    return rf"""The student is $f = a\sum_{{i=1}}^{{p}} {v}{student}$ with
$\lambda_i = w_i\cdot x/\sqrt{{N}}$, the teacher
$y = b\sum_{{r=1}}^{{p^*}} {vstar}{teacher} + \sqrt{{\Delta}}\,\xi$ with
$\lambda^*_r = w^*_r\cdot x/\sqrt{{N}}$. The inputs are $x \sim \mathcal{{N}}(0, 1_N)$ and the loss is
$\ell = \frac{{1}}{{2}}(f - y)^2$. A step of SGD is
$w_i \leftarrow w_i - \eta\,\partial\ell/\partial w_i$ with the mean of $\ell$ over $B$ fresh samples, then
$w_i \leftarrow (1 - \eta\gamma/N)\,w_i$, which is weight decay. The time is $\alpha = \text{{steps}}/N$.
The generalisation error $\varepsilon$ is the mean loss without label noise. The order parameters are
$Q = WW^\top/N$"""


def _components(model: Model, equations: OverlapEquations) -> str:
    if model.state_size <= COMPONENT_LIMIT:
        return component_form(model, equations, "odes")
    return components_left_out(model)


def components_left_out(model: Model) -> str:
    """The sentence that says how to print the components."""
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


def _weights(model: Model) -> str:
    """The diagonal of D."""
    if model.weighted:
        return r"av_1,\dots,av_p,-bv^*_1,\dots,-bv^*_{p^*}"
    return r"\underbrace{a,\dots,a}_{p},\underbrace{-b,\dots,-b}_{p^*}"


def _moments(model: Model) -> str:
    """What the letters of the moments are, which only a model with second-layer weights has."""
    if not model.weighted:
        return ""
    noise = r", and $S$ that of $\mathrm{E}[e^2zz^\top]/B$" if model.flow == "sgd" else ""
    return rf"""
With $z = (\lambda, \lambda^*)$ and the error $e = f - y$, $M$ is the student--student block of
$\mathrm{{E}}[e\,zz^\top]${noise}."""


def odes_document(model: Model, equations: OverlapEquations) -> str:
    """The document of a system: its conventions, the matrix form and the components."""
    start = document_start(derive_command(model), r"\allowdisplaybreaks")
    return rf"""{start}
\section*{{Overlap ODEs of a quadratic teacher--student network,
\mbox{{$p = {model.p}$, $p^* = {model.pstar}$}}}}

{problem_sentences(model)},
$R = WW^{{*\top}}/N${", $v$" * model.trained} and $T = W^*W^{{*\top}}/N$. After arXiv:2604.03068.
{flow_sentence(model)} {TEACHER[model.teacher]}
{CONSTRAINT[model.constraint]}{SECOND_LAYER[model.second_layer]}

With
\[
  C = \begin{{pmatrix}} Q & R \\ R^\top & T \end{{pmatrix}},\qquad
  D = \operatorname{{diag}}({_weights(model)}),
\]
Wick's theorem makes each moment a sum of products of closed loops $\operatorname{{tr}}((DC)^m)$
and one open chain $C(DC)^m$. The subscripts ss and st stand for the student--student and
student--teacher blocks.{_moments(model)}

\subsection*{{Matrix form}}
{matrix_form(model, equations, "odes")}
\subsection*{{Generalisation error}}
{matrix_form(model, equations, "loss")}
\subsection*{{Components}}
{_components(model, equations)}
\end{{document}}
"""
