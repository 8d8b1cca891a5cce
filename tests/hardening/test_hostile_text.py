"""Names of files, arguments and contents that command a terminal, or are no text: shown with escapes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cli
import derive
from derive.errors import printable

# These clear the screen (in ASCII and in C1), reverse the direction of writing, begin a new line, and are
# bytes that are no text.
COMMANDS = "\x1b[2J \x9b2J \u202e \u2066 \u2028 \r\n" + os.fsdecode(b"\xff")
EVIL = f"a{COMMANDS}z"


def assert_plain(text: str) -> None:
    assert all(line.isprintable() for line in text.removesuffix("\n").split("\n")), ascii(text)
    assert text.isascii() or not any(c in text for c in EVIL if not c.isascii())


def test_printable():
    assert printable("a b\tc\n", kept="\n") == "a b\\tc\n"
    assert printable(EVIL, kept="") == ("a\\x1b[2J \\x9b2J \\u202e \\u2066 \\u2028 \\r\\n\\udcffz")
    text = "Greek η, sums Σᵢ, p* – and a plain ASCII ~"
    assert printable(text) == text


@pytest.fixture
def folder(tmp_path):
    """Files and folders of these names, and a system that can be loaded."""
    made = derive.overlap_odes(derive.Model(1, 1)).write(tmp_path / EVIL)
    shutil.copytree(made, tmp_path / EVIL / EVIL)
    (tmp_path / EVIL / EVIL / "odes.py").write_text("")
    (tmp_path / EVIL / "empty").mkdir()
    (tmp_path / f"{EVIL}.nc").write_text("no netCDF")
    (tmp_path / f"{EVIL}.toml").write_bytes(b"job = '\xff'")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        (["list", "--generated", EVIL], (0,)),
        (["list", "--generated", EVIL, "--json"], (0,)),
        (["list", "--generated", EVIL + "nowhere"], (0,)),
        (["list", "--generated", f"{EVIL}.nc"], (2,)),
        (["doctor", "--generated", EVIL], (0, 1)),
        (["derive", "--p", "1", "--pstar", "1", "--generated", EVIL], (0,)),
        (["derive", "--p", "1", "--pstar", "1", "--generated", EVIL, "--json"], (0,)),
        (["integrate", "--overlaps", f"{EVIL}.nc"], (2,)),
        (["hessian", "--along", f"{EVIL}.nc"], (2,)),
        (["invariants", "--monitor", f"{EVIL}.nc"], (2,)),
        (["bias", "--run", f"{EVIL}.nc"], (2,)),
        (["sweep", f"{EVIL}.toml"], (2,)),
        (["sweep", "--out", EVIL, "--status"], (2,)),
        (["merge", EVIL, "--out", "x.nc"], (2,)),
        (["latex", "--out", f"{EVIL}.tex"], (0,)),
        (["latex", "--out", f"{EVIL}/no/x.tex"], (2,)),
        (["integrate", "--method", EVIL], (2,)),
        (["integrate", "--eta", EVIL], (2,)),
        (["sweep", "--zip", EVIL, "--out", "s"], (2,)),
        (["integrate", f"--{EVIL}"], (2,)),
        ([EVIL], (2,)),
    ],
    ids=lambda value: " ".join(value).split(EVIL)[0] if isinstance(value, list) else str(value),
)
@pytest.mark.usefixtures("folder")
def test_commands_for_the_terminal_are_escaped(call, command, codes):
    code, out, err = call("", *command)
    assert code in codes
    assert_plain(out)
    assert_plain(err)
    assert code != 2 or err.count("\n") == 1


@pytest.mark.usefixtures("folder")
def test_a_list_has_a_line_for_each_system(call):
    _, out, _ = call("", "list", "--generated", EVIL)
    assert len(out.splitlines()) == 3
    assert out.count("PROBLEM") == 2


def test_results_in_files_of_such_names(call, folder):
    """All of it is computed, and the start is named in the result."""
    import numpy as np
    import xarray

    np.savez(folder / f"{EVIL}.npz", Q=np.eye(1), R=np.full((1, 1), 0.1))
    line = "integrate --p 1 --pstar 1 --eta 0.1 --alpha 1 --eta 0.01"
    code, out, err = call(
        line,
        "--generated",
        EVIL,
        "--overlaps",
        f"{EVIL}.npz",
        "--out",
        f"{EVIL}.nc",
        "--plot",
        f"{EVIL}.png",
    )
    assert code == 0, err
    assert_plain(out)
    assert_plain(err)
    assert err.count("\n") == 2
    shutil.move(folder / f"{EVIL}.nc", folder / "run.nc")
    assert xarray.load_dataset(folder / "run.nc").attrs["overlaps"] == printable(f"{EVIL}.npz")


def test_a_report_of_such_a_name(call, folder):
    line = "report --p 1 --pstar 1 --eta 0.1 --alpha 1 --trajectories 0 --generated"
    code, out, err = call(line, EVIL, "--out", f"{EVIL}.html")
    assert code == 0, err
    assert_plain(out)
    assert_plain(err)
    assert b"\xff" not in (folder / f"{EVIL}.html").read_bytes()


def test_what_failed_tasks_are_said_to_have_said(call, tmp_path):
    code, _, err = call("sweep --p 1 --pstar 1 --alpha 1 --eta 0.1,0.2 --quiet --out runs")
    assert code == 0, err
    (tmp_path / "runs" / "shards" / "0000" / "0000001.nc").unlink()
    (tmp_path / "runs" / "failed" / "0000001.json").write_text(json.dumps({"error": EVIL + "\nforged"}))
    code, out, _ = call("sweep --out runs --status")
    assert code == 0
    assert_plain(out)
    assert len(out.splitlines()) == 2


def test_other_character_sets_lose_letters_and_not_the_command():
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, str(Path(cli.__file__)), "integrate"]
    for arguments, code in (["--help"], 0), (["--eta", "η"], 2):
        result = subprocess.run(
            [*command, *arguments],
            env=environment,
            capture_output=True,
            encoding="latin-1",
            timeout=60,
            check=False,
        )
        assert result.returncode == code
        assert "\\u03b7" in (result.stderr if code else result.stdout)
        assert "Traceback" not in result.stderr
