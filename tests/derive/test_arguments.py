"""Checks of what a user passes: one line names the argument, its value and what is allowed."""

from __future__ import annotations

import numpy as np
import pytest

from derive.arguments import one_of, whole_number
from derive.errors import InputError


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
def test_whole_number_refuses_others(value):
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


@pytest.mark.parametrize("value", ["a", "bc"])
@pytest.mark.parametrize("kind", [tuple, list, dict.fromkeys, iter])
def test_one_of_accepts_names(kind, value):
    assert one_of("what", value, kind(("a", "bc"))) == value


@pytest.mark.parametrize("value", ["b", "A", "", None, 1, ["a"], np.array(["a", "bc"]), b"a"], ids=repr)
def test_one_of_refuses_others(value):
    with pytest.raises(InputError) as error:
        one_of("what", value, {"a": 1, "bc": 2})
    assert error.value.option == "what"
    assert error.value.problem.endswith(" is not one of a, bc")
