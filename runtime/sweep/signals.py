"""Turns Ctrl-C and SIGTERM into a request to stop, which the engines of a sweep look at."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

# Clusters send SIGTERM some time before they kill a process.
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_AGAIN_SECONDS = 1.0


class StopRequest:
    """Whether somebody wants the sweep to end."""

    def __init__(self) -> None:
        self.requested = False


@contextlib.contextmanager
def stopping() -> Iterator[StopRequest]:
    """Inside, the first signal asks to stop; a second Ctrl-C after a second raises KeyboardInterrupt."""
    stop = StopRequest()
    first = 0.0

    def ask(number: int, _frame: Any) -> None:
        nonlocal first
        if not stop.requested:
            stop.requested, first = True, time.monotonic()
        # Some senders signal a process and at the same time its group, which is not a second request.
        elif number == signal.SIGINT and time.monotonic() - first > _AGAIN_SECONDS:
            raise KeyboardInterrupt

    with _handled(ask, *_STOPPING):
        yield stop


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Inside, SIGTERM ends what is running as Ctrl-C does."""

    def end(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    with _handled(end, signal.SIGTERM):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], None], *signals: signal.Signals) -> Iterator[None]:
    """Inside, these signals call `handler`; in other threads than the main one, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier if earlier is not None else signal.SIG_DFL)
