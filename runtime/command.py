"""What `cli integrate` does with its options, and how it prints a trajectory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import runtime
from derive.model import Model
from runtime.errors import InputError
from runtime.integrate import Problem, integrate_problem
from runtime.results import check_output
from runtime.states import Array, real_number

if TYPE_CHECKING:
    import xarray

_CONVENTIONS = ("p", "pstar", "constraint", "flow", "teacher", "readout")
_SETTINGS = ("eta", "alpha", "label_noise", "rtol", "atol", "method")
DEFAULT_N = 10**6


def integrate(arguments: Mapping[str, Any], say: Callable[[str], None]) -> xarray.Dataset:
    """Load or derive the system, make the start, integrate, write files.

    `arguments` are the options of the command by name. Outputs are checked before anything
    is computed; errors name options.
    """
    model = Model(**{name: arguments[name] for name in _CONVENTIONS})
    out, plot = arguments["out"], arguments["plot"]
    if out is not None:
        check_output(out, (".nc",), option="out")
    if plot is not None:
        from runtime.plot import SUFFIXES

        check_output(plot, SUFFIXES, option="plot")
    with _naming_options():
        Q0, R0, T, origin = initial_overlaps(model, arguments)
        settings = {name: arguments[name] for name in _SETTINGS}
        problem = Problem.checked(model, Q0, R0, T=T, **settings)
    # Why only now: bad options must not leave a derived system behind.
    system = runtime.load(model, arguments["generated"])
    run = integrate_problem(system, problem)
    run.attrs.update(origin)
    if out is not None:
        runtime.save_netcdf(run, out)
        say(f"wrote {out}")
    if plot is not None:
        from runtime.plot import plot_trajectory

        plot_trajectory(run, plot)
        say(f"wrote {plot}")
    if run["status"].item() != "ok":
        say(f"stopped at alpha = {run['alpha_end'].item():.6g}: {run['status'].item()}")
    return run


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
    correlation = real_number("teacher_correlation", arguments["teacher_correlation"])
    if correlation and model.teacher == "orthonormal":
        raise InputError("teacher_correlation", "needs --teacher general")
    if arguments["overlaps"] is not None:
        Q0, R0, T = runtime.overlaps_from_file(arguments["overlaps"])
        if model.teacher == "general":
            return (
                Q0,
                R0,
                _correlated(model, correlation) if T is None else T,
                {"overlaps": str(arguments["overlaps"])},
            )
        if T is not None and not np.array_equal(T, np.eye(model.pstar)):
            raise InputError("overlaps", "the file has a T that is not 1: this needs --teacher general")
        return Q0, R0, None, {"overlaps": str(arguments["overlaps"])}
    T = _correlated(model, correlation) if model.teacher == "general" else None
    n, ideal = arguments["n"], arguments["ideal"]
    if n is None and ideal is None:
        n = DEFAULT_N
    Q0, R0 = runtime.random_overlaps(
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
    return Q0, R0, T, origin | ({"ideal": ideal} if n is None else {"n": n})


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
    return {"attributes": attributes, "alpha": run["alpha"].values.tolist(), **variables}


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
