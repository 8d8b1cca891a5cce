from __future__ import annotations

import io
import time

import pytest

from runtime.sweep.sweep_progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Closed(io.StringIO):
    def write(self, _):
        raise BrokenPipeError


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_lines_in_a_file_come_at_every_tenth(clock):
    stream = io.StringIO()
    progress = Progress(100, 0, False, stream)
    for _ in range(100):
        clock[0] += 1.0
        progress.add(False)
    progress.end()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "10 of 100 tasks done, 1 min 30 s left"
    assert lines[-1] == "100 of 100 tasks done"
    assert len(lines) == 10


def test_slow_tasks_say_something_now_and_then(clock):
    stream = io.StringIO()
    progress = Progress(1000, 0, False, stream)
    progress.add(False)
    clock[0] += 31.0
    progress.show()
    progress.show()
    assert stream.getvalue().splitlines() == ["1 of 1000 tasks done, 8 h 36 min left"]


def test_a_terminal_has_one_live_line(clock):
    stream = Terminal()
    progress = Progress(3, 1, False, stream)
    clock[0] += 10.0
    progress.add(False)
    progress.add(True)
    progress.end()
    first, second = stream.getvalue().removesuffix("\n").split("\r")[1:]
    assert first == "2 of 3 tasks done, 10 s left"
    # The end of the longer line before is overwritten.
    assert second == "2 of 3 tasks done, 1 failed".ljust(len(first))


def test_the_remaining_time_counts_what_this_run_did(clock):
    progress = Progress(100, 50, True)
    clock[0] += 10.0
    for _ in range(10):
        progress.add(False)
    assert progress.line(clock[0]) == "60 of 100 tasks done, 40 s left"


def test_quiet_says_nothing_and_nobody_listening_is_no_error(clock):
    stream = io.StringIO()
    quiet = Progress(1, 0, True, stream)
    quiet.add(False)
    quiet.end()
    assert stream.getvalue() == ""
    closed = Progress(1, 0, False, Closed())
    clock[0] += 60.0
    closed.add(False)
    closed.show()
    closed.end()


def test_the_wall_clock_does_not_matter(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: -1e9)
    progress = Progress(2, 0, True)
    progress.add(False)
    assert "left" in progress.line(time.monotonic())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59, "59 s"), (80, "1 min 20 s"), (18720, "5 h 12 min"), (273600, "3 d 4 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
