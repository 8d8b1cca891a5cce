"""Writes the LaTeX document of the fluctuations of a model: the ODE of the covariance, and its noise."""

from __future__ import annotations

from derive.emit.activation_text import activation_sentence
from derive.emit.header import derive_command
from derive.emit.latex_definitions import definitions
from derive.emit.latex_document import document_start
from derive.emit.latex_lines import align
from derive.fluctuations.cubature_points import cubature_size
from derive.fluctuations.fluctuation_latex import diffusion_form
from derive.fluctuations.fluctuation_model import FluctuationModel


def fluctuation_document(model: FluctuationModel) -> str:
    """The document odes.tex."""
    return rf"""{document_start(derive_command(model))}
\section*{{\raggedright Fluctuations of a teacher--student network,
\mbox{{$p = {model.p}$, $p^* = {model.pstar}$}}}}

After arXiv:2604.03068.
{definitions(model, what="diffusion")}{_activations(model)}
Over runs of SGD from one start, $N$ times the covariance of the order parameters is
$\Sigma + O(1/N)$ with
\[
  \frac{{\mathrm{{d}}\Sigma}}{{\mathrm{{d}}\alpha}} = J\Sigma + \Sigma J^\top + \mathcal{{D}},
\]
where $J$ is the Jacobian of the drift of the order parameters.
{_noise(model)}
\end{{document}}
"""


def _activations(model: FluctuationModel) -> str:
    if model.quadratic:
        return ""
    plural = "s are" if model.teacher_activation is not None else " is"
    return f"The activation{plural} {activation_sentence(model)}.\n"


def _noise(model: FluctuationModel) -> str:
    """What is said about the diffusion matrix, and its formula where there is one."""
    if model.quadratic or model.flow == "gradient":
        return _formula(model)
    return f"{_changes(model)}\n{_grid(model)}"


def _formula(model: FluctuationModel) -> str:
    return f"\n\\subsection*{{The diffusion matrix}}\n{diffusion_form(model)}"


def _changes(model: FluctuationModel) -> str:
    """What a step with another activation than λ² changes."""
    v = "v_i" if model.weighted else ""
    lines = [
        (r"\delta_{ij}", r"-(g_i z_j + g_j z_i)\,e + \frac{1}{B}\,g_i g_j\,e^2"),
        (r"\delta_{ir}", r"-g_i z_r\,e"),
    ]
    if model.trained:
        lines.append((r"\delta v_i", r"-\eta_v a\,\sigma(z_i)\,e"))
    trained = " and $N$ times $v$" * model.trained
    return rf"""One step changes $N$ times the overlaps{trained} by the mean over the batch of
{align(lines)}for students $i$ and $j$ and teachers $r$, with $g_i = \eta a{v}\,\sigma'(z_i)$. The matrix
$\mathcal{{D}}$ is the covariance of these changes at given overlaps. It has no formula here: the program
computes it by cubature."""


def _grid(model: FluctuationModel) -> str:
    """The cubature of other activations than λ² in words."""
    size = cubature_size(model)
    halved = ""
    if size.halved:
        halved = " As $z$ and $-z$ are worth the same, half of the first direction is left out."
    rescaled = ""
    if model.constraint == "sphere":
        rescaled = r" On the sphere the growth of norms is removed from rows and columns of $\mathcal{D}$."
    return rf"""
\subsection*{{The cubature}}
The pre-activations have the covariance $C = LL^\top$, and $z = Lx$ with independent
$x_k \sim \mathcal{{N}}(0, 1)$. Means over the label noise in $e$ are taken in closed form. What remains are
polynomials in $x$, which a grid of Gauss--Hermite rules integrates exactly: with {size.student_nodes}
nodes in each direction of a student and {size.teacher_nodes} in each direction of a teacher, in all
{size.points} points.{halved}{rescaled}
"""
