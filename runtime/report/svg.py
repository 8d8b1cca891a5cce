"""Turns figures into SVG for the page: its colours, unique names, and a description to be read aloud."""

from __future__ import annotations

import dataclasses
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from runtime.output.figure_axes import COLOURS
from runtime.output.figures import Drawing, write_figure

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
# The colours that matplotlib draws with, and the variables of report.css that replace them.
DRAWN_COLOURS: Mapping[str, str] = {
    **{colour.lower(): f"line-{k + 1}" for k, colour in enumerate(COLOURS[:6])},
    COLOURS[6].lower(): "ink",
    "#b0b0b0": "rule",
    "#cccccc": "rule",
}
# Figures are transparent, so that they have the background of the page.
_TRANSPARENT = {"figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none"}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the report, as it is drawn and as it is said.

    name
        Letters and hyphens; unique in the page.
    title, alt
        Plain texts that say what the figure is, and what is seen in it, with numbers.
    caption
        A text that may hold $math$ and `code`.
    """

    name: str
    title: str
    alt: str
    caption: str
    drawing: Drawing


def svg(figure: Figure) -> str:
    """The ``<svg>`` element of a figure, the same bytes on every run."""
    file = io.BytesIO()
    write_figure(figure.drawing.fill, figure.drawing.figure_size, file, ".svg", **_TRANSPARENT)
    root = ET.fromstring(file.getvalue())
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    _remove(root)
    _own_names(root, figure.name)
    for element in root.iter():
        if "style" in element.attrib:
            element.set("style", _themed(element.attrib["style"]))
    title, description = ET.Element("title"), ET.Element("desc")
    for position, (element, text) in enumerate(((title, figure.title), (description, figure.alt))):
        element.set("id", f"{figure.name}-{element.tag}")
        element.text = text
        root.insert(position, element)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib.update(
        {"viewBox": box, "role": "img", "aria-labelledby": f"{figure.name}-title {figure.name}-desc"}
    )
    return ET.tostring(root, encoding="unicode")


def _remove(root: ET.Element) -> None:
    """Remove metadata, which names web addresses, and styles, which would apply to the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rsplit("}", 1)[-1] in ("metadata", "style"):
                parent.remove(child)


def _own_names(root: ET.Element, name: str) -> None:
    """Give glyphs and clipping paths names that no other figure of the page has."""
    for element in root.iter():
        if "id" in element.attrib:
            element.set("id", f"{name}-{element.attrib['id']}")
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF).replace("#", f"#{name}-", 1))
        for attribute in ("clip-path", "style"):
            if attribute in element.attrib:
                element.set(attribute, element.attrib[attribute].replace("url(#", f"url(#{name}-"))


def _themed(style: str) -> str:
    """The style with the colour variables of the page, which change with its dark mode."""
    return re.sub(
        r"#[0-9a-fA-F]{6}",
        lambda match: (
            f"var(--{DRAWN_COLOURS[match[0].lower()]})" if match[0].lower() in DRAWN_COLOURS else match[0]
        ),
        style,
    )
