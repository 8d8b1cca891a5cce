"""Progress bars for long work, drawn on a terminal or in a notebook and nowhere else."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from derive.errors import InputError, shown

if TYPE_CHECKING:
    from tqdm import tqdm

# Called with how much is finished, and how much there is.
Progress = Callable[[int, int], None]
# What library functions take as `progress`: True draws a bar.
AskedProgress = Progress | bool | None

_REDRAW_SECONDS = 0.2
_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


def can_draw() -> bool:
    """Whether stderr is a terminal that can overwrite its line, or the output of a notebook."""
    if type(sys.stderr).__module__.startswith("ipykernel"):
        return True
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def new_bar(label: str, total: int, finished: int = 0) -> tqdm[Any]:
    """A bar on stderr, with `finished` steps so far; its time left is estimated from the average rate."""
    try:
        # tqdm would draw an empty line on a terminal that does not tell its size.
        size_unknown = os.get_terminal_size(sys.stderr.fileno()).columns == 0
    except OSError:
        size_unknown = False
    return _bar_class()(
        desc=label,
        total=total,
        initial=finished,
        file=sys.stderr,
        bar_format=_FORMAT,
        **({"ncols": 80, "nrows": 24} if size_unknown else {"dynamic_ncols": True}),
        mininterval=_REDRAW_SECONDS,
        miniters=0,
        smoothing=0.0,
    )


def part_of(progress: Progress | None, before: int, share: int, total: int) -> Progress | None:
    """Progress for a part of some work: its end counts as `share` of `total`, after `before`."""
    if progress is None:
        return None
    return lambda finished, whole: progress(before + share * finished // max(whole, 1), total)


@contextlib.contextmanager
def progress_bar(label: str, quiet: bool) -> Iterator[Progress]:
    """A function of (finished, total) that draws a bar, unless `quiet` or where none can be drawn."""
    bar: tqdm[Any] | None = None

    def update(finished: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = new_bar(label, total)
        bar.total = total
        bar.update(finished - bar.n)

    if quiet or not can_draw():
        yield lambda _finished, _total: None
        return
    try:
        yield update
    finally:
        if bar is not None:
            bar.close()


@contextlib.contextmanager
def asked_progress(label: str, asked: AskedProgress) -> Iterator[Progress | None]:
    """The function that the `progress` of a call asks for: a bar for True, none for None and False."""
    if callable(asked):
        yield asked
    elif asked is None or isinstance(asked, bool):
        with progress_bar(label, not asked) as update:
            yield update if asked else None
    else:
        raise InputError("progress", f"{shown(asked)} is neither True, False or None nor a function")


@functools.cache
def _bar_class() -> type[tqdm[Any]]:
    """The class of bars for terminals or for notebooks, made late since importing tqdm takes 0.1 s."""
    with warnings.catch_warnings():
        # A notebook without ipywidgets has bars of characters, as terminals do.
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        # tqdm's own lock works between processes, for which Python may start a process.
        _lock = threading.RLock()
        # No thread needs to watch a bar that is updated all the time.
        monitor_interval = 0

    return Bar
