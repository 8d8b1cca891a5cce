"""The rates of a step of SGD in vector code: learning rates, their schedule, and weight decay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from runtime.ensemble.kernels.lane_operations import LaneOperations
from runtime.sgd.sgd_process import SgdProcess, StepForm
from runtime.start.schedule_kinds import CONSTANT
from runtime.trajectory.controller import over
from runtime.trajectory.schedule_rule import schedule_factor
from runtime.vector.builder import VectorFunction
from runtime.vector.vector_record import RecordMemory, VectorRecord


def rate_fields(form: StepForm) -> dict[str, tuple[int, ...]]:
    """The fields of a record that `step_rates` reads.

    rate, second_rate
        2aη/B, for half the slope ½ σ', and aη_v/(NB), which a schedule multiplies; the chain's `rate` is
        divided by N.
    decay
        ηγ/N.
    clock, dimension, origin, tau
        With a smooth schedule: the number of steps so far, N, the time of the start, and τ.
    """
    fields: dict[str, tuple[int, ...]] = {"rate": ()}
    if form.trained:
        fields["second_rate"] = ()
    if form.decays:
        fields["decay"] = ()
    if form.schedule != CONSTANT:
        fields |= {"clock": (), "dimension": (), "origin": (), "tau": ()}
    return fields


def set_rates(
    memory: RecordMemory, process: SgdProcess, parameters: Mapping[str, Any], factor: float, unit: float
) -> None:
    """Write the rates of runs; `factor` multiplies learning rates, and `unit` divides the first layer's."""
    form, a, n = process.form, process.readout[0], process.n
    eta, batch = parameters["eta"] * factor, parameters["batch"]
    memory["rate"][:] = 2.0 * a * eta / batch / unit
    if form.trained:
        memory["second_rate"][:] = a * (parameters["eta_second"] * factor) / batch / n
    if form.decays:
        memory["decay"][:] = eta * parameters["weight_decay"] / n


def start_clock(memory: RecordMemory, process: SgdProcess) -> None:
    """Write what a smooth schedule needs before the first step."""
    if process.form.schedule != CONSTANT:
        memory["dimension"][:] = process.n
        memory["origin"][:] = process.origin
        memory["tau"][:] = process.schedule.scale


@dataclasses.dataclass(frozen=True)
class StepRates:
    """Vectors: the rates of first and second layer, and 1 − ηγ/N; None where a step has none."""

    first: Any
    second: Any
    kept: Any


def step_rates(vector: VectorFunction, memory: Any, record: VectorRecord, form: StepForm) -> StepRates:
    """Emit the rates of the next step, and move on the clock."""

    def field(name: str) -> Any:
        return vector.load(memory, record.at(name))

    first = field("rate")
    second = field("second_rate") if form.trained else None
    decay = field("decay") if form.decays else None
    if form.schedule != CONSTANT:
        clock = field("clock")
        vector.store(vector.add(clock, vector.constant(1.0)), memory, record.at("clock"))
        time = vector.add(field("origin"), vector.divide(clock, field("dimension")))
        ratio = vector.divide(time, field("tau"))
        factor = over(LaneOperations(vector), schedule_factor)(form.schedule, ratio)
        first, second, decay = (
            None if rate is None else vector.multiply(rate, factor) for rate in (first, second, decay)
        )
    kept = None if decay is None else vector.subtract(vector.constant(1.0), decay)
    return StepRates(first, second, kept)
