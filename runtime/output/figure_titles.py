"""Writes the words above a figure: what was run, with all that differs from the defaults, and its start."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.model import OPTIONS
from derive.parameters import NUMBERS, VECTORS, RuntimeParameter
from runtime.output.result_attributes import departures
from runtime.run_options import EVEN_TIMES, RUN_OPTIONS, RunOption, options_of

if TYPE_CHECKING:
    import xarray

# What is drawn, by the flow of the model: the ODE itself is deterministic.
OF_ODE: Mapping[str, str] = {"sgd": "ODE of one-pass SGD", "gradient": "gradient flow"}
OF_SGD: Mapping[str, str] = {"sgd": "one-pass SGD"}
OF_BOTH: Mapping[str, str] = {"sgd": "ODE and one-pass SGD"}
# Options that are said in words of their own, and those that only say how a result is stored.
_WORDED = {
    *("n", "ideal", "overlaps", "seed", "alpha", "schedule", "trajectories", "output", "threads", "T"),
    *("teacher_correlation", "teacher_spectrum", *(vector.name for vector in VECTORS)),
}
# Commands whose runs start somewhere.
_STARTED = ("integrate", "ensemble", "fluctuations", "simulate", "compare", "sector")
# Vectors of at most so many numbers are written out.
_WRITTEN_OUT = 6


def figure_title(
    result: xarray.Dataset,
    command: str,
    what: Mapping[str, str],
    *,
    drawn: Iterable[str] = (),
    more: Iterable[str] = (),
) -> tuple[tuple[str, ...], ...]:
    """The words above the figure of a result: parts on the model, and parts on the start and the rest.

    Parameters
    ----------
    result
        A result of ours, perhaps merged from a sweep, whose attributes lack what differs between its tasks.
    command
        The command that makes such results; its defaults are not mentioned.
    what
        What is drawn, by the flow of the model.
    drawn
        Names of options that axes or legend show, of which nothing is said.
    more
        Parts that are added to the second line.
    """
    attributes = {name: value for name, value in result.attrs.items() if name not in set(drawn)}
    first = [
        what.get(str(attributes.get("flow")), "SGD and gradient flow"),
        *_model_words(result, attributes),
    ]
    axes = {str(name) for name in result.coords}
    second = [*_start_words(attributes, axes, command), *_other_words(attributes, command)]
    return tuple(first), (*second, *_time_words(result, command, drawn), *_counts(result), *more)


def title(result: xarray.Dataset, command: str = "integrate", what: Mapping[str, str] = OF_ODE) -> str:
    """Both lines of `figure_title` in one."""
    return ", ".join(part for line in figure_title(result, command, what) for part in line)


def wrapped(parts: Iterable[str], letters: int) -> list[str]:
    """The parts with commas in between, as lines of at most so many letters if parts are short."""
    lines: list[str] = []
    for part in parts:
        both = f"{lines[-1]}, {part}" if lines else part
        if lines and _letters(both) > letters:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1:] = [both]
    return lines


def _letters(text: str) -> int:
    """The letters of a text: a command of LaTeX is one, and braces and dollars are none."""
    return len(re.sub(r"[${}^_]", "", re.sub(r"\\[A-Za-z]+", "x", text)))


# --- the model ---------------------------------------------------------------------------------


def _model_words(result: xarray.Dataset, attributes: Mapping[str, Any]) -> list[str]:
    """Widths, parameters and conventions, without those that differ between the tasks of a sweep."""
    widths = (("p", "p"), ("pstar", "p^{*}"))
    numbers = list(_numbers_of(result, attributes))
    words = [
        f"${letter}={counted(int(attributes[name]))}$" for name, letter in widths if name in attributes
    ]
    words += [_number_words(number, values) for number, values in numbers if number.default is None]
    if "constraint" in attributes:
        words.append("free norms" if attributes["constraint"] == "free" else "norms on the sphere")
    words += [
        _number_words(number, values)
        for number, values in numbers
        if number.default is not None and np.any(values != number.default)
    ]
    usual = {number.name: number.default for number in NUMBERS}
    found = departures({**attributes, **usual}, lambda *_: "")
    words += [activation_words(word) for word in found]
    words += _teacher_words(result, attributes)
    if attributes.get("second_layer", OPTIONS["second_layer"].default) != OPTIONS["second_layer"].default:
        words += _layer_words(result)
    if attributes.get("readout", OPTIONS["readout"].default) != OPTIONS["readout"].default:
        words.append(f"readout {attributes['readout']}")
    return words


def _numbers_of(
    result: xarray.Dataset, attributes: Mapping[str, Any]
) -> Iterator[tuple[RuntimeParameter, Any]]:
    """The parameters that are numbers, each with its values, of which each run may have its own."""
    for number in NUMBERS:
        if number.name in attributes:
            yield number, np.atleast_1d(attributes[number.name])
        elif number.name in result.data_vars and result[number.name].dims == ("trajectory",):
            yield number, np.unique(result[number.name].values)


def _number_words(number: RuntimeParameter, values: Any) -> str:
    if np.ptp(values) == 0.0:
        return f"${number.latex}={_number(values[0])}$"
    return rf"${_number(values.min())} \leq {number.latex} \leq {_number(values.max())}$"


def _teacher_words(result: xarray.Dataset, attributes: Mapping[str, Any]) -> list[str]:
    """What T is, unless it is 1 by convention."""
    if attributes.get("teacher", OPTIONS["teacher"].default) == OPTIONS["teacher"].default:
        return []
    T = result["T"].values if "T" in result else None
    if T is None or T.ndim != 2 or not np.isfinite(T).all():
        return ["general $T$"]
    diagonal, off = np.diagonal(T), T[~np.eye(len(T), dtype=bool)]
    if not np.any(off):
        return [rf"$T$ = diag{_vector(diagonal)}" if np.ptp(diagonal) else f"$T={_number(diagonal[0])}$"]
    if np.ptp(diagonal) == np.ptp(off) == 0.0:
        lead = "" if diagonal[0] == 1.0 else f"$T_{{rr}}={_number(diagonal[0])}$, "
        return [rf"{lead}$T_{{rs}}={_number(off[0])}$ for $r$ ≠ $s$"]
    known = np.linalg.eigvalsh(T)
    return [f"$T$ of eigenvalues {_text(known[0])} to {_text(known[-1])} ({_digest(T)})"]


def _layer_words(result: xarray.Dataset) -> list[str]:
    """The weights of second layers that are not 1; those of trained ones at the start."""
    words = []
    for vector in VECTORS:
        if vector.name not in result:
            continue
        values, letter = result[vector.name].values, vector.latex.replace("*", "{*}")
        if vector.name == "student_weights" and "v" in result:
            letter += "(0)"
        if values.ndim > 1:
            words.append(f"${letter}$ of each run ({_digest(values)})")
        elif np.any(values != vector.default):
            words.append(f"${letter}$ = {_vector(values)}")
    return words


def _vector(values: Any) -> str:
    """A vector, or where it is long its ends and what tells it from others."""
    if values.size <= _WRITTEN_OUT:
        return f"({', '.join(_text(value) for value in values)})"
    return f"({_text(values[0])}, …, {_text(values[-1])}) ({_digest(values)})"


def _digest(values: Any) -> str:
    """A few letters that differ where arrays differ."""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f8").tobytes()).hexdigest()[:6]


def activation_words(words: str) -> str:
    """Words with the names of Hermite polynomials as they are printed."""
    return re.sub(r"\bhe([0-9])", r"He$_\1$", words)


def _number(value: Any) -> str:
    """A number as mathtext reads it, with or without dollars around."""
    text = f"{float(value):g}"
    return power_text(value) if "e" in text else text


def power_text(value: float) -> str:
    """A number as 10⁻⁵ or 2.5×10⁷ for use within $…$."""
    digits, exponent = f"{value:.6e}".split("e")
    factor = f"{float(digits):g}"
    lead = {"1": "", "-1": "-"}.get(factor, rf"{factor}\times ")
    return rf"{lead}10^{{{int(exponent)}}}"


def _text(value: Any) -> str:
    """A number among words."""
    return f"${_number(value)}$"


def counted(number: int) -> str:
    """A whole number as a power of ten, or with thin spaces between its thousands; for use within $…$."""
    exponent = len(str(number)) - 1
    return (
        f"10^{{{exponent}}}"
        if number == 10**exponent and exponent > 2
        else f"{number:,}".replace(",", r"\,")
    )


# --- start, solver and outcome -----------------------------------------------------------------


def _start_words(attributes: Mapping[str, Any], axes: set[str], command: str) -> list[str]:
    """Where the runs start: at random weights in N dimensions, at an ideal start, or at a file.

    axes
        The names of coordinates, and so of all that varies in a sweep.
    """
    words = []
    told = axes | set(attributes)
    if "overlaps" in attributes:
        words.append(f"start of {_plain(attributes['overlaps'])}")
    elif "ideal" in attributes:
        words.append(rf"ideal start, $R_0$ of size {_text(attributes['ideal'])}")
        if "n" in attributes:
            words.append(f"$N={counted(int(attributes['n']))}$")
    elif "n" in attributes:
        # SGD has an N from given overlaps too; random weights have a variance q0.
        given = command == "simulate" and "q0" not in told
        words.append(
            f"{'given start' if given else 'random weights'} at $N={counted(int(attributes['n']))}$"
        )
    elif command in _STARTED and not {"ideal", "singular_values"} & told:
        words.append("random weights" if "q0" in told else "given start")
    if "singular_values" in attributes:
        found = np.atleast_1d(attributes["singular_values"])
        words.append(f"$R_0$ of singular values {_vector(found)}")
    if attributes.get("start_covariance", "none") != "none":
        words.append(f"covariance of the start: {_plain(attributes['start_covariance'])}")
    if attributes.get("start_alpha"):
        words.append(rf"from $\alpha={_number(attributes['start_alpha'])}$ on")
    if "seed" in attributes:
        words.append(f"seed {attributes['seed']}")
    return words


def _other_words(attributes: Mapping[str, Any], command: str) -> list[str]:
    """The other options of the command that are not as by default."""
    words = []
    for name, option in options_of(command).items():
        if name not in _WORDED and name in attributes and _differs(attributes[name], option):
            value = attributes[name]
            words.append(
                f"{name.replace('_', ' ')} {_plain(value) if isinstance(value, str) else _text(value)}"
            )
    return words


def _differs(value: Any, option: RunOption) -> bool:
    return option.default is None or value != option.default


def _time_words(result: xarray.Dataset, command: str, drawn: Iterable[str]) -> list[str]:
    """Output times that were given one by one, or another end of even ones than by default."""
    if "alpha" not in result.coords or "alpha" in drawn or result["alpha"].ndim != 1:
        return []
    times = result["alpha"].values
    if times.size <= _WRITTEN_OUT:
        return [rf"$\alpha$ = {', '.join(map(_text, times))}"]
    usual = options_of(command).get("alpha", RUN_OPTIONS["alpha"]).default
    even, step = np.linspace(times[0], times[-1], times.size), (times[-1] - times[0]) / (times.size - 1)
    # Times of SGD are rounded to whole steps.
    if times.size >= EVEN_TIMES and np.all(np.abs(times - even) <= 0.5 * step):
        return [] if np.isclose(times[-1], usual or np.nan) else [rf"$\alpha \leq {_number(times[-1])}$"]
    return [rf"{times.size} times, ${_number(times[0])} \leq \alpha \leq {_number(times[-1])}$"]


def _counts(result: xarray.Dataset) -> list[str]:
    """How a single run ended; or how many there were, and how many of them diverged or failed."""
    if "status_count" in result and result["status_count"].ndim == 1:
        counts = dict(zip(result["status"].values, result["status_count"].values, strict=True))
    elif "status" in result and result["status"].ndim == 1 and "trajectory" in result["status"].dims:
        counts = dict(zip(*np.unique(result["status"].values, return_counts=True), strict=True))
    elif "status" in result and result["status"].ndim == 0 and result["status"].item() != "ok":
        return [f"stopped: {_plain(result['status'].item())}"]
    else:
        count = result.attrs.get("trajectories", result.sizes.get("trajectory"))
        if count is None:
            return []
        each = " at each $N$" if "n" in result.dims else ""
        ended = int(result["diverged"].values.sum()) if "diverged" in result else 0
        return [_runs(int(count)) + each, *([f"{ended} diverged"] if ended else [])]
    failed = [f"{count} {_plain(name)}" for name, count in counts.items() if count and name != "ok"]
    return [_runs(int(sum(counts.values()))), *failed]


def _runs(count: int) -> str:
    return f"${counted(count)}$ {'run' if count == 1 else 'runs'}"


def _plain(text: Any) -> str:
    """A text without what matplotlib would read as mathematics."""
    return str(text).replace("_", " ").replace("$", r"\$")
