from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from kernel_lanes import METHODS, MODEL, Lanes, make_lanes

from runtime import random_overlaps
from runtime.ensemble.ensemble_run import EnsembleEngine
from runtime.start.schedules import Schedule


@pytest.fixture(scope="module")
def start() -> tuple[np.ndarray, np.ndarray]:
    """More trajectories than lanes, and not a multiple."""
    return random_overlaps(4, 2, n=10**6, seed=1, trajectories=13)


@pytest.fixture(params=METHODS)
def lanes(request: pytest.FixtureRequest) -> Lanes:
    return make_lanes(MODEL, request.param)


@pytest.fixture(scope="session")
def engine_of(system_of) -> Callable[..., EnsembleEngine]:
    """``engine_of(p, pstar, method, simd, schedule)``: compiled once for all tests of a process."""

    @functools.cache
    def engine_of(
        p: int, pstar: int, method: str = "tsit5", simd: str | None = None, schedule: str = "constant"
    ) -> EnsembleEngine:
        return EnsembleEngine(system_of(p, pstar), method, simd, Schedule.of(schedule))

    return engine_of
