"""`cli derive`: derive a system by two routes, prove it, write its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import derive as derivation
from derive.generated_folder import check_target
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, given_options, option
from runtime.commands.printing import Talk, echo


@command()
@shared.width_options()
@shared.convention_options
@option("Model", "--sector", is_flag=True, help="Derive the sector of aligned starts instead, for any p.")
@shared.generated_option
@shared.json_option
@shared.quiet_option
def derive(sector: bool, generated: Path, as_json: bool, talk: Talk, **conventions: Any) -> None:
    """Derive the ODEs by two routes, prove them equal and generate code and LaTeX.

    \b
    Examples:
      cli derive --p 4 --pstar 2 --constraint sphere
      cli derive --sector --pstar 2
    """
    if sector:
        if "p" in given_options():
            raise click.UsageError("--p does not go with --sector: a sector holds for any p")
        del conventions["p"]
        model: Any = derivation.SectorModel(**conventions)
        by_proof: Any = derivation.sector_odes
        proved = "equal to the full system"
    else:
        model, by_proof = derivation.Model(**conventions), derivation.overlap_odes
        proved = "two derivations agree"
    check_target(generated / model.name)
    odes = by_proof(model)
    folder = odes.write(generated)
    manifest = json.loads((folder / "manifest.json").read_text())
    if as_json:
        echo(json.dumps({"folder": str(folder), **manifest}, indent=1))
        return
    echo(str(folder), kept="")
    size = " for any p" if sector else f", {manifest['operations']['rhs']} operations"
    talk(
        f"{odes.model.name}: {odes.model.state_size} order parameters{size}; "
        f"{proved} in {odes.proof.compared} entries ({odes.proof.method})"
    )
