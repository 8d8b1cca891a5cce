"""Tasks on threads: all run, in the background; errors and interrupts stop them."""

from __future__ import annotations

import threading

import pytest
from rejections import rejected

from runtime.concurrency.thread_pool import LARGEST_THREADS, run_tasks, thread_count


class Work:
    """Tasks that count themselves and return when cancelled."""

    def __init__(self):
        self.lock = threading.Lock()
        self.done, self.threads = [], set()
        self.cancelled = threading.Event()

    def task(self, number, body=lambda: None):
        def run():
            body()
            with self.lock:
                self.done.append(number)
                self.threads.add(threading.get_ident())

        return run

    def forever(self):
        assert self.cancelled.wait(60.0)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_all_tasks_run_once(threads, count):
    work, reports = Work(), []
    tasks = (work.task(number) for number in range(count))
    run_tasks(tasks, threads, work.cancelled.set, lambda: reports.append(len(work.done)))
    assert sorted(work.done) == list(range(count))
    assert len(work.threads) <= threads
    assert threading.get_ident() not in work.threads
    assert not work.cancelled.is_set()
    if count:
        assert reports[-1] == count


def test_tasks_run_at_the_same_time():
    work = Work()
    together = threading.Barrier(3, timeout=60.0)
    run_tasks([work.task(k, together.wait) for k in range(3)], 3, work.cancelled.set)
    assert len(work.threads) == 3


def test_tasks_are_made_as_they_are_needed():
    work, made = Work(), []
    ahead = []

    def tasks():
        for number in range(1000):
            made.append(number)
            ahead.append(len(made) - len(work.done))
            yield work.task(number)

    run_tasks(tasks(), 2, work.cancelled.set)
    assert len(work.done) == 1000
    assert max(ahead) < 20


def test_reports_come_while_a_task_runs():
    work, reports = Work(), []
    enough = threading.Event()

    def report():
        reports.append(threading.get_ident())
        if len(reports) == 3:
            enough.set()

    run_tasks([work.task(0, lambda: enough.wait(60.0))], 1, work.cancelled.set, report)
    assert len(reports) >= 3
    assert set(reports) == {threading.get_ident()}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["task", "report", "tasks"])
def test_errors_cancel_the_others_and_are_raised(error, where):
    work = Work()

    def fail():
        raise error("stop")

    def tasks():
        yield work.task(0, work.forever)
        yield work.task(1, fail if where == "task" else work.forever)
        if where == "tasks":
            fail()
        for number in range(2, 100):
            yield work.task(number, work.forever)

    before = threading.active_count()
    with pytest.raises(error, match="stop"):
        run_tasks(tasks(), 2, work.cancelled.set, fail if where == "report" else None)
    assert work.cancelled.is_set()
    assert threading.active_count() == before
    # Those that waited were never begun, or returned at once.
    assert len(work.done) < 20


def test_number_of_threads():
    assert thread_count(1) == 1
    assert thread_count(LARGEST_THREADS) == LARGEST_THREADS
    assert 1 <= thread_count(None) <= LARGEST_THREADS
    for wrong in (0, -1, LARGEST_THREADS + 1, 1.5, "2", True):
        with rejected("threads"):
            thread_count(wrong)


def test_number_of_processors_without_affinity(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert thread_count(None) == 6
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert thread_count(None) == 1
