"""Runs every command and code block of README and docs, and compares what is printed with what is shown."""

from __future__ import annotations

import contextlib
import io
import os
import pkgutil
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import doc_pages
import pytest

import cli
from runtime.system.compile_cache import ENVIRONMENT, cache_root

ROOT = doc_pages.ROOT
PAGES = {page.name: page for page in doc_pages.PAGES}
BLOCKS = {name: doc_pages.blocks_of(page) for name, page in PAGES.items()}
# Notebooks show more than what they print: tests/test_notebooks.py runs them.
RUNNING = [
    name
    for name, page in PAGES.items()
    if page not in doc_pages.NOTEBOOKS and any(b.language in doc_pages.EXECUTED for b in BLOCKS[name])
]
# Number of blocks that take minutes, or need another machine or shell. All others run as they stand.
SLOW = 6
# A line that matches needs a shell. Commands with nothing but && between them do not.
_SHELL = re.compile(r"[|<>;$`(){}*?~]|^for |^export ")
LONGEST_COMMAND = 120
CACHE = str(cache_root())


class Page:
    """Runs the blocks of one page in order, in one folder and one namespace."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.namespace: dict[str, object] = {"__name__": "__page__"}
        programs = folder / ".programs"
        programs.mkdir()
        ours = f'"{sys.executable}" "{ROOT / "cli.py"}"'
        # These are scripts, because a link to Python would leave its virtual environment.
        for name, command in (("cli", ours), ("overlap-ode", ours), ("python", f'"{sys.executable}"')):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HOME", str(folder))
        # Without this the new HOME would move the cache, and everything would be compiled again.
        monkeypatch.setenv(ENVIRONMENT, CACHE)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(self, block: doc_pages.Block) -> str:
        """Run the block and return what it prints to stdout."""
        shown = io.StringIO()
        if block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
            with contextlib.redirect_stdout(shown):
                exec(code, self.namespace)  # noqa: S102
            return shown.getvalue()
        text = (block.text if block.slow is None else block.instead or "").replace("\\\n", " ")
        commands = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        if any(_SHELL.search(" ".join(shlex.split(line, comments=True))) for line in commands):
            return self.script(text)
        for line in commands:
            for command in shlex.join(shlex.split(line, comments=True)).split(" '&&' "):
                shown.write(self.command(command))
        return shown.getvalue()

    def command(self, line: str) -> str:
        """Run a command of ours in this process, where everything is imported, and any other in a shell."""
        program, *arguments = shlex.split(line)
        if program not in ("cli", "overlap-ode"):
            return self.script(line)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(arguments)
        assert code == 0, f"{line}: {err.getvalue()}"
        return out.getvalue()

    def script(self, text: str) -> str:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            capture_output=True,
            text=True,
            timeout=LONGEST_COMMAND,
            check=False,
            cwd=self.folder,
        )
        assert result.returncode == 0, f"{text}: {result.stderr}"
        return result.stdout


@pytest.mark.parametrize("name", RUNNING)
def test_what_a_page_says_is_so(name, tmp_path, monkeypatch):
    page = Page(tmp_path, monkeypatch)
    for block in BLOCKS[name]:
        if block.language not in doc_pages.EXECUTED:
            continue
        assert block.slow is None or block.language == "sh", f"{block}: only commands can be slow"
        printed = page.run(block)
        if block.output is not None and block.slow is None:
            problem = doc_pages.difference(block.output, printed)
            assert problem is None, f"{block}: {problem}\n--- printed:\n{printed}"
        for shown, value in _comments(block, printed):
            assert doc_pages.difference(shown, value) is None, f"{block}: {shown!r} is {value!r}"


def _comments(block: doc_pages.Block, printed: str) -> list[tuple[str, str]]:
    """Pairs of what `print(…)  # → shown` promises and the line that was printed."""
    prints = [line for line in block.text.splitlines() if line.startswith("print(")]
    promises = [line.partition("# → ")[2] for line in prints]
    if block.language != "python" or not any(promises):
        return []
    lines = printed.splitlines()
    assert len(lines) == len(prints), f"{block}: each print of a block with promises prints one line"
    return [(promise, line) for promise, line in zip(promises, lines, strict=True) if promise]


def test_slow_blocks_are_counted_and_have_a_reduced_form():
    slow = [block for blocks in BLOCKS.values() for block in blocks if block.slow is not None]
    print(*(f"{block}: {block.slow}; instead: {block.instead}" for block in slow), sep="\n")
    assert len(slow) == SLOW
    assert all(block.instead for block in slow), "something must be run in the place of each"
    setup, tests = (block for block in slow if block.page.name == "README.md")
    # The reduced form of the set-up leaves out only the making of the environment.
    assert setup.instead == setup.text.strip().split(" && ", 2)[2].replace(".venv/bin/", "")
    assert tests.text.rstrip().endswith("-m pytest")


@pytest.mark.parametrize("name", PAGES)
def test_blocks_are_of_a_known_language_and_outputs_follow_commands(name):
    for block in BLOCKS[name]:
        known = (*doc_pages.EXECUTED, *doc_pages.EXPECTED, *doc_pages.SHOWN)
        assert block.language in known, f"{block}: ```{block.language} is not one of {', '.join(known)}"


@pytest.mark.parametrize("name", PAGES)
def test_links_and_anchors_lead_somewhere(name):
    page = PAGES[name]
    for link in doc_pages.links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name}: {link} leads nowhere"
        assert ROOT in (target, *target.parents), f"{name}: {link} leaves the repository"
        if anchor:
            assert anchor in doc_pages.anchors_of(target), f"{name}: {link} has no such heading"


# Paths and dotted names of this project in code spans. The change log names those of its time.
_PATH = re.compile(r"`((?:derive|runtime|tests|docs)/[\w./-]+|benchmarks/\w+\.py)`")
_DOTTED = re.compile(r"`((?:derive|runtime)(?:\.\w+)+)[`(]")


@pytest.mark.parametrize("name", sorted(PAGES.keys() - {"CHANGELOG.md"}))
def test_paths_and_modules_that_a_page_names_exist(name):
    text = PAGES[name].read_text()
    missing = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    for dotted in _DOTTED.findall(text):
        try:
            pkgutil.resolve_name(dotted)
        except (ImportError, AttributeError):
            missing.append(dotted)
    assert not missing, f"{name} names {', '.join(missing)}"


def test_every_page_is_on_the_index_and_leads_back_from_the_readme():
    index = set(doc_pages.links_of(PAGES["index.md"]))
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or name in index, f"docs/index.md does not name {name}"
    assert "docs/index.md" in doc_pages.links_of(PAGES["README.md"])


def test_the_readme_s_setup_names_extras_that_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"pip install -e '\.\[(\w+)\]'", text))
    assert named == {"test", "docs"} <= set(extras)
    # .ci/run looks for the test command between these two.
    assert "<!-- test command -->\n```sh\n" in text


# --- the comparison itself -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "printed", "agree"),
    [
        ("loss 0.674", "loss 0.6737", True),
        ("loss 0.674", "loss 0.676", False),
        ("loss 6.74e-01", "loss  6.7376e-01", True),
        ("1.0 2.0", "1.0 2.2", False),
        ("200 steps", "201 steps", False),
        ("… steps", "17 rejected, 201 steps", True),
        ("a\n…\nz", "a\nb\nc\nz", True),
        ("a\n…\nz", "a\nb\nc\ny", False),
        ("a", "a\nb", False),
        ("a\nb", "a", False),
        ("2.0e-12", "-3e-11", True),
        ("-1.5", "−1.5", True),
        ("0.5", "nan", False),
    ],
)
def test_outputs_are_compared_as_stated(shown, printed, agree):
    assert (doc_pages.difference(shown, printed) is None) == agree


def test_blocks_are_read_with_marks_and_outputs(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One: two\n\n```sh\na\n```\n\n```text\nshown\n```\n\n"
        "<!-- slow: an hour; instead: cli list -->\n```sh\nb\n```\n\nwords\n\n```text\nnot an output\n```\n"
    )
    first, second, third = doc_pages.blocks_of(page)
    assert (first.output, first.slow) == ("shown\n", None)
    assert (second.slow, second.instead, second.output) == ("an hour", "cli list", None)
    assert third.language == "text"
    assert doc_pages.anchors_of(page) == {"one-two"}
    page.write_text("```sh\n")
    with pytest.raises(AssertionError, match="not closed"):
        doc_pages.blocks_of(page)
