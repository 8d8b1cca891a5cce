"""Progress bars: where they are drawn, what they show, and that they leave no thread or process."""

from __future__ import annotations

import io
import os
import pty
import sys
import termios
import threading

import pytest
from matrix import thinned
from streams import Notebook, Terminal

import overlap_ode as oo
from derive.errors import InputError
from runtime.output.progress import new_bar, progress_bar


@pytest.fixture
def stderr(monkeypatch):
    """``stderr(stream, kind)`` puts a stream in place of stderr, and $TERM."""

    def replace(stream, kind="xterm"):
        monkeypatch.setenv("TERM", kind)
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return replace


@pytest.mark.parametrize(
    ("stream", "kind", "quiet", "drawn"),
    [
        (Terminal, "xterm", False, True),
        (Terminal, "xterm", True, False),
        (Terminal, "dumb", False, False),
        (io.StringIO, "xterm", False, False),
        (Notebook, "dumb", False, True),
        (Notebook, "dumb", True, False),
    ],
)
def test_bars_only_where_they_can_be_drawn(stderr, stream, kind, quiet, drawn):
    shown = stderr(stream(), kind)
    with progress_bar("trajectories", quiet) as progress:
        assert shown.getvalue() == ""
        progress(1, 2)
        progress(3, 3)
    assert ("trajectories: 100%" in shown.getvalue()) == drawn
    assert ("3/3" in shown.getvalue()) == drawn
    assert drawn or shown.getvalue() == ""


def test_a_bar_ends_its_line_also_after_an_error(stderr):
    shown = stderr(Terminal())

    def work():
        with progress_bar("steps", False) as progress:
            progress(1, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert shown.getvalue().endswith("\n")


def test_a_terminal_that_is_gone_does_not_stop_the_work(stderr, monkeypatch):
    def hang_up(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(stderr(Terminal()), "write", hang_up, raising=False)
    with progress_bar("steps", False) as progress:
        progress(1, 2)
        progress(2, 2)


def test_a_bar_needs_no_thread_and_no_lock_between_processes(stderr):
    stderr(Terminal())
    before = threading.active_count()
    bar = new_bar("tasks", 6, 4)
    assert threading.active_count() == before
    assert isinstance(bar.get_lock(), type(threading.RLock()))
    bar.close()


SYSTEM = oo.load(oo.Model(4, 2))
STARTS = oo.random_overlaps(4, 2, n=100, trajectories=4)
START = STARTS[0][0], STARTS[1][0]
CALLS = {
    "trajectories": lambda **asked: oo.integrate_ensemble(SYSTEM, *STARTS, eta=0.4, alpha=0.1, **asked),
    "trajectories of statistics": lambda **asked: oo.ensemble_statistics(
        SYSTEM, oo.OverlapSampler(4, 2, 100), trajectories=4, eta=0.4, alpha=0.1, **asked
    ),
    "steps": lambda **asked: oo.simulate(SYSTEM.model, n=50, trajectories=2, eta=0.4, alpha=0.1, **asked),
    "steps of comparisons": lambda **asked: oo.compare(
        SYSTEM, *START, n=[50, 100], alpha=[0, 0.1], trajectories=16, weights=False, eta=0.4, **asked
    ),
    "trajectories of escapes": lambda **asked: oo.escape_times(SYSTEM, n=100, trajectories=4, **asked),
    "steps of escapes": lambda **asked: oo.escape_times(
        SYSTEM, n=100, trajectories=4, simulate=True, **asked
    ),
}


@pytest.mark.parametrize("call", thinned(CALLS, 0, 2))
def test_library_functions_draw_a_bar_in_a_notebook_where_one_is_asked_for(stderr, call):
    shown = stderr(Notebook(), "dumb")
    CALLS[call](progress=True)
    label = call.split()[0]
    assert f"{label}: 100%" in shown.getvalue()
    assert shown.getvalue().endswith("\n")


def test_library_functions_are_silent_by_default_and_call_functions(stderr):
    shown, called = stderr(Notebook()), []
    for asked in ({}, {"progress": None}, {"progress": False}):
        CALLS["trajectories"](**asked)
    CALLS["trajectories"](progress=lambda finished, total: called.append((finished, total)))
    assert called[-1] == (4, 4)
    assert shown.getvalue() == ""
    with pytest.raises(InputError, match="progress: 'yes' is neither True, False or None nor a function"):
        CALLS["trajectories"](progress="yes")


@pytest.mark.parametrize("columns", [60, 0])
def test_a_bar_fits_on_a_real_terminal_also_on_one_that_tells_no_size(stderr, columns):
    primary, secondary = pty.openpty()
    try:
        with os.fdopen(secondary, "w") as terminal:
            termios.tcsetwinsize(secondary, (24 if columns else 0, columns))
            stderr(terminal)
            with progress_bar("steps", False) as progress:
                progress(3, 3)
            shown = os.read(primary, 4096)
            while b"3/3" not in shown:
                shown += os.read(primary, 4096)
    finally:
        os.close(primary)
    assert max(map(len, shown.decode().strip().split("\r"))) <= (columns or 80)
