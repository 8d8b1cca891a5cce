"""Closed pipes, full disks, little memory, signals: one line, and no half of a file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cli

CLI = [sys.executable, str(Path(cli.__file__))]
LIMIT = 120.0
# Sets a limit and becomes the command. Why the signal is ignored: a file that grows too large is
# then an error, not the end.
RESTRICTED = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(int(sys.argv[1]), (int(sys.argv[2]), int(sys.argv[2])))
os.execv(sys.argv[3], sys.argv[3:])
"""


def start(
    arguments: str, folder: Path, limit: tuple[int, int] | None = None, **streams
) -> subprocess.Popen:
    """A command in a process of its own; `limit` is a resource and its bound."""

    command = [*CLI, *arguments.split()]
    if limit is not None:
        command = [sys.executable, "-c", RESTRICTED, *map(str, limit), *command]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a derived system and compiled code in the cache."""
    place = tmp_path_factory.mktemp("limits")
    code, _, err = finish(start("integrate --p 1 --pstar 1 --alpha 10 --quiet --out run.nc", place))
    assert code == 0, err
    return place


@pytest.mark.parametrize(
    "arguments", ["--help", "latex", "list", "integrate --p 1 --pstar 1 --alpha 5 --json"]
)
def test_reader_that_went_away(folder, arguments):
    read, write = os.pipe()
    os.close(read)
    process = start(arguments, folder, stdout=write)
    os.close(write)
    code, _, err = finish(process)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert code in (0, 1)


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ("derive --p 3 --pstar 3 --generated new", "new/p3_pstar3"),
        ("integrate --p 1 --pstar 1 --alpha 10 --out full.nc", "full.nc"),
        ("integrate --p 1 --pstar 1 --alpha 10 --plot full.png", "full.png"),
        ("latex --p 4 --pstar 2 --form components --out full.tex", "full.tex"),
    ],
)
def test_full_disk_leaves_nothing_half_written(folder, arguments, target):
    before = {p for p in folder.rglob("*") if p.name != "new"}
    code, _, err = finish(start(arguments, folder, (resource.RLIMIT_FSIZE, 2048)))
    assert code == 1, err
    assert not (folder / target).exists()
    assert {p for p in folder.rglob("*") if p.name != "new"} == before
    assert "Traceback" not in err
    assert err.startswith("cli: ")
    assert err.count("\n") == 1


def test_full_disk_keeps_the_file_of_before(folder):
    content = (folder / "run.nc").read_bytes()
    code, _, _ = finish(
        start("integrate --p 1 --pstar 1 --alpha 10 --out run.nc", folder, (resource.RLIMIT_FSIZE, 2048))
    )
    assert code == 1
    assert (folder / "run.nc").read_bytes() == content


@pytest.mark.parametrize(
    "arguments",
    [
        # 10⁷ trajectories with 200 outputs, and chains of as many weights.
        "ensemble --p 1 --pstar 1 --output all --trajectories 10000000 --out big.nc",
        "simulate --method weights --p 1 --pstar 1 --n 1000000000 --trajectories 64 --alpha 1 --out big.nc",
    ],
)
def test_more_than_the_memory_holds_is_one_line(folder, arguments):
    code, _, err = finish(start(arguments, folder))
    assert code in (1, 2)
    assert "Traceback" not in err
    assert err.count("cli: ") == 1
    assert not (folder / "big.nc").exists()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_long_work(folder, kind):
    before = set(folder.rglob("*"))
    process = start("ensemble --p 1 --pstar 1 --trajectories 50000000 --quiet --out late.nc", folder)
    time.sleep(4.0)
    process.send_signal(kind)
    code, _, err = finish(process)
    assert code in (130, -kind)
    assert "Traceback" not in err
    assert set(folder.rglob("*")) == before
