"""Writes the LaTeX document of a system with any polynomial activation: sums over units and components."""

from __future__ import annotations

from derive.emit.activation_text import activation_sentence
from derive.emit.header import derive_command
from derive.emit.latex_document import (
    CONSTRAINT,
    SECOND_LAYER,
    TEACHER,
    components_left_out,
    document_start,
    flow_sentence,
    problem_sentences,
)
from derive.emit.latex_graph_components import DOCUMENT_TERM_LIMIT, graph_component_form, term_count
from derive.emit.latex_graphs import graph_form
from derive.model import Model


def _components(model: Model) -> str:
    if term_count(model) > DOCUMENT_TERM_LIMIT:
        return components_left_out(model)
    return "Letters of teachers have a star.\n" + graph_component_form(model, "odes")


def graph_document(model: Model) -> str:
    """The document of a system: its conventions, the sums over units and the components."""
    start = document_start(derive_command(model), r"\allowdisplaybreaks", r"\sloppy")
    weights = "av_i$ of students and $-bv^*_r" if model.weighted else "a$ of students and $-b"
    plural = "s are" if model.teacher_activation is not None else " is"
    return rf"""{start}
\section*{{Overlap ODEs of a teacher--student network with polynomial activation,
\mbox{{$p = {model.p}$, $p^* = {model.pstar}$}}}}

{problem_sentences(model)},
$R = WW^{{*\top}}/N${", $v$" * model.trained} and $T = W^*W^{{*\top}}/N$.
The activation{plural} {activation_sentence(model)}.
{flow_sentence(model)} {TEACHER[model.teacher]}
{CONSTRAINT[model.constraint]}{SECOND_LAYER[model.second_layer]}

The pre-activations of all units, $z = (\lambda, \lambda^*)$, are Gaussian with the covariance
\[
  C = \begin{{pmatrix}} Q & R \\ R^\top & T \end{{pmatrix}}.
\]
Indices $i$ and $j$ are students, $r$ is a teacher, and $m$ and $n$ are units of either kind, which have
the weights ${weights}$ in the error $e = f - y$. A Gaussian mean of a product of functions of units is
a sum over multigraphs between them: $k$ edges between $u$ and $v$ are worth $C_{{uv}}^k/k!$, and each
function is differentiated once for each edge at its unit. What remains is
$h_k(q) = \mathrm{{E}}[\sigma^{{(k)}}(z)]$ for $z \sim \mathcal{{N}}(0, q)$. For other $k$ it is zero.

\subsection*{{Sums over units}}
{graph_form(model, "odes")}
\subsection*{{Generalisation error}}
{graph_form(model, "loss")}
\subsection*{{Components}}
{_components(model)}
\end{{document}}
"""
