"""`Problem` is what a run of the ODE is asked for: one frozen value, which is checked when it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from derive.arguments import one_of
from derive.errors import InputError
from derive.model import Model
from runtime.run_options import METHODS
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array, real_number
from runtime.start.chosen_start import ChosenStart, naming_choices
from runtime.start.parameter_values import RunParameters
from runtime.start.schedules import Schedule
from runtime.start.starts import Start


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Problem:
    """Trajectories of the ODE of a model. What is given a `Problem` checks nothing again.

    model
        What is integrated.
    start
        Where each trajectory starts, and at which time.
    parameters
        Run-time parameters, T among them: a number, or one per trajectory.
    alpha
        Output times, ascending.
    rtol, atol
        Bound of the local error of each order parameter: atol + rtol · |y|.
    method
        One of ``oo.METHODS``.
    stop_loss
        A trajectory ends where its loss comes down to this; None if there is no such level.
    schedule
        How the learning rates change with α.
    """

    model: Model
    start: Start
    parameters: RunParameters
    alpha: Array
    rtol: float
    atol: float
    method: str
    stop_loss: float | None
    schedule: Schedule

    def __init__(
        self,
        model: Model,
        start: Start,
        parameters: Mapping[str, Any] | RunParameters,
        *,
        alpha: ArrayLike,
        rtol: Any,
        atol: Any,
        method: Any,
        stop_loss: Any = None,
        schedule: Any = None,
    ) -> None:
        """Check everything that a user gave: parameters are keywords of `oo.integrate`.

        Raises InputError, which names the first value that is not allowed. `alpha` may be a number, the end
        of 201 even times from that of the start. `dataclasses.replace` makes changed problems, which are
        checked too.
        """
        one_of("method", method, METHODS)
        if isinstance(parameters, RunParameters):
            if parameters.model != model:
                whose = parameters.model.name
                raise InputError("parameters", f"are those of {whose}, not of {model.name}")
            start = start.checked(model, parameters.T)
            count = len(parameters.packed)
            if count not in (1, start.count):
                raise InputError(
                    "parameters", f"are those of {count} trajectories, not of {start.count or 1}"
                )
        else:
            T = checked_arrays.teacher_overlaps(model, parameters.get("T"))
            start = start.checked(model, T)
            parameters = RunParameters.with_teacher(model, T, parameters, start.count)
        relative, absolute = checked_arrays.tolerances(rtol, atol)
        values = {
            "model": model,
            "start": start,
            "parameters": parameters,
            "alpha": checked_arrays.output_times(alpha, start.alpha),
            "rtol": relative,
            "atol": absolute,
            "method": str(method),
            "stop_loss": None if stop_loss is None else real_number("stop_loss", stop_loss),
            "schedule": Schedule.of(schedule),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def T(self) -> Array:
        """Teacher overlaps (p*, p*)."""
        return self.parameters.T

    @property
    def solver_attributes(self) -> dict[str, Any]:
        """Tolerances and method, for the attributes of results."""
        return {"rtol": self.rtol, "atol": self.atol, "method": self.method}

    @property
    def level_attributes(self) -> dict[str, Any]:
        """The level at which trajectories end, if there is one, for the attributes of results."""
        return {} if self.stop_loss is None else {"stop_loss": self.stop_loss}

    @property
    def attributes(self) -> dict[str, Any]:
        """What the attributes of a single run say, beside model and start."""
        return {
            **self.parameters.attributes,
            **self.schedule.attributes,
            **self.solver_attributes,
            **self.level_attributes,
        }


def chosen_problem(
    model: Model, start: ChosenStart, trajectories: int | None = None, **options: Any
) -> Problem:
    """The problem of a chosen start, from `trajectories` random starts or a single one if that is None.

    The options are run-time parameters and those of `Problem`. InputError names one of the choices.
    """
    solver = {name: options.pop(name) for name in ("rtol", "atol", "method")}
    solver |= {name: options.pop(name, None) for name in ("stop_loss", "schedule")}
    alpha = options.pop("alpha")
    with naming_choices():
        given, starts = start.starts_of(model, trajectories)
        return Problem(model, starts, options | given, alpha=start.times(alpha, starts), **solver)
