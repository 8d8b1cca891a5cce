"""The base of all emitters of kernels: one LLVM module, its memory, and the system's equations in it.

With a smooth schedule the learning rates of all lanes change with time, so they are written anew before
each evaluation of the right-hand side. Without one, nothing of that is emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llvmlite import ir

from derive.model import Model
from derive.parameters import scheduled_places
from derive.pipeline import Pipeline
from runtime.ensemble.kernels.form_by_size import FORMS, form_by_size
from runtime.ensemble.kernels.lane_memory import LaneLayout, double_at
from runtime.ensemble.kernels.lane_operations import LaneOperations
from runtime.ensemble.kernels.program_form import ProgramAddresses, ProgramForm
from runtime.start.schedule_kinds import CONSTANT
from runtime.trajectory.controller import over
from runtime.trajectory.schedule_rule import schedule_factor
from runtime.trajectory.tableaux import Tableau
from runtime.vector.builder import VectorFunction, integer
from runtime.vector.jit import Target

# Systems of up to this many order parameters are stepped two vectors at a time.
DOUBLED_STATE = 8


class KernelEmitter:
    """Emits kernels into one LLVM module for a system, a tableau, a processor and a kind of schedule."""

    # Kernels that others call; they are emitted first.
    dense: Any
    write: Any

    def __init__(self, model: Model, tableau: Tableau, target: Target, schedule: int = CONSTANT) -> None:
        self.model, self.tableau, self.target, self.schedule = model, tableau, target, schedule
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
            max(drift_form.scratch_components, loss_form.scratch_components),
            () if schedule == CONSTANT else scheduled_places(model),
        )
        self.rhs = self._emit_program("inner_rhs", drift_form)
        self.loss = self._emit_program("inner_loss", loss_form)
        if schedule != CONSTANT:
            self.rates = self._emit_rates()

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

    def rule(self, vector: VectorFunction, rule: Any) -> Callable[..., Any]:
        """A rule of `controller`, `event_search` or `schedule_rule` that acts on all lanes."""
        return over(LaneOperations(vector), rule)

    def _emit_rates(self) -> Any:
        """Emit rates(work), which writes the learning rates of each lane at its time `rate_time_at`."""
        vector, layout = self.new_function("inner_rates", inner=True), self.layout
        (work,) = vector.arguments
        ratio = vector.divide(vector.load(work, layout.rate_time_at), vector.load(work, layout.scale_at))
        factor = self.rule(vector, schedule_factor)(self.schedule, ratio)
        for number, place in enumerate(layout.scheduled):
            rate = vector.multiply(factor, vector.load(work, layout.initial_rate_at(number)))
            vector.store(rate, work, layout.parameters_at + place)
        vector.builder.ret(integer(0))
        return vector.function

    def keep_rates(self, vector: VectorFunction, work: Any, fresh: Any) -> None:
        """Take the parameters of fresh lanes for their learning rates at g = 1."""
        layout = self.layout
        for number, place in enumerate(layout.scheduled):
            given = vector.load(work, layout.parameters_at + place)
            kept = vector.load(work, layout.initial_rate_at(number))
            vector.store(vector.select(fresh, given, kept), work, layout.initial_rate_at(number))

    def emit_slope(self, vector: VectorFunction, work: Any, state: int, number: int) -> None:
        """Compute slope `number` of the attempted step from the state that starts at a component."""
        if self.schedule != CONSTANT:
            time, end = vector.load(work, double_at.time), vector.load(work, double_at.time_end)
            if number:
                place = vector.constant(self.tableau.coefficients["c"][number])
                time = vector.add(time, vector.multiply(place, vector.load(work, double_at.attempted)))
            # Rounding must not take the time beyond the end.
            vector.store(vector.minimum(time, end), work, self.layout.rate_time_at)
            vector.builder.call(self.rates, [work])
        self.call_program(vector, self.rhs, work, state, self.layout.slope_at(number))

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
