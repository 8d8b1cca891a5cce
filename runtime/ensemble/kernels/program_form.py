"""What a form of vector code has to be able to do: emit one program of one model as a function."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from runtime.vector.builder import VectorFunction


@dataclasses.dataclass(frozen=True)
class ProgramAddresses:
    """The addresses that the function of a program takes, in this order.

    state, parameters
        Where it reads the packed order parameters and run-time parameters.
    scratch
        Where it may write what it likes.
    result
        Where it writes the outputs, packed in their order.
    """

    state: Any
    parameters: Any
    scratch: Any
    result: Any


class ProgramForm(Protocol):
    """One program as vector code of one form."""

    @property
    def distinct(self) -> bool:
        """Whether LLVM is told that what lies at the four addresses does not overlap."""

    @property
    def scratch_components(self) -> int:
        """Number of vectors of scratch that the code needs."""

    def emit(self, vector: VectorFunction, addresses: ProgramAddresses) -> None:
        """Emit the code into a function under construction."""
