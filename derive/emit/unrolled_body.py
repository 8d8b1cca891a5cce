"""Prints the body of a generated function with one line per entry of each matrix."""

from __future__ import annotations

from collections.abc import Iterator

from derive.emit.function_body import FunctionBody
from derive.emit.python_source import assignment_line
from derive.expansion import entry, expand
from derive.program import Matrix, Statement


class UnrolledBody(FunctionBody):
    """Every entry of every matrix is a local scalar."""

    def read(self, matrix: Matrix, source: str, offset: int) -> Iterator[str]:
        for k, (i, j) in enumerate(self.program.entries(matrix), start=offset):
            yield f"{entry(matrix, i, j)} = {source}[{k}]"

    def write(self, matrix: Matrix, target: str, offset: int) -> Iterator[str]:
        for k, (i, j) in enumerate(self.program.entries(matrix), start=offset):
            yield f"{target}[{k}] = {entry(matrix, i, j)}"

    def statement(self, statement: Statement) -> Iterator[str]:
        for assignment in expand(self.program, statement):
            yield assignment_line(assignment)
