"""What meets the eye: help, completion, colours, progress bars, warnings."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import termios
import time
import warnings
from pathlib import Path

import click
import pytest
from all_commands import COMMANDS
from processes import started
from streams import Terminal

import cli
from runtime.commands import printing
from runtime.commands.completion import SHELLS, VARIABLE

ROOT = Path(__file__).parent.parent


def in_a_terminal(line: str, folder: Path, **environment: str) -> str:
    """The output of a command line in a terminal of its own."""
    primary, secondary = pty.openpty()
    words = [sys.executable, str(ROOT / "cli.py"), *line.split()]
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    streams = {"stdin": secondary, "stdout": secondary, "stderr": secondary}
    shown = b""
    deadline = time.monotonic() + 120
    try:
        with started(words, **streams, cwd=folder, env=variables | environment):
            os.close(secondary)
            while time.monotonic() < deadline:
                if not select.select([primary], [], [], 1.0)[0]:
                    continue
                try:
                    piece = os.read(primary, 4096)
                except OSError:  # how Linux says that the other side has closed
                    break
                if not piece:
                    break
                shown += piece
    finally:
        os.close(primary)
    return shown.decode()


# --- help ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_short_line_and_examples_that_parse(call, command):
    code, out, _ = call(f"{command} --help")
    assert code == 0
    examples = re.findall(r"^    .*?\bcli ([a-z]+) ?(.*?)(?:\)|\||   |$)", out, re.MULTILINE)
    assert examples
    for name, arguments in examples:
        assert name == command
        COMMANDS[name].make_context(name, shlex.split(arguments))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained_in_a_sentence(command):
    for option in COMMANDS[command].params:
        if isinstance(option, click.Option):
            sentence = (option.help or "").split("  [default")[0]
            assert sentence.endswith("."), (option.name, option.help)


def test_the_list_of_commands_is_in_order_and_not_cut_short(call):
    _, out, _ = call("--help")
    groups = out.split("\n\n")[-1 - len(cli.SECTIONS) : -1]
    assert [group.split(":\n")[0] for group in groups] == list(cli.SECTIONS)
    lines = [line for group in groups for line in group.splitlines()[1:]]
    assert [line.split(maxsplit=1) for line in lines] == [list(entry) for entry in cli.COMMANDS.items()]
    assert "completion" in out.rsplit("\n\n", 1)[-1]


# --- completion ------------------------------------------------------------------------------


def completed(words: str, count: int) -> list[str]:
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(count), VARIABLE: "bash_complete"}
    result = subprocess.run(
        [sys.executable, str(ROOT / "cli.py")],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [line.split(",", 1)[1] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "count", "expected"),
    [
        ("cli int", 1, ["integrate"]),
        ("cli integrate --met", 2, ["--method"]),
        ("cli integrate --method scipy:L", 3, ["scipy:LSODA"]),
        ("cli derive --constraint ", 3, ["free", "sphere"]),
        ("cli completion z", 2, ["zsh"]),
        ("cli integrate --schedule inv", 3, ["inverse:", "inverse-sqrt:"]),
        ("cli simulate --second-layer t", 3, ["trained"]),
        ("cli help int", 2, ["integrate"]),
        ("cli ", 1, list(cli.COMMANDS)),
    ],
)
def test_commands_options_and_values_are_completed(words, count, expected):
    assert completed(words, count) == expected


def offered_by_bash(line: str, folder: Path, environment: dict[str, str]) -> str:
    words = [*line.split(), ""] if line.endswith(" ") else line.split()
    listed = " ".join(shlex.quote(word) for word in words)
    ask = f"COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _cli_completion cli"
    script = f'. ./completion; {ask}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return answer(["bash", "--norc", "-c", script], folder, environment)


def offered_by_fish(line: str, folder: Path, environment: dict[str, str]) -> str:
    script = f"source ./completion; complete -C {shlex.quote(line)}"
    return answer(["fish", "--no-config", "-c", script], folder, environment)


def answer(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr == ""
    # Without the descriptions of fish.
    return "\n".join(line.split("\t")[0] for line in result.stdout.splitlines())


def offered_by_zsh(line: str, folder: Path, environment: dict[str, str]) -> str:
    """Typed, with Tab, into a terminal; a wide one, so that no line is broken."""
    primary, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (50, 300))
    streams = {"stdin": secondary, "stdout": secondary, "stderr": secondary, "start_new_session": True}
    variables = {**environment, "TERM": "dumb", "PS1": "> "}
    try:
        with started(["zsh", "-f", "-i", "-o", "no_prompt_sp"], **streams, cwd=folder, env=variables):
            os.close(secondary)
            # The quotes are there because what is typed is shown too, and is not yet the answer.
            os.write(primary, b"autoload -Uz compinit; compinit -u -D; source ./completion; echo rea''dy\n")
            read_until(primary, b"ready\r\n")
            # The second command shows that completion is done, whatever it did to the line.
            os.write(primary, line.encode() + b"\t\x01#\necho do''ne\n")
            return read_until(primary, b"done\r\n").decode()
    finally:
        os.close(primary)


def read_until(descriptor: int, end: bytes) -> bytes:
    shown = b""
    deadline = time.monotonic() + 60
    while end not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([descriptor], [], [], 1.0)[0]:
            shown += os.read(descriptor, 4096)
    return shown


OFFERED_BY = {"bash": offered_by_bash, "fish": offered_by_fish, "zsh": offered_by_zsh}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_scripts_work_in_their_shells(call, shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    program = tmp_path / "programs" / "cli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "cli.py"}" "$@"\n')
    program.chmod(0o755)
    _, script, _ = call(f"completion {shell}")
    (tmp_path / "completion").write_text(script)
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}

    def offered(line: str) -> list[str]:
        return re.findall(r"[\w:.-]+", OFFERED_BY[shell](line, tmp_path, environment))

    assert "ensemble" in offered("cli ensem")
    assert "--method" in offered("cli integrate --met")
    assert "scipy:LSODA" in offered("cli integrate --method scipy:L")
    assert {"free", "sphere"} <= set(offered("cli derive --constraint "))
    assert "integrate" not in offered("cli ensem")


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_serve_both_names_of_the_program(call, shell):
    code, out, err = call(f"completion {shell}")
    assert (code, err) == (0, "")
    assert out.count(VARIABLE) == 2
    assert "overlap-ode" in out
    program = shutil.which(shell)
    if program and shell != "fish":
        subprocess.run([program, "-n"], input=out, text=True, check=True, timeout=60)


# --- colours and live lines ------------------------------------------------------------------


def test_colours_in_a_real_terminal(tmp_path):
    assert "\x1b[32mok" in in_a_terminal("doctor", tmp_path, TERM="xterm")


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours_only_where_they_are_wanted(monkeypatch, variables, wanted):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert printing.colour("ok", "green") == ("\x1b[32mok\x1b[0m" if wanted else "ok")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert printing.colour("ok", "green") == "ok"


# --- warnings and hints ----------------------------------------------------------------------


def test_warnings_are_one_line_without_source(capsys):
    printing.warn(UserWarning("the cache\nis gone"), UserWarning, "file.py", 3)
    assert capsys.readouterr().err == "cli: warning: the cache is gone\n"


def test_main_installs_them(monkeypatch):
    before = warnings.showwarning
    monkeypatch.setattr(logging.getLogger("overlap_ode"), "handlers", [])
    monkeypatch.setattr(cli, "run", lambda: 0)
    try:
        with pytest.raises(SystemExit):
            cli.main()
        assert warnings.showwarning is printing.warn
    finally:
        warnings.showwarning = before


def test_a_missing_package_is_one_line(call, monkeypatch):
    def missing(**_: object) -> None:
        raise ImportError("no", name="xarray")

    monkeypatch.setattr(COMMANDS["list"], "callback", missing)
    code, _, err = call("list")
    assert (code, err) == (1, "cli: xarray cannot be imported: pip install --force-reinstall overlap-ode\n")


def test_a_diverging_trajectory_says_what_may_help(call):
    _, _, err = call("integrate --p 1 --pstar 1 --eta 50")
    assert "a smaller --eta may help" in err
