"""Extends click: help with options in groups, and options that a command receives as one value."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import click

from runtime.commands.printing import PROGRAM

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# Headings of the help, in their order.
GROUPS = ("Sweep", "Model", "Training", "Start", "Analysis", "Solver", "Output")
_WIDEST_NAME = 30


class GroupedOption(click.Option):
    """An option with the heading under which the help lists it."""

    def __init__(self, *names: Any, group: str, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.group = group


class Command(click.Command):
    """A command whose help has its options under headings and names the program as it was started."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                groups[getattr(parameter, "group", GROUPS[-1])].append(record)
        names = [name for records in groups.values() for name, _ in records]
        # Names of equal width make the columns of all groups begin at the same place.
        width = min(_WIDEST_NAME, max(map(len, names)))
        for group, records in groups.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl([(f"{name:<{width}}", words) for name, words in records])

    def get_help(self, ctx: click.Context) -> str:
        return naming_root(ctx, super().get_help(ctx))


def naming_root(context: click.Context, text: str) -> str:
    """A help text whose examples have the name under which the program was started."""
    return re.sub(rf"\b{PROGRAM}\b", str(context.find_root().info_name), text)


command = functools.partial(click.command, cls=Command)


def option(group: str, *names: str, **settings: Any) -> Decorator:
    """An option under a heading of the help, which also shows its default."""
    settings.setdefault("show_default", settings.get("default") is not None)
    return click.option(*names, cls=GroupedOption, group=group, **settings)


def options(*decorators: Decorator) -> Decorator:
    """Several options in this order as one decorator."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def collected(name: str, build: Callable[..., Any], *decorators: Decorator) -> Decorator:
    """Options that a command receives as one argument: what `build` makes of their values by name."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        names: list[str] = []

        @functools.wraps(function)
        def receiving(**arguments: Any) -> Any:
            values = {option: arguments.pop(option) for option in names}
            return function(**{name: build(**values)}, **arguments)

        before = len(getattr(receiving, "__click_params__", ()))
        decorated = options(*decorators)(receiving)
        names += [parameter.name for parameter in decorated.__click_params__[before:]]  # type: ignore[attr-defined]
        return decorated

    return decorate


def given_options() -> frozenset[str]:
    """Names of the options that are given on the command line."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    return frozenset(name for name in context.params if context.get_parameter_source(name) != default)


def completing(*values: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """The completion of an option by these values, for shells."""
    return lambda _context, _parameter, start: [value for value in values if value.startswith(start)]
