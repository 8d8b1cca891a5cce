"""What the options of several commands mean: model, start, teacher, files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import runtime
from derive.errors import InputError, printable
from derive.model import Model
from runtime.output.figures import SUFFIXES
from runtime.output.guarded_reading import Shapes
from runtime.output.netcdf_files import check_outputs
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array, real_number
from runtime.start.initial_overlaps import checked_overlaps

if TYPE_CHECKING:
    import xarray

_CONVENTIONS = ("p", "pstar", "constraint", "flow", "teacher", "readout")
DEFAULT_N = 10**6
# Numbers in the random starts that are drawn to see whether --ideal allows them: less than a second.
_CHECKED = 2**22
# A Gaussian matrix (p, p*) has a norm above √p + √p* + this with the probability exp(−50) or less.
_SAFE = 10.0
# Options of starts that no file gives; --seed, where it has no other use.
_OF_RANDOM_STARTS = ("q0", "seed", "trajectories")
# T = 1 up to this: an earlier run may have rounded.
_EQUAL = 1e-8
# Of results in memory: 16 GiB.
LARGEST_RESULT = 2**34


def model_of(arguments: Mapping[str, Any]) -> Model:
    return Model(**{name: arguments[name] for name in _CONVENTIONS})


def check_files(arguments: Mapping[str, Any]) -> None:
    """Raise InputError unless --out and --plot can be written."""
    check_outputs(("out", arguments["out"], (".nc",)), ("plot", arguments["plot"], SUFFIXES))


def write_files(
    run: xarray.Dataset,
    arguments: Mapping[str, Any],
    say: Callable[[str], None],
    plot: Callable[[xarray.Dataset, Path], Path],
) -> None:
    """What --out and --plot ask for; `plot` draws."""
    if arguments["out"] is not None:
        runtime.save_netcdf(run, arguments["out"])
        say(f"wrote {arguments['out']}")
    if arguments["plot"] is not None:
        plot(run, arguments["plot"])
        say(f"wrote {arguments['plot']}")


# Arguments that have no option of their own, and the option that they come from.
_OPTIONS = {"Q0": "overlaps", "R0": "overlaps", "T": "overlaps", "file": "overlaps", "scale": "ideal"}


@contextlib.contextmanager
def naming_options() -> Iterator[None]:
    """Errors inside name the option on the command line instead of the argument."""
    try:
        yield
    except InputError as error:
        if error.option not in _OPTIONS:
            raise
        problem = error.problem if error.option in ("file", "scale") else f"{error.option} {error.problem}"
        raise InputError(_OPTIONS[error.option], problem) from None


def initial_overlaps(
    model: Model,
    arguments: Mapping[str, Any],
    given: frozenset[str] = frozenset(),
    starts: int | None = None,
) -> tuple[Array, Array, Array | None, dict[str, Any]]:
    """Q0, R0, T (None if orthonormal) and the attributes that say where they come from.

    `given` are options on the command line that say nothing but the start: with a file, that refuses
    them. A file may hold several starts where their number is given as `starts`.
    """
    sources = [name for name in ("n", "ideal", "overlaps") if arguments[name] is not None]
    if len(sources) > 1:
        raise InputError(sources[1], f"does not go with --{sources[0]}")
    if arguments["overlaps"] is not None:
        return _from_file(model, arguments, given, starts)
    T = teacher_of(model, arguments)
    sampler, origin = sampler_of(model, T, arguments)
    Q, R = sampler.draw(1)
    return Q[0], R[0], T, origin


def _from_file(
    model: Model, arguments: Mapping[str, Any], given: frozenset[str], starts: int | None
) -> tuple[Array, Array, Array | None, dict[str, Any]]:
    superfluous = [name for name in _OF_RANDOM_STARTS if name in given]
    if superfluous:
        raise InputError(superfluous[0], "does not go with --overlaps: the start is that of the file")

    def check(shapes: Shapes) -> None:
        leading, widths = shapes["R"][:-2], shapes["R"][-2:]
        if len(widths) == 2 and widths != (model.p, model.pstar):
            raise InputError(
                "overlaps",
                f"{arguments['overlaps']} holds p = {widths[0]} and p* = {widths[1]}, not {model.p} and"
                f" {model.pstar}: say --p {widths[0]} --pstar {widths[1]}",
            )
        if len(leading) != 1 or starts is None:
            leading = ()
        elif leading[0] != starts:
            raise InputError("trajectories", f"{starts} is not the number of starts, {leading[0]}")
        p, pstar = model.p, model.pstar
        for name, wanted in (("Q", (*leading, p, p)), ("R", (*leading, p, pstar)), ("T", (pstar, pstar))):
            if shapes.get(name, wanted) != wanted:
                option = name if name == "T" else f"{name}0"
                raise InputError(option, f"has the shape {shapes[name]}, not {wanted}")

    Q0, R0, T = checked_overlaps(arguments["overlaps"], check)
    # Names of files may be no text, which files of results cannot hold.
    origin = {"overlaps": printable(str(arguments["overlaps"]))}
    if T is None:
        return Q0, R0, teacher_of(model, arguments), origin
    if "teacher_correlation" in given:
        raise InputError("teacher_correlation", "does not go with --overlaps: the file has a T")
    if model.teacher == "general":
        return Q0, R0, T, origin
    # Why not equal: T of a run from a file may carry rounding.
    apart = checked_arrays.real_array("T", T, (model.pstar, model.pstar)) - np.eye(model.pstar)
    if np.max(np.abs(apart)) > _EQUAL:
        raise InputError("overlaps", "the file has a T that is not 1: this needs --teacher general")
    return Q0, R0, teacher_of(model, arguments), origin


def sampler_of(
    model: Model, T: Array | None, arguments: Mapping[str, Any]
) -> tuple[runtime.OverlapSampler, dict[str, Any]]:
    """The source of random starts, and the attributes that name it."""
    n, ideal = arguments["n"], arguments["ideal"]
    if n is not None and ideal is not None:
        raise InputError("ideal", "does not go with --n")
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


def check_starts(model: Model, T: Array | None, arguments: Mapping[str, Any], count: int) -> None:
    """Raise InputError if one of the first `count` random starts cannot be drawn; --ideal is too large.

    Where there are very many only those at the front are looked at, and none if all are safe.
    """
    ideal, width = arguments["ideal"], model.p + model.pstar
    if ideal is None or count == 0:
        return
    # Why: along the teacher R0 is this times a Gaussian matrix, and must be at most √q0.
    if ideal * (np.sqrt(model.p) + np.sqrt(model.pstar) + _SAFE) > np.sqrt(arguments["q0"]):
        sampler_of(model, T, arguments)[0].draw(min(count, max(1, _CHECKED // width**2)))


def teacher_of(model: Model, arguments: Mapping[str, Any]) -> Array | None:
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
