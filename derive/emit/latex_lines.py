"""Breaks equations into lines of LaTeX that fit a column of a two-column paper, and aligns them.

The width of a formula is the sum of the widths of its symbols in Computer Modern at 10 pt, with the spaces
of TeX between them. It is an upper bound that is some per cent too large, since widths are rounded up and
TeX leaves out part of the spaces. Tests compare it with what pdflatex measures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

# The width of a column of REVTeX in points.
COLUMN = 246.0
# What a continued line begins with after the mark of alignment.
INDENT = r"\quad "

_GROUP = r"\{(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*\}"
_SYMBOL = rf"\\(?:frac|tfrac){_GROUP}{_GROUP}|\\[A-Za-z]+(?:{_GROUP})?|\\,|{_GROUP}|[^\s&]"
_ATOM = re.compile(rf"(?:{_SYMBOL})(?:[_^](?:{_GROUP}|\\[A-Za-z]+|.)|')*")
_BASE = re.compile(_SYMBOL)
_SCRIPT = re.compile(rf"[_^]({_GROUP}|\\[A-Za-z]+|.)|'")
_PARTS = re.compile(_GROUP)
# Widths in points, rounded up. Signs and commas have the spaces of TeX around them.
_WIDTHS = {
    **dict.fromkeys("ilt", 3.7),
    **dict.fromkeys("abcdegjopqrsvyzI", 5.3),
    **dict.fromkeys("fhknuxJS", 6.75),
    **dict.fromkeys("wACEFGLOPQRTUVYZB", 8.1),
    **dict.fromkeys("mDHKNX", 9.3),
    **dict.fromkeys("MW", 10.9),
    **dict.fromkeys("0123456789", 5.01),
    **dict.fromkeys("()", 3.9),
    **dict.fromkeys("[]", 2.8),
    **dict.fromkeys("+-", 12.3),
    **dict.fromkeys(",;", 4.5),
    "=": 13.4,
    "'": 2.9,
    "*": 5.1,
    "/": 5.1,
    ".": 2.8,
    r"\,": 1.7,
    r"\quad": 10.0,
    r"\qquad": 20.0,
    r"\dots": 13.4,
    r"\sum": 16.2,
    r"\Delta": 8.4,
    r"\top": 7.8,
    r"\perp": 7.8,
    **dict.fromkeys((r"\bigl", r"\bigr"), 1.5),
}
# Other commands are Greek letters.
_GREEK = 6.5
# Names of operators, and the space on both sides of one together.
_NAMES, _OPERATOR = {"tr": 7.9, "diag": 18.5}, 3.4
# A letter of \mathrm, a root, what is beside the line of a fraction, and behind a script.
_UPRIGHT, _ROOT, _FRACTION, _SCRIPT_SPACE = 5.6, 8.4, 2.5, 0.6
# The size of indices and exponents relative to that of symbols.
_SMALL = 0.83


def printed_width(text: str) -> float:
    """An upper bound of the width in points that a formula takes on the page."""
    return sum(map(_atom_width, _ATOM.findall(text)))


# The same entries occur in many equations.
@lru_cache(maxsize=65536)
def _atom_width(atom: str) -> float:
    """The width of one symbol with its indices and exponents."""
    base = _BASE.match(atom)
    assert base is not None
    # A comma between indices has no space behind it, and is about a point.
    scripts = [
        _SMALL * printed_width((match[1] or "'").replace(",", "."))
        for match in _SCRIPT.finditer(atom, base.end())
    ]
    width = _symbol_width(base[0])
    if base[0] == r"\sum":
        return max([width, *scripts])
    return width + (max(scripts) + _SCRIPT_SPACE if scripts else 0.0)


def _symbol_width(symbol: str) -> float:
    known = _WIDTHS.get(symbol)
    if known is not None:
        return known
    command = symbol.partition("{")[0]
    groups = [group[1:-1] for group in _PARTS.findall(symbol)]
    match command:
        case r"\frac" | r"\tfrac":
            return max(map(printed_width, groups)) + _FRACTION
        case r"\sqrt":
            return printed_width(groups[0]) + _ROOT
        case r"\mathrm" | r"\operatorname":
            name = _NAMES.get(groups[0], _UPRIGHT * len(groups[0]))
            return name + (_OPERATOR if command == r"\operatorname" else 0.0)
        case "":
            return printed_width(groups[0])
    return _WIDTHS.get(command, _GREEK) + sum(map(printed_width, groups))


def align(lines: Sequence[tuple[str, str]]) -> str:
    """An align* environment of left = right lines, which are broken where they do not fit a column."""
    room = COLUMN - max(printed_width(left) for left, _ in lines) - printed_width("=")
    body = " \\\\\n".join(f"  {left} &= {_wrapped(right, room)}" for left, right in lines)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}\n"


_DISPLAY = re.compile(r"\\begin\{align\*\}\n(.*?)\n\\end\{align\*\}|\\\[\n(.*?)\n\\\]", re.DOTALL)


def single_display(text: str) -> str:
    r"""All equations of a text in one display $$…$$, which notebooks and documentation typeset alike.

    They do not know align* within the mathematics that they mark themselves, but `aligned` is known to all.
    """
    rows = (aligned or f"  & {single.strip()}" for aligned, single in _DISPLAY.findall(text))
    body = " \\\\\n".join(rows)
    return f"$$\\begin{{aligned}}\n{body}\n\\end{{aligned}}$$"


class _Piece(NamedTuple):
    """What stands between two places where a line may end.

    text, width
        The piece and its width.
    depth
        The number of brackets that are open before it; −1 before a relation sign.
    """

    text: str
    width: float
    depth: int


def _wrapped(text: str, room: float) -> str:
    """A right-hand side in lines of at most `room` points, unless a single product is wider."""
    pieces = list(_pieces(text))
    lines: list[str] = []
    start = 0
    while start < len(pieces):
        first = pieces[start]
        indent = INDENT if start and first.depth >= 0 else ""
        used = printed_width(indent) + first.width
        end = start + 1
        while end < len(pieces) and used + pieces[end].width <= room:
            used += pieces[end].width
            end += 1
        if end < len(pieces):
            # The best place is outside of brackets, and the last of equal ones.
            end = min(range(end, start, -1), key=lambda place: pieces[place].depth)
        lines.append(indent + " ".join(piece.text for piece in pieces[start:end]))
        start = end
    return " \\\\\n  &".join(lines)


def _pieces(text: str) -> Iterator[_Piece]:
    """The right-hand side in pieces that begin with "=", "+" or "-" outside of braces."""
    braces = brackets = depth = 0
    held: list[str] = []
    for part in re.split(r" (?=[=+-] )", text):
        if held and not braces:
            yield _piece(held, depth)
            held = []
        if not held:
            depth = -1 if part.startswith("=") else brackets
        held.append(part)
        braces += part.count("{") - part.count("}")
        brackets += part.count("(") + part.count("[") - part.count(")") - part.count("]")
    yield _piece(held, depth)


def _piece(parts: Sequence[str], depth: int) -> _Piece:
    text = " ".join(parts)
    return _Piece(text, printed_width(text), depth)
