"""Prints results to stdout, and messages to stderr, without anything that could control a terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from derive.errors import one_line, printable

PROGRAM, OTHER_PROGRAM = "cli", "overlap-ode"
_NAMES = {OTHER_PROGRAM: OTHER_PROGRAM, "overlap_ode": "python -m overlap_ode"}
EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
# Rows of tables for people.
TABLE_ROWS = 11


def program() -> str:
    """The name under which the program was started."""
    return _NAMES.get(Path(sys.argv[0]).stem, PROGRAM)


def naming_program(text: str) -> str:
    """The text with commands such as `cli list` as the user has to type them."""
    return text.replace(f"`{PROGRAM} ", f"`{program()} ")


@dataclasses.dataclass(frozen=True)
class Talk:
    """Prints lines on stderr unless `quiet`."""

    quiet: bool

    def __call__(self, message: str) -> None:
        if not self.quiet:
            say(message)

    def outcome(self, problem: str | None, finished: bool) -> int:
        """Say what went wrong in a run, if anything did; returns the exit code, 1 if nothing `finished`.

        Then `quiet` does not matter, since this is the reason for the exit code.
        """
        if problem is None:
            return 0
        if finished:
            self(problem)
            return 0
        warn(problem)
        return EXIT_FAILURE


def echo(text: str, lead: str = "", kept: str = "\n") -> None:
    """Print lines on stdout, with escapes in all but `lead` for what cannot be printed.

    Files, names and arguments may hold commands for the terminal; only the characters `kept` stay. An
    OSError has the name "standard output".
    """
    try:
        click.echo(lead + printable(text, kept))
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


def say(message: str) -> None:
    """Print one line on stderr."""
    # The work matters more than a message that cannot be written.
    with contextlib.suppress(OSError):
        click.echo(one_line(naming_program(message)), err=True)


def fail(message: str, code: int) -> int:
    """Print what failed on stderr, and return the exit code."""
    say(f"{program()}: {message}")
    return code


def warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line on stderr, without its place in the source."""
    say(f"{program()}: warning: {message}")


class LogLines(logging.Handler):
    """Prints what the library logs as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def log_level(_context: click.Context, _parameter: click.Parameter, quiet: bool) -> bool:
    """Let the library log what it does, in all threads, unless `quiet`, which is returned."""
    logging.getLogger("overlap_ode").setLevel(logging.WARNING if quiet else logging.INFO)
    return quiet


def coloured(stream: Any) -> bool:
    """Whether a stream takes colours: a terminal, without NO_COLOR (no-color.org) or TERM=dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def colour(text: str, name: str) -> str:
    """Text for stdout, in a colour where that is wanted."""
    return click.style(text, fg=name) if coloured(sys.stdout) else text
