"""The table of the options of runs says what commands take and what functions take by themselves."""

from __future__ import annotations

import dataclasses
import inspect

import click
import pytest
from all_commands import COMMANDS

import runtime
from derive.parameters import NUMBERS
from runtime.run_options import JOB_COMMANDS, MODEL_OPTIONS, RUN_OPTIONS, axes_of, numbers_of, options_of

# Names of options that mean something else there.
OTHER = {"sweep": set(RUN_OPTIONS)}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_knows_which_command_takes_what(name):
    taken = {option.name: option for option in COMMANDS[name].params}
    assert taken.keys() & RUN_OPTIONS.keys() - OTHER.get(name, set()) == options_of(name).keys()
    for option in options_of(name).values():
        assert option.help in taken[option.name].help
        if isinstance(taken[option.name].type, click.Choice):
            assert option.default in option.choices


@pytest.mark.parametrize(
    ("function", "command"),
    [
        ("integrate", "integrate"),
        ("integrate_ensemble", "ensemble"),
        ("fluctuations", "fluctuations"),
        ("simulate", "simulate"),
        ("compare", "compare"),
        ("escape_times", "escape"),
    ],
)
def test_functions_have_the_defaults_of_their_commands(function, command):
    arguments = inspect.signature(getattr(runtime, function)).parameters
    shared = arguments.keys() & options_of(command).keys()
    assert len(shared) > 3
    for name in shared:
        default = options_of(command)[name].default
        assert arguments[name].default in (default, None) or name == "output"


def test_axes_are_the_model_then_the_run_and_the_seed_last():
    for job in JOB_COMMANDS:
        axes = list(axes_of(job))
        assert axes[: len(MODEL_OPTIONS)] == list(MODEL_OPTIONS)
        assert axes[-1] == "seed"
        assert "threads" not in axes


def test_simulations_do_not_take_what_they_do_not_know(monkeypatch):
    known = {number.name for number in NUMBERS}
    assert numbers_of("simulate").keys() == numbers_of("integrate").keys() == known
    other = dataclasses.replace(NUMBERS[0], name="friction", at_finite_n=False)
    monkeypatch.setattr("runtime.run_options.NUMBERS", (*NUMBERS, other))
    assert "friction" in axes_of("ensemble")
    assert "friction" not in axes_of("chain")
