"""`cli doctor`: print what is fine about the installation, what is not, and what to do."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import EXIT_FAILURE, colour, echo, naming_program

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@command()
@shared.generated_option
@option("Analysis", "--trial", is_flag=True, help="Also integrate a small system in two ways.")
@shared.json_option
def doctor(generated: Path, trial: bool, as_json: bool) -> int:
    """Check versions, processor, threads, folders and terminal; exit code 1 if there is a problem.

    \b
    Examples:
      cli doctor
      cli doctor --trial --json                    to send with a bug report
    """
    with warnings.catch_warnings():
        # A warning of the cache is a line of the report already.
        warnings.simplefilter("ignore")
        from runtime.commands import installation_checks

        checks = installation_checks.examine(generated, trial)
    if as_json:
        echo(json.dumps(installation_checks.as_json(checks), indent=1))
    else:
        for check in checks:
            status = colour(f"{check.status:<8}", _COLOURS[check.status])
            echo(f" {check.name}: {check.found}", lead=status, kept="")
            if check.next:
                echo(f"{'':8}   next: {naming_program(check.next)}", kept="")
    return EXIT_FAILURE if installation_checks.worst(checks) == "problem" else 0
