from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import started

from runtime import InputError
from runtime.sweep import folder_lock
from runtime.sweep.folder_lock import FolderLock, setup_lock


def take(folder, part=None):
    held = FolderLock(folder)
    try:
        with setup_lock(folder):
            held.take(part)
    except BaseException:
        held.release()
        raise
    return held


def test_one_whole_sweep_at_a_time(tmp_path):
    first = take(tmp_path)
    for part in (None, (0, 2)):
        with pytest.raises(InputError, match="is running in this folder"):
            take(tmp_path, part)
    first.release()
    take(tmp_path).release()


def test_parts_side_by_side_each_once(tmp_path):
    parts = [take(tmp_path, (index, 3)) for index in range(3)]
    with pytest.raises(InputError, match="another sweep"):
        take(tmp_path)
    with pytest.raises(InputError, match="1 of 3 is running already") as refused:
        take(tmp_path, (1, 3))
    assert refused.value.option == "task_index"
    with pytest.raises(InputError, match="4 is not 3") as refused:
        take(tmp_path, (3, 4))
    assert refused.value.option == "task_count"
    parts[1].release()
    take(tmp_path, (1, 3)).release()
    with pytest.raises(InputError):
        take(tmp_path)
    for part in parts:
        part.release()
    take(tmp_path, (0, 4)).release()
    take(tmp_path).release()


def test_a_killed_process_holds_nothing(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from runtime.sweep.folder_lock import FolderLock, setup_lock\n"
        "folder = Path(sys.argv[1]); held = FolderLock(folder)\n"
        "with setup_lock(folder): held.take(None)\n"
        "print('held', flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with started(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(InputError):
            take(tmp_path)
    take(tmp_path).release()


def test_file_systems_without_locks_are_named(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(folder_lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock.fcntl, "flock", fails)
    with pytest.raises(InputError, match="without locks"):
        take(tmp_path)


def test_waiting_for_the_setup_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "_SETUP_SECONDS", 0.1)
    with (
        setup_lock(tmp_path),
        pytest.raises(InputError, match="still being set up by another"),
        setup_lock(tmp_path),
    ):
        pass
