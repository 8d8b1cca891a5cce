"""`cli help`: print the help of the program or of one command."""

from __future__ import annotations

import click

from runtime.commands.grouped_help import command


def _complete(context: click.Context, _parameter: click.Parameter, start: str) -> list[str]:
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    return [name for name in root.command.list_commands(root) if name.startswith(start)]


@command()
@click.argument("command", required=False, shell_complete=_complete)
@click.pass_context
def help_pages(context: click.Context, command: str | None) -> None:
    """Print the help of a command, or the list of all commands.

    \b
    Examples:
      cli help
      cli help integrate
    """
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    if command is None:
        click.echo(root.get_help())
        return
    name, found, _ = root.command.resolve_command(root, [command])
    assert found is not None
    click.echo(found.get_help(click.Context(found, root, name)))
