"""Integrates the ODE from where the runs of a simulation start, to be seen beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.ensemble.chosen_ensemble import ChosenEnsemble
from runtime.problem import Problem
from runtime.run_options import ATOL, DEFAULT_METHOD, RTOL
from runtime.sgd.simulation import Simulation
from runtime.system.compiled_system import System
from runtime.trajectory.single_run import integrate_problem

if TYPE_CHECKING:
    import xarray


def ode_from_same_start(simulation: Simulation, system: System) -> xarray.Dataset:
    """The ODE at the times of the records; from starts that differ an ensemble with all states.

    `system` is of the model of the simulation.
    """
    problem = Problem(
        simulation.model,
        simulation.start,
        simulation.parameters,
        alpha=simulation.times,
        rtol=RTOL,
        atol=ATOL,
        method=DEFAULT_METHOD,
        schedule=simulation.schedule,
    )
    if problem.start.count is None:
        return integrate_problem(system, problem)
    return ChosenEnsemble(problem, "all", simulation.workers).run(system)
