"""Runs the tasks of a sweep on the workers of a Dask cluster, which write the shards themselves."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import math
import os
import queue
import secrets
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from derive.errors import InputError
from runtime.sweep.dask_log import silence_loop, silenced
from runtime.sweep.folder_lock import LOCKS
from runtime.sweep.program_version import PROGRAM
from runtime.sweep.run_task import Outcome, TaskContext, run_task
from runtime.sweep.signals import StopRequest
from runtime.sweep.sweep_errors import SweepError
from runtime.sweep.task_plan import Task

_POLL_SECONDS = 0.1
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 15.0
_CLOSE_SECONDS = 5.0
# Bytes that are read of a scheduler file, which is smaller.
_LARGEST_FILE = 2**20
# The number of workers is asked for again after so many seconds.
_ASK_SECONDS = 2.0
# Tasks that are submitted per thread at a time, so that the scheduler need not hold all.
_AHEAD = 2
# A task has failed when its outcome was lost so many times.
_LOSSES = 10
_GONE = "the Dask scheduler is gone"
_KILLED = "killed its worker again and again"


class _Submissions:
    """The tasks that Dask computes, those that wait, and those that are tried again."""

    def __init__(self, client: Any, tasks: Iterable[Task], context: TaskContext) -> None:
        self._client, self._context = client, context
        self._waiting = iter(tasks)
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.running: dict[Any, Task] = {}
        self._losses: Counter[int] = Counter()
        # When a worker dies, Dask blames every task that waits there. These suspects are tried again one
        # by one, when nothing else runs.
        self._suspects: list[Task] = []
        self._exhausted = self._alone = False
        self._room, self._asked = 0, -math.inf

    def _submit(self, task: Task) -> None:
        future = self._client.submit(run_task, task, self._context, pure=False)
        self.running[future] = task
        future.add_done_callback(self._finished.put)

    def fill(self) -> bool:
        """Submit tasks while the workers have room; False if all tasks have ended."""
        if time.monotonic() - self._asked >= _ASK_SECONDS:
            # Workers come and go.
            self._room = _AHEAD * max(sum(self._client.nthreads().values()), 1)
            self._asked = time.monotonic()
        while not self._exhausted and len(self.running) < self._room:
            task = next(self._waiting, None)
            if task is None:
                self._exhausted = True
            else:
                self._submit(task)
        if not self.running and self._suspects:
            self._alone = True
            self._submit(self._suspects.pop())
        return bool(self.running)

    def wait(self) -> Outcome | None:
        """The outcome of a task, if one has ended for good within a short time."""
        try:
            future = self._finished.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if self._client.status != "running":
                raise SweepError(_GONE) from None
            return None
        task = self.running.pop(future)
        outcome = _outcome(future, task.number)
        if outcome is None:
            self._losses[task.number] += 1
            if self._losses[task.number] < _LOSSES:
                self._submit(task)
                return None
            outcome = Outcome(task.number, f"was lost with its worker {_LOSSES} times")
        if outcome.error == _KILLED and not self._alone:
            self._suspects.append(task)
            return None
        return outcome


def outcomes(
    tasks: Iterable[Task], context: TaskContext, stop: StopRequest, scheduler: str
) -> Generator[Outcome | None, None, None]:
    """Yields the outcome of each task when it ends, and None now and then.

    Closing the generator, or `stop`, cancels the other tasks. `scheduler` is an address or the name of a
    scheduler file.

    Raises InputError if the scheduler does not answer or its workers run another program, SweepError if it
    is lost later.
    """
    with _client(scheduler) as client:
        _check_workers(client, context)
        submissions = _Submissions(client, tasks, context)
        try:
            while not stop.requested and submissions.fill():
                yield submissions.wait()
        except SweepError:
            raise
        except (OSError, RuntimeError):
            raise SweepError(_GONE) from None
        finally:
            with contextlib.suppress(Exception):
                if client.status == "running":
                    client.cancel(list(submissions.running), force=True)


def _outcome(future: Any, number: int) -> Outcome | None:
    """The outcome that a future holds; None if its worker died before it told the outcome.

    Raises SweepError if the scheduler has forgotten the task.
    """
    from distributed import KilledWorker

    if future.status == "finished":
        try:
            # The time is limited since, if the worker dies now, Dask may never compute the task again.
            outcome = future.result(timeout=_CONNECT_SECONDS)
        except (TimeoutError, CancelledError):
            return None
        except KilledWorker:
            return Outcome(number, _KILLED)
        assert isinstance(outcome, Outcome)
        return outcome
    if future.status in ("lost", "pending"):
        return None
    if future.status != "error":
        raise SweepError(_GONE)
    error = future.exception()
    if isinstance(error, KilledWorker):
        return Outcome(number, _KILLED)
    # This is fatal: run_task itself raises nothing, so the worker cannot even call it.
    return Outcome(number, f"Dask: {type(error).__name__}: {' '.join(str(error).split())}", fatal=True)


def check(scheduler: str) -> None:
    """Raise InputError if the package is not installed or the scheduler does not answer."""
    if importlib.util.find_spec("distributed") is None:
        raise InputError("engine", "dask needs the package distributed: pip install 'overlap-ode[cluster]'")
    with _client(scheduler):
        pass


@contextlib.contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    import distributed

    dask: Any = distributed
    with silenced():
        address = _address(scheduler)
        _knock(scheduler, address)
        try:
            client = dask.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError("scheduler", f"{scheduler} cannot be reached: {error}") from None
        silence_loop(client.loop)
        try:
            yield client
        finally:
            # The time is limited, since the scheduler may be gone.
            with contextlib.suppress(Exception):
                client.close(timeout=_CLOSE_SECONDS)


def _address(scheduler: str) -> str:
    """The address in a scheduler file, or the address itself."""
    from distributed.comm.addressing import get_address_host_port

    address = scheduler
    if os.path.exists(scheduler):
        try:
            # Opening a FIFO would wait for its writer, and a device may have no end.
            if not os.path.isfile(scheduler):
                raise ValueError
            with open(scheduler, "rb") as file:
                address = str(json.loads(file.read(_LARGEST_FILE))["address"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise InputError("scheduler", f"{scheduler} is not a scheduler file of Dask") from None
    try:
        get_address_host_port(address)
    except ValueError:
        raise InputError(
            "scheduler", f"{scheduler} is neither a file nor an address such as tcp://host:8786"
        ) from None
    return address


def _knock(scheduler: str, address: str) -> None:
    """Raise InputError unless Dask answers at this address.

    This is tried first, since a client of Dask that gets no answer may wait for ever, and prints complaints
    when it is collected.
    """
    import distributed

    dask: Any = distributed

    async def knock() -> None:
        certificates = dask.Security().get_connection_args("client")
        comm = await dask.comm.connect(address, timeout=_CONNECT_SECONDS, **certificates)
        await comm.close()

    # The loop runs in a thread of its own, since the caller may be in a loop already, as in Jupyter.
    runner = dask.utils.LoopRunner()
    runner.start()
    silence_loop(runner.loop)
    problem = None
    try:
        dask.utils.sync(runner.loop, asyncio.wait_for, knock(), _ANSWER_SECONDS)
    except TimeoutError:
        problem = f"no answer after {_ANSWER_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 (certificates that are missing or wrong raise anything)
        problem = str(error)
    finally:
        runner.stop()
    if problem is not None:
        raise InputError("scheduler", f"{scheduler} cannot be reached: {problem}")


def _check_workers(client: Any, context: TaskContext) -> None:
    """Raise InputError unless there are workers, and all have this version and see the folder."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError:
        raise InputError("scheduler", f"has no workers after {_CONNECT_SECONDS:g} s") from None
    token = Path(context.folder) / LOCKS / f"seen-by-workers-{secrets.token_hex(8)}"
    # With O_EXCL, a link of that name would not be followed.
    os.close(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        found = client.run(_look, str(token), on_error="return")
    except OSError:
        raise SweepError(_GONE) from None
    finally:
        token.unlink(missing_ok=True)
    for address, answer in found.items():
        if isinstance(answer, OSError):
            # This worker has just died; Dask starts another.
            continue
        if isinstance(answer, Exception):
            words = f"{type(answer).__name__}: {' '.join(str(answer).split())}"
            raise InputError("scheduler", f"the worker {address} cannot run this program: {words}")
        version, seen = answer
        if version != PROGRAM:
            raise InputError("scheduler", f"the worker {address} has {version}, but this is {PROGRAM}")
        if not seen:
            raise InputError(
                "out", f"the worker {address} does not see {context.folder}: use a shared file system"
            )


def _look(token: str) -> tuple[str, bool]:
    return PROGRAM, Path(token).exists()
