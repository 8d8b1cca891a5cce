"""What `cli integrate` and `cli ensemble` do with their options."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import runtime
from derive.model import Model
from runtime import states
from runtime.errors import InputError
from runtime.integrate import Problem, integrate_problem
from runtime.results import check_output
from runtime.states import Array, real_number

if TYPE_CHECKING:
    import xarray

_CONVENTIONS = ("p", "pstar", "constraint", "flow", "teacher", "readout")
_SETTINGS = ("eta", "alpha", "label_noise", "rtol", "atol", "method")
DEFAULT_N = 10**6
LARGEST_ENSEMBLE = 10**12
# Of results in memory: 16 GiB.
LARGEST_RESULT = 2**34


def integrate(arguments: Mapping[str, Any], say: Callable[[str], None]) -> xarray.Dataset:
    """Load or derive the system, make the start, integrate, write files.

    `arguments` are the options of the command by name. Outputs are checked before anything
    is computed; errors name options.
    """
    model = _model(arguments)
    _check_files(arguments)
    with _naming_options():
        Q0, R0, T, origin = initial_overlaps(model, arguments)
        settings = {name: arguments[name] for name in _SETTINGS}
        problem = Problem.checked(model, Q0, R0, T=T, **settings)
    # Why only now: bad options must not leave a derived system behind.
    system = runtime.load(model, arguments["generated"])
    run = integrate_problem(system, problem)
    run.attrs.update(origin)
    _write_files(run, arguments, say)
    if run["status"].item() != "ok":
        say(f"stopped at alpha = {run['alpha_end'].item():.6g}: {run['status'].item()}")
    return run


def ensemble(
    arguments: Mapping[str, Any], say: Callable[[str], None], progress: Callable[[int, int], None] | None
) -> xarray.Dataset:
    """As `integrate`, for many random starts; `progress` is called with (finished, all)."""
    from runtime.ensemble import thread_count
    from runtime.tableaux import TABLEAUX

    model = _model(arguments)
    _check_files(arguments)
    trajectories = states.whole_number("trajectories", arguments["trajectories"], 1, LARGEST_ENSEMBLE)
    if arguments["method"] not in TABLEAUX:
        raise InputError("method", f"{arguments['method']!r} is not one of {', '.join(TABLEAUX)}")
    thread_count(arguments["threads"])
    if arguments["plot"] is not None and arguments["output"] == "final":
        raise InputError("plot", "needs losses over time: --output statistics, loss or all")
    T = _teacher(model, arguments)
    with _naming_options():
        sampler, origin = _sampler(model, T, arguments)
        settings = {name: arguments[name] for name in _SETTINGS}
        # The checks of a single trajectory are those of each of the ensemble.
        Problem.checked(model, *_first(model, T, arguments), T=T, **settings)
        if arguments["stop_loss"] is not None:
            settings["stop_loss"] = states.real_number("stop_loss", arguments["stop_loss"])
    settings |= {"T": T, "threads": arguments["threads"], "progress": progress}
    _check_memory(model, arguments, trajectories, states.output_times(arguments["alpha"]).size)
    system = runtime.load(model, arguments["generated"])
    if arguments["output"] == "statistics":
        runs = runtime.ensemble_statistics(system, sampler, trajectories, **settings)
    else:
        Q0, R0 = sampler.draw(trajectories)
        runs = runtime.integrate_ensemble(system, Q0, R0, output=arguments["output"], **settings)
    runs.attrs.update(origin)
    _write_files(runs, arguments, say)
    return runs


def _model(arguments: Mapping[str, Any]) -> Model:
    return Model(**{name: arguments[name] for name in _CONVENTIONS})


def _check_files(arguments: Mapping[str, Any]) -> None:
    """Raise InputError unless --out and --plot can be written."""
    if arguments["out"] is not None:
        check_output(arguments["out"], (".nc",), option="out")
    if arguments["plot"] is not None:
        from runtime.plot import SUFFIXES

        check_output(arguments["plot"], SUFFIXES, option="plot")


def _write_files(run: xarray.Dataset, arguments: Mapping[str, Any], say: Callable[[str], None]) -> None:
    if arguments["out"] is not None:
        runtime.save_netcdf(run, arguments["out"])
        say(f"wrote {arguments['out']}")
    if arguments["plot"] is not None:
        from runtime.plot import plot_ensemble, plot_trajectory

        plot = plot_ensemble if "trajectories" in arguments else plot_trajectory
        plot(run, arguments["plot"])
        say(f"wrote {arguments['plot']}")


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


# Arguments that have no option of their own, and the option that they come from.
_OPTIONS = {"Q0": "overlaps", "R0": "overlaps", "T": "overlaps", "file": "overlaps", "scale": "ideal"}


@contextlib.contextmanager
def _naming_options() -> Iterator[None]:
    """Errors inside name the option on the command line instead of the argument."""
    try:
        yield
    except InputError as error:
        if error.option not in _OPTIONS:
            raise
        problem = error.problem if error.option in ("file", "scale") else f"{error.option} {error.problem}"
        raise InputError(_OPTIONS[error.option], problem) from None


def initial_overlaps(
    model: Model, arguments: Mapping[str, Any]
) -> tuple[Array, Array, Array | None, dict[str, Any]]:
    """Q0, R0, T (None if orthonormal) and the attributes that say where they come from."""
    given = [name for name in ("n", "ideal", "overlaps") if arguments[name] is not None]
    if len(given) > 1:
        raise InputError(given[1], f"does not go with --{given[0]}")
    if arguments["overlaps"] is not None:
        Q0, R0, T = runtime.overlaps_from_file(arguments["overlaps"])
        origin = {"overlaps": str(arguments["overlaps"])}
        if model.teacher == "general":
            return Q0, R0, _teacher(model, arguments) if T is None else T, origin
        if T is not None and not np.array_equal(T, np.eye(model.pstar)):
            raise InputError("overlaps", "the file has a T that is not 1: this needs --teacher general")
        return Q0, R0, _teacher(model, arguments), origin
    T = _teacher(model, arguments)
    sampler, origin = _sampler(model, T, arguments)
    Q, R = sampler.draw(1)
    return Q[0], R[0], T, origin


def _sampler(
    model: Model, T: Array | None, arguments: Mapping[str, Any]
) -> tuple[runtime.OverlapSampler, dict[str, Any]]:
    """The source of random starts, and the attributes that name it."""
    n, ideal = arguments["n"], arguments["ideal"]
    if n is None and ideal is None:
        n = DEFAULT_N
    sampler = runtime.OverlapSampler(
        model.p,
        model.pstar,
        n,
        arguments["seed"],
        constraint=model.constraint,
        T=T,
        q0=arguments["q0"],
        scale=ideal,
    )
    origin = {"seed": arguments["seed"], "q0": arguments["q0"]}
    return sampler, origin | ({"ideal": ideal} if n is None else {"n": n})


def _first(model: Model, T: Array | None, arguments: Mapping[str, Any]) -> tuple[Array, Array]:
    """The first start of the ensemble, from a source of its own."""
    Q, R = _sampler(model, T, arguments)[0].draw(1)
    return Q[0], R[0]


def _teacher(model: Model, arguments: Mapping[str, Any]) -> Array | None:
    """T of --teacher-correlation; None for an orthonormal teacher."""
    correlation = real_number("teacher_correlation", arguments["teacher_correlation"])
    if model.teacher == "general":
        return _correlated(model, correlation)
    if correlation:
        raise InputError("teacher_correlation", "needs --teacher general")
    return None


def _correlated(model: Model, correlation: float) -> Array:
    """T with unit diagonal and equal correlations."""
    least = -1.0 / (model.pstar - 1) if model.pstar > 1 else -1.0
    if not least <= correlation <= 1.0:
        raise InputError(
            "teacher_correlation", f"{correlation:g} is not between {least:g} and 1 (p* = {model.pstar})"
        )
    return (1.0 - correlation) * np.eye(model.pstar) + correlation * np.ones((model.pstar, model.pstar))
