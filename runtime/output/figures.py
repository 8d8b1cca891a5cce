"""Makes figures from panels: a `Drawing` is drawn into a new figure, into given axes or into a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.atomic_files import replacing
from derive.errors import InputError
from runtime.output.output_files import check_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "mathtext.fontset": "cm",
    "legend.frameon": False,
    # The same run gives the same bytes.
    "svg.hashsalt": "overlap-ode",
    "svg.fonttype": "path",
}
_NO_DATES = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
# Size of the words above a figure, and the letters of it that fit into an inch.
_TITLE_SIZE = 8.5
_LETTERS_PER_INCH = 14.0
_LINE_HEIGHT = 0.16


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes of a figure: its name, and what fills it."""

    name: str
    draw: Callable[[Axes], None]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What a figure shows, before it is drawn anywhere.

    panels
        In the order of reading.
    title
        The words above the figure; the parts of each line are joined with commas, and wrapped.
    columns
        Panels beside each other.
    size
        Width and height of one panel in inches.
    heights
        Heights of the rows relative to each other; equal ones if it is empty.
    same_x
        Whether all panels have the same axis below.
    legend_below
        Whether all panels share one legend below them; else each has its own, beside it.
    """

    panels: tuple[Panel, ...]
    title: tuple[tuple[str, ...], ...] = ()
    columns: int = 1
    size: tuple[float, float] = (5.6, 2.3)
    heights: tuple[float, ...] = ()
    same_x: bool = True
    legend_below: bool = False

    def choose(self, panels: str | Sequence[str] | None) -> Drawing:
        """This drawing with these of its panels, in their order; InputError names one that it lacks."""
        if panels is None:
            return self
        known = {panel.name: panel for panel in self.panels}
        names = [panels] if isinstance(panels, str) else list(panels)
        for name in names:
            if name not in known:
                raise InputError("panels", f"{name!r} is not one of {', '.join(known)}")
        if not names:
            raise InputError("panels", f"names none of {', '.join(known)}")
        chosen = tuple(known[name] for name in names)
        return dataclasses.replace(self, panels=chosen, columns=min(self.columns, len(chosen)), heights=())

    @property
    def figure_size(self) -> tuple[float, float]:
        """Width and height of the figure in inches, with its words."""
        rows, width = -(-len(self.panels) // self.columns), self.columns * self.size[0]
        return width, rows * self.size[1] + _LINE_HEIGHT * len(self.lines(width))

    def figure(self) -> Figure:
        """A new figure, of which pyplot knows nothing and which a notebook displays."""
        return new_figure(self.fill, self.figure_size)

    def fill(self, figure: Figure) -> None:
        """Draw all panels, their legends and the words above them into an empty figure."""
        count, rows = len(self.panels), -(-len(self.panels) // self.columns)
        grid = figure.subplots(
            rows, self.columns, sharex=self.same_x, squeeze=False, height_ratios=self.heights or None
        )
        axes = list(grid.flat)
        for spare in axes[count:]:
            spare.remove()
        for panel, place in zip(self.panels, axes, strict=False):
            panel.draw(place)
        if self.same_x:
            for place in axes[: count - self.columns]:
                place.set_xlabel("")
        self._legends(figure, axes[:count])
        figure.align_ylabels()
        if self.title:
            figure.suptitle("\n".join(self.lines(self.figure_size[0])), fontsize=_TITLE_SIZE)

    def _legends(self, figure: Figure, axes: Sequence[Axes]) -> None:
        if not self.legend_below:
            for place in axes:
                if place.get_legend_handles_labels()[0]:
                    # Inside the axes the legend would hide some curve.
                    place.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
            return
        # Where several panels name the same thing it is listed once.
        entries = {
            label: handle
            for place in axes
            for handle, label in zip(*place.get_legend_handles_labels(), strict=True)
        }
        if entries:
            columns = max(2, int(self.columns * self.size[0] / 2.6))
            figure.legend(
                entries.values(), entries.keys(), loc="outside lower center", ncols=columns, fontsize=8
            )

    def on(self, axes: Any, *, title: bool = True) -> None:
        """Draw the first panel into given axes, or each into its own; InputError if there are too many.

        The first axes get the words of the figure as their title, unless they have one already.
        """
        places = list(np.ravel(np.asarray(axes, dtype=object)))
        if not 1 <= len(places) <= len(self.panels):
            names = ", ".join(panel.name for panel in self.panels)
            raise InputError("ax", f"is {len(places)} axes, but the panels are {names}")
        for place, panel in zip(places, self.panels, strict=False):
            if not hasattr(place, "plot"):
                raise InputError("ax", f"is of the type {type(place).__name__}, not matplotlib axes")
            panel.draw(place)
            if place.get_legend_handles_labels()[0]:
                place.legend(fontsize=8)
        if title and not places[0].get_title():
            width = places[0].get_window_extent().width / places[0].figure.dpi
            places[0].set_title("\n".join(self.lines(width)), fontsize=_TITLE_SIZE)

    def lines(self, width: float) -> list[str]:
        """The words above the figure, in lines that fit into this width in inches."""
        from runtime.output.figure_titles import wrapped

        return [line for parts in self.title for line in wrapped(parts, int(width * _LETTERS_PER_INCH))]

    def save(self, path: str | Path) -> Path:
        """Write the figure whole or not at all; InputError unless the file can be written."""
        return save_figure(self.fill, self.figure_size, path)


def save_figure(fill: Callable[[Figure], None], size: tuple[float, float], path: str | Path) -> Path:
    """Let `fill` draw into a figure of this size in inches, and write it whole or not at all."""
    target = check_output(path, SUFFIXES, option="plot")
    with replacing(target) as temporary:
        write_figure(fill, size, temporary, target.suffix.lower())
    return target


def write_figure(
    fill: Callable[[Figure], None], size: tuple[float, float], file: Any, suffix: str, **style: Any
) -> None:
    """Write a figure of `size` in inches to a path or a binary file; `suffix` is one of SUFFIXES.

    `style` holds matplotlib parameters beyond those of all figures.
    """
    import matplotlib

    with matplotlib.rc_context(_STYLE | style):
        figure = new_figure(fill, size, **style)
        figure.savefig(file, format=suffix[1:], dpi=160, metadata=_NO_DATES[suffix])


def new_figure(fill: Callable[[Figure], None], size: tuple[float, float], **style: Any) -> Figure:
    """A figure of `size` in inches in the style of all figures, which `fill` draws into."""
    import matplotlib

    from runtime.output.shown_figure import ShownFigure

    with matplotlib.rc_context(_STYLE | style):
        figure = ShownFigure(size)
        fill(figure)
        return figure
