"""Tasks on threads of this process: kernels release the interpreter's lock."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable

from runtime.concurrency.interrupts import cancelled_by
from runtime.sweep.run_task import Context, Outcome, run_task
from runtime.sweep.signals import Stop
from runtime.sweep.task_plan import Task

_POLL_SECONDS = 0.1
# SciPy's solvers cannot be stopped; what still runs after this ends with the process.
_GRACE_SECONDS = 5.0


def outcomes(
    tasks: Iterable[Task], context: Context, workers: int, stop: Stop
) -> Generator[Outcome | None, None, None]:
    """How each task ended, as they end; None now and then. Closing it, or `stop`, stops the tasks."""
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

    # Why daemons: a task that cannot be cancelled must not keep the process from ending.
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
    # What ended while we were stopping.
    while not finished.empty():
        late = finished.get()
        if isinstance(late, Outcome):
            yield late
