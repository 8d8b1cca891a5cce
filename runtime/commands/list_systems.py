"""`cli list`: show the derived systems of a folder."""

from __future__ import annotations

import json
from pathlib import Path

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command
from runtime.commands.printing import echo, naming_program, say


@command()
@shared.generated_option
@shared.json_option
def list_systems(generated: Path, as_json: bool) -> None:
    """List the derived systems, and what is wrong with those that cannot be loaded.

    \b
    Example:
      cli list --generated generated
    """
    from runtime.system import catalogue

    systems = catalogue.systems(generated)
    if as_json:
        echo(json.dumps(systems, indent=1))
        return
    if not systems:
        say(f"{generated} holds no derived system; `cli derive --p 4 --pstar 2` makes one")
    for system in systems:
        echo(naming_program(catalogue.system_line(system)), kept="")
