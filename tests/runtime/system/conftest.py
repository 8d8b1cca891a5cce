from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from derive import Model, overlap_odes
from runtime.system import compile_cache
from runtime.system.compile_cache import ENVIRONMENT


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private cache that is not there yet; nothing was said of it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    monkeypatch.setattr(compile_cache, "_complained", set())
    return folder


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of (2, 1) on the sphere, which no test changes."""
    odes = overlap_odes(Model(2, 1, constraint="sphere"))
    return odes.write(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the folder to spoil."""
    copy = tmp_path / pristine.name
    shutil.copytree(pristine, copy)
    return copy
