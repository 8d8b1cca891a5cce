"""The memory of the overlap chain's vector code: one run per lane."""

from __future__ import annotations

from typing import Any

from runtime.vector.builder import integer
from runtime.vector.random_numbers import WORDS
from runtime.vector.vector_record import VectorRecord


class ChainRecord(VectorRecord):
    """The fields of a chain's memory, for p students and a teacher of rank k.

    words
        The state of the random numbers.
    rate, noise, shape
        2aη/N, √Δ, and the shape of the χ².
    student, weights
        The readout a, and the teacher's weights b τ.
    norms
        The norms that the sphere keeps.
    along, beyond
        A, row by row, and the lower triangle of S, column by column.
    inputs_along, inputs_beyond
        u along the teacher and v along the axes of S. They are drawn together, and lie next to each other.
    fields
        λ of the students.
    outside
        First w, then x in its place, then norms.
    """

    def __init__(self, p: int, k: int) -> None:
        self.p, self.k = p, k
        super().__init__(
            words=(WORDS,),
            rate=(),
            noise=(),
            shape=(),
            student=(),
            weights=(k,),
            norms=(p,),
            along=(p, k),
            beyond=(p * (p + 1) // 2,),
            inputs_along=(k,),
            inputs_beyond=(p,),
            fields=(p,),
            outside=(p,),
        )

    def column_at(self, j: Any, builder: Any = None) -> Any:
        """Component of S_jj; those of S_ij, i > j, follow."""
        if isinstance(j, int):
            return self.at("beyond") + j * self.p - j * (j - 1) // 2
        before = builder.ashr(builder.mul(j, builder.sub(j, integer(1))), integer(1))
        return builder.add(integer(self.at("beyond")), builder.sub(builder.mul(j, integer(self.p)), before))
