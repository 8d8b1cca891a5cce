"""The forms of vector code by their names, and which of them is fastest for a program of some size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from derive.expansion import operation_count
from derive.model import Model
from derive.program import Program, RowSum
from runtime.ensemble.kernels.looped_tiles import LoopedTiles
from runtime.ensemble.kernels.matrix_memory import Sides
from runtime.ensemble.kernels.matrix_statements import TiledMatrices
from runtime.ensemble.kernels.program_form import ProgramForm
from runtime.ensemble.kernels.unrolled_entries import UnrolledEntries
from runtime.ensemble.kernels.written_out_tiles import WrittenOutTiles

# Programs of up to this many operations keep all entries in registers, as far as there are enough.
UNROLLED_OPERATIONS = 600
# Above this many operations, straight-line code takes long to compile and outgrows the instruction cache.
WRITTEN_OUT_OPERATIONS = 4000
# Programs of polynomial activations have many sums of single entries, which straight-line code fuses. Tiles
# that are written out gain nothing there.
UNROLLED_POLYNOMIAL_OPERATIONS = 8000

# Makes the form of a model's program; the sides are the largest height and width of a register tile.
FormOf = Callable[[Model, Program, Sides], ProgramForm]

FORMS: dict[str, FormOf] = {
    "unrolled entries": lambda model, program, _largest: UnrolledEntries(model, program),
    "written-out tiles": partial(TiledMatrices, WrittenOutTiles),
    "looped tiles": partial(TiledMatrices, LoopedTiles),
}


def form_by_size(program: Program) -> str:
    """The name of the form that is fastest for a program of this size."""
    operations = operation_count(program)
    if any(isinstance(statement, RowSum) for statement in program.statements):
        return "unrolled entries" if operations <= UNROLLED_POLYNOMIAL_OPERATIONS else "looped tiles"
    if operations <= UNROLLED_OPERATIONS:
        return "unrolled entries"
    return "written-out tiles" if operations <= WRITTEN_OUT_OPERATIONS else "looped tiles"
