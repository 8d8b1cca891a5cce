"""What is wrong with something that the caller gave."""

from __future__ import annotations

_LONGEST = 400
_KEPT_END = 100


def one_line(text: str) -> str:
    """The text on one line of bearable length; what cannot be printed is escaped.

    Why: names and values of others may hold line breaks, or commands for the terminal.
    """
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - _KEPT_END]} … {line[-_KEPT_END:]}"
    return line


class InputError(ValueError):
    """An argument has a value that is not allowed.

    option
        Name of the argument, as in Python.
    problem
        The value and what is allowed, on one line.
    """

    def __init__(self, option: str, problem: str) -> None:
        self.option = option
        self.problem = one_line(problem)
        super().__init__(f"{option}: {self.problem}")
