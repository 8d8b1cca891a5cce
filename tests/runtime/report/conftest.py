"""Reports of several models, each made once, and how tests take a page apart."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import cli

BROWSERS = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable", "chrome")
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Made(NamedTuple):
    """A report: exit code, path, text, parsed elements."""

    code: int
    path: Path
    text: str
    elements: list[Element]


class Element(NamedTuple):
    """One start tag: name, attributes, names of the elements around it, and its own text."""

    tag: str
    attributes: dict[str, str]
    around: tuple[str, ...]
    content: list[str]

    @property
    def text(self) -> str:
        return "".join(self.content)


class _Parser(HTMLParser):
    """Strict: every element is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Element] = []
        self.elements: list[Element] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"{tag}: an attribute twice in {names}"
        around = tuple(element.tag for element in self.open)
        element = Element(tag, {name: value or "" for name, value in attributes}, around, [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.content.append(data)


def parse(text: str) -> list[Element]:
    """All elements in order; AssertionError where the page is not well formed."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert not parser.open, f"not closed: {[element.tag for element in parser.open]}"
    return parser.elements


@pytest.fixture(scope="session")
def report_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """``report_of("--p 1 --pstar 1")``: the report, without an ensemble unless asked for."""
    folder = tmp_path_factory.mktemp("reports")

    @functools.cache
    def report_of(options: str, name: str = "") -> Made:
        name = name or f"{re.sub('[^a-z0-9]+', '_', options)}.html"
        path = folder / name
        words = ["report", "--quiet", "--generated", str(folder / "generated"), "--out", str(path)]
        if "--trajectories" not in options:
            words += ["--trajectories", "0"]
        code = cli.run([*words, *options.split()])
        text = path.read_text(encoding="utf-8")
        return Made(code, path, text, parse(text))

    return report_of


@pytest.fixture(scope="session")
def browser() -> str:
    """A Chromium; without one the test is skipped."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")


@pytest.fixture
def browse(browser: str, tmp_path: Path) -> Callable[..., str]:
    """Run the browser with a new profile; returns its messages."""

    def browse(page: Path, *options: str) -> str:
        profile = tmp_path / f"profile-{len(list(tmp_path.glob('profile-*')))}"
        fixed = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars"
        more = "--disable-background-networking --disable-component-update --disable-sync"
        command = [
            *(browser, *fixed.split(), *more.split(), "--disable-dev-shm-usage", "--enable-logging=stderr"),
            *(f"--user-data-dir={profile}", *options, page.as_uri()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stderr[-500:]
        return done.stderr + done.stdout

    return browse


def attributes_of(elements: list[Element], name: str) -> list[Any]:
    return [element.attributes[name] for element in elements if name in element.attributes]
