"""The memory of the overlap chain's vector code: one run per lane."""

from __future__ import annotations

from typing import Any

from runtime.sgd.sgd_process import StepForm
from runtime.sgd.step_rates import rate_fields
from runtime.vector.builder import integer
from runtime.vector.random_numbers import WORDS
from runtime.vector.vector_record import VectorRecord


class ChainRecord(VectorRecord):
    """The fields of a chain's memory, for p students and a teacher of rank k.

    words
        The state of the random numbers.
    rate …
        The rates of a step, as `step_rates` has them; here 2aη/(NB).
    noise, shape
        √Δ, and the shapes of the χ²: of one, or with batches of `columns`.
    student, weights
        The readout a, and what the teacher's output is made of: b τ, or the lower triangle of a quadratic
        form, row by row, with twice its entries beside the diagonal; or the weights b v* of teachers.
    teachers
        F, row by row, if the teacher's output needs the fields λ* = F u.
    second
        Second-layer weights v of the students, if they have any.
    norms
        The norms that the sphere keeps.
    along, beyond
        A, row by row, and the lower triangle of S, column by column.
    inputs_along, inputs_beyond
        u along the teacher and z along the axes of S. They are drawn together, and lie next to each other.
    fields
        λ of the students.
    outside
        First w, then x in its place, then norms.
    next_along, full, next_second
        With batches: A, S (a full matrix, column by column) and v, as the samples change them.
    kicks
        With batches: a matrix K (p, columns), column by column, with the K Kᵀ of the kicks.
    normals
        With batches: the normal numbers of a column of Bartlett's factor.
    """

    def __init__(self, form: StepForm, columns: int) -> None:
        self.form, self.columns = form, columns
        self.p, self.k = p, k = form.p, form.k
        fields = {
            "words": (WORDS,),
            **rate_fields(form),
            "noise": (),
            "shape": (max(columns, 1),),
            "student": (),
            "weights": (form.teachers or (k if form.separate else k * (k + 1) // 2),),
            "teachers": (form.teachers, k),
            **({"second": (p,)} if form.weighted else {}),
            "norms": (p,),
            "along": (p, k),
            "beyond": (p * (p + 1) // 2,),
            "inputs_along": (k,),
            "inputs_beyond": (p,),
            "fields": (p,),
            "outside": (p,),
        }
        if columns:
            fields |= {
                "next_along": (p, k),
                "full": (p, p),
                "kicks": (columns, p),
                "normals": (columns + 1,),
            }
            fields |= {"next_second": (p,)} if form.trained else {}
        super().__init__(**fields)

    def column_at(self, j: Any, builder: Any = None) -> Any:
        """Component of S_jj; those of S_ij, i > j, follow."""
        if isinstance(j, int):
            return self.at("beyond") + j * self.p - j * (j - 1) // 2
        before = builder.ashr(builder.mul(j, builder.sub(j, integer(1))), integer(1))
        return builder.add(integer(self.at("beyond")), builder.sub(builder.mul(j, integer(self.p)), before))
