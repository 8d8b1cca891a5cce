"""The variables of a trajectory's result: overlaps, loss, and what the solver counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from derive.model import Model
from derive.parameters import PARAMETERS, VECTORS
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import result_attributes
from runtime.problem import Problem
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters
from runtime.system.compiled_system import System
from runtime.trajectory.solver import OdeSolution

TIME_WORDS = "time, steps / N"
V_WORDS = PARAMETERS["student_weights"].words
# The axes of units by the names of their numbers.
_UNITS = {"p": "i", "pstar": "r"}
# What escape_alpha is, in single runs and ensembles.
ESCAPE_WORDS = "time when the loss came down to stop_loss"


def trajectory_result(system: System, problem: Problem, solution: OdeSolution) -> PlainResult:
    """The result of one trajectory, with the problem in its attributes."""
    model = system.model
    Q, R, *trained = system.unpack(solution.states)
    losses = system.packed_losses(solution.states, problem.parameters.packed[0])
    variables: dict[str, Any] = {
        "Q": (("alpha", "i", "j"), Q, {"long_name": "student-student overlap"}),
        "R": (("alpha", "i", "r"), R, {"long_name": "student-teacher overlap"}),
    }
    for v in trained:
        variables["v"] = (("alpha", "i"), v, {"long_name": V_WORDS})
    variables |= {
        "T": (("r", "s"), problem.T, {"long_name": PARAMETERS["T"].words}),
        **weight_variables(problem.parameters),
        "loss": (("alpha",), losses, {"long_name": "generalisation error"}),
        **solver_variables(solution),
    }
    if problem.stop_loss is not None:
        escape = solution.end if solution.crossed else np.nan
        variables["escape_alpha"] = ((), escape, {"long_name": ESCAPE_WORDS})
    attributes = result_attributes(f"overlap trajectory of {model.name}", model, problem.attributes)
    if problem.start.alpha:
        attributes["start_alpha"] = problem.start.alpha
    attributes.update(problem.start.origin)
    return PlainResult(variables, coordinates_of(model, solution.times), attributes)


def weight_variables(parameters: RunParameters) -> dict[str, Any]:
    """Second-layer weights that do not change, as variables of a dataset, with or without trajectories."""
    variables: dict[str, Any] = {}
    for parameter in VECTORS:
        if parameter.is_packed_for(parameters.model):
            values = parameters.vectors[parameter.name]
            dims = ("trajectory", _UNITS[parameter.shape[0]])
            words = {"long_name": parameter.words}
            shared = len(values) == 1
            variables[parameter.name] = (dims[1:], values[0], words) if shared else (dims, values, words)
    return variables


def solver_variables(solution: OdeSolution) -> dict[str, Any]:
    """How a solver ended, and what it counted, as variables of a dataset."""
    return {
        "status": ((), solution.status, {"long_name": "ok, diverged or step_too_small"}),
        "alpha_end": ((), solution.end, {"long_name": "time that was reached"}),
        "steps": ((), solution.accepted, {"long_name": "accepted steps"}),
        "rejected": ((), solution.rejected, {"long_name": "rejected steps"}),
        "evaluations": ((), solution.evaluations, {"long_name": "evaluations of the right-hand side"}),
    }


def coordinates_of(model: Model, times: Array) -> dict[str, Any]:
    """Coordinates of a dataset: output times, and students and teachers counted from 1."""
    students = np.arange(1, model.p + 1)
    teachers = np.arange(1, model.pstar + 1)
    return {
        "alpha": ("alpha", times, {"long_name": TIME_WORDS}),
        "i": students,
        "j": students,
        "r": teachers,
        "s": teachers,
    }
