"""Every command of the command line by name, imported."""

import click

import cli

_CONTEXT = click.Context(cli.cli)
COMMANDS = {name: cli.cli.get_command(_CONTEXT, name) for name in cli.COMMANDS}
