from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator

import pytest

from runtime.sgd import overlap_chain, simulation, weight_vectors
from runtime.vector import jit


@pytest.fixture
def recompiled() -> Iterator[None]:
    """For tests that change the emitters: what they compile is for them alone."""
    for module in (overlap_chain, weight_vectors):
        module._compile.cache_clear()
    yield
    for module in (overlap_chain, weight_vectors):
        module._compile.cache_clear()


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For thousands of runs of some steps each: no threads, and the processor is asked for once.

    Why: handing over such runs would be most of the time.
    """

    def run_tasks(tasks: Iterable[Callable[[], None]], *_: object) -> None:
        for task in tasks:
            task()

    monkeypatch.setattr(simulation, "run_tasks", run_tasks)
    monkeypatch.setattr(jit, "target", functools.cache(jit.target))
