"""Systems for the physics tests, derived once a session into a temporary folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import derive
import runtime


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., runtime.System]:
    """A function from model options to the loaded system."""
    folder: Path = tmp_path_factory.mktemp("generated")

    def make(p: int, pstar: int, **options: str) -> runtime.System:
        return runtime.load(derive.Model(p, pstar, **options), folder)

    return make
