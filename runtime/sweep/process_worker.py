"""The program of a worker process: reads tasks, one line of JSON each, and answers each with one line.

The process ends as soon as its input ends, even in the middle of a task, so that it does not outlive a
driver that is killed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
import warnings
from typing import Any, BinaryIO


def main() -> None:
    """Entry point of `python -m runtime.sweep.process_worker`; the first line of input is the context."""
    # On a terminal Ctrl-C reaches every process, and the driver decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    # Text that a library prints must not get between the answers, so it goes to stderr.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    source = sys.stdin.buffer
    threading.Thread(target=_read, args=(source, lines), daemon=True).start()
    warnings.showwarning = _warn
    # The import takes long, so the reader watches for the driver's death before.
    from runtime.sweep.run_task import TaskContext, run_task, task_from

    context = TaskContext(**json.loads(lines.get()))
    _answer(answers, {"ready": os.getpid()})
    while True:
        outcome = run_task(task_from(json.loads(lines.get())), context)
        _answer(answers, dataclasses.asdict(outcome))


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning in one line, as the command line does."""
    print(f"cli: warning: {message}", file=sys.stderr)


def _read(source: BinaryIO, lines: queue.SimpleQueue[bytes]) -> None:
    for line in source:
        lines.put(line)
    os._exit(0)


def _answer(answers: Any, content: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(content).encode() + b"\n")
    except OSError:
        # The driver is gone.
        os._exit(0)


if __name__ == "__main__":
    main()
