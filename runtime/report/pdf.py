"""The report as PDF: printed by a headless Chromium, or set by pdflatex."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from derive.errors import InputError
from runtime.output.figures import write_figure
from runtime.report.page import page
from runtime.report.page_elements import Document
from runtime.report.tex import figures_of, tex

BROWSERS = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable", "chrome")
LATEX = "pdflatex"
# Seconds; either takes a few.
TIME_LIMIT = 120.0
# Why without its sandbox: it needs rights that root and containers lack. The page, written by this
# program, has no script and loads nothing, forbids both to itself, and no address is found.
_BROWSER_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-pdf-header-footer",
)
_LATEX_OPTIONS = ("-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error")
# Tables that break over pages know their widths in the second pass.
_LATEX_PASSES = 2
# TeX reads and writes within its own folder only.
_PARANOID = {"openin_any": "p", "openout_any": "p"}
_DATE = re.compile(rb"/(?:CreationDate|ModDate) ?\(D:[^()]*\)")
_LONGEST_MESSAGE = 160


class PrintError(OSError):
    """The converter failed, or took too long."""


@dataclasses.dataclass(frozen=True)
class Printer:
    """A converter that is installed: its name, and the path of the program."""

    name: str
    path: str

    @property
    def is_browser(self) -> bool:
        return self.name != LATEX


def which(name: str) -> str | None:
    """The path of a program in the folders of PATH, but for those relative to the current folder."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(filter(os.path.isabs, folders)))


def find_printer() -> Printer:
    """A Chromium if there is one, else pdflatex; InputError if there is neither."""
    for name in (*BROWSERS, LATEX):
        path = which(name)
        if path is not None:
            return Printer(name, path)
    raise InputError("pdf", "needs chromium (or google-chrome) or pdflatex: install one of them")


def print_pdf(document: Document, printer: Printer, target: Path) -> None:
    """Write the report to `target`.

    Raises
    ------
    PrintError
        The converter failed, or took longer than TIME_LIMIT.
    """
    with tempfile.TemporaryDirectory(prefix="overlap-ode-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        found = (
            _by_browser(document, printer, folder)
            if printer.is_browser
            else _by_latex(document, printer, folder)
        )
        target.write_bytes(_without_dates(found))


def _by_browser(document: Document, printer: Printer, folder: Path) -> bytes:
    source, result = folder / "report.html", folder / "report.pdf"
    source.write_text(page(document, local_links=False), encoding="utf-8", errors="backslashreplace")
    command = [
        printer.path,
        *_BROWSER_OPTIONS,
        f"--user-data-dir={folder / 'profile'}",
        f"--print-to-pdf={result}",
        source.as_uri(),
    ]
    # Why: what it keeps in the home folder of its user must go as well.
    _run(printer, command, folder, {"XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)})
    return _result(printer, result)


def _by_latex(document: Document, printer: Printer, folder: Path) -> bytes:
    source = folder / "report.tex"
    source.write_text(tex(document), encoding="utf-8", errors="backslashreplace")
    for figure in figures_of(document):
        write_figure(figure.draw, figure.size, folder / f"{figure.name}.pdf", ".pdf")
    for _ in range(_LATEX_PASSES):
        _run(printer, [printer.path, *_LATEX_OPTIONS, source.name], folder, _PARANOID)
    return _result(printer, folder / "report.pdf")


def _result(printer: Printer, path: Path) -> bytes:
    content = path.read_bytes() if path.is_file() else b""
    if not content.startswith(b"%PDF-") or b"%%EOF" not in content[-1024:]:
        raise PrintError(f"{printer.name} wrote no whole PDF")
    return content


def _run(printer: Printer, command: Sequence[str], folder: Path, more: Mapping[str, str]) -> None:
    """Run a command to its end; it and its children are gone afterwards."""
    with (
        (folder / "messages.txt").open("w+b") as messages,
        _process(command, folder, more, messages) as process,
    ):
        try:
            code = process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            raise PrintError(f"{printer.name} did not end within {TIME_LIMIT:g} s") from None
        if code:
            messages.seek(0)
            raise PrintError(
                f"{printer.name} failed with exit code {code}: {_last_message(messages.read())}"
            )


@contextlib.contextmanager
def _process(
    command: Sequence[str], folder: Path, more: Mapping[str, str], messages: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        stdout=messages,
        stderr=subprocess.STDOUT,
        # A group of its own: all of a browser's processes end together.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_message(text: bytes) -> str:
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("!") or ":error" in line.lower() or ": " in line]
    return ((errors or lines or ["it said nothing"])[-1])[:_LONGEST_MESSAGE]


def _without_dates(content: bytes) -> bytes:
    """Dates blanked: the same report is the same bytes. Lengths stay, so offsets stay right."""
    return _DATE.sub(lambda match: b" " * len(match[0]), content)
