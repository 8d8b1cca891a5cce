"""The memory of the overlap chain's vector code: which component of one array of doubles holds what."""

from __future__ import annotations

import dataclasses
from typing import Any

from runtime.vector.builder import integer
from runtime.vector.random_numbers import WORDS


@dataclasses.dataclass(frozen=True)
class ChainLayout:
    """Where the components of the lanes' memory start, for p students and a teacher of rank k.

    The words of the random numbers come first, then 2aη/N, √Δ, the shape of the χ², the readout a, and
    the teacher's weights b τ.
    """

    p: int
    k: int

    rate_at: int = WORDS
    noise_at: int = WORDS + 1
    shape_at: int = WORDS + 2
    student_at: int = WORDS + 3
    weights_at: int = WORDS + 4

    @property
    def norms_at(self) -> int:
        """The norms that the sphere keeps."""
        return self.weights_at + self.k

    @property
    def along_at(self) -> int:
        """A, row by row."""
        return self.norms_at + self.p

    @property
    def beyond_at(self) -> int:
        """The lower triangle of S, column by column."""
        return self.along_at + self.p * self.k

    @property
    def teacher_inputs_at(self) -> int:
        """u, the inputs along the teacher."""
        return self.beyond_at + self.p * (self.p + 1) // 2

    @property
    def inputs_at(self) -> int:
        """v, the inputs along the axes of S."""
        return self.teacher_inputs_at + self.k

    @property
    def fields_at(self) -> int:
        """λ, the fields of the students."""
        return self.inputs_at + self.p

    @property
    def outside_at(self) -> int:
        """First w, then x in its place, then norms."""
        return self.fields_at + self.p

    @property
    def component_count(self) -> int:
        return self.outside_at + self.p

    def column_at(self, j: Any, builder: Any = None) -> Any:
        """Component of S_jj; those of S_ij, i > j, follow."""
        if isinstance(j, int):
            return self.beyond_at + j * self.p - j * (j - 1) // 2
        before = builder.ashr(builder.mul(j, builder.sub(j, integer(1))), integer(1))
        return builder.add(integer(self.beyond_at), builder.sub(builder.mul(j, integer(self.p)), before))
