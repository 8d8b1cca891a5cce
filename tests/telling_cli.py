"""The command line, which also prints "running" when a task of its thread pool, or `integrate`, begins.

Tests that interrupt a command wait for that word, not for a time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The tests may run where the package is not installed.
sys.path.insert(0, str(Path(__file__).parent.parent))

import cli
from runtime.concurrency import thread_pool
from runtime.trajectory import stepper


def telling(function: Callable[..., Any]) -> Callable[..., Any]:
    def told(*arguments: Any) -> Any:
        # At once and in one piece: several threads do.
        os.write(1, b"running\n")
        return function(*arguments)

    return told


def run_tasks(tasks: Any, *more: Any, _original: Callable[..., None] = thread_pool.run_tasks) -> None:
    _original(map(telling, tasks), *more)


thread_pool.run_tasks = run_tasks
if sys.argv[1] == "integrate":
    stepper.advance = telling(stepper.advance)
cli.main()
