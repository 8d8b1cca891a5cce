"""The command line as a whole: help, exit codes, and how its process ends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from all_commands import COMMANDS
from processes import started

import cli
import derive
import runtime

ROOT = Path(__file__).parent.parent


def process(*arguments: str, **options):
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


# --- help ------------------------------------------------------------------------------------


def test_help_is_that_of_the_command_however_it_is_asked_for(call):
    shown = call("--help")[1]
    assert call("") == call("help") == call("-h") == (0, shown, "")
    assert re.findall(r"^(\w+):$", shown, re.MULTILINE) == ["Options", *cli.SECTIONS]
    for name in COMMANDS:
        assert call(f"help {name}") == call(f"{name} --help")
    assert derive.VERSION in call("--version")[1]


def test_options_are_listed_in_groups_with_one_column_of_explanations(call):
    shown = call("help integrate")[1]
    groups = ["Model", "Training", "Start", "Solver", "Output"]
    assert re.findall(r"^(\w+):$", shown, re.MULTILINE) == groups
    model = re.findall(r"^  --([\w-]+)", shown.split("Model:")[1].split("Training:")[0], re.MULTILINE)
    names = ["p", "pstar", "constraint", "flow", "teacher", "readout", "second-layer", "activation"]
    names += [
        "teacher-activation",
        "teacher-correlation",
        "teacher-spectrum",
        "T",
        "student-weights",
        "teacher-weights",
    ]
    assert model == names
    explanations = re.finditer(r"^  (-.*?)  +(?=\S)", shown, re.MULTILINE)
    assert len({len(found[0]) for found in explanations}) == 1


@pytest.mark.parametrize("program", ["cli", "overlap-ode"])
def test_help_names_the_program_as_it_was_started(call, monkeypatch, program):
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{program}"])
    other = ({"cli", "overlap-ode"} - {program}).pop()
    for line in ("--help", *(f"{name} --help" for name in COMMANDS)):
        out = call(line)[1]
        assert out.startswith(f"Usage: {program} ")
        assert f" {program} " in out.split("Example")[1]
        assert not re.search(rf"(?<![\w.-]){other}(?![\w-])", out)


def test_help_completion_and_list_import_nothing_heavy():
    """They run in one process; the message names the first that does."""
    heavy = {"numpy", "sympy", "flint", "numba", "scipy", "xarray", "matplotlib", "pandas"}
    code = f"""
import sys, cli
helps = (f"{{name}} --help" for name in cli.COMMANDS)
for line in ("--help", "completion bash", *helps, "list --generated {ROOT}/generated"):
    assert cli.run(line.split()) == 0
    assert not {heavy} & set(sys.modules), line
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=120, env=environment)


# --- as a process ------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_nowhere_to_print_to(streams, tmp_path):
    program = f'"{sys.executable}" "{ROOT / "cli.py"}"'
    # doctor asks of each stream whether it is a terminal.
    commands = {"latex": 0, "latex --what nonsense": 2, **({"doctor": 0} if streams == ">&- 2>&-" else {})}
    for command, code in commands.items():
        result = subprocess.run(
            ["bash", "-c", f"{program} {command} {streams}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
        )
        assert result.returncode == code
        assert result.stderr.count("\n") == (code == 2 and "2>&-" not in streams)
        assert ">&-" not in streams.split() or result.stdout == ""


def test_a_closed_pipe_is_no_error_message():
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'cli.py'))} latex | head -n 1"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stdout.startswith("The student is")
    assert result.stderr == ""


@pytest.mark.parametrize(
    "line",
    [
        "integrate --alpha 1e12",
        "simulate --n 1000 --alpha 1e9",
        "compare --p 2 --pstar 1 --eta 0.2 --alpha 1e6 --no-weights --ideal 0",
    ],
)
def test_ctrl_c_stops_at_once_with_one_line(generated, tmp_path, line):
    """Hours of work, or days; the signal comes when the compiled code runs."""
    for model in (derive.Model(4, 2), derive.Model(2, 1)):
        runtime.load(model, generated).compiled_rhs  # noqa: B018
    folder = [] if line.startswith("simulate") else ["--generated", str(generated)]
    command = [sys.executable, str(ROOT / "tests" / "telling_cli.py"), *line.split(), "--quiet", *folder]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started([*command, "--out", "run.nc"], cwd=tmp_path, **streams) as running:
        assert running.stdout.readline() == "running\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert set(out.split()) <= {"running"}
    assert err == "cli: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_running_the_file_is_the_command(call, tmp_path):
    line = "integrate --p 1 --pstar 1 --eta 0.1"
    here = call(line)
    there = process(*line.split(), cwd=tmp_path)
    assert (there.returncode, there.stdout, there.stderr) == here
    assert (here[0], here[2]) == (0, "")


def test_without_compilation_a_command_says_why_it_cannot_run(tmp_path):
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, cli.__file__, "integrate", "--p", "1", "--pstar", "1"]
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == ("cli: NUMBA_DISABLE_JIT is set, but only compiled code is run: unset it\n")
