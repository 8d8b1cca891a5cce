"""`cli sweep`: run every combination of parameters, resume such a sweep, or show what is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derive.arguments import alternatives
from derive.errors import InputError, one_line, shown
from derive.parameters import NUMBERS
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import Decorator, collected, command, option, options
from runtime.commands.printing import EXIT_FAILURE, EXIT_INTERRUPTED, Talk, echo, fail
from runtime.commands.value_types import Integer
from runtime.run_options import (
    DEFAULT_JOB,
    ENGINES,
    GENERATED,
    JOB_COMMANDS,
    LISTS,
    MODEL_OPTIONS,
    RUN_OPTIONS,
    RunOption,
    axes_of,
)
from runtime.sweep.sweep_errors import SweepInterrupted

if TYPE_CHECKING:
    from runtime.sweep.sweep_run import SweepSummary
    from runtime.sweep.sweep_settings import SweepSettings
    from runtime.sweep.task_plan import Plan

# `--status` lists at most this many failed, damaged and missing tasks each; with --json it lists all.
_ROWS = 10


def _swept_options() -> Decorator:
    """The options of the tasks of all jobs; each takes the text of values to vary."""
    tasks = {job: axes_of(job) for job in JOB_COMMANDS}
    every = {name: option for axes in tasks.values() for name, option in axes.items()}
    order = sorted(every, key=[*MODEL_OPTIONS, *(n.name for n in NUMBERS), *RUN_OPTIONS].index)
    return options(*(_swept(every[name], [j for j in JOB_COMMANDS if name in tasks[j]]) for name in order))


def _swept(declared: RunOption, jobs: list[str]) -> Decorator:
    """An option that these jobs take; its help says if only one does, or if it cannot vary."""
    words = RUN_OPTIONS.get(declared.name, declared).help.split("  [")[0].rstrip(".")
    if declared.kind == "choice":
        words += f": {alternatives(declared.choices)}"
    if declared.kind == "flag":
        words += ": true or false"
    if len(jobs) == 1:
        words += f", with --job {jobs[0]}"
    if declared.kind in LISTS:
        words += "; semicolons separate values"
    if declared.swept == "fixed":
        words += "; the same for all tasks"
    names = (shared.dashed(declared.name), declared.name)
    return option(declared.group, *names, metavar="VALUES", help=f"{words}.")


@command()
@click.argument("file", required=False, type=shared.A_PATH)
@option("Sweep", "--out", type=shared.A_PATH, help="Folder of the sweep.")
@option("Sweep", "--job", help=f"What a task runs: {alternatives(JOB_COMMANDS)}.  [default: {DEFAULT_JOB}]")
@option("Sweep", "--zip", metavar="NAMES", help="Vary these parameters together: --zip p,pstar.")
@collected("parameters", dict, _swept_options())
@collected(
    "execution",
    dict,
    option("Sweep", "--engine", help=f"Where tasks run: {alternatives(ENGINES)}.  [default: {ENGINES[0]}]"),
    option("Sweep", "--workers", type=Integer(), help="Tasks at once.  [default: one per processor]"),
    option("Sweep", "--threads", type=Integer(), help="Threads per task.  [default: 1]"),
    option("Sweep", "--scheduler", metavar="FILE|ADDRESS", help="A Dask scheduler, which you must trust."),
    option("Sweep", "--task-index", type=Integer(), help="Number of this part of a job array, from 0."),
    option("Sweep", "--task-count", type=Integer(), help="Number of parts of the job array."),
    option(
        "Output",
        "--generated",
        type=shared.A_PATH,
        help=f"Folder of the derived systems.  [default: {GENERATED}]",
    ),
)
@option("Sweep", "--status", is_flag=True, help="Say what is done, failed and missing; compute nothing.")
@option(
    "Sweep", "--dry-run", is_flag=True, help="Count the tasks, estimate disk and memory; write nothing."
)
@shared.json_option
@shared.quiet_option
def sweep(
    file: Path | None,
    out: Path | None,
    job: str | None,
    zip: str | None,
    parameters: Mapping[str, str | None],
    execution: Mapping[str, Any],
    status: bool,
    dry_run: bool,
    as_json: bool,
    talk: Talk,
) -> int:
    """Run every combination of parameters, on threads, processes, Dask or a job array.

    Values are 0.4 (fixed), 0.1,0.2,0.4 (each), 0:9 (integers, both ends), 0.1:0.5:5 (start:end:count)
    or log:1e3:1e6:4; lists of numbers have semicolons in between: 1,-1;1,1. Each task writes a file into
    the folder. The same command again, or --out alone, computes the tasks that are missing.

    \b
    Examples:
      cli sweep --eta 0.1:0.5:5 --seed 0:9 --out runs
      cli sweep --job escape --n log:1e3:1e6:4 --seed 0:3 --engine processes --out escapes
      cli sweep sweep.toml --task-index 0 --task-count 4
      cli sweep --out runs --status
    """
    from runtime.sweep import sweep_run, whole_sweeps

    if status and dry_run:
        raise click.UsageError("--status does not go with --dry-run")
    folder, plan, settings = request(file, {"out": out, "job": job, "zip": zip, **execution}, parameters)
    if status:
        facts = whole_sweeps.status(folder, plan)
        echo(json.dumps(facts) if as_json else status_text(facts))
        return 0
    if dry_run:
        facts = whole_sweeps.dry_run(folder, plan, settings)
        echo(json.dumps(facts) if as_json else dry_run_text(facts))
        return 0
    try:
        result = sweep_run.run(folder, plan, settings, talk, talk.quiet)
    except SweepInterrupted as interrupted:
        return fail(str(interrupted), EXIT_INTERRUPTED)
    done = f"{result.folder}: {result.done} of {result.tasks} tasks done"
    echo(json.dumps(result.to_dict()) if as_json else done)
    return fail(failure(result), EXIT_FAILURE) if result.failed else 0


def request(
    file: Path | None, options: Mapping[str, Any], parameters: Mapping[str, Any]
) -> tuple[Path, Plan | None, SweepSettings]:
    """Folder, plan and settings of a sweep, from options above those of a TOML file; raises InputError."""
    from runtime.sweep import sweep_settings, whole_sweeps

    stored = {} if file is None else sweep_settings.read_sweep_file(file)
    chosen = {**stored, **{name: value for name, value in options.items() if value is not None}}
    out = chosen.pop("out", "")
    if not isinstance(out, (str, Path)):
        raise InputError("out", f"{shown(out)} is not the name of a folder")
    if not str(out):
        raise InputError("out", "is missing: name the folder of the sweep")
    values = {name.replace("-", "_"): value for name, value in chosen.pop("parameters", {}).items()}
    values |= {name: value for name, value in parameters.items() if value is not None}
    job = chosen.pop("job", None if file is None else DEFAULT_JOB)
    plan = whole_sweeps.plan_of(job, values, chosen.pop("zip", None))
    return Path(out), plan, sweep_settings.SweepSettings.of(**chosen)


def dry_run_text(facts: Mapping[str, Any]) -> str:
    """The size of a sweep, for people."""
    from runtime.sweep.estimate import readable_bytes

    shape = " × ".join(f"{size} {name}" for name, size in facts["shape"].items())
    return (
        f"{facts['folder']}: {facts['tasks']} tasks of {facts['job']}{f' = {shape}' if shape else ''}\n"
        f"at most about {readable_bytes(facts['disk_bytes'])} on disk,"
        f" {readable_bytes(facts['memory_bytes'])} of memory"
    )


def failure(result: SweepSummary) -> str:
    """How many tasks failed and where to look, in a line."""
    number, error = min(result.failed.items())
    return (
        f"{len(result.failed)} of {result.tasks} tasks failed, the first is task {number}: {error};"
        f" `cli sweep --out {result.folder} --status` lists them"
    )


def status_text(facts: Mapping[str, Any]) -> str:
    """The status, for people."""
    failed, damaged, missing = facts["failed"], facts["damaged"], facts["missing"]
    counts = f"{len(failed)} failed, {len(damaged)} damaged, {len(missing)} missing"
    tasks = f"{facts['tasks']} tasks of {facts['job']}"
    lines = [f"{facts['folder']}: {tasks}, {facts['done']} done, {counts}"]
    for word, entries in (("failed", failed), ("damaged", damaged)):
        for entry in entries[:_ROWS]:
            place = " ".join(f"{name}={value}" for name, value in entry["parameters"].items())
            lines.append(f"{word} {entry['task']} ({place}): {one_line(entry['error'])}")
        if len(entries) > _ROWS:
            lines.append(f"… and {len(entries) - _ROWS} more: --json lists all")
    if missing:
        first = " ".join(str(number) for number in missing[:_ROWS])
        lines.append(f"missing {first}{' …' if len(missing) > _ROWS else ''}")
    return "\n".join(lines)
