"""The settings of a sweep's run, such as engine and workers, from a TOML file and the command line."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from derive.arguments import one_of, whole_number
from derive.errors import InputError, shown
from runtime.concurrency.thread_pool import LARGEST_THREADS, thread_count
from runtime.output import input_files
from runtime.run_options import ENGINES, GENERATED

# Bytes; the values of the largest sweep take fewer.
_LARGEST_FILE = 16 * 2**20
# Largest number of parts of a job array.
MAX_PARTS = 100_000
_IN_FILE = ("job", "out", "engine", "workers", "threads", "scheduler", "generated", "zip", "parameters")


@dataclasses.dataclass(frozen=True)
class SweepSettings:
    """Checked settings of the run of a sweep.

    workers
        Number of tasks that this process and those that it starts compute at once.
    threads
        Threads of each task.
    part
        (index, count) of a job array; None for the whole sweep.
    """

    engine: str
    workers: int
    threads: int
    scheduler: str | None
    generated: Path
    part: tuple[int, int] | None

    @classmethod
    def of(
        cls,
        engine: Any = None,
        workers: Any = None,
        threads: Any = None,
        scheduler: Any = None,
        generated: Any = None,
        task_index: Any = None,
        task_count: Any = None,
    ) -> SweepSettings:
        """The settings, checked; None stands for the default. Raises InputError."""
        if engine is None:
            engine = "threads" if scheduler is None else "dask"
        one_of("engine", engine, ENGINES)
        if scheduler is not None:
            if engine != "dask":
                raise InputError("scheduler", f"goes with --engine dask, not {engine}")
            if not isinstance(scheduler, (str, Path)) or not str(scheduler):
                raise InputError("scheduler", f"{shown(scheduler)} is neither an address nor a file")
            if workers is not None:
                raise InputError("workers", "does not go with --scheduler, which has workers of its own")
            workers = 1
        elif engine == "dask":
            raise InputError(
                "engine",
                "dask needs --scheduler, an address or a file; on one machine, use --engine processes",
            )
        count = thread_count(None) if workers is None else _whole("workers", workers, LARGEST_THREADS)
        if (task_index is None) != (task_count is None):
            absent = "task_index" if task_index is None else "task_count"
            raise InputError(absent, "is missing: --task-index and --task-count go together")
        part = None
        if task_count is not None:
            parts = _whole("task_count", task_count, MAX_PARTS)
            part = whole_number("task_index", task_index, 0, parts - 1), parts
        if generated is not None and not isinstance(generated, (str, Path)):
            raise InputError("generated", f"{shown(generated)} is not the name of a folder")
        return cls(
            engine=engine,
            workers=count,
            threads=1 if threads is None else _whole("threads", threads, LARGEST_THREADS),
            scheduler=None if scheduler is None else str(scheduler),
            generated=Path(GENERATED if generated is None else generated),
            part=part,
        )


def _whole(option: str, value: Any, largest: int) -> int:
    return whole_number(option, value, 1, largest)


def read_sweep_file(path: Path) -> dict[str, Any]:
    """The options in a TOML file; raises InputError that names it."""
    content: dict[str, Any] = input_files.read_file(path, "file", input_files.TOML, _parsed)
    for name in content:
        if name not in _IN_FILE:
            raise InputError("file", f"{path}: {name!r} is not one of {', '.join(_IN_FILE)}")
    if not isinstance(content.get("parameters", {}), dict):
        raise InputError("file", f"{path}: [parameters] is not a table")
    return content


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise input_files.UnreadableError(f"it has more than {_LARGEST_FILE // 2**20} MiB")
        with path.open("rb") as file:
            return tomllib.load(file)
    except (ValueError, RecursionError) as error:
        raise input_files.UnreadableError(f"it is not TOML: {error}") from None


def zip_groups(given: Any) -> list[list[str]]:
    """Groups of parameters that vary together: "p,pstar", or lists of names; raises InputError."""
    if given is None:
        return []
    items: Sequence[Any] = [given] if isinstance(given, str) else given
    if not isinstance(items, (list, tuple)):
        raise InputError("zip", f"{shown(given)} is not a list of names")
    if items and all(isinstance(item, str) and "," not in item for item in items):
        items = [items]
    found = []
    for item in items:
        names = item.split(",") if isinstance(item, str) else item
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise InputError("zip", f"{shown(item)} is not a list of names")
        if len(names) < 2:
            raise InputError("zip", f"{','.join(names)!r} needs at least two names")
        found.append([name.replace("-", "_") for name in names])
    return found
