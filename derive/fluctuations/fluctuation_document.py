"""Writes the LaTeX document of the fluctuations of a model: the ODE of the covariance, and its noise."""

from __future__ import annotations

from derive.emit.activation_text import activation_sentence
from derive.emit.header import derive_command
from derive.emit.latex_document import CONSTRAINT, SECOND_LAYER, TEACHER, document_start, problem_sentences
from derive.emit.latex_text import align
from derive.fluctuations.cubature_points import cubature_size
from derive.fluctuations.fluctuation_latex import diffusion_form
from derive.fluctuations.fluctuation_model import FluctuationModel

_NOISE = r"""One step changes $N$ times the overlap of the units $i$ and $j$ by the mean of $\delta_{ij}$
over the batch. Students come first among the units, and the weights of teachers rest. $\mathcal{D}$ is the
covariance of these changes at given overlaps. By Wick's theorem its moments are sums of products of closed
loops $s$, $t$, $u$ and $w$ and of two open chains $K^m$."""
_NO_NOISE = "Gradient flow has no noise, so that only the spread of the start is transported."


def fluctuation_document(model: FluctuationModel) -> str:
    """The document odes.tex."""
    constraint = CONSTRAINT[model.constraint].partition(";")[0].rstrip(".") + "."
    start = document_start(derive_command(model), r"\allowdisplaybreaks")
    return rf"""{start}
\section*{{Fluctuations of a teacher--student network,
\mbox{{$p = {model.p}$, $p^* = {model.pstar}$}}}}

{problem_sentences(model)},
$R = WW^{{*\top}}/N${", $v$" * model.trained} and $T = W^*W^{{*\top}}/N$. After arXiv:2604.03068.
{_activations(model)}{TEACHER[model.teacher]} {constraint}{SECOND_LAYER[model.second_layer]}

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
    if model.flow == "gradient":
        return f"{_NO_NOISE}\n{_formula(model)}"
    return f"{_NOISE}\n{_formula(model)}" if model.quadratic else f"{_changes(model)}\n{_grid(model)}"


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
