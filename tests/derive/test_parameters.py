"""The table of run-time parameters: each has a name and a letter of its own."""

import dataclasses

import pytest

from derive.parameters import NUMBERS, PARAMETERS


def test_names_and_letters_are_unique():
    letters = [parameter.printed for parameter in PARAMETERS.values()]
    assert len(letters) == len(set(letters))


@pytest.mark.parametrize(("field", "value"), [("name", "loss"), ("latex", r"\tau"), ("latex", "Q")])
def test_names_of_other_quantities_are_a_defect(field, value):
    """With the letter of an eigenvalue of T, closed forms would take one for the other."""
    taken = value.removeprefix("\\")
    with pytest.raises(ValueError, match=f": {taken} is the name of another quantity"):
        dataclasses.replace(NUMBERS[0], **{field: value})


def test_simulations_accept_only_what_they_say_they_know():
    """Nobody who forgets to say so gets simulations that ignore the parameter."""
    fields = {field.name: field.default for field in dataclasses.fields(NUMBERS[0])}
    assert fields["at_finite_n"] is False
