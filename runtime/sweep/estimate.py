"""Estimates the memory and disk that a sweep needs, before anything is written."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from derive.errors import InputError
from runtime.sweep.task_kinds import SHARD_OVERHEAD
from runtime.sweep.task_plan import Plan

# A task holds its results, the file made of them, and copies on the way: so many times its shard.
_COPIES = 4
# Bytes of a process with Numba, SciPy and compiled code, and of a task's line in the list of tasks.
_WORKER = 400 * 2**20
_RECORD = 600
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The number of tasks, and the bytes of the whole folder, of its largest shard and of memory."""

    tasks: int
    disk: int
    largest: int
    memory: int

    @classmethod
    def of(cls, plan: Plan, workers: int, processes: bool) -> Estimate:
        """Rough upper bounds for a plan; `processes` says whether each worker is a process."""
        sizes: dict[tuple[object, ...], int] = {}
        disk = largest = 0
        for task in plan.tasks():
            key = tuple(task.parameters[name] for name in plan.job.options if name in _SHAPING)
            if key not in sizes:
                sizes[key] = SHARD_OVERHEAD + 8 * plan.job.values(task.parameters)
            disk += sizes[key] + _RECORD
            largest = max(largest, sizes[key])
        running = min(workers, plan.count)
        interpreters = running if processes else 1
        memory = running * _COPIES * largest + interpreters * _WORKER
        return cls(plan.count, disk, largest, memory)

    def check(self, folder: Path, left: int) -> None:
        """Raise InputError if the tasks that are `left` do not fit on the disk or into memory."""
        free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
        needed = self.disk * left // self.tasks
        if needed > free:
            raise InputError(
                "out",
                f"{folder} has {readable_bytes(free)} free, but the sweep may need"
                f" {readable_bytes(needed)}",
            )
        memory = _memory()
        if memory is not None and self.memory > memory:
            raise InputError(
                "workers",
                f"the sweep may need {readable_bytes(self.memory)} of memory, but"
                f" {readable_bytes(memory)} are free: use fewer workers or smaller tasks",
            )


# The parameters that the size of a result depends on.
_SHAPING = ("p", "pstar", "second_layer", "trajectories", "stop_loss")


def readable_bytes(count: int) -> str:
    """A number of bytes in words, such as 1.5 GB."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


def _memory() -> int | None:
    """Bytes of memory that are available; None if the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError, IndexError):
        return None
