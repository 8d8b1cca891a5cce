"""Processes that tests start: they have the usual signals, and are gone when the test ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# A shell ignores the first for its background jobs, nohup the third; children inherit that.
_OFTEN_IGNORED = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGCHLD,
    signal.SIGALRM,
)


# These change what Python's processes print and how they end.
for name in ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONWARNINGS"):
    os.environ.pop(name, None)

# Importing the package compiles, so this comes before that: where there is no home folder that can be
# written, the processes of the tests share a cache all the same.
if "OVERLAP_ODE_CACHE" not in os.environ and not os.access(Path("~").expanduser(), os.W_OK):
    os.environ["OVERLAP_ODE_CACHE"] = f"{tempfile.gettempdir()}/overlap-ode-tests-{os.getuid()}"


def restore_signals() -> None:
    """Undo what the shell or service that started the tests has ignored or blocked."""
    for number in _OFTEN_IGNORED:
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OFTEN_IGNORED)


def ended(number: int) -> bool:
    """Whether no process of this number runs; one that nobody has waited for has ended too."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{number}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z"


@contextlib.contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that is killed and waited for, and whose pipes are closed, when the block ends."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()
