"""Runs a sweep: locks its folder, computes the missing tasks on an engine, and records failures."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from derive.errors import InputError
from runtime.sweep import dask_engine, process_engine, task_kinds, thread_engine
from runtime.sweep.durable_files import StorageError
from runtime.sweep.estimate import Estimate
from runtime.sweep.folder_lock import FolderLock, setup_lock
from runtime.sweep.run_task import Outcome, TaskContext
from runtime.sweep.signals import StopRequest, stopping, terminating
from runtime.sweep.sweep_errors import SweepError, SweepInterrupted
from runtime.sweep.sweep_folder import SweepFolder
from runtime.sweep.sweep_progress import SweepProgress
from runtime.sweep.sweep_settings import SweepSettings
from runtime.sweep.task_plan import Plan
from runtime.system.load_error import LoadError

TO_RESUME = "run the same command again to resume it"
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class SweepSummary:
    """How far a sweep, or a part of it, is: numbers of tasks, and the errors of those that failed."""

    folder: Path
    tasks: int
    done: int
    failed: dict[int, str]

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.folder}: {self.done} of {self.tasks} tasks done,"
            f" {len(self.failed)} failed>"
        )

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        errors = [{"task": number, "error": error} for number, error in sorted(self.failed.items())]
        return {"folder": str(self.folder), "tasks": self.tasks, "done": self.done, "failed": errors}


def run(path: Path, given: Plan | None, settings: SweepSettings, say: Say, quiet: bool) -> SweepSummary:
    """Compute every task of the sweep in `path` that is not done; None stands for the stored plan.

    Raises InputError if plan, folder and settings do not fit together, SweepInterrupted after Ctrl-C
    or SIGTERM, StorageError or SweepError if it cannot continue.
    """
    folder = SweepFolder(path)
    if settings.engine == "dask":
        assert settings.scheduler is not None
        dask_engine.check(settings.scheduler)
    with terminating():
        plan = agreed_plan(folder, given)
        new = folder.stored_plan() is None
        if new:
            plan.check()
            if plan.job.loads:
                # Nothing is written if the folder of systems cannot be.
                model = task_kinds.model_of(plan.task(0).parameters)
                task_kinds.system_of(model, settings.generated.absolute())
        estimate = Estimate.of(plan, settings.workers, settings.engine != "threads")
        estimate.check(path, plan.count if new else 0)
        with _locked(folder, plan, settings):
            return _run_locked(folder, plan, settings, estimate, say, quiet)


def agreed_plan(folder: SweepFolder, given: Plan | None) -> Plan:
    """The plan in the folder, or the given plan if the folder has none yet.

    Raises InputError if the two differ, or if there is neither.
    """
    folder.check_usable()
    stored = folder.stored_plan()
    if stored is None:
        if given is None:
            raise InputError(
                "out", f"{folder.path} holds no sweep yet: say what to vary, such as --seed 0:9"
            )
        return given
    difference = None if given is None else stored.difference(given)
    if difference is not None:
        name, value = difference
        there = stored.job.name if name == "job" else stored.values(name) if name != "zip" else "other axes"
        raise InputError(
            name,
            f"{value} is not that of the sweep in {folder.path}, {_brief(there)}: give all options of that"
            " sweep or --out alone, or choose another folder",
        )
    return stored


def _brief(values: Any) -> str:
    return f"{len(values)} values" if isinstance(values, tuple) and len(values) > 4 else str(values)


@contextlib.contextmanager
def _locked(folder: SweepFolder, plan: Plan, settings: SweepSettings) -> Iterator[None]:
    """Inside, the folder exists, holds the plan, and is locked for this run."""
    try:
        folder.path.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError.of(error, folder.path) from None
    lock = FolderLock(folder.path)
    try:
        with setup_lock(folder.path):
            # Another process may have stored its plan first.
            agreed_plan(folder, plan)
            lock.take(settings.part)
            folder.store(plan)
        yield
    finally:
        lock.release()


def _run_locked(
    folder: SweepFolder, plan: Plan, settings: SweepSettings, estimate: Estimate, say: Say, quiet: bool
) -> SweepSummary:
    ours = None
    numbers = range(plan.count)
    if settings.part is not None:
        index, count = settings.part
        numbers = ours = range(index, plan.count, count)
    state = folder.state(plan, numbers)
    for number, problem in state.damaged.items():
        folder.set_aside(number)
        say(f"task {number}: its shard {problem}; set aside and computed again")
    for number in state.done:
        folder.forget_failure(number)
    pending = sorted([*state.missing, *state.failed, *state.damaged])
    done, failed = len(state.done), {}
    if state.done and pending:
        say(f"{done} of {len(numbers)} tasks are done already")
    estimate.check(folder.path, len(pending))
    if pending:
        _prepare(plan, pending, settings)
    progress = SweepProgress(len(numbers), done, quiet)
    with (
        stopping() as stop,
        _cleaned(folder, ours),
        contextlib.closing(_engine(folder, plan, pending, settings, stop)) as engine,
    ):
        try:
            for outcome in engine:
                if outcome is None:
                    progress.show()
                    continue
                if outcome.fatal:
                    raise SweepError(outcome.error)
                if outcome.error is None:
                    done += 1
                    folder.forget_failure(outcome.number)
                else:
                    failed[outcome.number] = outcome.error
                    folder.record_failure(plan.task(outcome.number), outcome.error)
                progress.add(outcome.error is not None)
        except (SweepError, StorageError) as error:
            word = error.strerror and f"{error.filename}: {error.strerror}"
            raise SweepError(f"{word or error}; {done} of {len(numbers)} tasks done; {TO_RESUME}") from None
        finally:
            progress.end()
    if stop.requested and done + len(failed) < len(numbers):
        raise SweepInterrupted(f"{done} of {len(numbers)} tasks done; {TO_RESUME}")
    return SweepSummary(folder.path, len(numbers), done, failed)


@contextlib.contextmanager
def _cleaned(folder: SweepFolder, numbers: range | None) -> Iterator[None]:
    """Temporary files that killed processes left are removed before and after."""
    folder.clean(numbers)
    try:
        yield
    finally:
        folder.clean(numbers)


def _prepare(plan: Plan, pending: list[int], settings: SweepSettings) -> None:
    """Derive and compile each system once, before workers would do so at the same time."""
    seen = set()
    for number in pending:
        parameters = plan.task(number).parameters
        model = task_kinds.model_of(parameters)
        if model not in seen:
            seen.add(model)
            # The tasks of a damaged system will fail one by one and say why, and the others will run.
            with contextlib.suppress(LoadError):
                task_kinds.prepare(plan.job, parameters, settings.generated.absolute())


def _engine(
    folder: SweepFolder, plan: Plan, pending: list[int], settings: SweepSettings, stop: StopRequest
) -> Generator[Outcome | None, None, None]:
    tasks = (plan.task(number) for number in pending)
    context = TaskContext(str(folder.path.absolute()), str(settings.generated.absolute()), settings.threads)
    workers = min(settings.workers, len(pending))
    if not pending:
        yield from ()
    elif settings.engine == "threads":
        yield from thread_engine.outcomes(tasks, context, workers, stop)
    elif settings.engine == "processes":
        yield from process_engine.outcomes(tasks, context, workers, stop)
    else:
        assert settings.scheduler is not None
        yield from dask_engine.outcomes(tasks, context, stop, settings.scheduler)
