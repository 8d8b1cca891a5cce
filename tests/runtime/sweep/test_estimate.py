from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from runtime import InputError
from runtime.sweep import estimate, whole_sweeps
from runtime.sweep.estimate import Estimate, readable_bytes
from runtime.sweep.sweep_settings import SweepSettings
from runtime.sweep.task_plan import Plan

usage = namedtuple("usage", "total used free")


def test_what_is_written_is_not_more_than_estimated(sweep, tmp_path):
    given = {"p": "2,4", "seed": "0:3", "eta": "0.1,0.2"}
    sweep(given)
    there = sum(path.stat().st_size for path in (tmp_path / "runs").rglob("*") if path.is_file())
    expected = Estimate.of(Plan.of("ode", given), 2, False)
    assert there <= expected.disk <= 3 * there


def test_full_disks_are_refused_before_anything_is_written(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**5))
    with pytest.raises(InputError, match=r"100 kB free, but the sweep may need .* kB") as refused:
        sweep()
    assert refused.value.option == "out"
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_needs_no_room(sweep, monkeypatch, tmp_path):
    sweep()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 0))
    assert sweep().done == 6
    assert whole_sweeps.dry_run(tmp_path / "runs", None, SweepSettings.of())["tasks"] == 6


def test_memory_counts_workers(monkeypatch, tmp_path):
    monkeypatch.setattr(estimate, "_memory", lambda: 10 * 2**30)
    plan = Plan.of("chain", {"trajectories": 10**4, "seed": "0:99"})
    Estimate.of(plan, 2, True).check(tmp_path, 1)
    with pytest.raises(InputError, match="fewer workers") as refused:
        Estimate.of(plan, 16, True).check(tmp_path, 1)
    assert refused.value.option == "workers"


def test_the_size_follows_widths_and_trajectories():
    narrow, wide = (
        Estimate.of(Plan.of("ensemble", {"output": "all", "trajectories": k}), 1, False).disk
        for k in (100, 1000)
    )
    assert wide > 5 * narrow


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2 * 10**12, "2 TB")]
)
def test_readable(count, text):
    assert readable_bytes(count) == text
