from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import runtime
from derive import Model
from runtime.sgd import chain, simulation, weights
from runtime.simd import jit

# Generous: nothing here should take a tenth of it.
LONGEST_TEST = 600.0


@pytest.fixture(autouse=True)
def _never_hangs() -> Iterator[None]:
    """Stop what does not end by itself."""

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"not finished after {LONGEST_TEST:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_TEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def system_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., runtime.System]:
    """``system_of(p, pstar, **options)``: the loaded system of that model."""
    folder: Path = tmp_path_factory.mktemp("generated")

    @functools.cache
    def system_of(p: int, pstar: int, **options: str) -> runtime.System:
        return runtime.load(Model(p, pstar, **options), folder)

    return system_of


@pytest.fixture
def recompiled() -> Iterator[None]:
    """For tests that change the emitters: what they compile is for them alone."""
    for module in (chain, weights):
        module._compile.cache_clear()
    yield
    for module in (chain, weights):
        module._compile.cache_clear()


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For 10⁴ runs of some steps each: no threads, and the processor is asked for once.

    Why: handing over such runs would be most of the time.
    """

    def run_tasks(tasks: Iterable[Callable[[], None]], *_: object) -> None:
        for task in tasks:
            task()

    monkeypatch.setattr(simulation, "run_tasks", run_tasks)
    monkeypatch.setattr(jit, "target", functools.cache(jit.target))
