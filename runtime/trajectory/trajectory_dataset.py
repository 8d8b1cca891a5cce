"""The variables of a trajectory's result: overlaps, loss, and what the solver counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from derive.model import Model
from derive.parameters import VECTORS
from runtime.output.plain_result import PlainResult, described
from runtime.output.result_attributes import result_attributes
from runtime.problem import Problem
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters
from runtime.system.compiled_system import System
from runtime.trajectory.solver import OdeSolution

# The axes of units by the names of their numbers.
_UNITS = {"p": "i", "pstar": "r"}


def trajectory_result(system: System, problem: Problem, solution: OdeSolution) -> PlainResult:
    """The result of one trajectory, with the problem in its attributes."""
    model = system.model
    Q, R, *trained = system.unpack(solution.states)
    losses = system.packed_losses(solution.states, problem.parameters.packed[0])
    variables: dict[str, Any] = {
        "Q": (("alpha", "i", "j"), Q),
        "R": (("alpha", "i", "r"), R),
    }
    for v in trained:
        variables["v"] = (("alpha", "i"), v)
    variables |= {
        **layer_variables(problem.parameters),
        "loss": (("alpha",), losses),
        **solver_variables(solution),
    }
    if problem.stop_loss is not None:
        escape = solution.end if solution.crossed else np.nan
        variables["escape_alpha"] = ((), escape)
    attributes = result_attributes(
        f"overlap trajectory of {model.name}", model, problem.attributes, "integrate"
    )
    if problem.start.alpha:
        attributes["start_alpha"] = problem.start.alpha
    attributes.update(problem.start.origin)
    return PlainResult(variables, coordinates_of(model, solution.times), attributes)


def layer_variables(parameters: RunParameters) -> dict[str, Any]:
    """T and the second layers as variables of a dataset, with or without trajectories.

    A trained second layer is here as it starts.
    """
    variables: dict[str, Any] = {"T": (("r", "s"), parameters.T)}
    for parameter in VECTORS:
        if parameter.belongs_to(parameters.model):
            values = parameters.vectors[parameter.name]
            dims = ("trajectory", _UNITS[parameter.shape[0]])
            variables[parameter.name] = (dims[1:], values[0]) if len(values) == 1 else (dims, values)
    return described(variables)


def solver_variables(solution: OdeSolution) -> dict[str, Any]:
    """How a solver ended, and what it counted, as variables of a dataset."""
    return {
        "status": ((), solution.status),
        "alpha_end": ((), solution.end),
        "steps": ((), solution.accepted),
        "rejected": ((), solution.rejected),
        "evaluations": ((), solution.evaluations),
    }


def coordinates_of(model: Model, times: Array) -> dict[str, Any]:
    """Coordinates of a dataset: output times, and students and teachers counted from 1."""
    students = np.arange(1, model.p + 1)
    teachers = np.arange(1, model.pstar + 1)
    return {
        "alpha": times,
        "i": students,
        "j": students,
        "r": teachers,
        "s": teachers,
    }
