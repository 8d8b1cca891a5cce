"""Checks of what a user passes: one line names the argument, its value and what is allowed."""

from __future__ import annotations

import numpy as np
import pytest

from derive.arguments import one_of, true_or_false, whole_number
from derive.errors import InputError, shown


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)], ids=repr)
def test_whole_number_accepts_integers(value):
    number = whole_number("seed", value, 3, 3)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize(
    "value",
    [True, np.True_, 3.0, "3", None, 3j, [3], np.array([3, 4]), np.array(3.0), 2, 5, -(10**30)],
    ids=repr,
)
def test_whole_number_rejects_others(value):
    with pytest.raises(InputError) as error:
        whole_number("seed", value, 3, 4)
    assert error.value.option == "seed"
    assert error.value.problem.endswith(" is not an integer from 3 to 4")


@pytest.mark.parametrize(
    ("largest", "text"),
    [
        (9_999_999, "9999999"),
        (10**7, "10^7"),
        (10**7 - 1, "9999999"),
        (10**18, "10^18"),
        (10**18 - 1, "10^18 - 1"),
        (10**18 + 1, "1000000000000000001"),
        (2**40, "2^40"),
        (2**63 - 1, "2^63 - 1"),
        (2**63 - 2, "9223372036854775806"),
    ],
)
def test_large_bounds_are_readable(largest, text):
    with pytest.raises(InputError, match=r"-1 is not an integer from 0 to ") as error:
        whole_number("seed", -1, 0, largest)
    assert error.value.problem.split(" to ")[1] == text


@pytest.mark.parametrize("value", ["a", "bc", np.str_("bc")])
@pytest.mark.parametrize("kind", [tuple, list, dict.fromkeys, iter])
def test_one_of_accepts_names_and_returns_plain_text(kind, value):
    name = one_of("what", value, kind(("a", "bc")))
    assert name == value
    assert type(name) is str


@pytest.mark.parametrize("value", ["b", "A", "", None, 1, ["a"], np.array(["a", "bc"]), b"a"], ids=repr)
def test_one_of_rejects_others(value):
    with pytest.raises(InputError) as error:
        one_of("what", value, {"a": 1, "bc": 2})
    assert error.value.option == "what"
    assert error.value.problem.endswith(" is not one of a, bc")


def test_true_or_false():
    assert [true_or_false("x", value) for value in (True, np.False_, np.array(True))] == [True, False, True]
    for value in (1, 0.0, "true", None, np.array([True])):
        with pytest.raises(InputError, match=r"^x: .* is neither True nor False$"):
            true_or_false("x", value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.int64(3), "3"),
        (np.float64(0.1), "0.1"),
        (np.bool_(True), "True"),
        (np.str_("x"), "'x'"),
        (np.array(3), "3"),
        (np.array([1, 2]), "[1, 2]"),
        ([np.int64(1), (np.float64(0.5), np.str_("y"))], "[1, (0.5, 'y')]"),
        ({"p": np.int64(1)}, "{'p': 1}"),
        (np.datetime64("2020-01-01"), "datetime.date(2020, 1, 1)"),
        (np.longdouble(2), "2.0"),
        (np.zeros((7, 8)), "an array of the shape (7, 8)"),
        (10**5000, "an integer of about 5001 digits"),
        ([-(10**5000)], "[an integer of about 5001 digits]"),
        (range(3), "range(0, 3)"),
        (list(range(10**6)), "[0, 1, 2, 3, 4, 5, ...]"),
        (None, "None"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_shown_as_their_user_would_write_them(value, text):
    assert shown(value) == text


def test_shown_values_are_short():
    endless = []
    endless.append(endless)
    for value in ("x" * 10**6, ["y" * 10**4] * 10**4, endless, dict.fromkeys(range(999), "z" * 999)):
        assert len(shown(value)) < 10_000
