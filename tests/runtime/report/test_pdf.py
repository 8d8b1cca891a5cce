"""PDF: by Chromium or pdflatex, whole or not at all; and the page in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
import time

import matplotlib.image
import numpy as np
import pytest
from matrix import matrix
from processes import ended

from derive.errors import InputError
from runtime.commands import report
from runtime.report import pdf
from runtime.report.page_elements import Code, Document, Paragraph, Section, Table
from runtime.report.tex import escaped, tex

SMALL = "--p 2 --pstar 1 --alpha 5"
LINE = f"report {SMALL} --trajectories 0 --quiet --pdf report.pdf"
SMALLEST = "report --p 1 --pstar 1 --eta 0.05 --alpha 2 --trajectories 0 --quiet --pdf report.pdf"


def program(folder, name, text):
    """An executable of this name that does what `text` says."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def programs(tmp_path_factory, monkeypatch):
    """An empty folder: the only one in which converters are looked for."""
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setattr(pdf, "which", lambda name: shutil.which(name, path=str(folder)))
    return folder


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch):
    """The folder of temporary files, which other programs do not use."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def text_of(path):
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    found = subprocess.run(
        ["pdftotext", "-layout", str(path), "-"], capture_output=True, text=True, check=True, timeout=60
    )
    return found.stdout


# --- in a browser --------------------------------------------------------------------------


def picture(browse, page, target, width, height, *options):
    browse(page, f"--screenshot={target}", f"--window-size={width},{height}", *options)
    return matplotlib.image.imread(target)[..., :3]


def test_the_browser_has_nothing_to_complain_about(browse, report_of):
    messages = browse(report_of(SMALL).path, "--dump-dom")
    assert "CONSOLE" not in messages
    assert "Refused" not in messages
    assert 'id="provenance"' in messages


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_equations_and_figures_are_seen_light_and_dark(browse, report_of, tmp_path, scheme):
    dark = ("--blink-settings=preferredColorScheme=0",) if scheme == "dark" else ()
    image = picture(browse, report_of(SMALL).path, tmp_path / "page.png", 1000, 2600, *dark)
    paper = np.median(image, axis=(0, 1))
    assert (paper.mean() < 0.2) == (scheme == "dark")
    # Neither blank nor of one colour: text, equations and lines stand out all the way down.
    marked = np.abs(image - paper).max(axis=2) > 0.4
    for top in range(0, 2600, 260):
        assert 0.002 < marked[top : top + 260].mean() < 0.5, top


def test_on_a_telephone_only_boxes_scroll(browse, report_of, tmp_path):
    """If something were wider than the window, a probe of the page's width would say so."""
    made = report_of(SMALL)
    probe = tmp_path / "probe.html"
    # The policy forbids scripts in reports; the probe has none of it.
    text = re.sub(r"<meta http-equiv[^>]*>", "", made.text)
    script = (
        "<script>document.title = document.documentElement.scrollWidth + ' ' + window.innerWidth + ' ' +"
        " [...document.querySelectorAll('math')].filter(m => { const b = m.getBoundingClientRect();"
        " return b.width < 2 || b.height < 2; }).length + ' ' + document.querySelectorAll('math').length"
        "</script>"
    )
    probe.write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    # Why a frame: windows of a headless browser are no narrower than 500 pixels.
    frame = tmp_path / "frame.html"
    frame.write_text(
        '<!DOCTYPE html><title>x</title><iframe src="probe.html" style="width:360px;height:800px;border:0">'
        "</iframe><script>onload = () => { document.title ="
        " document.querySelector('iframe').contentDocument.title }</script>"
    )
    dom = browse(frame, "--dump-dom", "--allow-file-access-from-files", "--virtual-time-budget=4000")
    found = re.search(r"<title>(\d+) (\d+) (\d+) (\d+)</title>", dom)
    assert found, dom[:300]
    page, window, unseen, equations = map(int, found.groups())
    assert window == 360
    assert page <= window
    assert unseen == 0
    assert equations > 50


@pytest.mark.usefixtures("browser")
def test_chromium_prints_the_report(call, tmp_path, temporary):
    assert call(LINE) == (0, "report.html\nreport.pdf\n", "")
    first = (tmp_path / "report.pdf").read_bytes()
    assert first.startswith(b"%PDF-")
    assert not re.search(rb"/(CreationDate|ModDate)", first)
    text = text_of(tmp_path / "report.pdf")
    for words in ("Summary", "Conservation laws", "Largest learning rates", "holds"):
        assert words in text
    assert "\\frac" not in text
    # Mathematics is there as letters, and no address of the temporary page.
    assert re.search("[κ𝜅]", text)
    assert b"file://" not in first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generated", "report.html", "report.pdf"]
    assert list(temporary.iterdir()) == []


def test_programs_in_the_current_folder_are_not_run(tmp_path, monkeypatch):
    for folder in (tmp_path, tmp_path / "relative", tmp_path / "absolute"):
        folder.mkdir(exist_ok=True)
        program(folder, "pdflatex", "true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", "relative"]))
    with pytest.raises(InputError, match="needs chromium"):
        pdf.find_printer()
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", "relative", str(tmp_path / "absolute")]))
    assert pdf.find_printer().path == str(tmp_path / "absolute" / "pdflatex")


# --- by pdflatex ---------------------------------------------------------------------------


@pytest.fixture
def latex(programs, monkeypatch, tmp_path_factory):
    path = shutil.which("pdflatex")
    if path is None:
        pytest.skip("pdflatex is not installed")
    if not os.access(os.path.expanduser("~"), os.W_OK):
        # TeX makes fonts that it lacks, in the home folder if nothing else is said.
        monkeypatch.setenv("TEXMFVAR", str(tmp_path_factory.mktemp("fonts")))
    (programs / "pdflatex").symlink_to(path)


@pytest.mark.parametrize("options", [SMALL, matrix("--p 2 --pstar 3 --constraint sphere --alpha 5")])
@pytest.mark.usefixtures("latex")
def test_pdflatex_sets_the_report(call, tmp_path, options):
    line = f"report {options} --trajectories 0 --quiet --pdf report.pdf"
    assert call(line) == (0, "report.html\nreport.pdf\n", "")
    text = text_of(tmp_path / "report.pdf")
    for words in ("Summary", "Conservation laws", "Largest learning rates", "holds", "--rtol 1e-08"):
        assert words in " ".join(text.split())
    if options == SMALL:
        first = (tmp_path / "report.pdf").read_bytes()
        assert call(line)[0] == 0
        assert (tmp_path / "report.pdf").read_bytes() == first


@pytest.mark.usefixtures("latex")
def test_nothing_in_a_text_is_a_command_to_tex(tmp_path):
    evil = r"\input{/etc/passwd} $x$ %&#_{}~^`'" + '"<>|\\ é漢 --'
    table = Table((evil,), [(evil,), (Code(evil),)], [[(evil,), (Code(evil),)]], [False, True])
    document = Document(evil, (evil,), [Section("a", evil, [Paragraph((evil, Code(evil))), table])], evil)
    target = tmp_path / "evil.pdf"
    pdf.print_pdf(document, pdf.find_printer(), target)
    text = text_of(target)
    assert "root:" not in text
    assert "/etc/passwd" in text.replace("\n", "")
    assert r"\input" not in tex(document)
    assert escaped("é") == "[U+00E9]"


# --- what goes wrong -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contents():
    return []


@pytest.fixture
def computed_once(contents, monkeypatch):
    """The numbers of all these reports, which are the same, are computed once, and no page is drawn."""
    gather = report.gather

    def once(*arguments):
        if not contents:
            contents.append(gather(*arguments))
        return contents[0]

    monkeypatch.setattr(report, "gather", once)
    for module in (report, pdf):
        monkeypatch.setattr(module, "page", lambda *_, **__: "the page")


def refused(call, tmp_path, code):
    (tmp_path / "report.pdf").write_text("before")
    found, out, err = call(SMALLEST)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    assert (tmp_path / "report.pdf").read_text() == "before"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    return err


def test_without_a_converter_it_says_what_to_install(call, tmp_path, programs):
    assert not list(programs.iterdir())
    err = refused(call, tmp_path, 2)
    assert err == "cli: --pdf: needs chromium (or google-chrome) or pdflatex: install one of them\n"
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("echo 'no display' >&2; exit 3", "chromium failed with exit code 3: no display"),
        ("exit 0", "chromium wrote no whole PDF"),
        (
            "for a in \"$@\"; do case $a in --print-to-pdf=*) echo '%PDF-1.4 half' > ${a#*=};; esac; done",
            "whole",
        ),
        ("kill -9 $$", "chromium failed with exit code -9"),
    ],
)
@pytest.mark.usefixtures("computed_once")
def test_a_converter_that_fails_leaves_nothing(call, tmp_path, programs, text, word):
    program(programs, "chromium", text)
    assert word in refused(call, tmp_path, 1)


@pytest.mark.usefixtures("computed_once")
def test_a_converter_that_hangs_is_ended_with_its_children(
    call, tmp_path, programs, monkeypatch, temporary
):
    monkeypatch.setattr(pdf, "TIME_LIMIT", 0.5)
    numbers = tmp_path / "numbers"
    program(programs, "google-chrome", f"(while true; do sleep 0.05; done) & echo $$ $! > {numbers}; wait")
    assert "google-chrome did not end within 0.5 s" in refused(call, tmp_path, 1)
    parent, child = map(int, numbers.read_text().split())
    deadline = time.monotonic() + 60
    while not (ended(parent) and ended(child)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list(temporary.iterdir()) == []
