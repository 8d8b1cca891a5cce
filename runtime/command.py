"""What `cli integrate` and `cli ensemble` do with their options, and how they print results."""

from __future__ import annotations

import contextlib
import math
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


def as_json(run: xarray.Dataset) -> dict[str, Any]:
    """The trajectory as plain values; NaN, which JSON lacks, becomes null."""

    def plain(values: Any) -> Any:
        if isinstance(values, list):
            return [plain(value) for value in values]
        if isinstance(values, float) and not math.isfinite(values):
            return None
        return values

    variables = {str(name): plain(variable.values.tolist()) for name, variable in run.data_vars.items()}
    attributes = {
        str(name): value.item() if hasattr(value, "item") else value for name, value in run.attrs.items()
    }
    coordinates = {
        str(name): run[name].values.tolist() for name in ("alpha", "quantile") if name in run.coords
    }
    return {"attributes": attributes, **coordinates, **variables}


def as_table(run: xarray.Dataset, rows: int) -> str:
    """A short table of α, loss, norms and alignment, for people; the last line is the status."""
    count = run.sizes["alpha"]
    chosen = np.unique(np.linspace(0, count - 1, min(rows, count)).round().astype(int))
    lines = [f"{'alpha':>12} {'loss':>14} {'mean Q_ii':>12} {'max |R_ir|':>12}"]
    Q, R, loss = run["Q"].values, run["R"].values, run["loss"].values
    for k in chosen:
        norm, largest = np.trace(Q[k]) / Q.shape[1], np.max(np.abs(R[k]))
        lines.append(f"{run['alpha'].values[k]:12.6g} {loss[k]:14.6e} {norm:12.6f} {largest:12.6f}")
    lines.append(
        f"status {run['status'].item()}, {run['steps'].item()} steps, "
        f"{run['evaluations'].item()} evaluations, {run.attrs['method']}"
    )
    return "\n".join(lines)


def ensemble_table(runs: xarray.Dataset, rows: int) -> str:
    """A short table of an ensemble for people: quantiles of the loss, or of the final loss."""
    lines: list[str] = []
    if "loss_quantile" in runs:
        names = [f"{100 * q:g} %" for q in runs["quantile"].values]
        lines.append(f"{'alpha':>12} {'mean loss':>14} " + " ".join(f"{name:>12}" for name in names))
        alpha = runs["alpha"].values
        for k in np.unique(np.linspace(0, alpha.size - 1, min(rows, alpha.size)).round().astype(int)):
            values = " ".join(f"{x:12.4e}" for x in runs["loss_quantile"].values[:, k])
            lines.append(f"{alpha[k]:12.6g} {runs['loss_mean'].values[k]:14.6e} {values}")
        names_of = zip(runs["status"].values, runs["status_count"].values, strict=True)
        counted = ", ".join(f"{count} {name}" for name, count in names_of if count)
    else:
        loss = runs["loss"].values.reshape(runs.sizes["trajectory"], -1)[:, -1]
        quantiles = np.nanquantile(loss, (0.05, 0.5, 0.95)) if np.isfinite(loss).any() else [np.nan] * 3
        text = ", ".join(f"{x:.4e}" for x in quantiles)
        lines.append(f"last loss, quantiles 5 %, 50 %, 95 %: {text}")
        found, counts = np.unique(runs["status"].values, return_counts=True)
        counted = ", ".join(f"{count} {name}" for name, count in zip(found, counts, strict=True))
    if "escape_alpha" in runs:
        escape = runs["escape_alpha"].values
        reached = np.isfinite(escape)
        line = f"loss came down to {runs.attrs['stop_loss']:g} in {reached.sum()} of {escape.size}"
        if reached.any():
            low, middle, high = np.quantile(escape[reached], (0.05, 0.5, 0.95))
            line += f"; alpha at 5 %, 50 %, 95 %: {low:.6g}, {middle:.6g}, {high:.6g}"
        lines.append(line)
    return "\n".join([*lines, f"status: {counted}, {runs.attrs['method']}"])
