from __future__ import annotations

from pathlib import Path

import pytest

from runtime.system import compile_cache
from runtime.system.compile_cache import ENVIRONMENT


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private cache that is not there yet; nothing was said of it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    monkeypatch.setattr(compile_cache, "_complained", set())
    return folder
