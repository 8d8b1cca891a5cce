"""The kinds of tasks of a sweep: the parameters of each, how they are checked, and how one is computed.

The result of a task equals, to the last bit, the data of `cli integrate`, `cli ensemble`, `cli simulate` or
`cli escape` with the same options.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.arguments import one_of
from derive.model import Model
from derive.parameters import NUMBERS, VECTORS
from runtime.analysis.escape.escape_measurement import measure_escapes
from runtime.analysis.escape.escape_study import chosen_study
from runtime.ensemble.chosen_ensemble import ChosenEnsemble
from runtime.problem import chosen_problem
from runtime.run_options import MODEL_OPTIONS, OF_STARTS, RunOption, axes_of
from runtime.sgd.simulation import chosen_simulation
from runtime.start.checked_arrays import output_times
from runtime.start.chosen_start import ChosenStart
from runtime.system.compiled_system import System
from runtime.system.loading import load
from runtime.trajectory.single_run import integrate_problem

if TYPE_CHECKING:
    import xarray

# Bytes of a netCDF-4 file of few numbers: its header and the smallest blocks of each variable.
SHARD_OVERHEAD = 80_000
# Numbers per output time that statistics of an ensemble have: mean, error, count and quantiles.
_STATISTICS = 8
# Simulations have Q, R and the loss once per run, and a few more times: their means and errors.
_STATES_OF_CHAIN = 3

# A checked task computes its dataset when it is given the folder of the generated systems.
Run = Callable[[str | Path], "xarray.Dataset"]


@dataclasses.dataclass(frozen=True)
class Job:
    """A kind of task.

    checked
        Makes the task of a model, parameters and a number of threads, with the checks of the single
        command; raises InputError, which names the first parameter that is not allowed.
    values
        The rough number of values in the result of a task.
    loads
        Whether its tasks need generated systems.
    """

    name: str
    checked: Callable[[Model, Mapping[str, Any], int], Run]
    values: Callable[[Mapping[str, Any]], int]
    loads: bool = True

    @functools.cached_property
    def options(self) -> dict[str, RunOption]:
        """The options of its tasks, which are those of the command that does one of them, by name."""
        return axes_of(self.name)


def _start_of(parameters: Mapping[str, Any]) -> ChosenStart:
    return ChosenStart(**{name: parameters[name] for name in OF_STARTS if name in parameters})


def _of_run(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a task that say neither what its model is nor where it starts."""
    return {
        name: value
        for name, value in parameters.items()
        if name not in MODEL_OPTIONS and name not in OF_STARTS
    }


def _ode(model: Model, parameters: Mapping[str, Any], _threads: int) -> Run:
    problem = chosen_problem(model, _start_of(parameters), **_of_run(parameters))
    return lambda generated: integrate_problem(system_of(model, generated), problem)


def _ensemble(model: Model, parameters: Mapping[str, Any], threads: int) -> Run:
    own = _of_run(parameters)
    output = own.pop("output")
    chosen = ChosenEnsemble(chosen_problem(model, _start_of(parameters), **own), output, threads)
    return lambda generated: _without_numbers(chosen.run(system_of(model, generated)))


def _chain(model: Model, parameters: Mapping[str, Any], threads: int) -> Run:
    own = {**_of_run(parameters), "n": parameters["n"], "threads": threads}
    simulation = chosen_simulation(model, _start_of(parameters), **own)
    return lambda _generated: _without_numbers(simulation.run())


def _escape(model: Model, parameters: Mapping[str, Any], threads: int) -> Run:
    own = {**_of_run(parameters), "n": [parameters["n"]], "threads": threads}
    study = chosen_study(model, _start_of(parameters), **own)

    def run(generated: str | Path) -> xarray.Dataset:
        result = measure_escapes(system_of(model, generated), study)
        # A slope needs several N, but a task has one.
        return result.isel(eta=0, n=0, drop=True).drop_vars(["slope", "slope_error"])

    return run


def _without_numbers(runs: xarray.Dataset) -> xarray.Dataset:
    """The runs without the values of η and the like of each, since they are parameters of the task."""
    return runs.drop_vars([number.name for number in NUMBERS], errors="ignore")


def _matrices(parameters: Mapping[str, Any]) -> int:
    p, pstar = parameters["p"], parameters["pstar"]
    trained = p if parameters["second_layer"] == "trained" else 0
    return int(p * (p + pstar) + trained + 1)


def _ode_values(parameters: Mapping[str, Any]) -> int:
    return output_times(parameters["alpha"]).size * (_matrices(parameters) + 1)


def _ensemble_values(parameters: Mapping[str, Any]) -> int:
    outputs = output_times(parameters["alpha"]).size
    runs = int(parameters["trajectories"])
    each = {
        "all": outputs * _matrices(parameters),
        "loss": outputs,
        "final": _matrices(parameters),
        "statistics": 0 if parameters["stop_loss"] is None else 1,
    }
    return runs * (each[parameters["output"]] + 6) + _STATISTICS * outputs


def _chain_values(parameters: Mapping[str, Any]) -> int:
    outputs = output_times(parameters["alpha"]).size
    return outputs * _matrices(parameters) * (int(parameters["trajectories"]) + _STATES_OF_CHAIN)


def _escape_values(parameters: Mapping[str, Any]) -> int:
    return int(parameters["trajectories"]) * (2 if parameters["simulate"] else 1) + 500


JOBS = {
    job.name: job
    for job in (
        Job("ode", _ode, _ode_values),
        Job("ensemble", _ensemble, _ensemble_values),
        Job("chain", _chain, _chain_values, loads=False),
        Job("escape", _escape, _escape_values),
    )
}
# Other names for coordinates: xarray's sel would take these for its own arguments, or they are variables of
# results.
_COORDINATES = {name: f"{name}_name" for name in ("method", *(vector.name for vector in VECTORS))}


def coordinate_of(parameter: str) -> str:
    """The coordinate of a parameter in results: its own name, unless that means something else there."""
    return _COORDINATES.get(parameter, parameter)


def job_of(name: Any) -> Job:
    """The job of this name; else InputError."""
    return JOBS[one_of("job", name, JOBS)]


def model_of(parameters: Mapping[str, Any]) -> Model:
    """The model of a task."""
    return Model(**{name: parameters[name] for name in MODEL_OPTIONS})


def check(job: Job, parameters: Mapping[str, Any]) -> None:
    """Raise InputError unless the single command would take these parameters."""
    job.checked(model_of(parameters), parameters, 1)


def result_of(
    job: Job, parameters: Mapping[str, Any], generated: str | Path, threads: int
) -> xarray.Dataset:
    """The dataset of one task; its attributes hold every parameter of the task."""
    run = job.checked(model_of(parameters), parameters, threads)(generated)
    # A netCDF attribute may be a number, but not True.
    given = {
        name: int(value) if isinstance(value, bool) else value
        for name, value in parameters.items()
        if _is_plain(value)
    }
    run.attrs = {**given, **{str(k): v for k, v in run.attrs.items()}, "job": job.name}
    return run


def _is_plain(value: Any) -> bool:
    """Whether a netCDF attribute can hold the value; lists of times are a coordinate anyway."""
    return value is not None and not isinstance(value, (list, tuple))


_loading = threading.Lock()


def system_of(model: Model, generated: str | Path) -> System:
    """As `oo.load`, but one system for all tasks of a process, which verify and compile it once."""
    with _loading:
        return _loaded(model, str(generated))


# The number of systems is bounded since large ones take memory; tasks of one system follow each other.
@functools.lru_cache(maxsize=64)
def _loaded(model: Model, generated: str) -> System:
    return load(model, generated)


def prepare(job: Job, parameters: Mapping[str, Any], generated: str | Path) -> None:
    """Derive and compile the system that the task will load, into the folder and the cache."""
    if job.loads:
        model = model_of(parameters)
        system = system_of(model, generated)
        system.compiled_rhs  # noqa: B018
        system.loss(np.eye(model.p), np.zeros((model.p, model.pstar)), T=np.eye(model.pstar))
