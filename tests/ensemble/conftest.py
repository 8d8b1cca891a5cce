from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runtime
from derive import Model
from runtime.ensemble import Engine

# Generous: nothing here should take a tenth of it.
LONGEST_TEST = 600.0


@pytest.fixture(autouse=True)
def _never_hangs() -> Iterator[None]:
    """Stop compiled code that does not end by itself."""

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
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of derived systems, shared by the tests of one process."""
    return tmp_path_factory.mktemp("generated")


@pytest.fixture(scope="session")
def system_of(generated: Path) -> Callable[..., runtime.System]:
    """``system_of(p, pstar, **options)``: the loaded system of that model."""

    @functools.cache
    def system_of(p: int, pstar: int, **options: str) -> runtime.System:
        return runtime.load(Model(p, pstar, **options), generated)

    return system_of


@pytest.fixture(scope="session")
def system(system_of) -> runtime.System:
    """The system (4, 2) of the defaults."""
    return system_of(4, 2)


@pytest.fixture(scope="session")
def engine_of(system_of) -> Callable[..., Engine]:
    """``engine_of(p, pstar, method, simd)``: compiled once for all tests of a process."""

    @functools.cache
    def engine_of(p: int, pstar: int, method: str = "tsit5", simd: str | None = None) -> Engine:
        return Engine(system_of(p, pstar), method, simd)

    return engine_of
