"""What tests start: the signals it has, and that nothing is left of it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from processes import restore_signals, started

IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


@pytest.fixture
def _in_the_background():
    """Signals as a shell without job control, or nohup, leaves them; blocked too."""
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in IGNORED]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("_in_the_background")
@pytest.mark.parametrize("number", IGNORED)
def test_signals_reach_what_is_started_in_the_background(number):
    restore_signals()
    with started(["sleep", "600"]) as process:
        process.send_signal(number)
        assert process.wait(60) == -number


def test_tests_run_with_the_usual_signals():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(IGNORED)


def test_nothing_is_left_of_a_process_when_its_test_fails():
    command = [sys.executable, "-S", "-c", "print('here', flush=True); input()"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    seen = []

    def fails():
        with started(command, **streams) as process:
            seen.append(process)
            assert process.stdout.readline() == "there\n"

    with pytest.raises(AssertionError):
        fails()
    assert seen[0].returncode == -signal.SIGKILL
    assert seen[0].stdin.closed
    assert seen[0].stdout.closed
