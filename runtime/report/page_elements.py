"""What a report is made of, whatever it is written as: words, equations, tables, figures, sections."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

_MARKS = re.compile(r"\$([^$]+)\$|`([^`]+)`")


@dataclasses.dataclass(frozen=True)
class Math:
    """LaTeX within a line."""

    latex: str


@dataclasses.dataclass(frozen=True)
class Code:
    """A command, a name of a file, or a digest, shown as it is."""

    text: str


@dataclasses.dataclass(frozen=True)
class Link:
    """Text that leads to an address; `local` is a file beside the report."""

    text: str
    address: str
    local: bool = False


Words = tuple["str | Math | Code | Link", ...]


def words(text: str) -> Words:
    """Text of ours with $math$ and `code` in it; never for text of users, which is `Code`."""
    found: list[str | Math | Code | Link] = []
    position = 0
    for match in _MARKS.finditer(text):
        found.append(text[position : match.start()])
        found.append(Math(match[1]) if match[1] is not None else Code(match[2]))
        position = match.end()
    found.append(text[position:])
    return tuple(part for part in found if part != "")


@dataclasses.dataclass(frozen=True)
class Paragraph:
    words: Words


@dataclasses.dataclass(frozen=True)
class Equations:
    r"""Display mathematics: \[…\] and align* environments; `label` names them to a screen reader."""

    label: str
    latex: str


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line on lines of its own."""

    text: str


@dataclasses.dataclass(frozen=True)
class Facts:
    """Terms and what they are."""

    label: str
    items: Sequence[tuple[Words, Words]]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under headings; the first cell of a row is its heading.

    numeric
        For each column, whether it holds numbers.
    """

    caption: Words
    columns: Sequence[Words]
    rows: Sequence[Sequence[Words]]
    numeric: Sequence[bool]


@dataclasses.dataclass(frozen=True)
class Figure:
    """What `draw` puts into a matplotlib figure of this size in inches.

    name
        Of letters and hyphens; unique in the document.
    title, alt
        In plain text: what it is; what is seen in it, with numbers.
    """

    name: str
    title: str
    alt: str
    caption: Words
    size: tuple[float, float]
    draw: Callable[[Any], None]


Block = Paragraph | Equations | Command | Facts | Table | Figure


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, blocks, and sections within it (one level)."""

    name: str
    title: str
    blocks: Sequence[Block]
    sections: Sequence[Section] = ()


@dataclasses.dataclass(frozen=True)
class Document:
    """The report: plain `title`, a line below it, and sections."""

    title: str
    subtitle: Words
    sections: Sequence[Section]
    generator: str
