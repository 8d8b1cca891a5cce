"""`cli sweep` and `cli merge`: what they print, and how they refuse."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray

ROOT = Path(__file__).parents[3]
SMALL = "--p 2 --pstar 1 --alpha 0,1,2 --eta 0.1,0.2 --seed 0:2"
FILE = """
job = "ode"

[parameters]
p = 2
pstar = 1
alpha = [0, 1, 2]
eta = [0.1, 0.2]
seed = "0:2"
"""


@pytest.fixture
def small(generated):
    return f"sweep {SMALL} --generated {shlex.quote(str(generated))} --out runs"


def test_sweep_status_merge(call, small, tmp_path):
    code, out, err = call(f"{small} --dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("runs: 6 tasks of ode = 2 eta × 3 seed\nat most about ")
    assert list(tmp_path.iterdir()) == []
    code, out, err = call(small)
    assert (code, out) == (0, "runs: 6 of 6 tasks done\n")
    assert err.splitlines()[-1] == "6 of 6 tasks done"
    assert call("sweep --out runs --status") == (
        0,
        "runs: 6 tasks of ode, 6 done, 0 failed, 0 damaged, 0 missing\n",
        "",
    )
    code, out, err = call("merge runs --out runs.nc")
    assert (code, out, err) == (0, "runs.nc: eta 2, seed 3, alpha 3, i 2, j 2, r 1, s 1\n", "")
    with xarray.open_dataset(tmp_path / "runs.nc") as runs:
        assert runs["loss"].dims == ("eta", "seed", "alpha")


def test_json(call, small):
    facts = json.loads(call(f"{small} --dry-run --json")[1])
    assert (facts["tasks"], facts["shape"]) == (6, {"eta": 2, "seed": 3})
    assert json.loads(call(f"{small} --json --quiet")[1]) == {
        "folder": "runs",
        "tasks": 6,
        "done": 6,
        "failed": [],
    }
    assert json.loads(call("sweep --out runs --status --json")[1])["missing"] == []
    assert json.loads(call("merge runs --out a.nc --json")[1])["sizes"]["eta"] == 2


def test_a_file_and_options_above_it(call, small, tmp_path, merged, undisturbed, generated):
    (tmp_path / "sweep.toml").write_text(FILE)
    line = f"sweep sweep.toml --generated {shlex.quote(str(generated))} --quiet"
    assert call(line)[0] == 2
    assert call(f"{line} --out runs")[1] == "runs: 6 of 6 tasks done\n"
    assert merged() == undisturbed
    assert call(f"{line} --out more --seed 0:3")[1] == "more: 8 of 8 tasks done\n"
    assert call(small)[1] == "runs: 6 of 6 tasks done\n"


def test_status_shows_what_is_wrong(call, small, tmp_path):
    call(f"{small} --task-index 0 --task-count 2 --quiet")
    folder = tmp_path / "runs"
    (folder / "shards/0000/0000002.nc").write_bytes(b"")
    (folder / "failed/0000003.json").write_text('{"error": "FloatingPointError: overflow"}')
    (folder / "failed/0000005.json").write_text("damaged")
    code, out, _ = call("sweep --out runs --status")
    assert code == 0
    assert out.splitlines() == [
        "runs: 6 tasks of ode, 2 done, 1 failed, 1 damaged, 2 missing",
        "failed 3 (eta=0.2 seed=0): FloatingPointError: overflow",
        "damaged 2 (eta=0.1 seed=2): is empty",
        "missing 1 5",
    ]
    code, out, err = call("merge runs --out runs.nc")
    assert (code, out) == (1, "")
    assert err.startswith(
        "cli: runs: 4 of 6 tasks are not done; `cli sweep --out runs --status` says why, "
    )
    assert err.endswith("--partial merges the others\n")


def test_failed_tasks_are_exit_code_1(call, generated):
    # At a huge η there is no plateau to escape from.
    line = "sweep --job escape --p 2 --pstar 1 --n 1000 --trajectories 2 --eta 0.3,90 --out runs --quiet"
    code, out, err = call(f"{line} --generated {shlex.quote(str(generated))}")
    assert (code, out) == (1, "runs: 1 of 2 tasks done\n")
    assert err.startswith("cli: 1 of 2 tasks failed, the first is task 1: --eta: ")
    assert err.endswith("`cli sweep --out runs --status` lists them\n")
    assert err.count("\n") == 1


def test_a_closed_pipe_stops_nothing(tmp_path, generated):
    words = [*shlex.split(f"sweep {SMALL} --out runs"), "--generated", str(generated)]
    program = shlex.join([sys.executable, str(ROOT / "cli.py"), *words])
    done = subprocess.run(
        ["bash", "-c", f"{program} 2>&1 | head -n 1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.count("\n") == 1
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("runs/shards/*/0*.nc"))) < 6:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_read_only_folders_are_one_line(tmp_path, generated):
    """A file system that is made read-only when the sweep is done."""
    script = f"""
mount -t tmpfs none {tmp_path}/disk && cd {tmp_path}/disk || exit 77
{sys.executable} - <<'END'
import os, sys, cli
def run(line):
    print(cli.run(line.split()), flush=True)
if cli.run("sweep {SMALL} --out runs --quiet --generated {generated}".split()):
    sys.exit(77)
if os.system("mount -o remount,ro {tmp_path}/disk"):
    sys.exit(77)
# The new mode is that of a folder that is entered again.
os.chdir("../disk")
run("sweep --out runs")
run("sweep {SMALL} --out new --generated {generated}")
run("sweep --out runs --status")
run("merge runs --out runs.nc")
run("merge runs --out ../runs.nc")
END
"""
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("cannot mount a file system here")
    assert done.stderr.splitlines() == [
        "cli: runs/locks/setup: Read-only file system",
        "cli: new: Read-only file system",
        "cli: --out: runs.nc cannot be written: Read-only file system",
    ]
    assert done.stdout.splitlines()[1:] == [
        "1",
        "1",
        "runs: 6 tasks of ode, 6 done, 0 failed, 0 damaged, 0 missing",
        "0",
        "2",
        "../runs.nc: eta 2, seed 3, alpha 3, i 2, j 2, r 1, s 1",
        "0",
    ]
