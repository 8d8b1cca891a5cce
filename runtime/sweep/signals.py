"""Turns Ctrl-C and SIGTERM into a request to stop, which the engines of a sweep look at."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

# Clusters send SIGTERM some time before they kill a process.
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_AGAIN_SECONDS = 1.0


class Stop:
    """Whether somebody wants the sweep to end."""

    def __init__(self) -> None:
        self.requested = False


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """Inside, the first signal asks to stop; a second Ctrl-C after a second raises KeyboardInterrupt."""
    stop = Stop()
    # Only the main thread may exchange handlers.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    first = 0.0

    def ask(number: int, _frame: Any) -> None:
        nonlocal first
        if not stop.requested:
            stop.requested, first = True, time.monotonic()
        # Some senders signal a process and at once its group, which is no second wish.
        elif number == signal.SIGINT and time.monotonic() - first > _AGAIN_SECONDS:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in _STOPPING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Inside, SIGTERM ends what is running as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
