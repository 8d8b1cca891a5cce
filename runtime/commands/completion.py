"""`cli completion`: print a script that completes commands, options and their values in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from runtime.commands.grouped_help import command
from runtime.commands.printing import OTHER_PROGRAM, PROGRAM, echo

# The variable in which a shell asks click for completions.
VARIABLE = "_CLI_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete commands, options and their values.

    \b
    Examples:
      eval "$(cli completion bash)"                in ~/.bashrc
      eval "$(cli completion zsh)"                 in ~/.zshrc, after compinit
      cli completion fish | source                 in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    for name in (PROGRAM, OTHER_PROGRAM):
        script = found(context.find_root().command, {}, name, VARIABLE)
        # script.source() would run the shell to ask for its version.
        echo(script.source_template % script.source_vars())
