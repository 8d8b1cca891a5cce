"""`cli report`: write one HTML page on a model."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derive.arguments import whole_number
from derive.atomic_files import replacing
from derive.generated_files import DOCUMENT
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import EXIT_FAILURE, Talk, echo
from runtime.output.output_files import check_output
from runtime.run_options import RANDOM_N

if TYPE_CHECKING:
    from derive.model import Model
    from runtime.problem import Problem
    from runtime.report.findings import ReportFindings, ReportInput
    from runtime.start.chosen_start import ChosenStart

SUFFIXES = (".html", ".htm")
LARGEST_TRAJECTORIES = 10**6


@command()
@shared.model_options()
@shared.training_options("report")
@shared.run_option("report", "trajectories")
@shared.start_options("report")
@shared.solver_options("report")
@option("Output", "--out", type=shared.A_PATH, default="report.html", help="Write to this .html file.")
@option(
    "Output", "--date", is_flag=True, help="Include the date; without it the file is the same each time."
)
@shared.generated_option
@shared.json_option
@shared.quiet_option
def report(
    model: Model,
    training: dict[str, Any],
    trajectories: int,
    start: ChosenStart,
    solver: dict[str, Any],
    out: Path,
    date: bool,
    generated: Path,
    as_json: bool,
    talk: Talk,
) -> int:
    """Write one page on a model: equations, a trajectory, plateau, Hessian, checks.

    The exit code is 1 if a check fails or the trajectory diverges.

    Any browser prints the page, or saves it as PDF, in a layout made for paper.

    \b
    Examples:
      cli report --p 4 --pstar 2 --out report.html
      cli report --constraint sphere --eta 0.2 --label-noise 0.1 --alpha 400
      cli report --overlaps run.nc --out from_run.html
    """
    from runtime.output.run_summaries import stopped_line
    from runtime.problem import chosen_problem
    from runtime.report.findings import gather
    from runtime.report.page import page
    from runtime.start.chosen_start import naming_choices
    from runtime.system.loading import load

    check_output(out, SUFFIXES)
    whole_number("trajectories", trajectories, 0, LARGEST_TRAJECTORIES)
    # All is checked before the system, so that wrong options leave no derived system behind.
    problem = chosen_problem(model, start, **training, **solver)
    with naming_choices():
        beginning = _beginning(problem, start, trajectories, {**training, **solver})
        system = load(model, generated)
        content = gather(system, beginning, talk)
    arguments = {**dataclasses.asdict(start), **training, **solver}
    arguments |= {"trajectories": trajectories, "out": out, "date": date}
    written = page(content, arguments, _near(system.folder / DOCUMENT, out))
    with replacing(out) as temporary:
        temporary.write_text(written, encoding="utf-8", errors="backslashreplace", newline="\n")
    if as_json:
        echo(json.dumps(key_facts(content, out)))
    else:
        echo(str(out), kept="")
    failed = [claim for claim in content.claims if not claim.holds]
    talk(f"{len(content.claims) - len(failed)} of {len(content.claims)} checks hold")
    ended = talk.outcome(stopped_line(content.run), finished=False)
    return EXIT_FAILURE if failed else ended


def _beginning(
    problem: Problem, start: ChosenStart, trajectories: int, options: Mapping[str, Any]
) -> ReportInput:
    """The problem of the report's trajectory and that of its ensemble; raises InputError."""
    from runtime.problem import chosen_problem
    from runtime.report.findings import ReportInput, no_ensemble
    from runtime.start.initial_overlaps import LARGEST_START_N

    model = problem.model
    # The Hessian needs at least as many dimensions as there are weight vectors.
    n = min(max(int(problem.start.origin.get("n", RANDOM_N)), model.p + model.pstar), LARGEST_START_N)
    alone = ReportInput(problem, None, trajectories, n)
    if no_ensemble(model, alone) is not None:
        return alone
    random = chosen_problem(model, start, trajectories, **options)
    return ReportInput(problem, random, trajectories, n)


def _near(source: Path, out: Path) -> str | None:
    """The address of a file from the report, if it is beside it or one folder up; else None.

    The address of a file farther away would show folders that concern nobody else, and lead nowhere once
    the report is sent.
    """
    relative = Path(os.path.relpath(source.resolve(), out.resolve().parent))
    return relative.as_posix() if list(relative.parts).count(os.pardir) <= 1 else None


def key_facts(content: ReportFindings, out: Path) -> dict[str, Any]:
    """File, key numbers and claims as plain values."""
    from runtime.report.findings import Unavailable

    point = content.plateau
    return {
        "out": str(out),
        "model": content.model.to_dict(),
        "status": content.run["status"].item(),
        "plateau": None
        if isinstance(point, Unavailable)
        else {"q": point.q, "loss": point.loss, "rate": point.rate, "multiplicity": point.multiplicity},
        "escape_alpha": content.escape,
        "claims": [claim.to_dict() for claim in content.claims],
    }
