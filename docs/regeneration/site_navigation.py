"""The navigation of the documentation site, which is that of docs/index.md."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\]\(([\w./-]+\.md)\)")


def sections(index: str) -> dict[str, list[str]]:
    """The pages under each heading of the index in order, as paths from the root without their suffix.

    The README is the front page and under no heading. A page that is named twice belongs to the first.
    """
    seen = {"README"}
    pages: dict[str, list[str]] = {"Start here": ["docs/index"]}
    caption = "Start here"
    for line in index.splitlines():
        if line.startswith("## "):
            caption = line.removeprefix("## ")
        for link in _LINK.findall(line):
            path = (DOCS / link).resolve().relative_to(DOCS.parent).with_suffix("").as_posix()
            if path not in seen:
                pages.setdefault(caption, []).append(path)
                seen.add(path)
    return pages


def navigation() -> str:
    """Directives that make these sections the navigation, for the end of the front page."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    return "".join(
        f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
        + "".join(f"/{page}\n" for page in pages)
        + "```\n\n"
        for caption, pages in sections(index).items()
    )
