"""Compiles LaTeX documents, where pdflatex is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
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
