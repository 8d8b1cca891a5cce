"""Writes the LaTeX document of the fluctuations of a model: the ODE of the covariance, and its noise."""

from __future__ import annotations

from derive.emit.header import derive_command
from derive.emit.latex_definitions import definitions
from derive.emit.latex_document import document_start
from derive.fluctuations.fluctuation_latex import diffusion_form
from derive.fluctuations.fluctuation_model import FluctuationModel


def fluctuation_document(model: FluctuationModel) -> str:
    """The document odes.tex."""
    return rf"""{document_start(derive_command(model))}
\section*{{\raggedright Fluctuations of a teacher--student network,
\mbox{{$p = {model.p}$, $p^* = {model.pstar}$}}}}

After arXiv:2604.03068.
{definitions(model, what="diffusion")}
Over runs of SGD from one start, $N$ times the covariance of the order parameters is
$\Sigma + O(1/N)$ with
\[
  \frac{{\mathrm{{d}}\Sigma}}{{\mathrm{{d}}\alpha}} = J\Sigma + \Sigma J^\top + \mathcal{{D}},
\]
where $J$ is the Jacobian of the drift of the order parameters.

\subsection*{{The diffusion matrix}}
{diffusion_form(model)}
\end{{document}}
"""
