"""One trajectory from a chosen start, checked before its system is derived and loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from derive.model import Model
from runtime.start.chosen_start import ChosenStart, naming_choices
from runtime.system.compiled_system import System
from runtime.trajectory.single_run import OdeProblem, integrate_problem

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class PreparedRun:
    """A problem, and the attributes that name where it starts."""

    problem: OdeProblem
    origin: Mapping[str, Any]

    @classmethod
    def of(cls, model: Model, start: ChosenStart, **parameters: Any) -> PreparedRun:
        """The run of these parameters of `integrate`; raises InputError that names one of the choices."""
        with naming_choices():
            Q0, R0, T, origin = start.overlaps_of(model)
            return cls(OdeProblem.checked(model, Q0, R0, T=T, **parameters), origin)

    def run(self, system: System) -> xarray.Dataset:
        """As `integrate` returns it, with the attributes of the start; `system` is of the model."""
        run = integrate_problem(system, self.problem)
        run.attrs.update(self.origin)
        return run
