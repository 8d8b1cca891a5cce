"""What `cli simulate` and `cli compare` do with their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import runtime
from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.commands.run_options import (
    LARGEST_RESULT,
    check_files,
    initial_overlaps,
    model_of,
    naming_options,
    sampler_of,
    teacher_of,
    write_files,
)
from runtime.concurrency.thread_pool import thread_count
from runtime.sgd import comparison, simulation
from runtime.sgd.comparison_figure import plot_comparison, plot_runs
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.trajectory.single_run import Problem
from runtime.trajectory.tableaux import DEFAULT_METHOD

if TYPE_CHECKING:
    import xarray

Progress = Callable[[int, int], None]
# Options that are arguments of a simulation as they are.
_SETTINGS = ("n", "eta", "alpha", "method", "seed", "label_noise", "threads")

# Options of a random start that SGD needs from a given one too.
_ALSO_OF_SGD = frozenset({"seed", "trajectories"})


def simulate(
    arguments: Mapping[str, Any],
    say: Callable[[str], None],
    progress: Progress | None,
    given: frozenset[str] = frozenset(),
) -> xarray.Dataset:
    """Make the starts, run SGD, write files.

    `arguments` are the options of the command by name, `given` those on the command line.
    """
    model, runs = _checked(arguments)
    with naming_options():
        Q0, R0, T, origin = _starts(model, arguments, runs, given)
        result = simulation.simulate(
            model,
            Q0=Q0,
            R0=R0,
            T=T,
            trajectories=runs,
            progress=progress,
            **{name: arguments[name] for name in _SETTINGS},
        )
    result.attrs.update(origin)
    write_files(result, arguments, say, plot_runs)
    if result.attrs["method"] != arguments["method"]:
        say(f"n = {arguments['n']} is less than p + p*: the weights themselves were run")
    return result


def check(arguments: Mapping[str, Any]) -> None:
    """Raise InputError if `simulate` would refuse these options; nothing is run."""
    model, runs = _checked(arguments)
    with naming_options():
        # Why a single start: the others differ in their random numbers alone.
        Q0, R0, T, _ = _starts(model, arguments, 1, frozenset())
        simulation.check(
            model,
            T=T,
            trajectories=runs,
            **{name: arguments[name] for name in _SETTINGS},
        )
        simulation.check_room(model, arguments["n"], Q0, R0, T)


def _checked(arguments: Mapping[str, Any]) -> tuple[Model, int]:
    """The model and the number of runs, if files and memory allow them."""
    model = model_of(arguments)
    check_files(arguments)
    runs = whole_number("trajectories", arguments["trajectories"], 1, simulation.LARGEST_RUNS)
    _check_memory(model, arguments, runs)
    return model, runs


def compare(
    arguments: Mapping[str, Any],
    say: Callable[[str], None],
    progress: Progress | None,
    given: frozenset[str] = frozenset(),
) -> xarray.Dataset:
    """Integrate and simulate from one start, judge, write files; the parameters are those of `simulate`."""
    model = model_of(arguments)
    check_files(arguments)
    if model.flow != "sgd":
        raise InputError("flow", f"{model.flow!r} has no finite N to compare with: --flow sgd")
    sizes, _, runs, _ = comparison.checked(
        arguments["n"], arguments["alpha"], arguments["trajectories"], arguments["seed"]
    )
    thread_count(arguments["threads"])
    _check_memory(model, arguments, runs)
    with naming_options():
        Q0, R0, T, origin = initial_overlaps(model, {**arguments, "n": None}, given - _ALSO_OF_SGD)
        settings = {name: arguments[name] for name in ("eta", "alpha", "label_noise")}
        # Why before the system is loaded: bad options must not leave a derived one behind.
        Problem.checked(model, Q0, R0, T=T, rtol=1e-8, atol=1e-10, method=DEFAULT_METHOD, **settings)
        simulation.check_room(model, sizes[0], Q0, R0, T)
        system = runtime.load(model, arguments["generated"])
        result = comparison.compare(
            system,
            Q0,
            R0,
            n=sizes,
            eta=arguments["eta"],
            alpha=arguments["alpha"],
            label_noise=arguments["label_noise"],
            T=T,
            trajectories=runs,
            weights=arguments["weights"],
            seed=arguments["seed"],
            threads=arguments["threads"],
            progress=progress,
        )
    result.attrs.update(origin)
    write_files(result, arguments, say, plot_comparison)
    return result


def _starts(
    model: Model, arguments: Mapping[str, Any], runs: int, given: frozenset[str]
) -> tuple[Array, Array, Array | None, dict[str, Any]]:
    """Q0 and R0, of each run or (from a file) for all, T, and where they come from."""
    if arguments["overlaps"] is not None:
        options = {**arguments, "n": None}
        Q0, R0, T, origin = initial_overlaps(model, options, given - _ALSO_OF_SGD, runs)
        return Q0, R0, T, origin
    T = teacher_of(model, arguments)
    start = {**arguments, "n": None} if arguments["ideal"] is not None else arguments
    sampler, origin = sampler_of(model, T, start)
    return *sampler.draw(runs), T, origin


def _check_memory(model: Model, arguments: Mapping[str, Any], runs: int) -> None:
    """Refuse what cannot fit."""
    records = checked_arrays.output_times(arguments["alpha"]).size
    needed = 8 * runs * (records + 2) * (model.p * (model.p + model.pstar) + 1)
    if needed > LARGEST_RESULT:
        raise InputError(
            "trajectories",
            f"{runs} need {needed / 2**30:.0f} GiB at {records} times, more than"
            f" {LARGEST_RESULT / 2**30:.0f}; fewer times take less: --alpha 0,50,100",
        )


def line_of(result: xarray.Dataset) -> str:
    """The verdict of a comparison in a line."""
    attributes = result.attrs
    if attributes["verdict"] == "undecided":
        diverged = int(np.sum(result["diverged"].values))
        which = f"{diverged} runs" if diverged else "runs on weights"
        return f"undecided: {which} diverged, and the mean of the others is biased"
    agrees = attributes["deviation"] <= attributes["allowed"]
    words = "agrees with" if agrees else "differs from"
    text = (
        f"SGD {words} the ODE as N grows: largest deviation {attributes['deviation']:.2f} standard errors"
        f" ({attributes['where']}), {attributes['allowed']:.2f} allowed"
        f" for {attributes['comparisons']} comparisons"
    )
    if "weights_deviation" in attributes:
        text += (
            f"; chain and weights differ by at most {attributes['weights_deviation']:.2f},"
            f" {attributes['weights_allowed']:.2f} allowed"
        )
    return text
