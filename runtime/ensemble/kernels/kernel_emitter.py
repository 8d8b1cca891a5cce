"""The base of all emitters of kernels: one LLVM module, its memory, and the system's equations in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llvmlite import ir

from derive.model import Model
from derive.pipeline import Pipeline
from runtime.ensemble.kernels.form_by_size import FORMS, form_by_size
from runtime.ensemble.kernels.lane_memory import LaneLayout
from runtime.ensemble.kernels.program_form import ProgramAddresses, ProgramForm
from runtime.trajectory.tableaux import Tableau
from runtime.vector.builder import VectorFunction, integer
from runtime.vector.jit import Target

# Systems of up to this many order parameters are stepped two vectors at a time.
DOUBLED_STATE = 8


class KernelEmitter:
    """Emits kernels into one LLVM module for a system, a tableau and a processor."""

    # Kernels that others call; they are emitted first.
    dense: Any
    write: Any

    def __init__(self, model: Model, tableau: Tableau, target: Target) -> None:
        self.model, self.tableau, self.target = model, tableau, target
        # Small systems leave the processor's units idle between dependent operations, and a second vector
        # fills the gaps.
        self.lanes = target.lanes * (2 if model.state_size <= DOUBLED_STATE else 1)
        self.module = ir.Module(model.name)
        functions = Pipeline.of(model).functions
        drift, loss = functions["rhs"], functions["loss"]
        # Both programs have the form that suits the larger one, since they share their scratch memory.
        form_of = FORMS[form_by_size(drift)]
        drift_form, loss_form = (form_of(model, program, target.tile) for program in (drift, loss))
        self.layout = LaneLayout(
            model.state_size,
            len(model.parameters),
            tableau.b.size,
            tableau.slopes,
            2 if tableau.e_low.size else 1,
            drift_form.scratch_components,
        )
        self.rhs = self._emit_program("inner_rhs", drift_form)
        self.loss = self._emit_program("inner_loss", loss_form)

    def new_function(
        self, name: str, arguments: int = 1, inner: bool = False, distinct: bool = True
    ) -> VectorFunction:
        """A function whose arguments are addresses; an `inner` one is not visible outside the module.

        distinct
            Whether LLVM is told that the arguments' memory does not overlap.
        """
        vector = VectorFunction(self.module, name, self.lanes, self.target.fma, arguments)
        if distinct:
            for argument in vector.arguments:
                argument.add_attribute("noalias")
        if inner:
            vector.function.linkage = "internal"
            vector.function.attributes.add("noinline")
        return vector

    def _emit_program(self, name: str, form: ProgramForm) -> Any:
        """Emit name(state, parameters, scratch, result), which writes the outputs of a program in order."""
        vector = self.new_function(name, 4, inner=True, distinct=form.distinct)
        form.emit(vector, ProgramAddresses(*vector.arguments))
        vector.builder.ret(integer(0))
        return vector.function

    def call_program(
        self, vector: VectorFunction, function: Any, work: Any, state: int, result: int
    ) -> None:
        """Call rhs or loss for the state that starts at one component, and write the result at another."""
        places = [state, self.layout.parameters_at, self.layout.scratch_at, result]
        vector.builder.call(function, [vector.address(work, place) for place in places])

    def combine(self, vector: VectorFunction, work: Any, index: Any, weights: Iterable[float]) -> Any:
        """Σ weights_j k_j for component `index` of the slopes k_j; None if all weights are zero."""
        scales = {stage: vector.constant(weight) for stage, weight in enumerate(weights) if weight != 0.0}
        return self.combine_lanes(vector, work, index, scales)

    def combine_lanes(
        self, vector: VectorFunction, work: Any, index: Any, scales: Mapping[int, Any]
    ) -> Any:
        """As `combine`, with a vector of weights for each stage."""
        total: Any = None
        for stage, scale in scales.items():
            slope = vector.load(vector.address(work, self.layout.slope_at(stage)), index)
            total = vector.multiply(slope, scale) if total is None else vector.fma(slope, scale, total)
        return total

    def move(self, vector: VectorFunction, work: Any, h: Any, weights: Iterable[float], place: int) -> None:
        """Write y + h Σ weights_j k_j to the components from `place` on."""
        base_y, target = vector.address(work, self.layout.state_at), vector.address(work, place)

        def body(index: Any, _: list[Any]) -> None:
            change = self.combine(vector, work, index, weights)
            vector.store(vector.fma(h, change, vector.load(base_y, index)), target, index)

        vector.loop(self.layout.size, body)
