"""What a sweep says of how far it is, in a log and on a terminal."""

from __future__ import annotations

import io
import sys
import time

import pytest
from streams import Terminal

from runtime.sweep.sweep_progress import SweepProgress


class Closed(io.StringIO):
    def write(self, _):
        raise BrokenPipeError


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, which stands still; the wall clock is wrong."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: -1e9)
    return now


@pytest.fixture
def stderr(monkeypatch):
    def replace(stream):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return replace


def test_lines_in_a_log_come_at_every_tenth(clock, stderr):
    stream = stderr(io.StringIO())
    progress = SweepProgress(100, 0, False)
    for _ in range(100):
        clock[0] += 1.0
        progress.add(False)
    progress.end()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "10 of 100 tasks done, 01:30 left"
    assert lines[-1] == "100 of 100 tasks done"
    assert len(lines) == 10


def test_slow_tasks_say_something_now_and_then(clock, stderr):
    stream = stderr(io.StringIO())
    progress = SweepProgress(1000, 0, False)
    progress.add(False)
    clock[0] += 31.0
    progress.show()
    progress.show()
    assert stream.getvalue().splitlines() == ["1 of 1000 tasks done, 8:36:09 left"]


def test_a_terminal_has_a_bar_that_counts_failures(stderr):
    stream = stderr(Terminal())
    progress = SweepProgress(4, 1, False)
    progress.add(False)
    progress.add(True)
    progress.show()
    progress.end()
    first, *_, last = stream.getvalue().removesuffix("\n").split("\r")[1:]
    assert first.startswith("tasks:  25%")
    assert " 3/4 " in last
    assert "failed=1" in last


def test_the_remaining_time_counts_what_this_run_did(clock):
    progress = SweepProgress(100, 50, True)
    clock[0] += 10.0
    for failed in (False,) * 10 + (True,) * 10:
        progress.add(failed)
    assert progress.line(clock[0]) == "60 of 100 tasks done, 10 failed, 00:15 left"


@pytest.mark.parametrize(("stream", "quiet"), [(io.StringIO, True), (Terminal, True), (Closed, False)])
def test_quiet_says_nothing_and_nobody_listening_is_no_error(clock, stderr, stream, quiet):
    stderr(stream())
    progress = SweepProgress(1, 0, quiet)
    clock[0] += 60.0
    progress.add(False)
    progress.show()
    progress.end()
    assert sys.stderr.getvalue() == ""
