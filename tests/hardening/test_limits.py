"""Closed pipes, full disks, little memory, signals: one line, and no half of a file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from processes import started

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, str(ROOT / "cli.py")]
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
    arguments: str, folder: Path, limit: tuple[int, int] | None = None, program: list[str] = CLI, **streams
) -> AbstractContextManager[subprocess.Popen]:
    """A command in a process of its own; `limit` is a resource and its bound."""
    command = [*program, *arguments.split()]
    if limit is not None:
        command = [sys.executable, "-c", RESTRICTED, *map(str, limit), *command]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return started(command, cwd=folder, env=environment, text=True, **streams)


def finish(
    arguments: str, folder: Path, limit: tuple[int, int] | None = None, **streams
) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    with start(arguments, folder, limit, **streams) as process:
        out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a derived system and compiled code in the cache."""
    place = tmp_path_factory.mktemp("limits")
    code, _, err = finish("integrate --p 1 --pstar 1 --eta 0.1 --alpha 10 --quiet --out run.nc", place)
    assert code == 0, err
    return place


@pytest.mark.parametrize(
    "arguments", ["--help", "latex", "list", "integrate --p 1 --pstar 1 --eta 0.1 --alpha 5 --json"]
)
def test_reader_that_went_away(folder, arguments):
    read, write = os.pipe()
    os.close(read)
    try:
        code, _, err = finish(arguments, folder, stdout=write)
    finally:
        os.close(write)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert code in (0, 1)


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ("derive --p 3 --pstar 3 --generated new", "new/p3_pstar3"),
        ("integrate --p 1 --pstar 1 --eta 0.1 --alpha 10 --out full.nc", "full.nc"),
        ("integrate --p 1 --pstar 1 --eta 0.1 --alpha 10 --plot full.png", "full.png"),
        ("latex --p 4 --pstar 2 --form components --out full.tex", "full.tex"),
        ("report --p 1 --pstar 1 --eta 0.1 --alpha 1 --trajectories 0 --quiet --out f.html", "f.html"),
    ],
)
def test_full_disk_leaves_nothing_half_written(folder, arguments, target):
    before = {p for p in folder.rglob("*") if p.name != "new"}
    code, _, err = finish(arguments, folder, (resource.RLIMIT_FSIZE, 2048))
    assert code == 1, err
    assert not (folder / target).exists()
    assert {p for p in folder.rglob("*") if p.name != "new"} == before
    assert "Traceback" not in err
    # A cache that is not filled yet cannot be filled here either, and says so once.
    *warnings, error = err.splitlines()
    assert error.startswith(f"cli: {target}")
    assert all("compiled code is not kept" in warning for warning in warnings[:1])
    assert len(warnings) <= 1


@pytest.mark.parametrize("arguments", ["latex", "--help"])
def test_a_full_standard_output_has_a_name(folder, arguments):
    with open("/dev/full", "w") as full:
        code, _, err = finish(arguments, folder, stdout=full)
    assert (code, err) == (1, "cli: standard output: No space left on device\n")


def test_where_errors_cannot_be_written_their_code_tells(folder):
    with open("/dev/full", "w") as full:
        code, out, _ = finish("nonsense", folder, stderr=full)
    assert (code, out) == (2, "")


def test_full_disk_keeps_the_file_of_before(folder):
    content = (folder / "run.nc").read_bytes()
    line = "integrate --p 1 --pstar 1 --eta 0.1 --alpha 10 --out run.nc"
    code, _, _ = finish(line, folder, (resource.RLIMIT_FSIZE, 2048))
    assert code == 1
    assert (folder / "run.nc").read_bytes() == content


@pytest.mark.parametrize(
    "arguments",
    [
        # 10⁷ trajectories with 200 outputs, and chains of as many weights.
        "ensemble --p 1 --pstar 1 --eta 0.1 --output all --trajectories 10000000 --out big.nc",
        "simulate --method weights --p 1 --pstar 1 --n 1000000000 --trajectories 64 --alpha 1 --out big.nc",
    ],
)
def test_more_than_the_memory_holds_is_one_line(folder, arguments):
    code, _, err = finish(arguments, folder)
    assert code in (1, 2)
    assert "Traceback" not in err
    assert err.count("cli: ") == 1
    assert not (folder / "big.nc").exists()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_long_work(folder, kind):
    before = set(folder.rglob("*"))
    line = "ensemble --p 1 --pstar 1 --eta 0.1 --trajectories 1000 --alpha 1e9 --quiet --out late.nc"
    with start(line, folder, program=[sys.executable, str(ROOT / "tests" / "telling_cli.py")]) as process:
        assert process.stdout.readline() == "running\n"
        process.send_signal(kind)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode in (130, -kind)
    assert "Traceback" not in err
    assert set(folder.rglob("*")) == before
