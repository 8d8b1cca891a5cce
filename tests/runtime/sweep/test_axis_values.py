from __future__ import annotations

import math

import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

from runtime import InputError
from runtime.sweep.axis_values import MAX_TASKS, parse_axis, parse_flag, parse_lists


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("4", int, 4),
        ("0.4", float, 0.4),
        (".5e1", float, 5.0),
        ("free", str, "free"),
        ("2,4", int, (2, 4)),
        ("0:3", int, (0, 1, 2, 3)),
        ("-2:1", int, (-2, -1, 0, 1)),
        ("7:7", int, (7,)),
        ("0:100:5", int, (0, 25, 50, 75, 100)),
        ("0:1,8,10:20:3", int, (0, 1, 8, 10, 15, 20)),
        ("0.1:0.5:5", float, (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("0.1:0.7:7", float, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
        ("log:1e-3:1:4", float, (1e-3, 1e-2, 1e-1, 1.0)),
        ("log:100:10000:5", int, (100, 316, 1000, 3162, 10000)),
        ("free,sphere", str, ("free", "sphere")),
        (0.25, float, 0.25),
        (1, float, 1.0),
        ([1, 0.5], float, (1.0, 0.5)),
        ([4], int, (4,)),
        (["0:2", 9], int, (0, 1, 2, 9)),
        (["free"], str, ("free",)),
        (np.array([0.1, 0.2]), float, (0.1, 0.2)),
        (np.arange(3), float, (0.0, 1.0, 2.0)),
        (np.arange(2, dtype=np.uint8), int, (0, 1)),
        ([np.int64(3), 4], int, (3, 4)),
        (np.float64(0.25), float, 0.25),
        (np.array(4), int, 4),
        (np.float32(0.5), float, 0.5),
        (np.array(["free", "sphere"]), str, ("free", "sphere")),
        (range(3), int, (0, 1, 2)),
        (range(10, 0, -5), float, (10.0, 5.0)),
        (xarray.DataArray([0.1, 0.2]), float, (0.1, 0.2)),
        (xarray.DataArray(3), int, 3),
    ],
)
def test_values(text, kind, values):
    parsed = parse_axis("x", text, kind)
    assert parsed == values
    assert all(type(value) is kind for value in (parsed if isinstance(parsed, tuple) else [parsed]))


@pytest.mark.parametrize(
    ("given", "kind", "word"),
    [
        ("", int, "not an integer"),
        (np.array([0.5]), int, "not an integer"),
        (np.array([True]), int, "not an integer"),
        (np.zeros((2, 2)), float, "not a finite number"),
        (np.array([]), float, "no values"),
        (np.array([np.nan]), float, "not a finite number"),
        (np.array([1j]), float, "not a finite number"),
        ("1.5", int, "not an integer"),
        ("１６", int, "not an integer"),
        ("1_6", int, "not an integer"),
        (" 4", int, "not an integer"),
        ("1,,2", int, "not an integer"),
        ("9" * 20, int, "not an integer"),
        ("nan", float, "not a finite number"),
        ("inf", float, "not a finite number"),
        ("1e999", float, "not a finite number"),
        ("1e99999999", float, "not a finite number"),
        ("0x1", float, "not a finite number"),
        ("0.1:0.2", float, "start:end:count"),
        ("log:1:2", int, "not a range"),
        ("1:2:3:4", int, "not a range"),
        ("5:1", int, "descends"),
        ("0.5:0.1:3", float, "descends"),
        ("0:1:1", float, "less than 2"),
        ("0:10:4", int, "not integers"),
        ("log:0:1:3", float, "above 0"),
        ("log:-1:1:3", float, "above 0"),
        ("0:999999999999", int, str(MAX_TASKS)),
        ("0:1:999999999", float, str(MAX_TASKS)),
        ("log:1:2:999999999", float, str(MAX_TASKS)),
        ("0:60000,100000:160000", int, str(MAX_TASKS)),
        (True, int, "not an integer"),
        (2.0, int, "not an integer"),
        (math.nan, float, "not a finite number"),
        (10**400, float, "not a finite number"),
        pytest.param(10**5000, float, "not a finite number", id="float"),
        pytest.param(10**5000, int, "about 5001 digits is not an integer of up to 19 digits", id="int"),
        (10**19, int, "up to 19 digits"),
        ([[np.int64(1), np.int64(2)]], int, r"^eta: \[1, 2\] is not an integer$"),
        ({np.int64(1)}, int, r"^eta: \{1\} is neither a value nor a list or an array of them$"),
        ((k for k in range(3)), int, "is neither a value nor a list"),
        ({1: 2}.keys(), int, "is neither a value nor a list"),
        (b"1", int, "is neither a value nor a list"),
        (range(10**30), int, f"100001 values are more than the {MAX_TASKS}"),
        (range(0), int, "no values"),
        ([range(2)], int, r"\[0, 1\] is not an integer"),
        (np.ma.masked_array([1, 2], [False, True]), int, "None is not an integer"),
        ([], int, "no values"),
        ([1, [2]], int, "not an integer"),
        ({"a": 1}, int, "is neither a value nor a list"),
        (3, str, "not text"),
    ],
)
def test_refused(given, kind, word):
    with pytest.raises(InputError, match=word) as refused:
        parse_axis("eta", given, kind)
    assert refused.value.option == "eta"
    assert len(refused.value.problem) < 200


def test_choices_are_named():
    with pytest.raises(InputError, match="one of free, sphere"):
        parse_axis("constraint", "free,ball", str, ("free", "sphere"))


def test_flags_are_words_or_truths():
    assert [parse_flag("x", flag) for flag in ("true", "false", True, np.False_)] == [True, False] * 2
    for wrong in ("yes", "True", "true,false", 1, [True]):
        with pytest.raises(InputError, match=r"^x: "):
            parse_flag("x", wrong)


@given(st.text(max_size=30))
def test_any_text_is_values_or_one_line(text):
    for kind in (int, float):
        refused = None
        try:
            parse_axis("x", text, kind)
        except InputError as error:
            refused = str(error)
        assert refused is None or "\n" not in refused


@given(st.lists(st.floats(-1e200, 1e200), min_size=1, max_size=5, unique=True))
def test_numbers_go_through_text_unchanged(values):
    parsed = parse_axis("x", ",".join(map(repr, [*values, 1e300])), float)
    assert parsed == (*values, 1e300)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("1,-0.5", "1,-0.5"),
        ("power:1", "power:1"),
        ("1,-1;1,1;power:1", ("1,-1", "1,1", "power:1")),
        ("random;", ("random", "")),
        ([1, -0.5], "1,-0.5"),
        (np.array([0.1, 1 / 3]), "0.1,0.3333333333333333"),
        ([[1, -1], [1.0, 1.0], "random"], ("1,-1", "1,1", "random")),
        (np.eye(2), ("1,0", "0,1")),
        (["power:1"], ("power:1",)),
        (0.5, "0.5"),
    ],
)
def test_lists_of_numbers_are_one_value_and_semicolons_separate_them(given, values):
    assert parse_lists("weights", given) == values


@pytest.mark.parametrize("given", [[], [[]], [[1, True]], [[1, "a"]], {1.0, 2.0}, [float("nan")], None])
def test_what_is_no_list_of_numbers(given):
    with pytest.raises(InputError, match=r"^weights: "):
        parse_lists("weights", given)
