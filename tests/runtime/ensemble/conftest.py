from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

import runtime
from runtime.ensemble.ensemble_run import Engine


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
