"""Every engine gives the same data, survives dead workers, and leaves nobody behind."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import re
import socket
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace

import pytest
from kill_storm import children, cluster
from matrix import matrix
from small_sweep import SMALL

from runtime import InputError
from runtime.concurrency import interrupts
from runtime.sweep import process_engine, run_task, thread_engine
from runtime.sweep.run_task import TaskContext
from runtime.sweep.signals import StopRequest
from runtime.sweep.sweep_errors import SweepError
from runtime.sweep.task_plan import Plan

ROOT = Path(__file__).parents[3]
# Workers import this before anything else: their tasks print, leave a mark, and number {killed} kills.
WORKER = """
import os, pathlib, signal
from runtime.sweep import run_task as module
original = module.run_task
def run_task(task, context):
    print("not an answer", flush=True)
    pathlib.Path({mark!r}).touch()
    if task.number == {killed}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(task, context)
module.run_task = run_task
"""


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """``workers(killed=1)``: worker processes run WORKER; returns the file that their tasks touch."""

    def prepare(killed=None):
        mark = tmp_path / "mark"
        (tmp_path / "sitecustomize.py").write_text(WORKER.format(killed=killed, mark=str(mark)))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
        return mark

    return prepare


def test_threads_and_processes_and_parts_are_equal(sweep, merged, undisturbed, workers):
    for count in (1, 3):
        sweep(folder=f"threads{count}", workers=count)
        assert merged(f"threads{count}") == undisturbed
    # What tasks print does not come between the answers of workers.
    mark = workers()
    sweep(folder="processes", engine="processes")
    assert mark.exists()
    assert merged("processes") == undisturbed
    for index in range(4):
        done = sweep(folder="parts", task_index=index, task_count=4, threads=2)
        assert done.tasks == done.done == (2 if index < 2 else 1)
    assert merged("parts") == undisturbed


@pytest.fixture
def scheduler():
    """The address of a Dask scheduler in this process, with two workers in it."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "protocol": "tcp"}
    # Without an address Dask serves its metrics at a fixed port, which another run may hold.
    with distributed.LocalCluster(**options, host="127.0.0.1", dashboard_address="127.0.0.1:0") as dask:
        yield dask.scheduler_address


def test_dask_is_equal(sweep, merged, undisturbed, scheduler):
    done = sweep(engine="dask", scheduler=scheduler, workers=None)
    assert (done.done, done.failed) == (6, {})
    assert merged() == undisturbed


def test_dask_that_is_not_there(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'overlap-ode\[cluster\]'"):
        sweep(scheduler="tcp://127.0.0.1:1", workers=None)
    assert list(tmp_path.iterdir()) == []


def test_dask_opens_no_scheduler_of_its_own(sweep, tmp_path):
    """Any user of this machine could have code run by one."""
    with pytest.raises(InputError, match=r"^engine: dask needs --scheduler, .* use --engine processes$"):
        sweep(engine="dask")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def silent():
    """The address of a server that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("scheduler", "problem"),
    [
        ("empty.json", "empty.json is not a scheduler file of Dask"),
        ("deep.json", "deep.json is not a scheduler file of Dask"),
        ("fifo", "fifo is not a scheduler file of Dask"),
        (".", ". is not a scheduler file of Dask"),
        ("/dev/zero", "/dev/zero is not a scheduler file of Dask"),
        ("foo", "foo is neither a file nor an address such as tcp://host:8786"),
        ("x" * 300, "is neither a file nor an address such as tcp://host:8786"),
        ("http://127.0.0.1:1", "is neither a file nor an address"),
        ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1 cannot be reached: Timed out "),
        ("tls://127.0.0.1:1", "tls://127.0.0.1:1 cannot be reached: TLS expects "),
        (None, " cannot be reached: no answer after 0.5 s"),
    ],
)
def test_schedulers_that_are_not_there(tmp_path, monkeypatch, sweep, silent, scheduler, problem):
    pytest.importorskip("distributed")
    from runtime.sweep import dask_engine

    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(dask_engine, "_CONNECT_SECONDS", 0.2 if scheduler else 10.0)
    monkeypatch.setattr(dask_engine, "_ANSWER_SECONDS", 10.0 if scheduler else 0.5)
    with pytest.raises(InputError, match=re.escape(problem)) as refused:
        sweep(scheduler=scheduler or silent, workers=None)
    assert refused.value.option == "scheduler"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("engine", ["processes", matrix("dask")])
def test_a_task_that_kills_its_worker_fails_and_the_rest_finishes(
    sweep, tmp_path, engine, merged, undisturbed, monkeypatch, workers
):
    workers(killed=1)
    monkeypatch.setattr(process_engine, "ATTEMPTS", 2)
    options, running = {"engine": engine}, contextlib.nullcontext()
    if engine == "dask":
        pytest.importorskip("distributed")
        # All tasks wait at workers from the start: Dask then blames those behind the killer too.
        monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION", "inf")
        monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "1")
        options = {"scheduler": str(tmp_path / "scheduler.json"), "workers": None}
        running = cluster(tmp_path)
    with running:
        found = sweep(**options)
    assert (found.done, list(found.failed)) == (5, [1])
    how_often = {"processes": "2 times (signal 9)", "dask": "again and again"}
    error = f"killed its worker {how_often[engine]}"
    assert found.failed[1] == error
    record = json.loads((tmp_path / "runs" / "failed" / "0000001.json").read_text())
    assert record["error"] == error
    assert sweep().done == 6
    assert merged() == undisturbed
    assert not list((tmp_path / "runs" / "failed").iterdir())


def test_dask_logs_nothing(caplog, scheduler):
    """Not even when an error is found after the end."""
    distributed = pytest.importorskip("distributed")
    from runtime.sweep import dask_engine

    async def fails():
        raise distributed.client.AllExit

    forgotten = []
    with dask_engine._client(scheduler) as client:
        loop = client.loop.asyncio_loop
        loop.call_soon_threadsafe(lambda: forgotten.append(loop.create_task(fails())))
        while not (forgotten and forgotten[0].done()):
            time.sleep(0.01)
        assert not logging.getLogger("distributed.client").isEnabledFor(logging.CRITICAL)
    assert logging.getLogger("asyncio").isEnabledFor(logging.ERROR)
    forgotten.clear()
    gc.collect()
    # The test's own scheduler runs in this process, and informs of a machine that is slow.
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_results_that_are_lost_with_their_worker_are_not_waited_for():
    """A finished task whose worker dies before the driver has its word: Dask would compute it again."""
    distributed = pytest.importorskip("distributed")
    from runtime.sweep import dask_engine

    def finished(error):
        def result(timeout):
            assert timeout > 0
            raise error

        return SimpleNamespace(status="finished", result=result)

    assert dask_engine._outcome(finished(TimeoutError()), 3) is None
    assert dask_engine._outcome(finished(CancelledError()), 3) is None
    outcome = dask_engine._outcome(finished(distributed.KilledWorker("task", "worker", 3)), 3)
    assert (outcome.number, outcome.error, outcome.fatal) == (3, dask_engine._KILLED, False)


def test_workers_that_cannot_start_are_reported(sweep, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    problem = "workers end before they are ready, the last with code 7; 0 of 6 tasks done; run the same"
    with pytest.raises(SweepError, match=problem):
        sweep(engine="processes")


# What a worker imports early, late, or only if somebody wants it to.
IMPORTED = ("queue", "json", "threading", "numpy", "sitecustomize", "usercustomize", "derive", "runtime")


def test_workers_import_nothing_from_the_current_folder(tmp_path, sweep, merged, undisturbed, monkeypatch):
    for folder in (tmp_path, tmp_path / "relative"):
        for name in IMPORTED:
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}relative{os.pathsep}")
    sweep(engine="processes", workers=1)
    assert not (tmp_path / "marker").exists()
    assert merged() == undisturbed


def context(tmp_path, generated):
    (tmp_path / "shards" / "0000").mkdir(parents=True, exist_ok=True)
    return TaskContext(str(tmp_path), str(generated), 1)


# Tasks that take hours.
LONG = {
    "chain": {"p": 2, "pstar": 1, "n": 10**6, "alpha": 1e6, "trajectories": 8, "seed": "0:9"},
    "ode": {"p": 2, "pstar": 1, "eta": 0.1, "alpha": 1e12, "seed": "0:1"},
}


@pytest.mark.parametrize("job", LONG)
def test_threads_stop_when_they_are_told(job, tmp_path, generated, monkeypatch):
    """Within a chunk or two of the compiled loop in which they are."""
    chunks = threading.Event()
    real = interrupts._raise_if_cancelled

    def between_chunks():
        chunks.set()
        real()

    monkeypatch.setattr(interrupts, "_raise_if_cancelled", between_chunks)
    stop = StopRequest()
    plan = Plan.of(job, LONG[job])
    for outcome in thread_engine.outcomes(plan.tasks(), context(tmp_path, generated), 2, stop):
        assert outcome is None
        stop.requested = chunks.is_set()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("sweep-")]
    assert not list(tmp_path.rglob("*.nc"))


def test_processes_stop_when_they_are_told(tmp_path, generated, workers):
    begun, stop = workers(), StopRequest()
    plan, seen = Plan.of("chain", LONG["chain"]), False
    for outcome in process_engine.outcomes(plan.tasks(), context(tmp_path, generated), 2, stop):
        assert outcome is None
        seen = seen or bool(processes())
        stop.requested = begun.exists()
    assert seen
    assert not processes()
    assert not list(tmp_path.rglob("*.nc"))


def processes():
    """The worker processes of this one."""
    return [line for line in children(os.getpid()).values() if "sweep.process_worker" in line]


def test_workers_of_another_version_refuse(tmp_path, generated):
    task = Plan.of("ode", {"p": 2, "pstar": 1, "alpha": 1.0}).task(0)
    other = TaskContext(str(tmp_path), str(generated), 1, "overlap-ode 0.0.0")
    outcome = run_task.run_task(task, other)
    assert outcome.fatal
    assert "the driver overlap-ode 0.0.0" in outcome.error


def test_a_folder_that_is_gone_is_fatal(tmp_path, generated):
    task = Plan.of("ode", {"p": 2, "pstar": 1, "alpha": 1.0}).task(0)
    outcome = run_task.run_task(task, TaskContext(str(tmp_path / "none"), str(generated), 1))
    assert outcome.fatal
    assert "No such file" in outcome.error


@pytest.mark.parametrize(
    "error", [FloatingPointError("x\ny"), MemoryError(), ZeroDivisionError("q" * 9999)]
)
def test_errors_of_tasks_are_one_line(tmp_path, generated, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr("runtime.sweep.task_kinds.result_of", fails)
    outcome = run_task.run_task(Plan.of("ode", SMALL).task(0), context(tmp_path, generated))
    assert not outcome.fatal
    assert outcome.error.startswith(type(error).__name__)
    assert "\n" not in outcome.error
    assert len(outcome.error) < 600


def test_an_exception_that_is_no_error_ends_the_threads(tmp_path, generated, monkeypatch):
    def leaves(*_):
        raise SystemExit(3)

    monkeypatch.setattr("runtime.sweep.thread_engine.run_task", leaves)
    with pytest.raises(SystemExit):
        list(
            thread_engine.outcomes(
                Plan.of("ode", SMALL).tasks(), context(tmp_path, generated), 2, StopRequest()
            )
        )
