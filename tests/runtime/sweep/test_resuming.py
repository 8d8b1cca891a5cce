"""A sweep is resumed: what is done stays, what failed or is damaged is done again, and nothing twice."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time

import pytest
from small_sweep import SMALL

import derive
from derive import Model
from runtime import InputError
from runtime.sweep import shard as shard_module
from runtime.sweep import sweep_run, task_kinds
from runtime.sweep.folder_lock import FolderLock, setup_lock
from runtime.sweep.sweep_errors import SweepInterrupted
from runtime.sweep.task_plan import Plan


def shard(folder, number):
    return folder / "shards" / "0000" / f"{number:07d}.nc"


@pytest.fixture
def computed(monkeypatch):
    """The seeds and η of tasks that were computed, in order."""
    found = []
    real = task_kinds.result_of

    def result_of(job, parameters, *more):
        found.append((parameters["eta"], parameters["seed"]))
        return real(job, parameters, *more)

    monkeypatch.setattr(task_kinds, "result_of", result_of)
    return found


def test_the_whole_list_is_there_first(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_run, "_engine", lambda *_: (_ for _ in ()))
    sweep()
    lines = [json.loads(line) for line in (tmp_path / "runs" / "tasks.jsonl").read_text().splitlines()]
    assert [line["task"] for line in lines] == list(range(6))
    assert lines[4]["parameters"]["eta"] == 0.2
    assert lines[4]["parameters"]["seed"] == 1
    assert lines[4]["parameters"]["rtol"] == 1e-8
    assert len({line["digest"] for line in lines}) == 6
    plan = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert plan["axes"] == [{"eta": [0.1, 0.2]}, {"seed": [0, 1, 2]}]
    assert plan["tasks"] == 6


def test_nothing_is_done_twice(sweep, computed, merged, undisturbed):
    assert sweep(task_index=0, task_count=2).done == 3
    assert len(computed) == 3
    assert sweep().done == 6
    assert len(computed) == len(set(computed)) == 6
    # Without repeating the options.
    assert sweep(None).done == 6
    assert len(computed) == 6
    assert merged() == undisturbed


def test_another_sweep_needs_another_folder(sweep, tmp_path):
    sweep()
    before = sorted((path, path.stat().st_size) for path in tmp_path.rglob("*"))
    for given, job, option in (
        # What was given is named before what was left out.
        ({"seed": "0:9"}, "ode", "seed"),
        ({"seed": "0:2", "eta": 0.7}, "ode", "eta"),
        ({"seed": "0:2"}, "ode", "p"),
        ({**SMALL, "seed": "0:9"}, "ode", "seed"),
        (SMALL, "ensemble", "job"),
    ):
        with pytest.raises(InputError, match="--out alone, or choose another folder") as refused:
            sweep(given, job=job)
        assert refused.value.option == option
    assert sorted((path, path.stat().st_size) for path in tmp_path.rglob("*")) == before


def test_another_version_is_refused(sweep, monkeypatch):
    sweep()
    monkeypatch.setattr("runtime.sweep.task_plan.PROGRAM", "overlap-ode 9.9.9")
    with pytest.raises(InputError, match=r"is of overlap-ode 0.*, but this is overlap-ode 9.9.9"):
        sweep()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"digest": 1}', "[" * 10**5, "\0"])
def test_a_damaged_plan_is_refused_and_kept(sweep, tmp_path, content):
    sweep()
    plan = tmp_path / "runs" / "sweep.json"
    plan.write_text(content)
    for given in ({}, {"parameters": None}):
        with pytest.raises(InputError, match=r"sweep\.json") as refused:
            sweep(**given)
        assert "\n" not in str(refused.value)
    assert plan.read_text() == content
    assert shard(tmp_path / "runs", 5).exists()


def test_a_plan_with_an_infinite_number_is_damaged(sweep, tmp_path):
    """JSON of Python reads Infinity, of which no digest is made."""
    sweep()
    plan = tmp_path / "runs" / "sweep.json"
    plan.write_text(plan.read_text().replace('"q0": 1.0', '"q0": Infinity'))
    with pytest.raises(InputError, match=r"sweep\.json is damaged; choose another folder$"):
        sweep()


def test_the_bar_ends_before_an_error_is_printed(sweep, monkeypatch):
    ended = []

    def engine(*_):
        raise InputError("scheduler", "has no workers")
        yield

    monkeypatch.setattr(sweep_run.SweepProgress, "end", lambda _: ended.append(True))
    monkeypatch.setattr(sweep_run, "_engine", engine)
    with pytest.raises(InputError, match="has no workers"):
        sweep()
    assert ended == [True]


def test_folders_of_other_things_are_left_alone(sweep, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match=r"thesis.tex"):
        sweep()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["thesis.tex"]
    for folder in ("none/runs", "runs/thesis.tex", "a\0b"):
        with pytest.raises(InputError):
            sweep(folder=folder)
    with pytest.raises(InputError, match="holds no sweep yet"):
        sweep(None, folder="new")
    assert not (tmp_path / "new").exists()


def test_a_start_that_was_killed_is_taken_up(sweep, tmp_path, merged, undisturbed):
    sweep()
    folder = tmp_path / "runs"
    (folder / "sweep.json").unlink()
    (folder / "tasks.jsonl").write_text("half")
    (folder / ".sweep.99.tmp.json").write_text("half")
    (folder / "shards" / "0000" / ".0000003.99.tmp.nc").write_text("half")
    assert sweep().done == 6
    assert not list(folder.rglob("*.tmp*"))
    assert len((folder / "tasks.jsonl").read_text().splitlines()) == 6
    assert merged() == undisturbed


def test_parts_leave_the_files_of_others_alone(sweep, tmp_path):
    sweep(task_index=0, task_count=2)
    others = tmp_path / "runs/shards/0000/.0000001.99.tmp.nc"
    ours = others.with_name(".0000002.99.tmp.nc")
    for path in (others, ours):
        path.write_text("half")
    sweep(task_index=0, task_count=2)
    assert others.exists()
    assert not ours.exists()


DAMAGE = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "bit": lambda path: path.write_bytes(path.read_bytes().replace(b"status", b"statur", 1)),
    "of another task": lambda path: shutil.copy(path.with_name("0000000.nc"), path),
    "link": lambda path: path.symlink_to(path.rename(path.with_suffix(".away"))),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_shards_are_set_aside_and_computed_again(
    sweep, tmp_path, computed, merged, undisturbed, damage, generated
):
    sweep()
    computed.clear()
    folder = tmp_path / "runs"
    DAMAGE[damage](shard(folder, 4))
    said = []
    plan = sweep_run.SweepFolder(folder).stored_plan()
    settings = sweep_run.SweepSettings.of(workers=1, generated=generated)
    sweep_run.run(folder, plan, settings, said.append, True)
    assert computed == [(0.2, 1)]
    assert said[0].startswith("task 4: its shard ")
    assert said[0].endswith("set aside and computed again")
    assert (folder / "damaged" / "0000004.nc").exists() or damage == "link"
    assert merged() == undisturbed


def test_shards_of_another_model_are_not_taken(sweep, tmp_path, computed, merged, undisturbed):
    sweep({**SMALL, "readout": "sum"}, folder="other")
    sweep()
    computed.clear()
    for number in range(6):
        shutil.copy(shard(tmp_path / "other", number), shard(tmp_path / "runs", number))
    sweep()
    assert len(computed) == 6
    assert merged() == undisturbed


def test_shards_of_another_version_are_not_taken(sweep, computed, merged, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("runtime.sweep.task_plan.PROGRAM", "overlap-ode 0.0.9")
        digests = [task.digest for task in Plan.of("ode", SMALL).tasks()]
    real = shard_module.write_shard

    def older(path, dataset, _):
        """As the version before would have named the task."""
        real(path, dataset, digests[int(path.stem)])

    with monkeypatch.context() as patch:
        patch.setattr("runtime.sweep.run_task.write_shard", older)
        sweep()
    computed.clear()
    assert sweep().done == 6
    assert len(computed) == 6
    assert merged() == undisturbed


def test_failures_are_recorded_and_tried_again(sweep, tmp_path, monkeypatch, merged, undisturbed):
    real = task_kinds.result_of

    def fails(job, parameters, *more):
        if parameters["seed"] == 1:
            raise FloatingPointError("overflow")
        return real(job, parameters, *more)

    with monkeypatch.context() as patch:
        patch.setattr(task_kinds, "result_of", fails)
        summary = sweep()
    assert (summary.done, summary.failed) == (4, dict.fromkeys([1, 4], "FloatingPointError: overflow"))
    record = json.loads((tmp_path / "runs/failed/0000004.json").read_text())
    assert record["error"] == "FloatingPointError: overflow"
    assert record["parameters"]["eta"] == 0.2
    assert sweep().failed == {}
    assert list((tmp_path / "runs/failed").iterdir()) == []
    assert merged() == undisturbed


def test_a_damaged_system_fails_its_tasks_only(sweep, tmp_path):
    generated = tmp_path / "generated"
    for p in (1, 2):
        folder = derive.overlap_odes(Model(p, 1)).write(generated)
    (folder / "odes.py").write_text("edited")
    task_kinds._loaded.cache_clear()
    summary = sweep({"p": "1,2", "pstar": 1, "alpha": 1.0, "seed": "0:1"}, generated=generated)
    assert summary.done == 2
    assert set(summary.failed) == {2, 3}
    assert "LoadError" in summary.failed[2]


def test_two_sweeps_on_one_folder(sweep, tmp_path):
    sweep()
    held = FolderLock(tmp_path / "runs")
    with setup_lock(tmp_path / "runs"):
        held.take(None)
    for options in ({}, {"task_index": 0, "task_count": 2}):
        with pytest.raises(InputError, match="is running in this folder"):
            sweep(**options)
    held.release()
    assert sweep().done == 6


def test_clocks_that_go_back_change_nothing(sweep, monkeypatch, merged, undisturbed):
    now = [2e9]

    def earlier():
        now[0] -= 1e6
        return now[0]

    monkeypatch.setattr(time, "time", earlier)
    sweep(task_index=0, task_count=2)
    assert sweep().done == 6
    assert merged() == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_the_sweep_and_say_how_to_go_on(sweep, monkeypatch, number, merged, undisturbed):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    real = sweep_run.SweepProgress.add

    def add(self, failed):
        real(self, failed)
        if self.done == 2:
            # Some send it to the process and to its group.
            signal.raise_signal(number)
            signal.raise_signal(number)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(sweep_run.SweepProgress, "add", add)
            with pytest.raises(SweepInterrupted, match="of 6 tasks done; run the same command again"):
                sweep(workers=1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert sweep().done == 6
    assert merged() == undisturbed


def test_a_sweep_in_another_thread_leaves_signals_alone(sweep):
    found = []
    thread = threading.Thread(target=lambda: found.append(sweep().done))
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    thread.start()
    thread.join()
    assert found == [6]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
