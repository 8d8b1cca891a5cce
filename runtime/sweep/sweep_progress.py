"""How far a sweep is: one live line on a terminal, some lines where stderr is a file."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_REDRAW_SECONDS = 0.2
# Of lines in a file: not more often than this, and at every tenth.
_LINE_SECONDS = 30.0
_LINES = 10
_SECONDS, _MINUTES = 60, 60


class Progress:
    """Counts tasks and says how many are done, and how long the rest will take."""

    def __init__(self, total: int, done: int, quiet: bool, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._live = not quiet and self._stream.isatty()
        self._total, self._before = total, done
        self.done, self.failed = done, 0
        # Why monotonic: the wall clock may be set while we run.
        self._start = time.monotonic()
        self._said = self._start
        self._tenth = self._part()
        self._width = 0

    def add(self, failed: bool) -> None:
        """One more task has ended."""
        self.done += not failed
        self.failed += failed
        self.show()

    def show(self) -> None:
        """Say where we are, if it is time to."""
        now = time.monotonic()
        if self._quiet:
            return
        if self._live:
            if now - self._said >= _REDRAW_SECONDS:
                self._draw(now)
        elif self._part() > self._tenth or now - self._said >= _LINE_SECONDS:
            self._tenth, self._said = self._part(), now
            self._write(f"{self.line(now)}\n")

    def end(self) -> None:
        """Leave the last state on the terminal, and start a new line."""
        if self._live:
            self._draw(time.monotonic())
            self._write("\n")

    def line(self, now: float) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self._total} tasks done{failed}{self._remaining(now)}"

    def _part(self) -> int:
        return _LINES * (self.done + self.failed) // max(self._total, 1)

    def _draw(self, now: float) -> None:
        text = self.line(now)
        self._write(f"\r{text:<{self._width}}")
        self._width, self._said = len(text), now

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody listens: the tasks matter more.
            self._quiet = True
            self._live = False

    def _remaining(self, now: float) -> str:
        ended = self.done - self._before + self.failed
        left = self._total - self.done - self.failed
        if not ended or not left:
            return ""
        return f", {duration((now - self._start) / ended * left)} left"


def duration(seconds: float) -> str:
    """A time for people: 12 s, 3 min 20 s, 5 h 12 min, 3 d 4 h."""
    whole = round(seconds)
    if whole < _SECONDS:
        return f"{whole} s"
    minutes, rest = divmod(whole, _SECONDS)
    if minutes < _MINUTES:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, _MINUTES)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
