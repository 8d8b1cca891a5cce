"""`cli reproduce`: regenerate the claims of the paper."""

from __future__ import annotations

import json
from pathlib import Path

from runtime.analysis.claims import claims_table
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import EXIT_FAILURE, Talk, echo


@command()
@option("Analysis", "--quick", is_flag=True, help="Use fewer runs and widths; takes about a minute.")
@shared.run_option("reproduce", "seed")
@option(
    "Output",
    "--out",
    type=shared.A_PATH,
    default="reproduction",
    help="Folder of the figures (PDF and PNG) and claims.json.",
)
@shared.generated_option
@shared.json_option
@shared.quiet_option
def reproduce(quick: bool, seed: int, out: Path, generated: Path, as_json: bool, talk: Talk) -> int:
    """Regenerate the claims of arXiv:2604.03068 as figures and verdicts; exit code 1 if any fails.

    \b
    Example:
      cli reproduce --quick --out figures
    """
    from runtime.analysis.reproduction import all_claims

    found = all_claims.reproduce(out, generated, quick=quick, seed=seed, say=talk)
    if as_json:
        echo(json.dumps([claim.to_dict() for claim in found]))
    else:
        echo(claims_table(found).as_text())
    return 0 if all(claim.holds for claim in found) else EXIT_FAILURE
