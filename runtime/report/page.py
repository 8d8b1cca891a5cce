"""The report as one HTML file: no script, nothing fetched, every text escaped here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

from runtime.report import mathml
from runtime.report.page_elements import (
    Block,
    Code,
    Command,
    Document,
    Equations,
    Facts,
    Figure,
    Link,
    Math,
    Paragraph,
    Section,
    Table,
    Words,
)
from runtime.report.style import DARK, LIGHT, style_sheet
from runtime.report.svg import svg

# Nothing may be fetched or run, whatever is in the file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_VERDICTS = ("holds", "fails", "proved")


def page(document: Document, *, local_links: bool = True) -> str:
    """The whole file; without `local_links` files beside it are named, and not linked to."""
    writer = _Writer(local_links)
    contents = "\n".join(
        f'<li><a href="#{section.name}">{escape(section.title)}</a></li>' for section in document.sections
    )
    sections = "\n".join(writer.section(section, 2) for section in document.sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="theme-color" content="{LIGHT["paper"]}" media="(prefers-color-scheme: light)">
<meta name="theme-color" content="{DARK["paper"]}" media="(prefers-color-scheme: dark)">
<meta name="generator" content="{escape(document.generator)}">
<title>{escape(document.title)}</title>
<style>{style_sheet()}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the report</a>
<header>
<h1>{escape(document.title)}</h1>
<p class="subtitle">{writer.words(document.subtitle)}</p>
</header>
<nav aria-label="Contents">
<ol>
{contents}
</ol>
</nav>
<main id="content" tabindex="-1">
{sections}
</main>
<footer>
<p>Written by {escape(document.generator)}.</p>
</footer>
</body>
</html>
"""


class _Writer:
    def __init__(self, local_links: bool) -> None:
        self._local_links = local_links

    def words(self, words: Words) -> str:
        return "".join(self._part(part) for part in words)

    def _part(self, part: str | Math | Code | Link) -> str:
        if isinstance(part, str):
            return escape(part)
        if isinstance(part, Math):
            return mathml.inline(part.latex)
        if isinstance(part, Code):
            return f"<code>{escape(part.text)}</code>"
        if part.local and not self._local_links:
            return f"<code>{escape(part.text)}</code>"
        address = quote(os.fsencode(part.address)) if part.local else part.address
        return f'<a href="{escape(address)}">{escape(part.text)}</a>'

    def section(self, section: Section, level: int) -> str:
        name = escape(section.name)
        lines = [
            f'<section id="{name}" aria-labelledby="{name}-title">',
            f'<h{level} id="{name}-title">{escape(section.title)}</h{level}>',
            *(self._block(block, section) for block in section.blocks),
            *(self.section(inner, level + 1) for inner in section.sections),
            "</section>",
        ]
        return "\n".join(lines)

    def _block(self, block: Block, section: Section) -> str:
        if isinstance(block, Paragraph):
            kind = ' class="summary"' if section.name == "summary" else ""
            return f"<p{kind}>{self.words(block.words)}</p>"
        if isinstance(block, Equations):
            return "\n".join(_equations(block))
        if isinstance(block, Command):
            return f"<pre><code>{escape(block.text)}</code></pre>"
        if isinstance(block, Facts):
            items = "\n".join(
                f"<dt>{self.words(term)}</dt><dd>{self.words(value)}</dd>" for term, value in block.items
            )
            return f'<dl aria-label="{escape(block.label)}">\n{items}\n</dl>'
        if isinstance(block, Table):
            return self._table(block)
        return self._figure(block)

    def _table(self, table: Table) -> str:
        kinds = [' class="number"' if numeric else "" for numeric in table.numeric]
        head = "".join(
            f'<th scope="col"{kind}>{self.words(column)}</th>'
            for column, kind in zip(table.columns, kinds, strict=True)
        )
        rows = []
        for row in table.rows:
            first, *rest = (self._cell(cell) for cell in row)
            cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(rest, kinds[1:], strict=True))
            rows.append(f'<tr><th scope="row"{kinds[0]}>{first}</th>{cells}</tr>')
        label = escape(_plain(table.caption))
        return "\n".join(
            [
                f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">',
                f"<table>\n<caption>{self.words(table.caption)}</caption>",
                f"<thead><tr>{head}</tr></thead>",
                "<tbody>",
                *rows,
                "</tbody>\n</table>\n</div>",
            ]
        )

    def _cell(self, cell: Words) -> str:
        if len(cell) == 1 and cell[0] in _VERDICTS:
            return f'<span class="verdict-{cell[0]}">{cell[0]}</span>'
        return self.words(cell)

    def _figure(self, figure: Figure) -> str:
        label = escape(figure.title)
        return (
            f'<figure>\n<div class="scroll" role="region" aria-label="{label}" tabindex="0">\n'
            f"{svg(figure)}\n</div>\n<figcaption>{self.words(figure.caption)}</figcaption>\n</figure>"
        )


def _equations(block: Equations) -> Iterator[str]:
    yield (f'<div class="scroll equations" role="region" aria-label="{escape(block.label)}" tabindex="0">')
    for kind, text in mathml.display(block.latex):
        yield f"<p>{text}:</p>" if kind == "heading" else text
    yield "</div>"


def _plain(words: Words) -> str:
    """Words for an attribute: mathematics as its letters."""
    return "".join(
        part
        if isinstance(part, str)
        else part.latex.replace("\\", "").replace("{", "").replace("}", "")
        if isinstance(part, Math)
        else part.text
        for part in words
    )
