"""What `cli integrate` does with its options, and how it prints a trajectory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import runtime
from derive.model import Model
from runtime.errors import InputError
from runtime.results import check_output
from runtime.states import Array, real_number

if TYPE_CHECKING:
    import xarray

_CONVENTIONS = ("p", "pstar", "constraint", "flow", "teacher", "readout")
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
    Q0, R0, T, origin = initial_overlaps(model, arguments)
    try:
        system = runtime.load(model, arguments["generated"])
        run = runtime.integrate(
            system,
            Q0,
            R0,
            T=T,
            **{name: arguments[name] for name in ("eta", "alpha", "label_noise", "rtol", "atol", "method")},
        )
    except InputError as error:
        raise _as_option(error) from None
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


_OPTIONS = {"Q0": "overlaps", "R0": "overlaps", "T": "overlaps", "file": "overlaps", "scale": "ideal"}


def _as_option(error: InputError) -> InputError:
    """The error with its argument's name as that of the option on the command line."""
    message = str(error).removeprefix(f"{error.option}: ")
    option = _OPTIONS.get(error.option, error.option).replace("_", "-")
    if error.option in ("Q0", "R0", "T"):
        message = f"{error.option} {message}"
    return InputError(f"--{option}", message)


def initial_overlaps(
    model: Model, arguments: Mapping[str, Any]
) -> tuple[Array, Array, Array | None, dict[str, Any]]:
    """Q0, R0, T (None if orthonormal) and the attributes that say where they come from."""
    given = [name for name in ("n", "ideal", "overlaps") if arguments[name] is not None]
    if len(given) > 1:
        raise InputError(f"--{given[1]}", f"does not go with --{given[0]}")
    try:
        correlation = real_number("teacher_correlation", arguments["teacher_correlation"])
        if correlation and model.teacher == "orthonormal":
            raise InputError("teacher_correlation", "needs --teacher general")
        if arguments["overlaps"] is not None:
            Q0, R0, T = runtime.overlaps_from_file(arguments["overlaps"])
            if model.teacher == "orthonormal":
                if T is not None and not np.array_equal(T, np.eye(model.pstar)):
                    raise InputError("file", "has a T that is not 1: this needs --teacher general")
                T = None
            elif T is None:
                T = _correlated(model, correlation)
            return Q0, R0, T, {"overlaps": str(arguments["overlaps"])}
        T = _correlated(model, correlation) if model.teacher == "general" else None
        n = None if arguments["ideal"] is not None else (arguments["n"] or DEFAULT_N)
        if arguments["n"] == 0:
            n = 0
        Q0, R0 = runtime.random_overlaps(
            model.p,
            model.pstar,
            n,
            arguments["seed"],
            constraint=model.constraint,
            T=T,
            q0=arguments["q0"],
            scale=arguments["ideal"],
        )
    except InputError as error:
        raise _as_option(error) from None
    origin = {"seed": arguments["seed"], "q0": arguments["q0"]}
    origin |= {"n": n} if n is not None else {"ideal": arguments["ideal"]}
    return Q0, R0, T, origin


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

    variables = {name: plain(variable.values.tolist()) for name, variable in run.data_vars.items()}
    attributes = {
        name: value.item() if hasattr(value, "item") else value for name, value in run.attrs.items()
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
