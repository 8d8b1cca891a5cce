"""Tables as text: words left, numbers right, dashes for NaN, exponents where a number is too wide."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.output.result_table import Column, Table, cell, evenly

COLUMNS = (Column("alpha", "8.3g"), Column("runs", "4d"), Column("claim"))


def test_words_stand_left_and_numbers_right():
    rows = [(0.5, 1, "short"), (np.float64(12.25), np.int64(300), "a longer one"), (np.nan, "none", "")]
    assert Table(COLUMNS, rows).as_text().splitlines() == [
        "  alpha    runs  claim",
        "    0.5       1  short",
        "   12.2     300  a longer one",
        "      -    none",
    ]


def test_text_that_looks_like_a_number_stays_as_it_is():
    assert Table((Column("x"),), [("1e5",), ("0.10",)]).as_text().split() == ["x", "1e5", "0.10"]


def test_a_table_without_rows_is_its_titles():
    assert Table(COLUMNS, []).as_text().split() == ["alpha", "runs", "claim"]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (1.5, "12.6f", "    1.500000"),
        (1.5e9, "12.6f", "  1.5000e+09"),
        (np.nan, "9.1e", "        -"),
        (-np.inf, "12.6g", "        -inf"),
    ],
)
def test_cells_keep_their_width(value, form, text):
    assert cell(value, form) == text


def test_evenly_spaced_indices_have_both_ends():
    assert evenly(200, 11) == [0, 20, 40, 60, 80, 100, 119, 139, 159, 179, 199]
    assert evenly(3, 11) == [0, 1, 2]
