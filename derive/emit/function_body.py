"""Prints the body of a generated function: what both forms share, lines per entry and loops."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from derive.expansion import entry_names
from derive.model import Model
from derive.program import Matrix, Program, Statement, Vector, sources
from derive.tangent import PREFIX, SECOND_PREFIX

# What holds the changes of inputs, by the prefix of their names.
_DIRECTIONS = {PREFIX: "direction", SECOND_PREFIX: "other"}


class FunctionBody:
    """Prints the lines of one function; subclasses print matrices as scalars or as arrays."""

    def __init__(self, model: Model, program: Program) -> None:
        self.model = model
        self.program = program
        self._names = {name for statement in program.statements for name in sources(statement)}

    def load(self) -> Iterator[str]:
        """Lines that read the state, the direction and the parameters."""
        packed = self.model.parameters
        for k, name in enumerate(packed):
            if name in self._names:
                yield f"{name} = parameters[{k}]"
        for part in self.program.inputs:
            if part.name not in self._names:
                continue
            source = _DIRECTIONS.get(part.name[:2], "y")
            base = part.name if source == "y" else part.name[2:]
            first = next(entry_names(self.program, dataclasses.replace(part, name=base)))
            if first in packed:
                yield from self.read(part, "parameters", packed.index(first))
            else:
                yield from self.read(part, source, self.model.state.index(first))

    def statements(self) -> Iterator[str]:
        """The lines of all statements, with their notes as comments."""
        yield from self.lines_of(self.program.statements)

    def lines_of(self, statements: Iterable[Statement]) -> Iterator[str]:
        """The lines of some statements, one after the other."""
        for statement in statements:
            if statement.note:
                yield ""
                yield f"# {self._note(statement)}"
            yield from self.statement(statement)

    def _note(self, statement: Statement) -> str:
        target = statement.target
        name = target if isinstance(target, str) else target.name
        if name.startswith(SECOND_PREFIX + PREFIX):
            return f"second change of {statement.note}"
        if name.startswith(SECOND_PREFIX):
            return f"change along other of {statement.note}"
        return f"change of {statement.note}" if name.startswith(PREFIX) else statement.note

    def store(self, target: str) -> Iterator[str]:
        """Lines that write the output matrices and vectors into the vector `target`."""
        yield ""
        yield from self.stored(self.program, target)

    def stored(self, program: Program, target: str) -> Iterator[str]:
        """Lines that write the outputs of a program whose statements are printed into a vector."""
        offset = 0
        for output in program.outputs:
            assert not isinstance(output, str)
            yield from self.write(output, target, offset)
            offset += program.size_of(output)

    def read(self, part: Matrix | Vector, source: str, offset: int) -> Iterator[str]:
        """Lines that read a matrix or a vector from the vector `source`."""
        raise NotImplementedError

    def write(self, part: Matrix | Vector, target: str, offset: int) -> Iterator[str]:
        """Lines that write a matrix or a vector into the vector `target`."""
        raise NotImplementedError

    def statement(self, statement: Statement) -> Iterator[str]:
        """The lines of one statement."""
        raise NotImplementedError
