"""Computes one task of a sweep, stores its result as a shard, and reports how the task ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from derive.errors import InputError
from runtime.sweep import task_kinds
from runtime.sweep.durable_files import StorageError
from runtime.sweep.program_version import PROGRAM
from runtime.sweep.shard import write_shard
from runtime.sweep.sweep_folder import SweepFolder
from runtime.sweep.task_plan import Task

_LONGEST_ERROR = 500


@dataclasses.dataclass(frozen=True)
class TaskContext:
    """The values that all tasks of a run share.

    folder, generated
        The folders of the sweep and of the derived systems; absolute, for workers that started elsewhere.
    threads
        Threads of each task.
    version
        Version of the program that drives the sweep; workers of another version refuse to work.
    """

    folder: str
    generated: str
    threads: int
    version: str = PROGRAM


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a task ended: done, with its shard on the disk, or with an error.

    An error is `fatal` if it would hit the other tasks too.
    """

    number: int
    error: str | None = None
    fatal: bool = False


def run_task(task: Task, context: TaskContext) -> Outcome:
    """Compute a task and write its shard; whatever goes wrong is told in the outcome."""
    if context.version != PROGRAM:
        return Outcome(task.number, f"the worker has {PROGRAM}, the driver {context.version}", fatal=True)
    try:
        dataset = task_kinds.result_of(
            task_kinds.job_of(task.job), task.parameters, context.generated, context.threads
        )
        write_shard(SweepFolder(context.folder).shard(task.number), dataset, task.digest)
    except StorageError as error:
        return Outcome(task.number, f"{error.filename}: {error.strerror}", fatal=True)
    except Exception as error:  # noqa: BLE001 (the error is recorded, and the other tasks continue)
        return Outcome(task.number, described(error))
    return Outcome(task.number)


def described(error: Exception) -> str:
    """An error in one line: as the command line says it for an option, else with the name of its class."""
    if isinstance(error, InputError):
        return f"--{error.option.replace('_', '-')}: {error.problem}"
    words = " ".join(str(error).split())[:_LONGEST_ERROR]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def task_from(description: Mapping[str, Any]) -> Task:
    """The inverse of `Task.to_dict`."""
    return Task(description["task"], description["job"], description["parameters"])
