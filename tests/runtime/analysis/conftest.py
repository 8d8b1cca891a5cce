from __future__ import annotations

from collections.abc import Callable

import pytest

import runtime


@pytest.fixture(scope="session")
def system(system_of: Callable[..., runtime.System]) -> Callable[..., runtime.System]:
    """``system(p, pstar, **options)``: the loaded system of that model."""
    return system_of
