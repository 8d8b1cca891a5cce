"""Ticks of axes: enough of them to read a value on any range, and numbers without offsets."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from runtime.output.axis_ticks import written
from runtime.output.figure_axes import log_axis, plain_axis


def ticks_of(low, high, *, log):
    """The places and texts of the ticks within an axis that ends at these numbers, and its offset."""
    axes = Figure().subplots()
    if log:
        log_axis(axes, "y")
    else:
        plain_axis(axes.yaxis)
    axes.set_ylim(low, high)
    axes.figure.draw_without_rendering()
    ticks = [tick for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [t.get_loc() for t in ticks], [t.label1.get_text() for t in ticks], axes.yaxis.get_offset_text()


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0.6, 0.75),
        (0.3, 0.9),
        (0.2, 3.0),
        (0.04, 1.1),
        (1e-3, 1.0),
        (1e-9, 1.0),
        (1e-30, 1e5),
        (70.0, 1.4e4),
    ],
)
def test_a_logarithmic_axis_has_some_ticks_on_any_range(low, high):
    places, texts, offset = ticks_of(low, high, log=True)
    assert 3 <= len(places) <= 10
    assert all(texts)
    assert offset.get_text() == ""
    # All are powers of ten, or none is.
    assert len({text.startswith("$10^") for text in texts}) == 1
    values = [float(text.strip("$").replace("10^{", "1e").replace("}", "")) for text in texts]
    np.testing.assert_allclose(values, places, rtol=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.0, 5e7, r"$2\times 10^{7}$"),
        (1.0, 1.0 + 1e-7, "1.00000002"),
        (-1.0, 1.0, "\N{MINUS SIGN}0.50"),
        (0.0, 4e-5, "$10^{-5}$"),
    ],
)
def test_a_linear_axis_has_no_factor_and_no_offset(low, high, text):
    _, texts, offset = ticks_of(low, high, log=False)
    assert text in texts
    assert offset.get_text() == ""
    assert "0" in texts or low > 0.0 or "0.00" in texts


def test_numbers_are_written_as_they_are_read():
    assert [written(x) for x in (0.25, 1e-5, 2e7, -2e-4, 0.0)] == [
        *("0.25", "$10^{-5}$", r"$2\times 10^{7}$", r"$-2\times 10^{-4}$", "0")
    ]
    assert written(100.0, powers=True) == "$10^{2}$"
