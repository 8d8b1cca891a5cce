"""What `cli integrate` and `cli ensemble` do with their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import runtime
from derive.arguments import one_of, whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.commands.run_options import (
    LARGEST_RESULT,
    check_files,
    check_starts,
    initial_overlaps,
    model_of,
    naming_options,
    sampler_of,
    teacher_of,
    write_files,
)
from runtime.output import text_tables
from runtime.output.figures import plot_ensemble, plot_trajectory
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.trajectory.single_run import Problem, integrate_problem

if TYPE_CHECKING:
    import xarray

    from runtime.system.compiled_system import System

_SETTINGS = ("eta", "alpha", "label_noise", "rtol", "atol", "method")
LARGEST_ENSEMBLE = 10**12


def integrate(
    arguments: Mapping[str, Any],
    say: Callable[[str], None],
    load: Callable[..., System] = runtime.load,
    given: frozenset[str] = frozenset(),
) -> xarray.Dataset:
    """Load or derive the system, make the start, integrate, write files.

    `arguments` are the options of the command by name, `given` those on the command line. Outputs
    are checked before anything is computed; errors name options. `load` is called when all is
    checked.
    """
    model = model_of(arguments)
    check_files(arguments)
    with naming_options():
        Q0, R0, T, origin = initial_overlaps(model, arguments, given)
        settings = {name: arguments[name] for name in _SETTINGS}
        problem = Problem.checked(model, Q0, R0, T=T, **settings)
    # Why only now: bad options must not leave a derived system behind.
    system = load(model, arguments["generated"])
    run = integrate_problem(system, problem)
    run.attrs.update(origin)
    write_files(run, arguments, say, plot_trajectory)
    if run["status"].item() != "ok":
        say(text_tables.stopped_line(run))
    return run


def ensemble(
    arguments: Mapping[str, Any],
    say: Callable[[str], None],
    progress: Callable[[int, int], None] | None,
    load: Callable[..., System] = runtime.load,
) -> xarray.Dataset:
    """As `integrate`, for many random starts; `progress` is called with (finished, all)."""
    from runtime.concurrency.thread_pool import thread_count
    from runtime.trajectory.tableaux import TABLEAUX

    model = model_of(arguments)
    check_files(arguments)
    trajectories = whole_number("trajectories", arguments["trajectories"], 1, LARGEST_ENSEMBLE)
    one_of("method", arguments["method"], TABLEAUX)
    thread_count(arguments["threads"])
    if arguments["plot"] is not None and arguments["output"] == "final":
        raise InputError("plot", "needs losses over time: --output statistics, loss or all")
    T = teacher_of(model, arguments)
    with naming_options():
        sampler, origin = sampler_of(model, T, arguments)
        settings = {name: arguments[name] for name in _SETTINGS}
        # The checks of a single trajectory are those of each of the ensemble.
        Problem.checked(model, *_first(model, T, arguments), T=T, **settings)
        check_starts(model, T, arguments, trajectories)
        if arguments["stop_loss"] is not None:
            settings["stop_loss"] = checked_arrays.real_number("stop_loss", arguments["stop_loss"])
    settings |= {"T": T, "threads": arguments["threads"], "progress": progress}
    _check_memory(model, arguments, trajectories, checked_arrays.output_times(arguments["alpha"]).size)
    system = load(model, arguments["generated"])
    # Why: later starts are drawn only now.
    with naming_options():
        if arguments["output"] == "statistics":
            runs = runtime.ensemble_statistics(system, sampler, trajectories, **settings)
        else:
            Q0, R0 = sampler.draw(trajectories)
            runs = runtime.integrate_ensemble(system, Q0, R0, output=arguments["output"], **settings)
    runs.attrs.update(origin)
    write_files(runs, arguments, say, plot_ensemble)
    return runs


def _check_memory(model: Model, arguments: Mapping[str, Any], trajectories: int, outputs: int) -> None:
    """Refuse what cannot fit; statistics always do."""
    per_output = model.p * (model.p + model.pstar) + 2 * model.state_size
    values = {
        "all": outputs * (per_output + 1),
        "loss": outputs + per_output,
        "final": 2 * per_output,
        "statistics": 1,
    }[arguments["output"]]
    needed = 8 * values * trajectories
    if needed > LARGEST_RESULT:
        raise InputError(
            "trajectories",
            f"{trajectories} need {needed / 2**30:.0f} GiB with --output {arguments['output']},"
            f" more than {LARGEST_RESULT / 2**30:.0f}; --output statistics needs no memory",
        )


def _first(model: Model, T: Array | None, arguments: Mapping[str, Any]) -> tuple[Array, Array]:
    """The first start of the ensemble, from a source of its own."""
    Q, R = sampler_of(model, T, arguments)[0].draw(1)
    return Q[0], R[0]
