"""Ticks of axes: powers of ten over many decades, plain numbers in between where there are few."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, ScalarFormatter

from runtime.output.figure_titles import power_text

# Below the first ratio of the ends ticks are evenly spaced, below the second 1, 2 and 5 in each decade.
_EVEN, _HALVES = 8.0, 500.0
# The most powers of ten at an axis.
_MOST = 7
# Numbers within these bounds are written out.
_SMALL, _LARGE = 1e-3, 1e5
# From this number on ticks at 1, 2 and 5 have texts too long for an axis.
_LONG = 1e4


class LogTicks(LogLocator):
    """Places of ticks, of which there are enough to read a value on any range."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Ticks for an axis that ends at these numbers."""
        low, high = min(vmin, vmax), max(vmin, vmax)
        if not 0.0 < low < high:
            return super().tick_values(vmin, vmax)
        if high / low < _EVEN:
            ticks = np.asarray(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
            return ticks[ticks > 0.0]
        least, most = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
        if not _has_powers(low, high):
            return np.concatenate([10.0**k * np.array([1.0, 2.0, 5.0]) for k in range(least, most + 1)])
        step = -(-(most - least) // _MOST)
        return 10.0 ** np.arange(step * (least // step), most + 1, step)


class _FullText(ScalarFormatter):
    """Writes numbers without a factor or an offset at the end of the axis."""

    def __init__(self) -> None:
        super().__init__(useOffset=False, useMathText=False)
        self.set_scientific(False)

    def get_offset(self) -> str:
        """Nothing, whatever the numbers are."""
        return ""


class LogText(_FullText):
    """Writes the numbers at the ticks of a logarithmic axis: over many decades all of them as powers."""

    def __call__(self, x: float, pos: int | None = None) -> str:  # noqa: ARG002
        """The text at a tick; `pos` is its place, which does not matter."""
        low, high = _ends(self)
        return written(x, powers=low > 0.0 and _has_powers(low, high))


class PlainText(_FullText):
    """Writes each number of a linear axis in full."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The text at a tick; `pos` is its place."""
        low, high = _ends(self)
        if _SMALL <= max(abs(low), abs(high)) < _LARGE:
            return super().__call__(x, pos)
        # Next to the others this number is zero, up to rounding.
        return written(0.0 if abs(x) < 1e-9 * (high - low) else x)


def _has_powers(low: float, high: float) -> bool:
    """Whether a logarithmic axis with these ends has powers of ten alone."""
    return high / low >= _HALVES or (high / low >= _HALVES / 5.0 and high >= _LONG)


def _ends(formatter: ScalarFormatter) -> tuple[float, float]:
    """The ends of the axis of a formatter, ascending."""
    assert formatter.axis is not None
    low, high = sorted(map(float, formatter.axis.get_view_interval()))
    return low, high


def written(value: float, powers: bool = False) -> str:
    """A number as 0.25, or 10⁻⁵, or 2×10⁷; with `powers` none is written out."""
    if value == 0.0:
        return "0"
    if _SMALL <= abs(value) < _LARGE and not powers:
        return f"{value:.10g}".replace("-", "\N{MINUS SIGN}")
    return f"${power_text(value)}$"
