r"""Converts the LaTeX of equations to MathML by latex2mathml, and adds what that lacks.

latex2mathml does not know align*, so rows and cells are split here. It makes operators with wide spaces of
\mathrm and \operatorname, which here become upright words and names of functions. Commands that it does not
know stay in its output as raw LaTeX, which is an error here.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence

from latex2mathml.converter import convert

_NAMESPACE = "http://www.w3.org/1998/Math/MathML"
_DISPLAY = re.compile(
    r"\\begin\{align\*\}\n(?P<align>.*?)\n\\end\{align\*\}"
    r"|\\\[(?P<single>.*?)\\\]"
    r"|\\paragraph\{(?P<heading>.*?)\}\n",
    re.DOTALL,
)
_ROW_END = " \\\\\n"
_THIN = "0.167em"
# The most lines of an equation in one table, which browsers do not break over printed pages.
_LINES = 4
# Operators without space around them.
_TIGHT = "*⊤/"
_MATRIX = r"\begin{pmatrix}"
_MATRICES = re.compile(r"\\begin\{pmatrix\}.*?\\end\{pmatrix\}")
# Elements with a fixed number of parts.
_PARTS = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}
_APPLY_FUNCTION = "\N{FUNCTION APPLICATION}"
_WORD = re.compile(r"\\(?:mathrm|text)\{([^{}]*)\}")


class ConversionError(ValueError):
    """LaTeX that cannot be converted to MathML, a defect of this program or of latex2mathml."""


def inline(latex: str) -> str:
    """One ``<math>`` element for use within a line."""
    return _text(_element(latex), display=False)


def display(latex: str) -> Iterator[tuple[str, str]]:
    r"""Pairs (kind, HTML-safe MathML) for each \[…\], align* and heading in `latex`, in order.

    The kind is ``"equations"`` or ``"heading"``; a heading becomes one element for use within a line.

    Raises ConversionError if anything else stands between them.
    """
    position = 0
    for match in _DISPLAY.finditer(latex):
        _nothing_between(latex[position : match.start()])
        position = match.end()
        if match["heading"] is not None:
            yield "heading", inline(match["heading"].strip("$:").rstrip("$"))
        elif match["single"] is not None:
            yield "equations", _text(_element(match["single"].strip(), "block"), display=True)
        else:
            for lines in _pieces(match["align"].split(_ROW_END)):
                continued = lines[0].strip().startswith("&")
                yield "equations", _text(_aligned(lines), display=True, continued=continued)
    _nothing_between(latex[position:])


def _nothing_between(text: str) -> None:
    if text.strip():
        raise ConversionError(f"not understood between equations: {text.strip()[:60]!r}")


def _pieces(lines: Sequence[str]) -> Iterator[list[str]]:
    """A piece for each equation, or several of at most _LINES lines where it is longer."""
    piece: list[str] = []
    for line in lines:
        if piece and (len(piece) == _LINES or not line.strip().startswith("&")):
            yield piece
            piece = []
        piece.append(line)
    yield piece


def _aligned(lines: Sequence[str]) -> ET.Element:
    """The rows of an align* as a table of two columns; the second begins with the relation sign."""
    table = ET.Element("mtable", {"class": "aligned", "displaystyle": "true", "columnalign": "right left"})
    for line in lines:
        left, separator, right = line.strip().partition("&")
        if not separator or "&" in _MATRICES.sub("", right):
            raise ConversionError(f"not a line with one &: {line[:60]!r}")
        row = ET.SubElement(table, "mtr")
        for cell in (left, right):
            data = ET.SubElement(row, "mtd")
            if cell.strip():
                data.append(_element(cell.strip(), "block"))
    root = ET.Element("mrow")
    root.append(table)
    return root


def _element(latex: str, kind: str = "inline") -> ET.Element:
    """The ``<mrow>`` of one expression."""
    # The import is here, since other commands need no converter.
    try:
        root = ET.fromstring(convert(_WORD.sub(r"\\text{\1}", latex), display=kind))
    except Exception as error:
        raise ConversionError(f"{latex[:60]!r} is not converted: {error!r}") from error
    if r"\\" in latex and _MATRIX not in latex:
        raise ConversionError(f"{latex[:60]!r} has several lines")
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
        if "\\" in (element.text or "") or "\\" in (element.tail or ""):
            raise ConversionError(f"{latex[:60]!r} is not converted: {element.text!r} is left")
        if len(element) != _PARTS.get(element.tag, len(element)):
            raise ConversionError(f"{latex[:60]!r} is not converted: <{element.tag}> lacks a part")
        if element.tag == "mtable" and _MATRIX not in latex:
            raise ConversionError(f"{latex[:60]!r} has an environment that is no matrix")
    if [child.tag for child in root] != ["mrow"]:
        raise ConversionError(f"{latex[:60]!r} is not one row")
    row = root[0]
    _name_functions(row)
    _mark_signs(row)
    _mark_bars(row)
    _unwrap(row)
    return row


def _name_functions(parent: ET.Element) -> None:
    """Turn ``<mo>tr</mo>`` into an applied function named tr, with thin spaces where TeX has them."""
    children = list(parent)
    for child in children:
        _name_functions(child)
    for position in reversed(range(len(children))):
        child = children[position]
        if child.tag != "mo" or not re.fullmatch("[A-Za-z]{2,}", child.text or ""):
            continue
        child.tag = "mi"
        following = children[position + 1] if position + 1 < len(children) else None
        apply = ET.Element("mo")
        apply.text = _APPLY_FUNCTION
        parent.insert(position + 1, apply)
        if following is not None and following.text not in ("(", "["):
            parent.insert(position + 2, ET.Element("mspace", {"width": _THIN}))
        if position > 0 and children[position - 1].tag != "mo":
            parent.insert(position, ET.Element("mspace", {"width": _THIN}))


def _mark_signs(parent: ET.Element) -> None:
    """Set a sign at the start, or after another operator, without a space before its term."""
    before: ET.Element | None = None
    for child in parent:
        _mark_signs(child)
        opens = before is None or (before.tag == "mo" and before.text not in tuple(")]" + _APPLY_FUNCTION))
        if child.tag == "mo" and child.text in tuple("+−-") and opens and len(parent) > 1:
            child.set("form", "prefix")
        if child.tag == "mo" and child.text in tuple(_TIGHT):
            child.attrib.update({"lspace": "0", "rspace": "0"})
        if child.text == "~":
            child.text = "∼"
        if child.text == "∞":
            child.tag = "mi"
        before = child


def _mark_bars(row: ET.Element) -> None:
    """Set the bars of absolute values and norms, which open and close in turn, without a space around."""
    for sign in "|‖":
        bars = [element for element in row.iter("mo") if element.text == sign]
        if len(bars) % 2 == 0:
            for number, bar in enumerate(bars):
                form = "postfix" if number % 2 else "prefix"
                bar.attrib.update({"form": form, "stretchy": "false", "lspace": "0", "rspace": "0"})


def _unwrap(parent: ET.Element) -> None:
    """Replace each row of one element, of which the converter writes many, by that element."""
    for position, child in enumerate(list(parent)):
        _unwrap(child)
        if child.tag == "mrow" and len(child) == 1:
            parent[position] = child[0]


def _text(row: ET.Element, *, display: bool, continued: bool = False) -> str:
    attributes = {"display": "block"} if display else {}
    math = ET.Element("math", attributes | ({"class": "continued"} if continued else {}))
    math.append(row)
    # HTML needs no namespace here, and would read "<mi />" as an open element.
    return ET.tostring(math, encoding="unicode", short_empty_elements=False)
