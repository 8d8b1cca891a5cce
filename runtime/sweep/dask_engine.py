"""Tasks on a Dask cluster: one of this machine, or a scheduler somewhere; workers write the shards."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.sweep.dask_log import silence_loop, silenced
from runtime.sweep.errors import SweepError
from runtime.sweep.plan import Task
from runtime.sweep.program import PROGRAM
from runtime.sweep.run_task import Context, Outcome, run_task
from runtime.sweep.signals import Stop

_POLL_SECONDS = 0.1
_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
# How often the number of workers is asked for.
_ASK_SECONDS = 2.0
# A worker of ours that has been gone for so long is replaced; Dask forgets it after 15 s.
_REPLACE_SECONDS = 20.0
# Tasks that are submitted beyond those that run: the scheduler need not hold all.
_AHEAD = 2
# Times that the word of a task may get lost before it counts as failed.
_LOSSES = 10
_GONE = "the Dask scheduler is gone"
_KILLED = "killed its worker again and again"


def outcomes(
    tasks: Iterable[Task], context: Context, workers: int, stop: Stop, scheduler: str | None = None
) -> Generator[Outcome | None, None, None]:
    """How each task ended, as they end; None now and then. Closing it, or `stop`, cancels the rest.

    `scheduler` is an address or a scheduler file; None starts `workers` processes here.

    Raises InputError if there is no Dask or no scheduler, SweepError if it is lost.
    """
    with _client(scheduler, workers) as client:
        _check_workers(client, context)
        waiting = iter(tasks)
        finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        running: dict[Any, Task] = {}
        losses: Counter[int] = Counter()

        def submit(task: Task) -> None:
            future = client.submit(run_task, task, context, pure=False)
            running[future] = task
            future.add_done_callback(finished.put)

        # Why suspects: Dask blames every task that waits at a worker that dies. Those are tried again
        # one by one, when nothing else runs.
        suspects: list[Task] = []
        exhausted = alone = False
        room, asked, complete = 0, -_ASK_SECONDS, time.monotonic()
        try:
            while not stop.requested:
                if time.monotonic() - asked >= _ASK_SECONDS:
                    # Why again: workers come and go.
                    there, asked = client.nthreads(), time.monotonic()
                    room = _AHEAD * max(sum(there.values()), 1)
                    if client.cluster is None or len(there) >= workers:
                        complete = asked
                    elif asked - complete > _REPLACE_SECONDS:
                        # Why by us: what starts a dead worker again gives up if it dies as it starts.
                        client.cluster.scale(workers)
                        complete = asked
                while not exhausted and len(running) < room:
                    task = next(waiting, None)
                    if task is None:
                        exhausted = True
                        break
                    submit(task)
                if not running:
                    if not suspects:
                        break
                    alone = True
                    submit(suspects.pop())
                try:
                    future = finished.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    if client.status != "running":
                        raise SweepError(_GONE) from None
                    yield None
                    continue
                task = running.pop(future)
                outcome = _outcome(future, task.number)
                if outcome is None:
                    losses[task.number] += 1
                    if losses[task.number] < _LOSSES:
                        submit(task)
                        continue
                    outcome = Outcome(task.number, f"was lost with its worker {_LOSSES} times")
                if outcome.error == _KILLED and not alone:
                    suspects.append(task)
                    continue
                yield outcome
        except SweepError:
            raise
        except (OSError, RuntimeError):
            raise SweepError(_GONE) from None
        finally:
            with contextlib.suppress(Exception):
                if client.status == "running":
                    client.cancel(list(running), force=True)


def _outcome(future: Any, number: int) -> Outcome | None:
    """What a future says; None if its worker died before we were told.

    Raises SweepError if the scheduler has forgotten it.
    """
    from distributed import KilledWorker

    if future.status == "finished":
        try:
            # Why a limit: if the worker dies now, Dask computes the task again when it can.
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
    # Why fatal: run_task raises nothing; the worker cannot even call it.
    return Outcome(number, f"Dask: {type(error).__name__}: {' '.join(str(error).split())}", fatal=True)


def check(scheduler: str | None) -> None:
    """Raise InputError without the package, or if the scheduler does not answer."""
    if importlib.util.find_spec("distributed") is None:
        raise InputError("engine", "dask needs the package distributed: pip install 'overlap-ode[cluster]'")
    if scheduler is not None:
        with _client(scheduler, 0):
            pass


@contextlib.contextmanager
def _client(scheduler: str | None, workers: int) -> Iterator[Any]:
    import distributed

    make: Any = distributed
    with silenced():
        if scheduler is None:
            try:
                with _interrupts_ignored():
                    cluster = make.LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        processes=True,
                        # Why a port of its own: another cluster may have the usual one.
                        dashboard_address="127.0.0.1:0",
                        silence_logs=logging.CRITICAL,
                        preload=["runtime.sweep.dask_preload"],
                    )
            except (OSError, RuntimeError) as error:
                raise SweepError(f"Dask cannot start workers: {error}") from None
            silence_loop(cluster.loop)
            with cluster, make.Client(cluster, set_as_default=False) as client:
                silence_loop(client.loop)
                yield client
            return
        address = _address(scheduler)
        try:
            client = make.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            words = " ".join(str(error).split())
            raise InputError("scheduler", f"{scheduler} cannot be reached: {words}") from None
        silence_loop(client.loop)
        try:
            yield client
        finally:
            # Why not without a limit: the scheduler may be gone.
            with contextlib.suppress(Exception):
                client.close(timeout=_CLOSE_SECONDS)


def _address(scheduler: str) -> str:
    """The address, of a scheduler file or as it is."""
    from distributed.comm.addressing import get_address_host_port

    address = scheduler
    if Path(scheduler).exists():
        try:
            address = str(json.loads(Path(scheduler).read_text())["address"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError("scheduler", f"{scheduler} is no scheduler file of Dask") from None
    try:
        # Why first: a client with an address that it cannot read complains when it is collected.
        get_address_host_port(address)
    except ValueError:
        raise InputError(
            "scheduler", f"{scheduler} is neither a file nor an address, as tcp://host:8786"
        ) from None
    return address


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes that are started inside ignore Ctrl-C, which a terminal sends to all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)


def _check_workers(client: Any, context: Context) -> None:
    """Raise InputError unless there are workers, of our version, that see the folder."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError:
        raise InputError("scheduler", f"has no workers after {_CONNECT_SECONDS:g} s") from None
    token = Path(context.folder) / "locks" / f"seen-by-workers-{os.getpid()}"
    token.touch()
    try:
        found = client.run(_look, str(token), on_error="return")
    except OSError:
        raise SweepError(_GONE) from None
    finally:
        token.unlink(missing_ok=True)
    for address, answer in found.items():
        if isinstance(answer, OSError):
            # Why no error: it has just died, and Dask starts another.
            continue
        if isinstance(answer, Exception):
            words = f"{type(answer).__name__}: {' '.join(str(answer).split())}"
            raise InputError("scheduler", f"the worker {address} cannot run this program: {words}")
        version, seen = answer
        if version != PROGRAM:
            raise InputError("scheduler", f"the worker {address} has {version}, and this is {PROGRAM}")
        if not seen:
            raise InputError(
                "out", f"the worker {address} does not see {context.folder}: use a shared file system"
            )


def _look(token: str) -> tuple[str, bool]:
    return PROGRAM, Path(token).exists()
