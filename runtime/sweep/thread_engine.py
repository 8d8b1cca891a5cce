"""Runs the tasks of a sweep on threads of this process; compiled code runs them at the same time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable

from runtime.concurrency.interrupts import cancelled_by
from runtime.sweep.run_task import Outcome, TaskContext, run_task
from runtime.sweep.signals import StopRequest
from runtime.sweep.task_plan import Task

_POLL_SECONDS = 0.1
# SciPy's solvers cannot be stopped. A task that still runs after these seconds ends with the process.
_GRACE_SECONDS = 5.0


def outcomes(
    tasks: Iterable[Task], context: TaskContext, workers: int, stop: StopRequest
) -> Generator[Outcome | None, None, None]:
    """Yields the outcome of each task when it ends, and None now and then.

    Closing the generator, or `stop`, stops the tasks.
    """
    waiting = iter(tasks)
    taking = threading.Lock()
    cancel = threading.Event()
    finished: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        with cancelled_by(cancel), contextlib.suppress(KeyboardInterrupt):
            while not cancel.is_set():
                with taking:
                    task = next(waiting, None)
                if task is None:
                    break
                try:
                    finished.put(run_task(task, context))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
                    finished.put(error)
                    break
        finished.put(None)

    # Daemon threads do not keep the process from ending if a task cannot be cancelled.
    pool = [threading.Thread(target=work, name=f"sweep-{k}", daemon=True) for k in range(workers)]
    running = len(pool)
    for thread in pool:
        thread.start()
    try:
        while running and not stop.requested:
            try:
                outcome = finished.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                yield None
                continue
            if outcome is None:
                running -= 1
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                yield outcome
    finally:
        cancel.set()
        for thread in pool:
            thread.join(_GRACE_SECONDS)
    # Some tasks may have ended while the others were stopped.
    while not finished.empty():
        late = finished.get()
        if isinstance(late, Outcome):
            yield late
