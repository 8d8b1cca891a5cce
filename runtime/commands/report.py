"""What `cli report` does with its options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import runtime
from derive.arguments import whole_number
from derive.atomic_files import replacing
from derive.model import Model
from derive.odes import DOCUMENT
from runtime.commands.run_options import (
    DEFAULT_N,
    check_starts,
    initial_overlaps,
    model_of,
    naming_options,
    sampler_of,
)
from runtime.output.netcdf_files import check_output
from runtime.report.findings import Content, Start, gather, no_ensemble
from runtime.report.page import page
from runtime.start.initial_overlaps import LARGEST_START_N, OverlapSampler
from runtime.trajectory.single_run import Problem

SUFFIXES = (".html", ".htm")
_SETTINGS = ("eta", "alpha", "label_noise", "rtol", "atol", "method")
LARGEST_TRAJECTORIES = 10**6


def report(
    arguments: Mapping[str, Any], say: Callable[[str], None], given: frozenset[str] = frozenset()
) -> Content:
    """Compute, and write the report to --out; returns what was found.

    `arguments` are the options of the command by name, `given` those on the command line. The output is
    checked before anything is computed; errors name options.
    """
    model = model_of(arguments)
    out = check_output(arguments["out"], SUFFIXES)
    start = _start(model, arguments, given)
    # Why only now: bad options must not leave a derived system behind.
    system = runtime.load(model, arguments["generated"])
    with naming_options():
        content = gather(system, start, say)
    written = page(content, arguments, _near(system.folder / DOCUMENT, out))
    with replacing(out) as temporary:
        temporary.write_text(written, encoding="utf-8", errors="backslashreplace", newline="\n")
    return content


def _start(model: Model, arguments: Mapping[str, Any], given: frozenset[str]) -> Start:
    trajectories = whole_number("trajectories", arguments["trajectories"], 0, LARGEST_TRAJECTORIES)
    with naming_options():
        Q0, R0, T, origin = initial_overlaps(model, arguments, given)
        settings = {name: arguments[name] for name in _SETTINGS}
        problem = Problem.checked(model, Q0, R0, T=T, **settings)
        sampler: OverlapSampler | None = None
        if arguments["overlaps"] is None:
            sampler, _ = sampler_of(model, T, arguments)
    # The Hessian needs room for all weights.
    n = min(max(int(origin.get("n", DEFAULT_N)), model.p + model.pstar), LARGEST_START_N)
    start = Start(problem, origin, sampler, trajectories, n)
    if no_ensemble(model, start) is None:
        with naming_options():
            check_starts(model, T, arguments, trajectories)
    return start


def _near(source: Path, out: Path) -> str | None:
    """The address of a file from the report, if it is beside it or one folder up; else None.

    Why not farther: the address would tell of folders that are nobody's business, and lead nowhere
    once the report is sent.
    """
    relative = Path(os.path.relpath(source.resolve(), out.resolve().parent))
    return relative.as_posix() if list(relative.parts).count(os.pardir) <= 1 else None


def as_json(content: Content, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Files, key numbers and claims as plain values."""
    from runtime.report.findings import Unavailable

    point = content.plateau
    return {
        "out": str(arguments["out"]),
        "model": content.model.to_dict(),
        "status": content.run["status"].item(),
        "plateau": None
        if isinstance(point, Unavailable)
        else {"q": point.q, "loss": point.loss, "rate": point.rate, "multiplicity": point.multiplicity},
        "escape_alpha": content.escape,
        "claims": [claim.to_dict() for claim in content.claims],
    }
