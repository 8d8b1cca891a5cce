from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture(scope="session")
def trained_run(system_of: Callable[..., runtime.System]):
    """A trajectory of (3, 1) with a trained second layer; read only."""
    system, W = system_of(3, 1, second_layer="trained"), np.array([[1.0, 0.5], [-0.2, 0.9], [0.4, -1.0]])
    return runtime.integrate(
        system, W @ W.T, W[:, :1], eta=0.2, eta_second=0.3, student_weights=[1.0, -0.5, 0.7], alpha=20.0
    )


@pytest.fixture
def owned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., contextlib.AbstractContextManager[None]]:
    """``with owned(path, user):`` the path belongs to another user, which only root could bring about."""

    @contextlib.contextmanager
    def owned(path: Path | None, user: int = 2**31 - 5) -> Iterator[None]:
        original = os.lstat

        def lstat(place: str | Path) -> os.stat_result:
            status = original(place)
            if path is None or os.fspath(place) != os.fspath(path):
                return status
            fields = list(status)
            fields[4] = user
            return os.stat_result(fields)

        with monkeypatch.context() as patch:
            patch.setattr(os, "lstat", lstat)
            yield

    return owned
