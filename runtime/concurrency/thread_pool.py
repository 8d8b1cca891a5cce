"""Runs tasks on a pool of threads, while the main thread reacts to Ctrl-C and shows progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from derive.arguments import whole_number
from runtime.concurrency.interrupts import held_interrupts

LARGEST_THREADS = 4096
# The main thread looks for signals and progress at least this often.
_POLL_SECONDS = 0.05
# Tasks submitted per thread at a time, since a million tasks need not all be in memory.
_SUBMITTED_PER_THREAD = 4


def thread_count(threads: int | None) -> int:
    """The given number of threads, or one per processor that this process may use; raises InputError."""
    if threads is None:
        # Where the system has sched_getaffinity, it knows limits that cpu_count does not.
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    return whole_number("threads", threads, 1, LARGEST_THREADS)


def run_tasks(
    tasks: Iterable[Callable[[], None]],
    threads: int,
    cancel: Callable[[], None],
    report: Callable[[], None] | None = None,
) -> None:
    """Run all tasks; `report` is called in this thread when some have finished, and in between.

    After an exception in a task, or KeyboardInterrupt, `cancel` is called, which must make running tasks
    return; the exception is raised again when they have.
    """
    with held_interrupts() as deliver:
        pool = ThreadPoolExecutor(max_workers=threads)
        waiting: set[Future[None]] = set()

        def take_finished() -> None:
            nonlocal waiting
            finished, waiting = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
            for future in finished:
                future.result()
            if report is not None:
                report()
            deliver()

        try:
            for task in tasks:
                waiting.add(pool.submit(task))
                while len(waiting) >= _SUBMITTED_PER_THREAD * threads:
                    take_finished()
            while waiting:
                take_finished()
        except BaseException:
            cancel()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
