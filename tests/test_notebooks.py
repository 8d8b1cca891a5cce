"""Runs the notebooks of docs/notebooks, and compares all that they show; and tests how that is done."""

from __future__ import annotations

import sys

import doc_pages
import pytest
from matplotlib import pyplot
from PIL import Image

sys.path.insert(0, str(doc_pages.ROOT / "docs"))

from regeneration import notebooks

DRAWING = """
import matplotlib.pyplot as plt
import numpy as np

x = np.linspace(0.0, 1.0, 5)
figure, axes = plt.subplots(figsize=(2, 2))
axes.plot(x, {factor} * x, label="{label}")
axes.fill_between(x, x, x + 1.0)
axes.imshow(np.ma.masked_less(np.arange(4).reshape(2, 2), {least}))
_ = axes.legend()
"""


@pytest.mark.parametrize("page", doc_pages.NOTEBOOKS, ids=lambda page: page.stem)
def test_a_notebook_shows_what_its_cells_show(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Pages of the docs that were run before may have left figures open.
    pyplot.close("all")
    session = notebooks.Session(page, tmp_path)
    cells = [part for part in notebooks.parts_of(page) if isinstance(part, notebooks.Cell)]
    assert cells
    for cell in cells:
        where, shown = f"{page.name}:{cell.line}", session.run(cell)
        remedy = f"run: python docs/regenerate.py docs/notebooks/{page.name}"
        assert doc_pages.difference(cell.shown.text, shown.text) is None, f"{where}: {shown.text}\n{remedy}"
        assert shown.math == cell.shown.math, f"{where}: {remedy}"
        assert shown.figures == cell.shown.figures, f"{where}: {remedy}"
        for name, caption in shown.figures:
            assert caption != notebooks.NO_CAPTION, f"{where}: {name} needs a caption"
            problem = doc_pages.difference(drawn(page.parent / name), drawn(tmp_path / name))
            assert problem is None, f"{where}: {name}: {problem}\n{remedy}"
    assert {path.name for path in page.parent.glob(f"{page.stem}-*.png")} == {
        p.name for p in tmp_path.glob("*.png")
    }


def drawn(path):
    with Image.open(path) as image:
        return image.text[notebooks.DESCRIPTION]


def page_of(folder, *cells):
    page = folder / "page.md"
    page.write_text(
        "# Title\n\n" + "\n".join(f"Words.\n\n```python\n{cell.strip()}\n```\n" for cell in cells)
    )
    return page


def test_cells_show_what_jupyter_would(tmp_path):
    page = page_of(
        tmp_path,
        "print('one')\n'two'",
        "class Law:\n    def _repr_latex_(self):\n        return r'$\\displaystyle x^2$'\nLaw()",
        DRAWING.format(factor=1, label="a", least=0),
        "_ = 3",
        "number = 4",
        "None",
        "from matplotlib.figure import Figure\nFigure(figsize=(1, 1))",
        "x",
    )
    page.write_text(notebooks.run_again(page))
    cells = [part for part in notebooks.parts_of(page) if isinstance(part, notebooks.Cell)]
    assert [(cell.shown.text, cell.shown.math) for cell in cells] == [
        ("one\n'two'\n", ""),
        ("", "x^2\n"),
        *[("", "")] * 5,
        ("array([0.  , 0.25, 0.5 , 0.75, 1.  ])\n", ""),
    ]
    figures = [cell.shown.figures for cell in cells]
    assert figures == [[], [], [("page-1.png", "Figure")], [], [], [], [("page-2.png", "Figure")], []]
    assert (tmp_path / "page-2.png").exists()
    # Words stay as they are, and so does a caption; with nothing changed nothing is written.
    page.write_text(page.read_text().replace("![Figure]", "![A line]", 1))
    text, images = page.read_text(), [path.read_bytes() for path in sorted(tmp_path.glob("*.png"))]
    assert text.count("Words.") == 8
    assert notebooks.run_again(page) == text
    assert [path.read_bytes() for path in sorted(tmp_path.glob("*.png"))] == images


@pytest.mark.parametrize(
    "changed", [{"factor": 1.01}, {"label": "b"}, {"least": 2}], ids=["data", "words", "image"]
)
def test_another_figure_is_told_apart(changed, tmp_path):
    asked = {"factor": 1, "label": "a", "least": 0}
    for values in (asked, asked | changed):
        notebooks.run_again(page_of(tmp_path, DRAWING.format(**values)))
        (tmp_path / "page-1.png").rename(tmp_path / f"{values == asked}.png")
    assert doc_pages.difference(drawn(tmp_path / "True.png"), drawn(tmp_path / "False.png"))


def test_an_error_names_the_line_of_the_page(tmp_path):
    page = page_of(tmp_path, "number = 0", "\nother = 1\n1 / number")
    with pytest.raises(ZeroDivisionError) as raised:
        notebooks.run_again(page)
    assert raised.traceback[-1].lineno + 1 == page.read_text().splitlines().index("1 / number") + 1


def test_a_notebook_for_jupyter_has_words_code_and_outputs(tmp_path):
    page = page_of(tmp_path, "print(1)", DRAWING.format(factor=1, label="a", least=0))
    page.write_text(notebooks.run_again(page) + "\nA law:\n\n```math\ny = z\n```\n")
    made = notebooks.as_ipynb(page)
    kinds = [cell["cell_type"] for cell in made["cells"]]
    assert kinds == ["markdown", "code", "markdown", "code", "markdown"]
    assert len({cell["id"] for cell in made["cells"]}) == len(kinds)
    assert made["cells"][1]["outputs"] == [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    (image,) = made["cells"][3]["outputs"]
    assert image["output_type"] == "display_data"
    assert image["data"]["image/png"].startswith("iVBORw0KGgo")
    assert made["cells"][4]["source"] == "A law:\n\n$$\ny = z\n$$"
