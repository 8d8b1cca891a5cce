"""The page in a real browser, on screen and printed; skipped where there is no Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

SMALL = "--p 2 --pstar 1 --alpha 5"


def test_on_a_telephone_only_boxes_scroll_and_nothing_is_refused(browse, report_of, tmp_path):
    """A script in a probe of the page tells its width, and the equations without a size."""
    made = report_of(SMALL)
    # The policy forbids scripts in reports; the probe has none of it.
    text = re.sub(r"<meta http-equiv[^>]*>", "", made.text)
    script = (
        "<script>document.title = document.documentElement.scrollWidth + ' ' + window.innerWidth + ' ' +"
        " [...document.querySelectorAll('math')].filter(m => { const b = m.getBoundingClientRect();"
        " return b.width < 2 || b.height < 2; }).length + ' ' + document.querySelectorAll('math').length"
        "</script>"
    )
    (tmp_path / "probe.html").write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    # Windows of a headless browser are no narrower than 500 pixels, but frames are.
    frame = tmp_path / "frame.html"
    frame.write_text(
        '<!DOCTYPE html><title>x</title><iframe src="probe.html" style="width:360px;height:800px;border:0">'
        "</iframe><script>onload = () => { document.title ="
        " document.querySelector('iframe').contentDocument.title }</script>"
    )
    dom = browse(frame, "--dump-dom", "--allow-file-access-from-files", "--virtual-time-budget=500")
    found = re.search(r"<title>(\d+) (\d+) (\d+) (\d+)</title>", dom)
    assert found, dom[:300]
    page, window, unseen, equations = map(int, found.groups())
    assert (window, unseen) == (360, 0)
    assert page <= window
    assert equations > 50


def test_the_printed_page_has_everything_but_the_contents(browse, report_of, tmp_path):
    """One run also shows what the browser complains of: nothing."""
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    printed = tmp_path / "report.pdf"
    messages = browse(report_of(SMALL).path, f"--print-to-pdf={printed}", "--no-pdf-header-footer")
    assert "CONSOLE" not in messages
    assert "Refused" not in messages
    convert = ["pdftotext", "-layout", printed, "-"]
    text = subprocess.run(convert, capture_output=True, text=True, check=True).stdout
    for words in ("Conservation laws", "Largest learning rates", "holds"):
        assert words in text
    # The contents and the link past them are for the screen; addresses of links are for paper.
    assert text.count("Summary") == 1
    assert "Skip to the report" not in text
    assert "https://arxiv.org/abs/2604.03068" in text
    # Mathematics is there as letters.
    assert "\\frac" not in text
    assert re.search("[κ𝜅]", text)
