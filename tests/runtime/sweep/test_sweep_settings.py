from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime import InputError
from runtime.commands.sweep import request
from runtime.concurrency.thread_pool import thread_count
from runtime.sweep.sweep_settings import SweepSettings, read_sweep_file, zip_groups

_NAMES = "out job zip engine workers threads scheduler generated task_index task_count"
NONE = dict.fromkeys(_NAMES.split())

FILE = """
job = "chain"
out = "runs"
engine = "processes"
workers = 3
zip = ["p", "pstar"]

[parameters]
p = [2, 4]
pstar = "1:2"
label-noise = 0.1
alpha = [0, 1]
seed = "0:4"
"""


def test_defaults():
    settings = SweepSettings.of()
    assert settings == SweepSettings("threads", thread_count(None), 1, None, Path("generated"), None)
    dask = SweepSettings.of(scheduler="tcp://127.0.0.1:8786")
    assert (dask.engine, dask.workers) == ("dask", 1)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"engine": "mpi"}, "engine"),
        ({"engine": 3}, "engine"),
        ({"engine": "dask"}, "engine"),
        ({"engine": "dask", "workers": 2}, "engine"),
        ({"workers": 0}, "workers"),
        ({"workers": 10**9}, "workers"),
        ({"workers": "2"}, "workers"),
        ({"threads": -1}, "threads"),
        ({"threads": True}, "threads"),
        ({"scheduler": "a", "engine": "threads"}, "scheduler"),
        ({"scheduler": ""}, "scheduler"),
        ({"scheduler": "a", "workers": 2}, "workers"),
        ({"task_index": 0}, "task_count"),
        ({"task_count": 2}, "task_index"),
        ({"task_index": 2, "task_count": 2}, "task_index"),
        ({"task_index": -1, "task_count": 2}, "task_index"),
        ({"task_index": 0, "task_count": 0}, "task_count"),
        ({"generated": 7}, "generated"),
    ],
)
def test_refused(given, option):
    with pytest.raises(InputError) as refused:
        SweepSettings.of(**given)
    assert refused.value.option == option


def test_options_override_the_file(tmp_path):
    file = tmp_path / "sweep.toml"
    file.write_text(FILE)
    folder, plan, settings = request(file, {**NONE, "workers": 5}, {"seed": "7", "eta": None})
    assert folder == Path("runs")
    assert plan.job.name == "chain"
    assert plan.shape == (2,)
    assert plan.axes[0].dimension == "p_pstar"
    assert plan.fixed["seed"] == 7
    assert plan.fixed["label_noise"] == 0.1
    assert plan.fixed["alpha"] == [0.0, 1.0]
    assert (settings.engine, settings.workers) == ("processes", 5)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("job = ", "not TOML"),
        ("\xff", "not TOML"),
        ("seed = 1", "'seed' is not one of"),
        ("parameters = 3", "not a table"),
        pytest.param(f"workers = {'9' * 5000}", "not TOML", id="digits"),
        pytest.param(f"workers = {'[' * 5000}{']' * 5000}", "not TOML", id="nested"),
    ],
)
def test_bad_files_are_named(tmp_path, text, word):
    file = tmp_path / "sweep.toml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=word) as refused:
        read_sweep_file(file)
    assert "sweep.toml" in str(refused.value)
    os.mkfifo(tmp_path / "fifo.toml")
    with (tmp_path / "large.toml").open("wb") as large:
        large.truncate(2**30)
    with pytest.raises(InputError, match="more than 16 MiB"):
        read_sweep_file(tmp_path / "large.toml")
    for path in (tmp_path, tmp_path / "none.toml", tmp_path / "fifo.toml"):
        with pytest.raises(InputError):
            read_sweep_file(path)


def test_groups():
    assert zip_groups(None) == []
    assert zip_groups("p,label-noise") == [["p", "label_noise"]]
    assert zip_groups(["p", "pstar"]) == [["p", "pstar"]]
    assert zip_groups([["p", "pstar"], "eta,n"]) == [["p", "pstar"], ["eta", "n"]]
    for wrong in (3, "p", [["p"]], [3], [[1, 2]], {"p": 1}):
        with pytest.raises(InputError):
            zip_groups(wrong)
