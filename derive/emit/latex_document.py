"""Writes the LaTeX document of a system: conventions, matrix form and components."""

from __future__ import annotations

from derive.emit.header import derive_command
from derive.emit.latex_components import COMPONENT_LIMIT, component_form
from derive.emit.latex_definitions import definitions
from derive.emit.latex_expanded import expanded_form
from derive.emit.latex_matrix import matrix_form
from derive.equations import OverlapEquations
from derive.model import Model
from derive.version import written_by


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


def document_start(command: str) -> str:
    """The preamble of a document in two columns that plain pdflatex compiles (amsmath and geometry only).

    The columns are as wide as those that the equations are broken for.
    """
    return rf"""% {written_by()}, regenerate with
%   {command}
\documentclass[a4paper,10pt,twocolumn]{{article}}
\usepackage[margin=15mm,columnsep=18pt]{{geometry}}
\usepackage{{amsmath}}
\allowdisplaybreaks
\sloppy
\raggedbottom
\setlength{{\parindent}}{{0pt}}
\setlength{{\parskip}}{{1ex}}
\begin{{document}}
"""


def odes_document(model: Model, equations: OverlapEquations) -> str:
    """The document of a system: its conventions, the matrix form and the components."""
    return rf"""{document_start(derive_command(model))}
\section*{{\raggedright Overlap ODEs of a quadratic teacher--student network,
\mbox{{$p = {model.p}$, $p^* = {model.pstar}$}}}}

After arXiv:2604.03068.
{definitions(model)}
\subsection*{{Matrix form}}
{matrix_form(model, equations, "odes")}
\subsection*{{Generalisation error}}
{matrix_form(model, equations, "loss")}
\subsection*{{Expanded}}
{expanded_form(model, equations, "odes")}
\subsection*{{Components}}
{_components(model, equations)}
\end{{document}}
"""
