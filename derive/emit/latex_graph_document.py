"""Writes the LaTeX document of a system with any polynomial activation: sums over units and components."""

from __future__ import annotations

from derive.emit.header import derive_command
from derive.emit.latex_definitions import definitions
from derive.emit.latex_document import components_left_out, document_start
from derive.emit.latex_graph_components import DOCUMENT_TERM_LIMIT, graph_component_form, term_count
from derive.emit.latex_graphs import graph_form
from derive.model import Model


def _components(model: Model) -> str:
    if term_count(model) > DOCUMENT_TERM_LIMIT:
        return components_left_out(model)
    return "Letters of teachers have a star.\n" + graph_component_form(model, "odes")


def graph_document(model: Model) -> str:
    """The document of a system: its conventions, the sums over units and the components."""
    return rf"""{document_start(derive_command(model))}
\section*{{\raggedright Overlap ODEs of a teacher--student network with polynomial activation,
\mbox{{$p = {model.p}$, $p^* = {model.pstar}$}}}}

After arXiv:2604.03068.
{definitions(model)}
\subsection*{{Sums over units}}
{graph_form(model, "odes")}
\subsection*{{Generalisation error}}
{graph_form(model, "loss")}
\subsection*{{Components}}
{_components(model)}
\end{{document}}
"""
