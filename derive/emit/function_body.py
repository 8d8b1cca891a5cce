"""Prints the body of a generated function: what both forms share, lines per entry and loops."""

from __future__ import annotations

from collections.abc import Iterator

from derive.model import Model
from derive.parameters import PARAMETERS
from derive.program import Matrix, Program, Statement, sources
from derive.tangent import PREFIX


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
        state = {"Q": 0, "R": self.model.p * (self.model.p + 1) // 2}
        for matrix in self.program.inputs:
            if matrix.name not in self._names:
                continue
            if matrix.name in PARAMETERS:
                yield from self.read(matrix, "parameters", packed.index(f"{matrix.name}_1_1"))
            else:
                base = matrix.name.removeprefix(PREFIX)
                yield from self.read(matrix, "y" if base == matrix.name else "v", state[base])

    def statements(self) -> Iterator[str]:
        """The lines of all statements, with their notes as comments."""
        for statement in self.program.statements:
            if statement.note:
                yield ""
                yield f"# {self._note(statement)}"
            yield from self.statement(statement)

    def _note(self, statement: Statement) -> str:
        target = statement.target
        name = target if isinstance(target, str) else target.name
        return f"change of {statement.note}" if name.startswith(PREFIX) else statement.note

    def store(self, target: str) -> Iterator[str]:
        """Lines that write the output matrices into the vector `target`."""
        yield ""
        offset = 0
        for output in self.program.outputs:
            assert isinstance(output, Matrix)
            yield from self.write(output, target, offset)
            offset += sum(1 for _ in self.program.entries(output))

    def read(self, matrix: Matrix, source: str, offset: int) -> Iterator[str]:
        """Lines that read a matrix from the vector `source`."""
        raise NotImplementedError

    def write(self, matrix: Matrix, target: str, offset: int) -> Iterator[str]:
        """Lines that write a matrix into the vector `target`."""
        raise NotImplementedError

    def statement(self, statement: Statement) -> Iterator[str]:
        """The lines of one statement."""
        raise NotImplementedError
