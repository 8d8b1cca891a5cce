"""Any text in any option of any command: one line that names the option, and nothing written."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import click
import pytest
from all_commands import COMMANDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cli

# Text that looks like numbers, lists, ranges, files or commands more often than random text does.
PIECES = st.sampled_from(
    [*"10-+e.,:１٣²_ \t\n;'\"`|/~{}\\é中a", "nan", "inf", "\x1b[31m", "$(touch x)", "../", "%s", "\u202e"]
)
TEXT = st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=8).map("".join))
NAMES = sorted(COMMANDS)


def options_of(command: click.Command) -> list[click.Option]:
    return [p for p in command.params if isinstance(p, click.Option) and not p.is_flag]


def refused(option: click.Option, text: str) -> bool:
    """Whether the type of the option alone refuses the text."""
    if isinstance(option.type, click.Path):
        return False
    try:
        option.type.convert(text, option, None)
    except click.ClickException:
        return True
    except Exception as error:
        raise AssertionError(f"{option.opts} raises {error!r} for {text!r}") from error
    return False


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(list(arguments))
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_text_that_is_no_value_is_one_line(folder, name, data):
    candidates = [o for o in options_of(COMMANDS[name]) if not isinstance(o.type, click.Path)]
    typed = [o for o in candidates if not isinstance(o.type, click.types.StringParamType)]
    if not typed:
        return
    option = data.draw(st.sampled_from(typed))
    text = data.draw(TEXT.filter(lambda text: refused(option, text)))
    code, out, err = run(name, option.opts[-1], text)
    assert (code, out) == (2, "")
    # The error does not always name the option: text such as "-h" is an option of its own to the parser.
    assert err.startswith("cli: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err[:-1].isprintable(), err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_names_of_no_file_are_one_line(folder, name, data):
    """Files to read that do not exist, files to write of another type: nothing is computed."""
    paths = [o for o in options_of(COMMANDS[name]) if isinstance(o.type, click.Path)]
    readable = [o for o in paths if o.opts[-1] in ("--overlaps", "--along", "--monitor", "--run")]
    writable = [o for o in paths if o.opts[-1] in ("--out", "--plot")]
    writable = [o for o in writable if name != "reproduce"]
    if not readable + writable:
        return
    option = data.draw(st.sampled_from(readable + writable))
    characters = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
    file = data.draw(st.text(characters, min_size=1, max_size=300).filter(lambda t: t not in (".", "..")))
    if option in writable:
        file += data.draw(st.sampled_from(["", "x", ".txt", "/x.nc", "/x.png", ".nc/x.png"]))
        if Path(file).suffix.lower() in (".nc", ".png", ".pdf", ".svg", ".tex") and "/" not in file:
            return
    else:
        file += data.draw(st.sampled_from(["", ".npz", ".nc", "/x.npz"]))
    required = [p for p in COMMANDS[name].params if isinstance(p, click.Argument) and p.required]
    code, out, err = run(name, *("missing" for _ in required), option.opts[-1] + "=" + file)
    assert (code, out) == (2, "")
    names = [option.opts[-1], *(str(p.name).upper() for p in required)]
    assert err.startswith(tuple(f"cli: {name}: " for name in names))
    assert err.count("\n") == 1
    assert err[:-1].isprintable(), err
    assert os.listdir(folder) == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(TEXT, min_size=1, max_size=3))
def test_words_that_are_no_command(folder, arguments):
    if arguments[0] in (*NAMES, "-h", "--help", "--version"):
        return
    code, out, err = run(*arguments)
    assert code == 2 or (code == 0 and out)
    assert err.count("\n") == (code == 2)
    assert err.strip("\n").isprintable(), err
    assert list(folder.iterdir()) == []
