"""Tells where a report comes from: versions, digests, processor, and the command that makes it again."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from derive.model import Model
from derive.parameters import VECTORS
from derive.version import VERSION
from runtime.run_options import MODEL_OPTIONS, WIDTHS, default, numbers_of
from runtime.vector.jit import target

_COMPUTING = ("numpy", "scipy", "sympy", "numba", "llvmlite", "xarray")
_DRAWING = ("matplotlib", "latex2mathml", "jinja2")
# Options that are always written, since later versions may have other defaults.
_ALWAYS = (*numbers_of("report"), "alpha", "rtol", "atol", "method")


def command_line(model: Model, arguments: Mapping[str, Any], n: int | None) -> str:
    """The command that makes this report again; files are named without their folders.

    `n` is the input dimension of a random start; None for any other start.
    """
    words = ["cli", "report", "--p", str(model.p), "--pstar", str(model.pstar)]
    words += [
        word
        for name, option in MODEL_OPTIONS.items()
        if name not in WIDTHS and getattr(model, name) != option.default
        for word in _words(name, getattr(model, name))
    ]
    for name in _ALWAYS:
        words += _words(name, arguments[name])
    if arguments["schedule"] != default("schedule"):
        words += _words("schedule", arguments["schedule"])
    for name in ("teacher_spectrum", *(vector.name for vector in VECTORS)):
        words += _words(name, arguments[name])
    correlation = arguments["teacher_correlation"]
    if arguments["T"] is not None:
        words += _words("T", Path(arguments["T"]).name)
    # A correlation is rejected beside a file that has a T, and beside a spectrum.
    elif model.teacher == "general" and (
        correlation or (arguments["overlaps"] is None and arguments["teacher_spectrum"] is None)
    ):
        words += _words("teacher_correlation", correlation)
    if arguments["overlaps"] is not None:
        words += ["--overlaps", Path(arguments["overlaps"]).name]
    else:
        words += ["--trajectories", _value(arguments["trajectories"])]
        words += ["--ideal", _value(arguments["ideal"])] if n is None else ["--n", str(n)]
        words += ["--seed", _value(arguments["seed"]), "--q0", _value(arguments["q0"])]
    words += ["--date"] if arguments["date"] else []
    words += ["--out", Path(arguments["out"]).name]
    return shlex.join(words)


def _words(name: str, value: Any) -> list[str]:
    """An option with its value; none if there is no value."""
    return [] if value is None else [f"--{name.replace('_', '-')}", _value(value)]


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(_value(part) for part in value)
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def facts(manifest: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of a term and its value, both plain text."""
    found = [
        ("Program", f"overlap-ode {VERSION}"),
        ("Digest of the generated code", f"sha256:{manifest['files']['odes.py']}"),
        ("Python", platform.python_version()),
        ("Packages", ", ".join(f"{name} {metadata.version(name)}" for name in (*_COMPUTING, *_DRAWING))),
        ("Processor", f"{platform.machine()}, vector code: {target().name}"),
    ]
    if arguments["overlaps"] is not None:
        found.append(("Digest of the start", f"sha256:{file_digest(arguments['overlaps'])}"))
    if arguments["T"] is not None:
        found.append(("Digest of T", f"sha256:{file_digest(arguments['T'])}"))
    if arguments["date"]:
        found.append(("Date", datetime.now(UTC).strftime("%Y-%m-%d")))
    return found


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
