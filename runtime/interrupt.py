"""Keeps Ctrl-C from getting lost where Numba drops exceptions."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Inside, Ctrl-C waits for a call of the function that this yields, or for the end.

    Why: Python's handler raises KeyboardInterrupt wherever the main thread is, and within Numba's
    unpacking of a function among the arguments of a kernel it is dropped, or becomes a TypeError.
    """
    handler = signal.getsignal(signal.SIGINT)
    # Only the main thread runs handlers and may exchange them; what cannot be called raises nothing.
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield lambda: None
        return
    held: list[tuple[Any, ...]] = []

    def deliver() -> None:
        # Why a loop: the handler may return, as that of an event loop does.
        while held:
            handler(*held.pop(0))

    try:
        signal.signal(signal.SIGINT, lambda *caught: held.append(caught))
        yield deliver
    finally:
        signal.signal(signal.SIGINT, handler)
        deliver()
