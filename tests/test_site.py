"""The documentation site has every page and every public name; no Sphinx is needed to know that."""

from __future__ import annotations

import inspect
import re
import sys

import doc_pages
import pytest

sys.path.insert(0, str(doc_pages.ROOT / "docs"))

from regeneration import api_tables
from regeneration.site_navigation import sections

INDEX = (doc_pages.ROOT / "docs" / "index.md").read_text(encoding="utf-8")
NAMES = sorted(name for names in api_tables.TABLES_OF_NAMES.values() for name in names)
# Sections of docstrings whose entries are a line with an indented explanation.
_ENTRIES = {"Parameters", "Returns", "Raises"}


def test_the_navigation_has_every_page_once():
    pages = [page for pages in sections(INDEX).values() for page in pages]
    expected = {page.relative_to(doc_pages.ROOT).with_suffix("").as_posix() for page in doc_pages.PAGES}
    assert sorted(["README", *pages]) == sorted(expected)


def test_the_navigation_has_the_order_of_the_index():
    index = (
        "[a](theory.md) [b](../README.md)\n## One\n[c](options.md#x) [d](json.md)\n## Two\n[e](theory.md)"
    )
    assert sections(index) == {"Start here": ["docs/index", "docs/theory"], "One": ["docs/json"]}


def test_the_page_of_the_interface_has_every_public_name_once():
    names = [name for subject in api_tables.SUBJECTS.values() for name in subject]
    assert sorted(names) == sorted(api_tables.public_names())
    page = (doc_pages.ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert re.findall(r"<!-- table: ([\w-]+) -->", page) == list(api_tables.TABLES_OF_NAMES)


def misplaced(docstring: str) -> list[str]:
    """Lines that a reader of numpydoc takes for a parameter, a type or an exception, and that are none."""
    lines, found, section = docstring.splitlines(), [], ""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch("-{3,}", below):
            section = line
        elif line and section in _ENTRIES and not line.startswith((" ", "---")):
            found += [] if below.startswith("    ") else [line]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_are_what_numpydoc_reads(name):
    value = api_tables.public_object(name)
    if name in api_tables.VALUES:
        return
    assert not misplaced(inspect.getdoc(value) or "no docstring\n\nRaises\n---\nx")
    for attribute, member in inspect.getmembers(value) if inspect.isclass(value) else []:
        if not attribute.startswith("_") and getattr(member, "__module__", "").startswith(
            ("derive", "runtime")
        ):
            assert not misplaced(inspect.getdoc(member) or ""), attribute


def test_misplaced_words_are_found():
    right = "One.\n\nParameters\n----------\na, b\n    Both.\n\nRaises\n------\nInputError\n    Never."
    assert not misplaced(right)
    assert misplaced(right + "\n\nAnd more.") == ["And more."]
    assert misplaced("One.\n\nReturns\n-------\nDataset with\nmany words.") == [
        "Dataset with",
        "many words.",
    ]
