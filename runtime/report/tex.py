"""The report as LaTeX that plain pdflatex sets, where no browser can print the page."""

from __future__ import annotations

from collections.abc import Iterator

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

# Why not fontenc T1 or textcomp: plain installations have bitmaps of these fonts only, or none.
_PROSE = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "…": r"\dots{}",
    "−": "$-$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    **{
        raised: rf"\textsuperscript{{{plain}}}"
        for raised, plain in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)
    },
}
# Straight quotes, where the typewriter font has them.
_QUOTES = {"'": 13, "`": 18}
# Characters of a word of code after which a line may break.
_BREAKS = "/,=_. "
_LONGEST_WORD = 40
_HEADINGS = {1: "section", 2: "subsection"}
_PAGE_WIDTH = r"\linewidth"


def tex(document: Document) -> str:
    """The whole file; figures are expected beside it as PDF under their names."""
    sections = "\n".join(line for section in document.sections for line in _section(section, 1))
    return rf"""\documentclass[a4paper,10pt]{{article}}
\usepackage[margin=19mm]{{geometry}}
\usepackage{{amsmath,amssymb,array,graphicx,longtable}}
\pdfinfoomitdate=1 \pdftrailerid{{}} \pdfsuppressptexinfo=-1
\pdfinfo{{/Title ({_pdf_string(document.title)}) /Creator ({_pdf_string(document.generator)})}}
\allowdisplaybreaks
\setlength{{\parindent}}{{0pt}}
\setlength{{\parskip}}{{1ex}}
\renewcommand{{\arraystretch}}{{1.15}}
\emergencystretch=3em
\begin{{document}}
{{\LARGE\bfseries {escaped(document.title)}\par}}
{_words(document.subtitle)}

{sections}

{{\small Written by {escaped(document.generator)}.\par}}
\end{{document}}
"""


def figures_of(document: Document) -> Iterator[Figure]:
    """All figures, in order."""

    def of(section: Section) -> Iterator[Figure]:
        yield from (block for block in section.blocks if isinstance(block, Figure))
        for inner in section.sections:
            yield from of(inner)

    for section in document.sections:
        yield from of(section)


def escaped(text: str) -> str:
    """Text of any kind as prose; characters that the fonts lack become their code points."""
    return "".join(
        _PROSE.get(letter, letter if " " <= letter <= "~" else f"[U+{ord(letter):04X}]") for letter in text
    )


def _code(text: str) -> str:
    """Each character by its number, so that none means anything to TeX; lines break at marks."""
    # Why anywhere if there are few marks: digests have none.
    anywhere = len(text) > _LONGEST_WORD and not any(mark in text for mark in _BREAKS)
    pieces = []
    for letter in text:
        if letter.isascii() and letter.isalnum():
            pieces.append(letter)
        elif letter == " ":
            pieces.append(r"\ ")
        elif " " < letter <= "~":
            pieces.append(rf"{{\char{_QUOTES.get(letter, ord(letter))}}}")
        else:
            pieces.append(f"[U+{ord(letter):04X}]")
        if anywhere or letter in _BREAKS:
            pieces.append(r"\allowbreak{}")
    return rf"\texttt{{{''.join(pieces)}}}"


def _pdf_string(text: str) -> str:
    """ASCII without the marks of PDF strings or TeX."""
    plain = text.replace("–", "-")
    return "".join(c for c in plain if " " <= c <= "~" and c not in "\\(){}%#&$^_~")


def _words(words: Words) -> str:
    return "".join(_part(part) for part in words)


def _part(part: str | Math | Code | Link) -> str:
    if isinstance(part, str):
        return escaped(part)
    if isinstance(part, Math):
        return f"${part.latex}$"
    if isinstance(part, Code) or part.local:
        return _code(part.text)
    return f"{escaped(part.text)} ({_code(part.address)})"


def _section(section: Section, level: int) -> Iterator[str]:
    yield rf"\{_HEADINGS[level]}*{{{escaped(section.title)}}}"
    for block in section.blocks:
        yield _block(block)
    for inner in section.sections:
        yield from _section(inner, level + 1)


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return _words(block.words) + "\n"
    if isinstance(block, Equations):
        return block.latex
    if isinstance(block, Command):
        return rf"\begin{{flushleft}}{_code(block.text)}\end{{flushleft}}"
    if isinstance(block, Facts):
        items = "\n".join(rf"\item[{{{_words(term)}}}] {_words(value)}" for term, value in block.items)
        return f"\\begin{{description}}\\raggedright\n{items}\n\\end{{description}}"
    if isinstance(block, Table):
        return _table(block)
    return (
        f"\\begin{{center}}\n\\includegraphics[width=0.8{_PAGE_WIDTH}]{{{block.name}.pdf}}\\\\\n"
        f"\\parbox{{0.9{_PAGE_WIDTH}}}{{\\small {_words(block.caption)}}}\n\\end{{center}}"
    )


def _table(table: Table) -> str:
    """A table that may break over pages; columns of words share what numbers leave."""
    wordy = [k for k, numeric in enumerate(table.numeric) if not numeric]
    # Parts of the line for columns of numbers and, by how much they hold, for those of words.
    share = {k: max(_length(row[k]) for row in (table.columns, *table.rows)) for k in wordy}
    room = 0.94 - 0.14 * (len(table.numeric) - len(wordy))
    total = sum(min(length, 60) for length in share.values())
    columns = "".join(
        rf">{{\raggedright\arraybackslash}}p{{{room * min(share[k], 60) / max(total, 1):.3f}{_PAGE_WIDTH}}}"
        if k in share and total > 40
        else "l"
        if k in share
        else "r"
        for k in range(len(table.numeric))
    )
    head = " & ".join(
        _heading(column, numeric) for column, numeric in zip(table.columns, table.numeric, strict=True)
    )
    body = "\n".join(" & ".join(_words(cell) for cell in row) + r" \\" for row in table.rows)
    return (
        f"{{\\small\n{_words(table.caption)}\n\\setlength{{\\tabcolsep}}{{4pt}}\n"
        f"\\begin{{longtable}}[l]{{@{{}}{columns}@{{}}}}\n\\hline\n{head} \\\\\n\\hline\n\\endhead\n"
        f"{body}\n\\hline\n\\end{{longtable}}}}"
    )


def _heading(column: Words, numeric: bool) -> str:
    text = _words(column)
    if numeric and _length(column) > 14:
        return rf"\parbox[b]{{0.12{_PAGE_WIDTH}}}{{\raggedleft {text}}}"
    return text


def _length(words: Words) -> int:
    return sum(len(part if isinstance(part, str) else getattr(part, "text", "xxxx")) for part in words)
