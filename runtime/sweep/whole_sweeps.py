"""Computes or resumes a sweep, tells what is done, and merges the results: for Python and the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from derive.errors import InputError, shown
from runtime.run_options import DEFAULT_JOB
from runtime.sweep import sweep_run, sweep_settings
from runtime.sweep.estimate import Estimate
from runtime.sweep.merge import merge
from runtime.sweep.sweep_folder import SweepFolder
from runtime.sweep.sweep_run import SweepSummary
from runtime.sweep.sweep_settings import SweepSettings
from runtime.sweep.task_plan import Plan


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
) -> SweepSummary:
    """Compute every task of a sweep that is not done yet; each result is a file in `folder`.

    Parameters
    ----------
    folder
        It is made if it is missing; if it holds the same sweep, that sweep is resumed.
    job
        ``"ode"``, ``"ensemble"``, ``"chain"`` or ``"escape"``.
    parameters
        Values by name, as for the single command: one value, or a list, range, array or text ("0:9",
        "0.1:0.5:5") of values to vary. None, without a job, resumes the sweep in the folder.
    zip
        Groups of parameters that vary together instead of in a product.
    engine
        ``"threads"``, ``"processes"`` or ``"dask"``, which needs a scheduler.
    workers, threads
        Number of tasks at once (None: one per processor; Dask has its own workers), and threads of each.
    scheduler
        Address or file of a Dask scheduler, which you must trust, since it may run any code.
    task_index, task_count
        The part of a job array: only the tasks index, index + count, … are computed.
    quiet
        False: a bar on a terminal or in a notebook, and elsewhere a line now and then.

    Raises
    ------
    InputError
        A value is not allowed, or the folder holds something else or is in use.
    SweepInterrupted
        Ctrl-C or SIGTERM came; the same call resumes the sweep.
    OSError
        The folder cannot be written, or the engine failed; finished tasks stay finished.
    """
    chosen = SweepSettings.of(engine, workers, threads, scheduler, generated, task_index, task_count)
    plan = plan_of(job, {} if parameters is None else parameters, zip)
    return sweep_run.run(Path(folder), plan, chosen, lambda _: None, quiet)


def plan_of(job: Any, parameters: Any, zip: Any) -> Plan | None:
    """The plan of what is given; None if nothing is, which stands for the plan in the folder."""
    if not isinstance(parameters, Mapping):
        raise InputError("parameters", f"{shown(parameters)} is not a mapping of names to values")
    together = sweep_settings.zip_groups(zip)
    if job is None and not parameters and not together:
        return None
    return Plan.of(DEFAULT_JOB if job is None else job, parameters, together)


def merge_sweep(folder: str | Path, out: str | Path, partial: bool = False) -> dict[str, int]:
    """Write the results of a sweep to one netCDF file; see `runtime.sweep.merge.merge`."""
    return merge(Path(folder), Path(out), partial)


def dry_run(path: Path, given: Plan | None, settings: SweepSettings) -> dict[str, Any]:
    """The tasks of a sweep and an estimate of its disk and memory, as plain values. Nothing is written."""
    plan = sweep_run.agreed_plan(SweepFolder(path), given)
    plan.check()
    estimate = Estimate.of(plan, settings.workers, settings.engine != "threads")
    there = SweepFolder(path)
    done = there.state(plan).done if there.stored_plan() else []
    estimate.check(path, plan.count - len(done))
    return {
        "folder": str(path),
        "job": plan.job.name,
        "tasks": plan.count,
        "axes": {name: list(plan.values(name)) for axis in plan.axes for name in axis.names},
        "shape": {axis.dimension: len(axis) for axis in plan.axes},
        "disk_bytes": estimate.disk,
        "memory_bytes": estimate.memory,
    }


def status(path: Path, given: Plan | None) -> dict[str, Any]:
    """The tasks that are done, failed (with the error), damaged and missing, as plain values."""
    folder = SweepFolder(path)
    folder.check_usable()
    if folder.stored_plan() is None:
        raise InputError("out", f"{path} holds no sweep")
    plan = sweep_run.agreed_plan(folder, given)
    state = folder.state(plan)
    return {
        "folder": str(path),
        "job": plan.job.name,
        "tasks": plan.count,
        "done": len(state.done),
        "failed": _listed(plan, {number: record["error"] for number, record in state.failed.items()}),
        "damaged": _listed(plan, state.damaged),
        "missing": state.missing,
    }


def _listed(plan: Plan, problems: Mapping[int, str]) -> list[dict[str, Any]]:
    """Tasks with their problem and their values on the axes."""
    found = []
    for number, problem in sorted(problems.items()):
        parameters = plan.task(number).parameters
        place = {name: parameters[name] for axis in plan.axes for name in axis.names}
        found.append({"task": number, "error": problem, "parameters": place})
    return found
