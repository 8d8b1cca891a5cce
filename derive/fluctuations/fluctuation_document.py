"""Writes the LaTeX document of the fluctuations of a model: the ODE of the covariance, and its noise."""

from __future__ import annotations

from derive.emit.header import derive_command
from derive.emit.latex_document import CONSTRAINT, SECOND_LAYER, TEACHER, document_start, problem_sentences
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
{TEACHER[model.teacher]} {constraint}{SECOND_LAYER[model.second_layer]}

Over runs of SGD from one start, $N$ times the covariance of the order parameters is
$\Sigma + O(1/N)$ with
\[
  \frac{{\mathrm{{d}}\Sigma}}{{\mathrm{{d}}\alpha}} = J\Sigma + \Sigma J^\top + \mathcal{{D}},
\]
where $J$ is the Jacobian of the drift of the order parameters.
{_NO_NOISE if model.flow == "gradient" else _NOISE}

\subsection*{{The diffusion matrix}}
{diffusion_form(model)}
\end{{document}}
"""
