from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_sweep import SMALL

import runtime
from runtime.sweep.sweep_run import SweepSummary


@pytest.fixture
def sweep(tmp_path: Path, generated: Path) -> Callable[..., SweepSummary]:
    """``sweep(parameters, folder="runs", job="ode", **options)`` in an empty folder."""

    def run(parameters: dict | None = SMALL, folder: str = "runs", job: str | None = "ode", **options):
        if parameters is None:
            job = None
        options = {"generated": generated, "workers": 2, **options}
        return runtime.run_sweep(tmp_path / folder, job, parameters, **options)

    return run


@pytest.fixture
def merged(tmp_path: Path) -> Callable[..., bytes]:
    """The bytes of the merged file of a folder."""

    def merge(folder: str = "runs", **options) -> bytes:
        out = tmp_path / f"{folder}.nc"
        runtime.merge_sweep(tmp_path / folder, out, **options)
        return out.read_bytes()

    return merge


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, generated: Path) -> bytes:
    """The merged file of the small sweep."""
    folder = tmp_path_factory.mktemp("undisturbed")
    runtime.run_sweep(folder / "runs", "ode", SMALL, generated=generated, workers=1)
    runtime.merge_sweep(folder / "runs", folder / "runs.nc")
    return (folder / "runs.nc").read_bytes()
