"""Turns off the logs of Dask and of its libraries, since a sweep reports each error in one line."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

_LOGGERS = ("distributed", "tornado", "asyncio")
_NOTHING = logging.CRITICAL + 1


def silence() -> list[tuple[logging.Logger, int]]:
    """Turn the logs off; returns the loggers with the levels that they had, for `silenced`."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in _LOGGERS]
    loggers = [logging.getLogger(name) for name in (*names, *_LOGGERS)]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(_NOTHING)
    return before


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Inside, the logs are off; afterwards they are as they were."""
    before = silence()
    try:
        yield
    finally:
        for logger, level in before:
            logger.setLevel(level)


def silence_loop(loop: Any) -> None:
    """Never log errors that nobody waits for on this Tornado loop.

    They are off for good, since asyncio finds such errors when the task is collected, which may be after
    the logs are on again.
    """
    loop.asyncio_loop.set_exception_handler(lambda _loop, _context: None)
