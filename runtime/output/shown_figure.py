"""A matplotlib figure outside pyplot that notebooks display."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure with a canvas of its own: pyplot neither knows it nor keeps it open."""

    def __init__(self, size: tuple[float, float], **options: Any) -> None:
        """`size` is width and height in inches."""
        super().__init__(figsize=size, layout="constrained", **options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        """The picture that a notebook shows where no backend of matplotlib has taken that over."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=self.dpi)
        return file.getvalue()
