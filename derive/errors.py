"""What is wrong with something that the caller gave."""

from __future__ import annotations


class InputError(ValueError):
    """An argument has a value that is not allowed.

    option
        Name of the argument, as in Python.
    problem
        The value and what is allowed, on one line.
    """

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option = option
        self.problem = problem
