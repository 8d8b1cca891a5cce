"""Shows how far a sweep is: a bar on a terminal or in a notebook, otherwise a line now and then."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from runtime.output.progress import can_draw, new_bar

# Without a terminal, a line is printed after every tenth of the tasks and after so many seconds.
_LINES = 10
_LINE_SECONDS = 30.0


class SweepProgress:
    """Counts tasks and says on stderr how many are done, and how long the rest will take.

    `total` is the number of tasks, and `done` that of the tasks that were done before.
    """

    def __init__(self, total: int, done: int, quiet: bool) -> None:
        self._total, self._before = total, done
        self.done, self.failed = done, 0
        self._bar = new_bar("tasks", total, done) if can_draw() and not quiet else None
        self._lines = self._bar is None and not quiet
        # The wall clock may be set while tasks run.
        self._start = self._said = time.monotonic()
        self._tenth = self._tenths()

    def add(self, failed: bool) -> None:
        """One more task has ended."""
        self.done += not failed
        self.failed += failed
        if self._bar is not None:
            if failed:
                self._bar.set_postfix(failed=self.failed, refresh=False)
            self._bar.update()
        self.show()

    def show(self) -> None:
        """Draw the bar again, or print a line if it is time for one."""
        if self._bar is not None:
            self._bar.update(0)
        now = time.monotonic()
        if self._lines and (self._tenths() > self._tenth or now - self._said >= _LINE_SECONDS):
            self._tenth, self._said = self._tenths(), now
            try:
                print(self.line(now), file=sys.stderr, flush=True)
            except (OSError, ValueError):
                # Stderr is closed; the tasks continue without lines.
                self._lines = False

    def end(self) -> None:
        """Close the bar, which leaves its last state on the terminal."""
        if self._bar is not None:
            self._bar.close()

    def line(self, now: float) -> str:
        """The progress of the sweep in words, at the monotonic time `now`."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self._total} tasks done{failed}{self._remaining(now)}"

    def _tenths(self) -> int:
        return _LINES * (self.done + self.failed) // max(self._total, 1)

    def _remaining(self, now: float) -> str:
        ended = self.done - self._before + self.failed
        left = self._total - self.done - self.failed
        if not ended or not left:
            return ""
        return f", {tqdm.format_interval((now - self._start) / ended * left)} left"
