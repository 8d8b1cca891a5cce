from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import runtime


@pytest.fixture(scope="session")
def system(system_of: Callable[..., runtime.System]) -> runtime.System:
    """The system (4, 2) of the defaults."""
    return system_of(4, 2)


@pytest.fixture(scope="session")
def start() -> tuple[np.ndarray, np.ndarray]:
    """Overlaps of random weights for (4, 2)."""
    return runtime.random_overlaps(4, 2, n=10**6, seed=1)


@pytest.fixture(scope="session")
def escape(system: runtime.System, start: tuple[np.ndarray, np.ndarray]):
    """A trajectory that leaves its plateau and learns; read only."""
    return runtime.integrate(system, *start, eta=0.4, alpha=200.0)
