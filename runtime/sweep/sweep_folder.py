"""Reads and writes the folder of a sweep, and says which of its tasks are done.

sweep.json              the plan: job, fixed parameters, axes, version, digest
tasks.jsonl             every task with all its parameters, one per line, for people and other programs
shards/0012/0012345.nc  the result of task 12345
failed/0012345.json     the error, if the task has failed
damaged/0012345.nc      a damaged result that was set aside
locks/                  the locks of running processes
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from derive.atomic_files import refusal
from derive.errors import InputError
from derive.symbolic_links import behind_links
from runtime.sweep.durable_files import StorageError, read_regular, remove_temporaries, write_whole
from runtime.sweep.folder_lock import LOCKS
from runtime.sweep.shard import DamagedShardError, verified
from runtime.sweep.task_plan import Plan, PlanError, Task, canonical

PLAN, TASKS, SHARDS, FAILED, DAMAGED = "sweep.json", "tasks.jsonl", "shards", "failed", "damaged"
_OURS = {PLAN, TASKS, SHARDS, FAILED, DAMAGED, LOCKS}
# Shards per subfolder; some file systems are slow with many files in one folder.
_TOGETHER = 1000


@dataclasses.dataclass
class TaskStates:
    """Numbers of tasks that are done, failed (with the record), damaged (with the reason) or missing."""

    done: list[int]
    failed: dict[int, dict[str, Any]]
    damaged: dict[int, str]
    missing: list[int]


class SweepFolder:
    """The files of one sweep."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def shard(self, number: int) -> Path:
        return self.path / SHARDS / f"{number // _TOGETHER:04d}" / f"{number:07d}.nc"

    def _failure(self, number: int) -> Path:
        return self.path / FAILED / f"{number:07d}.json"

    def check_usable(self) -> None:
        """Raise InputError if no sweep can be here, as in a file or a folder with other things or links."""
        try:
            behind_links(self.path)
            if not self.path.exists():
                if self.path.is_symlink():
                    raise InputError("out", f"{self.path} is a symbolic link that leads nowhere")
                if not self.path.parent.is_dir():
                    raise InputError("out", f"{self.path.parent} is not an existing folder")
                return
            if not self.path.is_dir():
                raise InputError("out", f"{self.path} is not a folder")
            others = [entry.name for entry in self.path.iterdir() if entry.name not in _OURS]
            self._check_inside()
        except OSError as error:
            raise refusal("out", self.path, error) from None
        # Temporary files do not count, since a process may have been killed while it wrote the plan.
        others = [name for name in others if not name.startswith(".")]
        if others and not (self.path / PLAN).exists():
            raise InputError("out", f"{self.path} holds no sweep, but {min(others)}: choose another folder")

    def _check_inside(self) -> None:
        """Raise InputError if a folder inside is a link, which leads to files that are not the sweep's."""
        shards = self.path / SHARDS
        inside = [self.path / name for name in (SHARDS, FAILED, DAMAGED, LOCKS)]
        if shards.is_dir() and not shards.is_symlink():
            inside += shards.iterdir()
        for path in inside:
            if path.is_symlink():
                raise InputError("out", f"{path} is a symbolic link: remove it, or choose another folder")

    def stored_plan(self) -> Plan | None:
        """The plan in the folder; None if there is none.

        Raises InputError if it is damaged or of another version.
        """
        path = self.path / PLAN
        try:
            return Plan.from_dict(json.loads(read_regular(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError("out", f"{path} cannot be read: {error.strerror}") from None
        except PlanError as error:
            problem = str(error)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            problem = "is damaged"
        raise InputError("out", f"{path} {problem}; choose another folder")

    def store(self, plan: Plan) -> None:
        """Write the list of tasks and then the plan, so that a folder with a plan has everything.

        Raises StorageError.
        """
        try:
            for name in (SHARDS, FAILED):
                (self.path / name).mkdir(exist_ok=True)
            for first in range(0, plan.count, _TOGETHER):
                self.shard(first).parent.mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError.of(error, error.filename) from None
        listed = _listed(plan)
        path = self.path / TASKS
        with contextlib.suppress(OSError):
            if hashlib.sha256(read_regular(path)).digest() == hashlib.sha256(listed).digest():
                listed = b""
        if listed:
            write_whole(path, listed)
        if not (self.path / PLAN).exists():
            text = json.dumps(plan.to_dict(), indent=1, allow_nan=False) + "\n"
            write_whole(self.path / PLAN, text.encode())

    def state(self, plan: Plan, numbers: range | None = None) -> TaskStates:
        """The states of these tasks, or of all; every byte of their shards is read."""
        state = TaskStates([], {}, {}, [])
        for number in range(plan.count) if numbers is None else numbers:
            try:
                if verified(self.shard(number), plan.task(number).digest) is not None:
                    state.done.append(number)
                    continue
            except DamagedShardError as error:
                state.damaged[number] = str(error)
                continue
            failure = self._recorded(number)
            if failure is None:
                state.missing.append(number)
            else:
                state.failed[number] = failure
        return state

    def _recorded(self, number: int) -> dict[str, Any] | None:
        """The record of a task's failure; None if nothing readable says that it has failed."""
        try:
            record = json.loads(read_regular(self._failure(number)))
        except (OSError, ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) and isinstance(record.get("error"), str) else None

    def record_failure(self, task: Task, error: str) -> None:
        write_whole(self._failure(task.number), canonical({**task.to_dict(), "error": error}).encode())

    def forget_failure(self, number: int) -> None:
        """Remove the record of a failure, if there is one, since the task is done now."""
        with contextlib.suppress(OSError):
            self._failure(number).unlink()

    def set_aside(self, number: int) -> None:
        """Move a damaged shard into the folder for damaged ones. Raises StorageError."""
        target = self.path / DAMAGED / self.shard(number).name
        try:
            target.parent.mkdir(exist_ok=True)
            os.replace(self.shard(number), target)
        except OSError as error:
            raise StorageError.of(error, error.filename) from None

    def clean(self, numbers: range | None = None) -> None:
        """Remove temporary files that killed processes left of these tasks, or of all and the plan."""
        if numbers is None:
            remove_temporaries(self.path)
            remove_temporaries(self.path / FAILED)
        for folder in (self.path / SHARDS).glob("*"):
            remove_temporaries(folder, lambda number: numbers is None or number in numbers)


def _listed(plan: Plan) -> bytes:
    lines = (canonical({**task.to_dict(), "digest": task.digest}) for task in plan.tasks())
    return ("\n".join(lines) + "\n").encode()
