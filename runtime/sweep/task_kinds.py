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

from derive.arguments import one_of
from derive.model import Model
from runtime.run_options import RunOption, axes_of
from runtime.start.checked_arrays import output_times
from runtime.start.chosen_start import ChosenStart
from runtime.system.compiled_system import System

if TYPE_CHECKING:
    import xarray

_INTEGRATED = ("eta", "alpha", "label_noise", "rtol", "atol", "method")
# Bytes of a netCDF-4 file of few numbers: its header and the smallest blocks of each variable.
SHARD_OVERHEAD = 80_000
_STATISTICS = 8
_STATES_OF_CHAIN = 3


# A prepared task computes its dataset when it is given a function that loads its system.
Run = Callable[[Callable[[], System]], "xarray.Dataset"]
Prepare = Callable[[Model, Mapping[str, Any], int], Run]


@dataclasses.dataclass(frozen=True)
class Job:
    """A kind of task.

    prepare
        Prepares the task of a model, parameters and a number of threads, with the checks of the single
        command; raises InputError, which names the first parameter that is not allowed.
    values
        The rough number of values in the result of a task.
    loads
        Whether its tasks need generated systems.
    """

    name: str
    prepare: Prepare
    values: Callable[[Mapping[str, Any]], int]
    loads: bool = True

    @functools.cached_property
    def options(self) -> dict[str, RunOption]:
        """The options of its tasks, which are those of the command that does one of them, by name."""
        return axes_of(self.name)


def _fields(kind: type[Model | ChosenStart]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _start_of(parameters: Mapping[str, Any]) -> ChosenStart:
    return ChosenStart(**_picked(parameters, *(parameters.keys() & _fields(ChosenStart))))


def _picked(parameters: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: parameters[name] for name in names}


def _prepare_ode(model: Model, parameters: Mapping[str, Any], _threads: int) -> Run:
    from runtime.problem import chosen_problem
    from runtime.trajectory.single_run import integrate_problem

    problem = chosen_problem(model, _start_of(parameters), **_picked(parameters, *_INTEGRATED))
    return lambda load: integrate_problem(load(), problem)


def _prepare_ensemble(model: Model, parameters: Mapping[str, Any], threads: int) -> Run:
    from runtime.ensemble.chosen_ensemble import ChosenEnsemble
    from runtime.problem import chosen_problem

    own = _picked(parameters, "trajectories", "stop_loss", *_INTEGRATED)
    problem = chosen_problem(model, _start_of(parameters), **own)
    chosen = ChosenEnsemble(problem, parameters["output"], threads)
    # Each trajectory would repeat η and Δ, which are parameters of the task.
    return lambda load: chosen.run(load()).drop_vars(list(problem.parameters.numbers), errors="ignore")


def _prepare_chain(model: Model, parameters: Mapping[str, Any], threads: int) -> Run:
    from runtime.sgd.prepared_simulation import PreparedSimulation

    own = _picked(parameters, "n", "eta", "alpha", "method", "trajectories", "label_noise")
    prepared = PreparedSimulation.of(model, _start_of(parameters), threads=threads, **own)
    return lambda _load: prepared.run().drop_vars(["eta", "label_noise"])


def _prepare_escape(model: Model, parameters: Mapping[str, Any], threads: int) -> Run:
    from runtime.analysis.escape.escape_measurement import measure_escapes
    from runtime.analysis.escape.escape_study import EscapeStudy

    names = ("eta", "trajectories", "fraction", "label_noise", "q0", "seed", "rtol", "atol")
    own = {**_picked(parameters, *names), "n": [parameters["n"]], "threads": threads}
    study = EscapeStudy(model, T=_start_of(parameters).teacher(model), **own)

    def run(load: Callable[[], System]) -> xarray.Dataset:
        result = measure_escapes(load(), study)
        # A slope needs several N, but a task has one.
        return result.isel(eta=0, n=0, drop=True).drop_vars(["slope", "slope_error"])

    return run


def _matrices(parameters: Mapping[str, Any]) -> int:
    p, pstar = parameters["p"], parameters["pstar"]
    return int(p * (p + pstar) + 1)


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
    return int(parameters["trajectories"]) + 500


JOBS = {
    job.name: job
    for job in (
        Job("ode", _prepare_ode, _ode_values),
        Job("ensemble", _prepare_ensemble, _ensemble_values),
        Job("chain", _prepare_chain, _chain_values, loads=False),
        Job("escape", _prepare_escape, _escape_values),
    )
}
# Other names for coordinates that xarray's sel would take for its own arguments.
_COORDINATES = {"method": "method_name"}


def coordinate_of(parameter: str) -> str:
    """The coordinate of a parameter in results: its own name, unless xarray could not select by it."""
    return _COORDINATES.get(parameter, parameter)


def job_of(name: Any) -> Job:
    """The job of this name; else InputError."""
    return JOBS[one_of("job", name, JOBS)]


def model_of(parameters: Mapping[str, Any]) -> Model:
    """The model of a task."""
    return Model(**_picked(parameters, *_fields(Model)))


def check(job: Job, parameters: Mapping[str, Any]) -> None:
    """Raise InputError unless the single command would take these parameters."""
    job.prepare(model_of(parameters), parameters, 1)


def result_of(
    job: Job, parameters: Mapping[str, Any], generated: str | Path, threads: int
) -> xarray.Dataset:
    """The dataset of one task; its attributes hold every parameter of the task."""
    model = model_of(parameters)
    run = job.prepare(model, parameters, threads)(lambda: load_once(model, generated))
    given = {name: value for name, value in parameters.items() if _is_plain(value)}
    run.attrs = {**given, **{str(k): v for k, v in run.attrs.items()}, "job": job.name}
    return run


def _is_plain(value: Any) -> bool:
    """Whether a netCDF attribute can hold the value; lists of times are a coordinate anyway."""
    return value is not None and not isinstance(value, (list, tuple))


_loading = threading.Lock()


def load_once(source: Model, generated: str | Path, /) -> System:
    """As `runtime.load`, but once per process, since verification takes longer than a small task."""
    # Without the lock, threads would compile one system several times.
    with _loading:
        return _loaded(source, str(generated))


# The number of systems is bounded since large ones take memory; tasks of one system follow each other.
@functools.lru_cache(maxsize=64)
def _loaded(source: Model, generated: str) -> System:
    import numpy as np

    from runtime.system.loading import load

    system = load(source, generated)
    # This compiles the system, while the lock is held and before other processes start.
    system.compiled_rhs  # noqa: B018
    T = np.eye(source.pstar) if source.teacher == "general" else None
    system.loss(np.eye(source.p), np.zeros((source.p, source.pstar)), T)
    return system


def prepare(job: Job, parameters: Mapping[str, Any], generated: str | Path) -> None:
    """Derive and compile the system that the task will load, into the folder and the cache."""
    if job.loads:
        load_once(model_of(parameters), generated)
