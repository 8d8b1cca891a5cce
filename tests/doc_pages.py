"""Reads fenced blocks, headings and links of the documentation, and compares shown with printed output."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), *NOTEBOOKS]
# Languages of blocks that are run, of blocks that show their output, and of blocks that are only shown.
EXECUTED, EXPECTED, SHOWN = ("sh", "python"), ("text",), ("math", "json", "tex", "ini", "toml")

_FENCE = re.compile(r"^```(.*)$")
_MARK = re.compile(r"^<!-- slow: (.*?)(?:; instead: (.*?))? -->$")
_HEADING = re.compile(r"^(#{1,6}) +(.*?) *$")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_NUMBER = re.compile(r"[-+−]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")
# Numbers agree to one unit of the last digit that is shown, or to one of these tolerances.
RELATIVE, ABSOLUTE = 1e-3, 1e-8


@dataclasses.dataclass
class Block:
    """A fenced block of a page.

    line
        Number of the first line of its text.
    slow
        The reason why the block is not run as it stands; None if it is run.
    instead
        A command line that is run in place of a slow block; None to run nothing.
    output
        The text block that follows and shows the output; None if there is none.
    """

    page: Path
    line: int
    language: str
    text: str
    slow: str | None = None
    instead: str | None = None
    output: str | None = None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page in order; a text block belongs to the block before it."""
    blocks: list[Block] = []
    inside: Block | None = None
    mark: re.Match[str] | None = None
    between = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if inside is not None:
            if not fence:
                inside.text += line + "\n"
                continue
            if inside.language in EXPECTED and blocks and not between:
                blocks[-1].output = inside.text
            else:
                blocks.append(inside)
            inside, mark, between = None, None, False
        elif fence:
            inside = Block(page, number + 1, fence[1], "")
            if mark:
                inside.slow, inside.instead = mark[1], mark[2]
        elif line.strip():
            found = _MARK.match(line.strip())
            if found:
                mark = found
            elif not line.startswith("<!--"):
                mark, between = None, True
    assert inside is None, f"{page.name}: a block is not closed"
    return blocks


def without_code(text: str) -> str:
    """The text without fenced blocks and code spans, which hold no links."""
    kept, inside = [], False
    for line in text.splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(re.sub(r"`[^`]*`", "", line))
    return "\n".join(kept)


def links_of(page: Path) -> list[str]:
    """Targets of the links and images of a page, without those to the web."""
    targets = _LINK.findall(without_code(page.read_text(encoding="utf-8")))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors_of(page: Path) -> set[str]:
    """Anchors of the headings of a page, named as GitHub names them."""
    anchors: set[str] = set()
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if _FENCE.match(line):
            inside = not inside
        heading = None if inside else _HEADING.match(line)
        if heading:
            words = re.sub(r"[^\w\- ]", "", heading[2].lower(), flags=re.UNICODE)
            anchor = words.replace(" ", "-")
            while anchor in anchors:
                anchor += "-1"
            anchors.add(anchor)
    return anchors


def difference(shown: str, printed: str) -> str | None:
    """The first difference between what a page shows and what was printed; None if they agree.

    Words must be equal, and white space is ignored. "…" stands for any text, and alone on a line it
    stands for any lines. Integers must be equal. Other numbers agree to one unit of the last digit
    that is shown, or to RELATIVE, or to ABSOLUTE.
    """
    wanted = [line.split() for line in shown.strip().splitlines() if line.split()]
    found = [line.split() for line in printed.strip().splitlines() if line.split()]
    return _lines(wanted, found)


def _lines(wanted: list[list[str]], found: list[list[str]]) -> str | None:
    for place, line in enumerate(wanted):
        if line == ["…"]:
            rest = wanted[place + 1 :]
            tails = (found[k:] for k in range(place, len(found) + 1))
            if any(_lines(rest, tail) is None for tail in tails):
                return None
            return f"nothing that was printed after line {place} ends as shown"
        if place >= len(found):
            return f"{' '.join(line)!r} is shown, but was not printed"
        if not _same(" ".join(line), " ".join(found[place])):
            return f"{' '.join(line)!r} is shown, {' '.join(found[place])!r} was printed"
    if len(found) > len(wanted):
        return f"{' '.join(found[len(wanted)])!r} was printed, but is not shown"
    return None


def _same(shown: str, printed: str) -> bool:
    pattern, numbers = "", []
    position = 0
    for match in _NUMBER.finditer(shown):
        pattern += _literal(shown[position : match.start()]) + f"({_NUMBER.pattern}|nan|inf)"
        numbers.append(match[0])
        position = match.end()
    found = re.fullmatch(pattern + _literal(shown[position:]), printed)
    return bool(found) and all(map(_close, numbers, found.groups()))


def _literal(text: str) -> str:
    return re.escape(text).replace("…", ".*?")


def _close(shown: str, printed: str) -> bool:
    shown = shown.replace("−", "-")
    if re.fullmatch(r"[-+]?\d+", shown):
        return shown == printed
    mantissa, _, exponent = shown.lower().partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    wanted, found = float(shown), float(printed.replace("−", "-"))
    return abs(found - wanted) <= max(1.0000001 * unit, RELATIVE * abs(wanted), ABSOLUTE)
