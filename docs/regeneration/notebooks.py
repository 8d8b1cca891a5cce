"""Notebooks that are kept as Markdown: their cells, what these show, and the same for Jupyter.

A notebook is a page of docs/notebooks. Each block of Python is a cell, and what it shows follows it without
words between: a block of text, a formula, figures. That is what Jupyter would show below the cell: printed
lines and the value of a last line that is an expression, and the open figures of Matplotlib. An object with
`_repr_latex_` is shown as a formula. A figure is the file NAME-1.png, NAME-2.png … beside the page; it
carries a description of what is drawn, which a test compares.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
# The key under which the file of a figure says what is drawn.
DESCRIPTION = "Description"
# The words below a new figure, until its author replaces them.
NO_CAPTION = "Figure"
_FENCED = re.compile(r"```(\w+)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_OUTPUT = re.compile(
    r"\s*(?:```(?P<kind>text|math)\n(?P<text>.*?)^```\n|!\[(?P<alt>[^\]]*)\]\((?P<name>[\w-]+\.png)\)\n)",
    re.DOTALL | re.MULTILINE,
)


@dataclasses.dataclass
class Shown:
    """What a cell shows: text, a formula in LaTeX, and figures by the names of files, with captions."""

    text: str = ""
    math: str = ""
    figures: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def markdown(self) -> str:
        blocks = [
            f"```{kind}\n{text}```\n" for kind, text in (("text", self.text), ("math", self.math)) if text
        ]
        return "".join(
            f"\n{block}" for block in (*blocks, *(f"![{alt}]({name})\n" for name, alt in self.figures))
        )


@dataclasses.dataclass
class Cell:
    """A block of Python of a page, the number of its first line, and what the page shows below it."""

    code: str
    line: int
    shown: Shown


def parts_of(page: Path) -> Iterator[str | Cell]:
    """The words of a page, with other blocks, and its cells, in order."""
    text, position, words = page.read_text(encoding="utf-8"), 0, ""
    while fenced := _FENCED.search(text, position):
        words += text[position : fenced.start()]
        position = fenced.end()
        if fenced[1] != "python":
            words += fenced[0]
            continue
        yield words
        words, shown = "", Shown()
        while output := _OUTPUT.match(text, position):
            position = output.end()
            if output["name"]:
                shown.figures.append((output["name"], output["alt"]))
            else:
                setattr(shown, output["kind"], output["text"])
        yield Cell(fenced[2], text.count("\n", 0, fenced.start()) + 2, shown)
    yield words + text[position:]


class Session:
    """Runs cells in order in one namespace, as Jupyter does, and writes their figures into a folder."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.namespace: dict[str, Any] = {"__name__": "__notebook__"}
        self.figures = 0

    def run(self, cell: Cell) -> Shown:
        """What the cell shows now; its figures keep their captions."""
        tree = ast.parse(cell.code)
        last = tree.body[-1] if tree.body else None
        ast.increment_lineno(tree, cell.line - 1)
        if isinstance(last, ast.Expr):
            tree.body.pop()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, str(self.page), "exec"), self.namespace)  # noqa: S102
            value = self._value(last) if isinstance(last, ast.Expr) else None
        shown = Shown()
        latex = getattr(value, "_repr_latex_", lambda: None)()
        figures = _open_figures(value)
        if latex:
            shown.math = latex.strip().strip("$").strip().removeprefix(r"\displaystyle ") + "\n"
        elif value is not None and not any(value is figure for figure in figures):
            print(repr(value), file=printed)
        shown.text = printed.getvalue()
        captions = [alt for _, alt in cell.shown.figures] + [NO_CAPTION] * len(figures)
        shown.figures = [(self._save(figure), alt) for figure, alt in zip(figures, captions, strict=False)]
        return shown

    def _value(self, last: ast.Expr) -> Any:
        return eval(compile(ast.Expression(last.value), str(self.page), "eval"), self.namespace)

    def _save(self, figure: Any) -> str:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.figures += 1
        name = f"{self.page.stem}-{self.figures}.png"
        words = description(figure)
        # Without the version of Matplotlib, the file is the same wherever its pixels are.
        canvas: Any = FigureCanvasAgg(figure)
        canvas.print_png(str(self.folder / name), metadata={"Software": None, DESCRIPTION: words})
        return name


def _open_figures(value: Any) -> list[Figure]:
    """The figures that pyplot has open, which are then closed, and the value if it is another."""
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure

    figures = [plt.figure(number) for number in plt.get_fignums()]
    plt.close("all")
    return [*figures, value] if isinstance(value, Figure) and value not in figures else figures


def description(figure: Any) -> str:
    """The words of a figure, and the numbers of what is drawn, a line for each thing."""
    lines = [text.get_text() for text in figure.texts]
    for legend in figure.legends:
        lines += [text.get_text() for text in legend.get_texts()]
    for axes in figure.axes:
        lines += [f"axes {axes.get_xscale()} {axes.get_yscale()}", axes.get_title()]
        lines += [axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
        legend = axes.get_legend()
        lines += [text.get_text() for text in legend.get_texts()] if legend else []
        lines += [_numbers("line", line.get_xydata()) for line in axes.lines]
        lines += [_numbers("patch", patch.get_verts()) for patch in axes.patches]
        lines += [_numbers("image", image.get_array().ravel()) for image in axes.images]
        for collection in axes.collections:
            lines.append(_numbers("collection", collection.get_offsets()))
            lines += [_numbers("path", path.vertices) for path in collection.get_paths()]
            if collection.get_array() is not None:
                lines.append(_numbers("values", collection.get_array().ravel()))
    return "".join(f"{line}\n" for line in lines if line)


def _numbers(kind: str, values: Any) -> str:
    """How many rows there are, and of each column its ends, its mean and its spread."""
    import numpy as np

    rows = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    columns = [column[np.isfinite(column)] for column in np.atleast_2d(rows.T)]
    moments = [(c[0], c[-1], c.mean(), c.std()) for c in columns if c.size]
    return f"{kind} {len(rows)}: " + "; ".join(" ".join(f"{m:.6e}" for m in row) for row in moments)


def run_again(page: Path) -> str:
    """The text of a page with what its cells show now; its figures are written beside it."""
    session, text = Session(page, page.parent), ""
    for part in parts_of(page):
        text += (
            part if isinstance(part, str) else f"```python\n{part.code}```\n{session.run(part).markdown()}"
        )
    return text


def as_ipynb(page: Path) -> dict[str, Any]:
    """The page as a notebook of Jupyter, with what it shows."""
    cells: list[dict[str, Any]] = []
    for part in parts_of(page):
        cell: dict[str, Any] = {"id": f"cell-{len(cells)}", "metadata": {}}
        if isinstance(part, Cell):
            outputs = list(_outputs(part.shown, page.parent))
            cells.append(
                {"cell_type": "code", **cell, "execution_count": None, "source": part.code.rstrip()}
                | {"outputs": outputs}
            )
        elif part.strip():
            # Jupyter knows no blocks of mathematics.
            source = re.sub(
                r"^```math\n(.*?)^```", r"$$\n\1$$", part.strip(), flags=re.DOTALL | re.MULTILINE
            )
            cells.append({"cell_type": "markdown", **cell, "source": source})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}


def _outputs(shown: Shown, folder: Path) -> Iterator[dict[str, Any]]:
    if shown.text:
        yield {"output_type": "stream", "name": "stdout", "text": shown.text}
    data = [{"text/latex": f"$$\n{shown.math}$$"}] if shown.math else []
    for name, caption in shown.figures:
        image = base64.b64encode((folder / name).read_bytes()).decode()
        data.append({"image/png": image, "text/plain": caption})
    for one in data:
        yield {"output_type": "display_data", "metadata": {}, "data": one}
