"""Prints the body of a generated function with one line per entry of each matrix."""

from __future__ import annotations

from collections.abc import Iterator

from derive.emit.function_body import FunctionBody
from derive.emit.python_source import assignment_line
from derive.expansion import entry_names, expand
from derive.program import Matrix, Statement, Vector


class UnrolledBody(FunctionBody):
    """Every entry of every matrix is a local scalar."""

    def read(self, part: Matrix | Vector, source: str, offset: int) -> Iterator[str]:
        for k, name in enumerate(entry_names(self.program, part), start=offset):
            yield f"{name} = {source}[{k}]"

    def write(self, part: Matrix | Vector, target: str, offset: int) -> Iterator[str]:
        for k, name in enumerate(entry_names(self.program, part), start=offset):
            yield f"{target}[{k}] = {name}"

    def statement(self, statement: Statement) -> Iterator[str]:
        for assignment in expand(self.program, statement):
            yield assignment_line(assignment)
