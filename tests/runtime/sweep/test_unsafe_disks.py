"""Sweeps on full disks, in read-only folders and among links of others: nothing is lost or overwritten."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from limits import files_up_to
from matrix import matrix

from runtime import InputError
from runtime.sweep.durable_files import StorageError
from runtime.sweep.sweep_errors import SweepError


@pytest.mark.parametrize("engine", ["processes", matrix("threads")])
def test_a_full_disk_stops_the_sweep_and_loses_nothing(engine, tmp_path, generated):
    """A file system of 400 kB that another program fills while the sweep runs."""
    script = f"""
mount -t tmpfs -o size=400k none {tmp_path}/disk && cd {tmp_path}/disk || exit 77
{sys.executable} - <<'END'
import pathlib, runtime, cli
from runtime.sweep.estimate import Estimate
Estimate.check = lambda *_: None
try:
    runtime.run_sweep("runs", "ode", {{"p": 2, "pstar": 1, "alpha": [0.0, 1.0], "seed": "0:29"}},
                      engine="{engine}", workers=2, generated="{generated}")
except OSError as error:
    print(error)
print(*pathlib.Path("runs").rglob("*.tmp*"))
cli.run(["sweep", "--out", "runs", "--status"])
END
"""
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0 and not done.stdout:
        pytest.skip("cannot mount a file system here")
    error, left, status, _ = done.stdout.splitlines()
    assert left == ""
    assert "No space left on device; " in error
    assert "of 30 tasks done; run the same command again to resume it" in error
    count = int(error.split("; ")[1].split(" of ")[0])
    # Workers may have stored one more each before they were ended.
    found = int(status.split(" tasks of ode, ")[1].split(" done")[0])
    assert 3 <= count <= found <= count + 2
    assert "0 failed, 0 damaged" in status


def test_a_full_disk_anywhere_says_how_to_go_on(sweep, monkeypatch, merged, undisturbed):
    sync, synced = os.fsync, []

    def full(descriptor):
        synced.append(descriptor)
        # Each file is synced and its folder; the first two files are those of the plan.
        if len(synced) > 8:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SweepError, match=r"No space left on device; . of 6 tasks done; run the same"):
            sweep(workers=1)
    assert sweep().done == 6
    assert merged() == undisturbed


@pytest.mark.parametrize("name", ["shards", "shards/0000", "failed", "damaged", "locks"])
@pytest.mark.parametrize("lead", ["elsewhere", "nowhere"])
def test_links_inside_are_not_followed(sweep, merged, tmp_path, name, lead):
    """Whoever can write in the folder could else have files elsewhere written or removed."""
    sweep(task_index=0, task_count=6)
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "runs" / name
    elsewhere.mkdir()
    (elsewhere / ".0000001.00.tmp.nc").write_text("kept")
    if folder.exists():
        shutil.rmtree(folder)
    folder.symlink_to(tmp_path / lead)
    problem = re.escape(f"{folder} is a symbolic link: remove it, or choose another folder")
    with pytest.raises(InputError, match=f"^out: {problem}$"):
        sweep()
    with pytest.raises(InputError, match=f"^folder: {problem}$"):
        merged(partial=True)
    assert [path.name for path in elsewhere.iterdir()] == [".0000001.00.tmp.nc"]
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_a_link_itself_is_the_wish_of_its_user(sweep, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "scratch")
    assert sweep().done == 6
    assert (tmp_path / "scratch/shards/0000/0000005.nc").exists()


@pytest.mark.parametrize("name", ["tasks.jsonl", "sweep.json", "locks/sweep", "failed/0000000.json"])
def test_links_in_place_of_files_are_not_followed(sweep, tmp_path, name):
    sweep(task_index=0, task_count=6)
    precious, path = tmp_path / "precious", tmp_path / "runs" / name
    precious.write_text("years")
    path.unlink(missing_ok=True)
    path.symlink_to(precious)
    with contextlib.suppress(InputError, StorageError):
        sweep()
    assert precious.read_text() == "years"


def test_where_the_library_cannot_write_the_sweep_stops_and_goes_on(sweep, merged, undisturbed):
    with files_up_to(8000), pytest.raises(SweepError) as stopped:
        sweep(workers=1)
    path = r"\S+/runs/shards/0000/0000000\.nc"
    resume = "0 of 6 tasks done; run the same command again to resume it"
    assert re.fullmatch(f"{path}: File too large; {resume}", str(stopped.value))
    assert sweep().done == 6
    assert merged() == undisturbed


def test_folders_that_cannot_be_written_are_named(sweep, monkeypatch):
    sweep()

    def fails(path, *_args, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("runtime.sweep.folder_lock.os", types.SimpleNamespace(**{**vars(os), "open": fails}))
        with pytest.raises(StorageError, match="Permission denied"):
            sweep()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", fails)
        with pytest.raises(StorageError, match="Permission denied"):
            sweep(folder="new")
