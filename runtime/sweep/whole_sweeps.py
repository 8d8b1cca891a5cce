"""What `cli sweep` and `cli merge` do with their options, and the same for Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from derive.errors import InputError, one_line, shown
from runtime.sweep import sweep_settings, task_execution, task_kinds
from runtime.sweep.estimate import Estimate, readable
from runtime.sweep.merge import merge
from runtime.sweep.sweep_folder import SweepFolder
from runtime.sweep.sweep_settings import Settings
from runtime.sweep.task_execution import Summary
from runtime.sweep.task_plan import Plan

_ROWS = 10
_SETTINGS = ("engine", "workers", "threads", "scheduler", "generated", "task_index", "task_count")


def run_sweep(
    folder: str | Path,
    job: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    zip: Sequence[Sequence[str]] = (),
    engine: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    generated: str | Path | None = None,
    task_index: int | None = None,
    task_count: int | None = None,
    quiet: bool = True,
) -> Summary:
    """Compute every task of a sweep that is not done yet; each result is a file in `folder`.

    Parameters
    ----------
    folder
        Made if it is not there; if it holds the same sweep, that is gone on with.
    job
        ``"ode"``, ``"ensemble"``, ``"chain"`` or ``"escape"``.
    parameters
        By name, as for the single command: a value, or a list, range, array or text ("0:9",
        "0.1:0.5:5") to vary.
        None (and no job) goes on with what is in the folder.
    zip
        Groups of parameters that vary together instead of in a product.
    engine
        ``"threads"``, ``"processes"`` or ``"dask"``, which needs a scheduler.
    workers, threads
        Tasks at once (None: one per processor; Dask has its own), and threads of each.
    scheduler
        Address or scheduler file of Dask; of one that you trust, since it may run any code.
    task_index, task_count
        Only tasks index, index + count, … : a part of a job array.

    Raises
    ------
    InputError
        A value is not allowed, or the folder holds something else or is in use.
    SweepInterrupted
        Ctrl-C or SIGTERM; call again to go on.
    OSError
        The folder cannot be written, or the engine failed; what is done stays done.
    """
    chosen = Settings.of(engine, workers, threads, scheduler, generated, task_index, task_count)
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, Mapping):
        raise InputError("parameters", f"{shown(parameters)} is not a mapping of names to values")
    plan = None
    if job is not None or parameters:
        plan = Plan.of(
            task_kinds.DEFAULT_JOB if job is None else job, parameters, sweep_settings.groups(zip)
        )
    return task_execution.run(Path(folder), plan, chosen, lambda _: None, quiet)


def merge_sweep(folder: str | Path, out: str | Path, partial: bool = False) -> dict[str, int]:
    """Write the results of a sweep to one netCDF file; see `runtime.sweep.merge.merge`."""
    return merge(Path(folder), Path(out), partial)


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asks for, file and options together."""

    folder: Path
    plan: Plan | None
    settings: Settings

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Request:
        """From the options by name; `parameters` are those of the job. Raises InputError."""
        given = {name: value for name, value in arguments["parameters"].items() if value is not None}
        file = {} if arguments["file"] is None else sweep_settings.read_file(arguments["file"])
        options = sweep_settings.merged(
            file, {name: arguments[name] for name in (*_SETTINGS, "out", "job", "zip")}
        )
        if not isinstance(options.get("out", ""), (str, Path)):
            raise InputError("out", f"{shown(options['out'])} is not the name of a folder")
        if not str(options.get("out", "")):
            raise InputError("out", "is missing: the folder of the sweep")
        parameters = {
            **{name.replace("-", "_"): value for name, value in file.get("parameters", {}).items()},
            **given,
        }
        job, together = options.get("job"), sweep_settings.groups(options.get("zip"))
        plan = None
        if job is not None or parameters or together or arguments["file"] is not None:
            plan = Plan.of(task_kinds.DEFAULT_JOB if job is None else job, parameters, together)
        chosen = Settings.of(**{name: options.get(name) for name in _SETTINGS})
        return cls(Path(options["out"]), plan, chosen)


def sweep(arguments: Mapping[str, Any], say: Callable[[str], None]) -> Summary:
    """Run or go on; see `run_sweep` for the errors."""
    request = Request.of(arguments)
    return task_execution.run(request.folder, request.plan, request.settings, say, arguments["quiet"])


def dry_run(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a sweep would be: its tasks and an estimate of disk and memory. Nothing is written."""
    request = Request.of(arguments)
    folder = SweepFolder(request.folder)
    plan = task_execution.agreed_plan(folder, request.plan)
    plan.check()
    chosen = request.settings
    estimate = Estimate.of(plan, chosen.workers, chosen.engine != "threads")
    estimate.check(request.folder, plan.count)
    return {
        "folder": str(request.folder),
        "job": plan.job.name,
        "tasks": plan.count,
        "axes": {name: list(plan.values(name)) for axis in plan.axes for name in axis.names},
        "shape": {axis.dimension: len(axis) for axis in plan.axes},
        "disk_bytes": estimate.disk,
        "memory_bytes": estimate.memory,
    }


def dry_run_text(facts: Mapping[str, Any]) -> str:
    shape = " × ".join(f"{size} {name}" for name, size in facts["shape"].items())
    return (
        f"{facts['folder']}: {facts['tasks']} tasks of {facts['job']}{f' = {shape}' if shape else ''}\n"
        f"at most about {readable(facts['disk_bytes'])} on disk,"
        f" {readable(facts['memory_bytes'])} of memory"
    )


def status(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What is done, failed (with the error), damaged and missing, as plain values."""
    request = Request.of(arguments)
    folder = SweepFolder(request.folder)
    folder.check_usable()
    if folder.stored_plan() is None:
        raise InputError("out", f"{request.folder} holds no sweep")
    plan = task_execution.agreed_plan(folder, request.plan)
    state = folder.state(plan)
    return {
        "folder": str(request.folder),
        "job": plan.job.name,
        "tasks": plan.count,
        "done": len(state.done),
        "failed": _listed(plan, {number: record["error"] for number, record in state.failed.items()}),
        "damaged": _listed(plan, state.damaged),
        "missing": state.missing,
    }


def summary(result: Summary) -> dict[str, Any]:
    """The end of a run as plain values."""
    errors = [{"task": number, "error": error} for number, error in sorted(result.failed.items())]
    return {"folder": str(result.folder), "tasks": result.tasks, "done": result.done, "failed": errors}


def failure(result: Summary) -> str:
    """How many tasks failed and where to look, in a line."""
    number, error = min(result.failed.items())
    return (
        f"{len(result.failed)} of {result.tasks} tasks failed, the first is task {number}: {error};"
        f" `cli sweep --out {result.folder} --status` lists them"
    )


def _listed(plan: Plan, problems: Mapping[int, str]) -> list[dict[str, Any]]:
    """Tasks with a problem, and where they are on the axes."""
    found = []
    for number, problem in sorted(problems.items()):
        parameters = plan.task(number).parameters
        place = {name: parameters[name] for axis in plan.axes for name in axis.names}
        found.append({"task": number, "error": problem, "parameters": place})
    return found


def status_text(facts: Mapping[str, Any]) -> str:
    """The status for people."""
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
        shown = " ".join(str(number) for number in missing[:_ROWS])
        lines.append(f"missing {shown}{' …' if len(missing) > _ROWS else ''}")
    return "\n".join(lines)
