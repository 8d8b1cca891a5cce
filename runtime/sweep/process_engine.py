"""Runs the tasks of a sweep on processes of this machine; a process that dies is replaced.

The task of a process that dies is tried again. The pools of the standard library are not used, since they
are broken for good when a worker is killed, and their workers would import the caller's main module, or
outlive a driver that is killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from runtime.sweep.run_task import Outcome, TaskContext
from runtime.sweep.signals import StopRequest
from runtime.sweep.sweep_errors import SweepError
from runtime.sweep.task_plan import Task

# A task has failed when it has killed its worker so many times.
ATTEMPTS = 3
# The sweep ends when so many workers die one after the other before they are ready.
_STARTS = 5
_POLL_SECONDS = 0.1
_WAIT_SECONDS = 5.0
_READ_BYTES = 2**16
_THREADS_OF_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class _Worker:
    """A worker process, its task, and what it has written so far."""

    def __init__(self, context: TaskContext) -> None:
        # A process in a session of its own does not get the terminal's Ctrl-C, which is for the driver.
        self.process = subprocess.Popen(
            # With -P, nothing in the current folder is imported.
            [sys.executable, "-P", "-m", "runtime.sweep.process_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(context.threads),
            start_new_session=True,
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input, self.output = self.process.stdin, self.process.stdout
        self.task: Task | None = None
        self.ready = False
        self._said = b""
        self._send(dataclasses.asdict(context))

    def _send(self, content: dict[str, Any]) -> None:
        # A worker that has died is noticed when its output ends.
        with contextlib.suppress(BrokenPipeError):
            self._input.write(json.dumps(content).encode() + b"\n")

    def start(self, task: Task) -> None:
        self.task = task
        self._send(task.to_dict())

    def answers(self) -> list[dict[str, Any]] | None:
        """The answers since the last call, or None if the worker is dead; waits for something to read."""
        read = os.read(self.output.fileno(), _READ_BYTES)
        if not read:
            return None
        *lines, self._said = (self._said + read).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """Kill the process and collect it."""
        with contextlib.suppress(OSError):
            self._input.close()
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_WAIT_SECONDS)
        self.output.close()


class _Crew:
    """The workers, the tasks that wait, and those that are tried again since their worker died."""

    def __init__(self, tasks: Iterable[Task], context: TaskContext) -> None:
        self._waiting, self._again = iter(tasks), deque[Task]()
        self._context = context
        self._workers: list[_Worker] = []
        self._deaths: Counter[int] = Counter()
        self._failed_starts = 0
        self._selector = selectors.DefaultSelector()

    def hire(self) -> None:
        """Start one more worker."""
        worker = _Worker(self._context)
        self._workers.append(worker)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)

    def give_work(self) -> bool:
        """Give a task to each worker that has none; False if all tasks have ended."""
        for worker in self._workers:
            if worker.ready and worker.task is None:
                task = self._again.popleft() if self._again else next(self._waiting, None)
                if task is None:
                    return any(other.task is not None for other in self._workers)
                worker.start(task)
        return True

    def wait(self) -> Iterator[Outcome | None]:
        """The outcomes that arrive within a short time; None if no worker says anything."""
        events = self._selector.select(_POLL_SECONDS)
        if not events:
            yield None
        for key, _ in events:
            worker: _Worker = key.data
            answers = worker.answers()
            if answers is None:
                outcome = self._bury(worker)
                self.hire()
                if outcome is not None:
                    yield outcome
                continue
            for answer in answers:
                if "ready" in answer:
                    worker.ready, self._failed_starts = True, 0
                else:
                    worker.task = None
                    yield Outcome(**answer)

    def _bury(self, worker: _Worker) -> Outcome | None:
        """Take a dead worker away; its task is tried again, or has failed."""
        self._selector.unregister(worker.output)
        self._workers.remove(worker)
        worker.end()
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                code = worker.process.returncode
                raise SweepError(f"workers end before they are ready, the last with code {code}")
        task = worker.task
        if task is None:
            return None
        self._deaths[task.number] += 1
        if self._deaths[task.number] < ATTEMPTS:
            self._again.append(task)
            return None
        return Outcome(task.number, f"killed its worker {ATTEMPTS} times ({_ending(worker)})")

    def end(self) -> None:
        """Stop all workers at once."""
        for worker in self._workers:
            worker.end()
        self._selector.close()


def outcomes(
    tasks: Iterable[Task], context: TaskContext, workers: int, stop: StopRequest
) -> Generator[Outcome | None, None, None]:
    """Yields the outcome of each task when it ends, and None now and then.

    Closing the generator, or `stop`, ends all workers. Raises SweepError if workers cannot be started.
    """
    crew = _Crew(tasks, context)
    try:
        for _ in range(workers):
            crew.hire()
        while not stop.requested and crew.give_work():
            yield from crew.wait()
    finally:
        crew.end()


def _ending(worker: _Worker) -> str:
    code = worker.process.returncode
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _environment(threads: int) -> dict[str, str]:
    """The environment of a worker: its number of threads, and this program's folder to import from.

    Relative folders are left out of PYTHONPATH.
    """
    root = str(Path(__file__).resolve().parents[2])
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([root, *filter(os.path.isabs, others)])
    given = {name: str(threads) for name in _THREADS_OF_LIBRARIES}
    return {**given, **os.environ, "PYTHONPATH": path}
