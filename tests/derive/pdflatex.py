"""Compiles LaTeX documents, where pdflatex is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


def overfull_points(text: str, folder: Path) -> float:
    """Compile a document; by how many points its widest line does not fit the page."""
    (folder / "odes.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "odes.tex"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    log = (folder / "odes.log").read_text(encoding="latin-1")
    assert result.returncode == 0, log[-2000:]
    assert "undefined" not in log
    sizes = re.findall(r"^Overfull \\hbox \(([\d.]+)pt too wide\)", log, re.MULTILINE)
    return max(map(float, sizes), default=0.0)


def overfull_in_a_column(texts: Iterable[str], folder: Path) -> float:
    """Compile texts in a column of REVTeX, 246 pt wide; by how many points the widest line does not fit."""
    body = "\n\\par\n".join(texts)
    return overfull_points(
        r"""\documentclass[10pt]{article}
\usepackage[paperwidth=300pt,paperheight=800pt,textwidth=246pt,textheight=700pt]{geometry}
\usepackage{amsmath}
\allowdisplaybreaks
\sloppy
\begin{document}
"""
        + body
        + "\n\\end{document}\n",
        folder,
    )


def widths_of(formulas: Iterable[str], folder: Path) -> list[float]:
    """The widths of formulas in displays, as pdflatex measures them, in points."""
    lines = (rf"\setbox0\hbox{{$\displaystyle {text}$}}\typeout{{WIDTH \the\wd0}}" for text in formulas)
    start = "\\documentclass[10pt]{article}\n\\usepackage{amsmath}\n\\begin{document}\n"
    overfull_points(start + "\n".join(lines) + "\nx\\end{document}\n", folder)
    log = (folder / "odes.log").read_text(encoding="latin-1")
    return [float(width) for width in re.findall(r"^WIDTH ([\d.]+)pt", log, re.MULTILINE)]
