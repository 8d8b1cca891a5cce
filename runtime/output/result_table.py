"""Tables of words and numbers, printed as text here and written as HTML in reports."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

Cell: TypeAlias = "str | float | np.generic"


@dataclasses.dataclass(frozen=True)
class Column:
    """The title of a column, and how its numbers are written.

    form
        The format of numbers in plain text, such as ``"12.6f"``; None for a column of words. Numbers are
        aligned at the right, words at the left.
    """

    title: str
    form: str | None = None

    @property
    def numeric(self) -> bool:
        return self.form is not None


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of words and numbers under the titles of columns; the caption is shown in HTML only."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def as_text(self) -> str:
        """The table as lines of text, for terminals and pipes."""
        from tabulate import tabulate

        return tabulate(
            [[_as_text(value, c) for value, c in zip(row, self.columns, strict=True)] for row in self.rows],
            [column.title for column in self.columns],
            tablefmt="plain",
            disable_numparse=True,
            # tabulate 0.9 fails where there are columns to align but no rows.
            colalign=["right" if column.numeric else "left" for column in self.columns]
            if self.rows
            else None,
        )


def _as_text(value: Any, column: Column) -> str:
    if isinstance(value, str):
        return value
    if column.form is None or isinstance(value, numbers.Integral):
        return str(value)
    return cell(value, column.form).strip()


def cell(value: float | np.generic, form: str) -> str:
    """The number in a format such as ``12.6f``: a dash for NaN, and an exponent where it is too wide."""
    width = int(form.split(".")[0])
    if math.isnan(value):
        return f"{'-':>{width}}"
    text = f"{value:{form}}"
    return text if len(text) <= width else f"{value:{width}.{max(width - 8, 0)}e}"


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 to count - 1, evenly spaced, with the first and the last."""
    shown = min(most, count)
    step = (count - 1) / max(shown - 1, 1)
    return [round(k * step) for k in range(shown)]
