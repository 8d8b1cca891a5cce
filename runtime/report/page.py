"""Writes the report as one HTML file: fills the templates of this folder with what was found.

The page has no script and loads nothing. Jinja escapes every text. Texts of this program may hold $math$
and `code`, which the filter `words` converts; texts of users never pass through it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from derive.emit.activation_text import activation_sentence, teacher_letter
from derive.emit.header import derive_command
from derive.emit.latex_components import COMPONENT_LIMIT
from derive.emit.latex_definitions import covariance
from derive.emit.latex_graph_components import DOCUMENT_TERM_LIMIT, TERM_LIMIT, term_count
from derive.equations import WEIGHT_DECAY
from derive.generated_files import DOCUMENT
from derive.odes import latex
from derive.parameters import PARAMETERS
from derive.pipeline import Pipeline
from derive.plain_formulas import plain_text
from derive.program import Program
from derive.readout import READOUTS
from derive.version import VERSION
from runtime.output.result_table import Cell
from runtime.report import mathml, report_tables
from runtime.report.findings import ReportFindings, Unavailable
from runtime.report.printed_numbers import counted, integer, number, spread
from runtime.report.provenance import command_line, facts
from runtime.report.report_figures import figures
from runtime.report.svg import svg
from runtime.start.parameter_values import RunParameters

# With more order parameters, the components are left out, since they would fill pages.
MOST_COMPONENTS = 40
# More second-layer weights than these are not listed.
MOST_WEIGHTS = 8
_DYNAMICS = {"sgd": "one-pass SGD", "gradient": "gradient flow"}
_MARKS = re.compile(r"\$([^$]+)\$([,.;:)]*)|`([^`]+)`")


@dataclasses.dataclass(frozen=True)
class PrintedParameter:
    """A run-time parameter that is a number, as the report prints it.

    symbol, words, value
        Its LaTeX, what it is, and its value, as texts.
    effective
        Whether the equations of the model depend on it.
    notable
        Whether the summary names it: it has no default, or its value differs from that and has an effect.
    """

    symbol: str
    words: str
    value: str
    effective: bool
    notable: bool

    @property
    def equality(self) -> str:
        return f"{self.symbol} = {self.value}"

    @property
    def named_equality(self) -> str:
        return f"the {self.words} {self.equality}"


def _numbers(parameters: RunParameters, program: Program) -> list[PrintedParameter]:
    read = set(program.scalars)
    if parameters.model.constraint == "sphere":
        # The program takes the decay of norms back.
        read.discard(WEIGHT_DECAY)
    found = []
    for name, value in parameters.attributes.items():
        declared = PARAMETERS[name]
        effective = declared.code in read
        notable = declared.default is None or (effective and value != declared.default)
        texts = (f"${declared.latex}$", declared.words, number(value))
        found.append(PrintedParameter(*texts, effective=effective, notable=notable))
    return found


def _second_layers(parameters: RunParameters) -> dict[str, str]:
    """The values of second-layer weights by their words, several as a list, or as a range if many."""
    found = {}
    for name, (values, *_) in parameters.vectors.items():
        declared = PARAMETERS[name]
        words = f"{declared.words[:1].upper()}{declared.words[1:]} ${declared.latex}$"
        if declared.is_state_of(parameters.model):
            words += " at the start"
        equal = values.size > 1 and np.all(values == values[0])
        many = equal or values.size > MOST_WEIGHTS
        text = spread(values) if many else ", ".join(number(float(value)) for value in values)
        found[words] = f"all {text}" if equal else text
    return found


def _listed(texts: Iterable[str]) -> str:
    """The texts as an enumeration: one, two and three."""
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last


def page(content: ReportFindings, arguments: Mapping[str, Any], source: str | None) -> str:
    """The whole page; `source` is the address of the generated LaTeX, None if it is not near the report.

    `arguments` are the options of `cli report` by name.
    """
    model = content.model
    pipeline = Pipeline.of(model)
    terms = 0 if model.quadratic else term_count(model)
    few = model.state_size <= MOST_COMPONENTS and terms <= DOCUMENT_TERM_LIMIT
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            content=content,
            model=model,
            problem=content.start.problem,
            numbers=_numbers(content.start.problem.parameters, pipeline.program),
            second_layers=_second_layers(content.start.problem.parameters),
            schedule=content.start.problem.schedule.attributes.get("schedule"),
            noise=r"\kappa_i\kappa_j" if model.weighted else r"\kappa^2",
            run=content.run,
            status=content.run["status"].item(),
            dynamics=_DYNAMICS[model.flow],
            version=VERSION,
            figures=figures(content),
            tables=report_tables,
            readout=READOUTS[model.readout],
            activations=activation_sentence(model),
            teacher_letter=teacher_letter(model),
            unit_weights="av_i$ and $-bv^*_r" if model.weighted else "a$ and $-b",
            covariance=f"\\[{covariance(model)}\\]",
            matrix_form=lambda what: latex(model, "matrix", what, definitions=False),
            components=latex(model, "components", "odes", definitions=False) if few else None,
            printable=terms <= TERM_LIMIT,
            in_document=model.state_size <= COMPONENT_LIMIT and terms <= DOCUMENT_TERM_LIMIT,
            document=f"{model.name}/{DOCUMENT}",
            source=None if source is None else quote(os.fsencode(source)),
            latex_command=derive_command(model).replace("cli derive", "cli latex", 1)
            + " --form components",
            facts=facts(content.manifest, arguments),
            command_line=command_line(model, arguments, content.start.problem.start.origin.get("n")),
        )
    )


@functools.cache
def environment() -> Environment:
    """The Jinja environment with the templates of this folder and their filters."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "counted": counted,
        "display": _display,
        "integer": integer,
        "listed": _listed,
        "number": number,
        "plain": _plain,
        "shown": _shown,
        "spread": spread,
        "svg": lambda figure: Markup(svg(figure)),
        "words": words,
    }
    found.tests["unavailable"] = lambda value: isinstance(value, Unavailable)
    found.globals["off_diagonal"] = lambda matrix: matrix[~np.eye(len(matrix), dtype=bool)]
    return found


def words(text: str) -> Markup:
    """The HTML of a text of this program: $…$ as MathML, `…` as code; plain text is escaped first."""

    def marked(match: re.Match[str]) -> str:
        if match[1] is None:
            return f"<code>{match[3]}</code>"
        formula = mathml.inline(unescape(match[1]))
        # A line does not begin with the mark after a formula.
        return f'<span class="whole">{formula}{match[2]}</span>' if match[2] else formula

    return Markup(_MARKS.sub(marked, str(escape(text))))


def _plain(text: str) -> str:
    """A text for an HTML attribute, without the marks of mathematics and code."""
    return plain_text(text).replace("`", "")


def _shown(value: Cell) -> Markup | str:
    """A cell of a table: words, or a number."""
    if isinstance(value, str):
        return words(value)
    return integer(int(value)) if isinstance(value, (int, np.integer)) else number(float(value))


def _display(latex: str) -> Iterator[tuple[str, Markup]]:
    """The parts of display mathematics; see `mathml.display`."""
    return ((kind, Markup(text)) for kind, text in mathml.display(str(latex)))
