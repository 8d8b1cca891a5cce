"""Holds Ctrl-C back while compiled code runs, where Numba could lose it, and delivers it in between."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

_of_thread = threading.local()


@contextlib.contextmanager
def cancelled_by(event: threading.Event) -> Iterator[None]:
    """In this thread, not the main one, kernels raise KeyboardInterrupt soon after `event` is set."""
    _of_thread.event = event
    try:
        yield
    finally:
        del _of_thread.event


def _raise_if_cancelled() -> None:
    event = getattr(_of_thread, "event", None)
    if event is not None and event.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Inside, Ctrl-C waits for a call of the function that this yields, or for the end.

    Python's handler raises KeyboardInterrupt wherever the main thread is. While Numba unpacks a function
    among the arguments of a kernel, that exception is dropped, or becomes a TypeError.
    """
    handler = signal.getsignal(signal.SIGINT)
    # Only the main thread runs handlers and may exchange them. Where the signal is ignored or ends the
    # process, the handler is a constant and not a function, and there is nothing to hold back.
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield _raise_if_cancelled
        return
    held: list[tuple[Any, ...]] = []

    def deliver() -> None:
        # A handler that returns, as that of an event loop does, leaves the next signal to be delivered.
        while held:
            handler(*held.pop(0))

    try:
        signal.signal(signal.SIGINT, lambda *caught: held.append(caught))
        yield deliver
    finally:
        signal.signal(signal.SIGINT, handler)
        deliver()


@contextlib.contextmanager
def remembered_interrupts() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt at once, and again at the end if the exception was dropped inside.

    LLVM calls Python while it compiles, and an exception that is raised there goes no further.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    raised: list[BaseException] = []

    def remember(*caught: Any) -> None:
        try:
            handler(*caught)
        except BaseException as exception:
            raised.append(exception)
            raise

    try:
        signal.signal(signal.SIGINT, remember)
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if raised:
        raise raised[0]
