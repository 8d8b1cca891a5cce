"""`cli derive`: derive a system by two routes, prove it, write its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline
from derive.generated_files import STAGES
from derive.generated_folder import check_target
from derive.model import Model
from derive.pipeline import Pipeline
from derive.sector.sector_model import SectorModel
from derive.sector.sector_pipeline import SectorPipeline
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, given_options, option
from runtime.commands.printing import Talk, echo

# The stage that follows those of derive: the vector code of ensembles.
_LLVM = "llvm"


@command()
@shared.width_options()
@shared.convention_options
@option("Model", "--sector", is_flag=True, help="Derive the sector of aligned starts instead, for any p.")
@option("Model", "--fluctuations", is_flag=True, help="Derive the covariance at order 1/N instead.")
@option(
    "Output",
    "--show",
    type=click.Choice([*STAGES, _LLVM]),
    help="Print this stage of the derivation instead of writing files.",
)
@shared.generated_option
@shared.json_option
@shared.quiet_option
def derive(
    sector: bool,
    fluctuations: bool,
    show: str | None,
    generated: Path,
    as_json: bool,
    talk: Talk,
    **conventions: Any,
) -> None:
    """Derive the ODEs by two routes, prove them equal and generate code and LaTeX.

    \b
    Examples:
      cli derive --p 4 --pstar 2 --constraint sphere
      cli derive --sector --pstar 2
      cli derive --fluctuations --p 4 --pstar 2
      cli derive --p 3 --pstar 2 --show program
    """
    given = given_options()
    superfluous = given & {"generated", "as_json"}
    if show is not None and superfluous:
        name = min(superfluous).removeprefix("as_")
        raise click.UsageError(f"--{name} does not go with --show: only the stage is printed")
    if sector and fluctuations:
        raise click.UsageError("--fluctuations does not go with --sector")
    if sector:
        if "p" in given:
            raise click.UsageError("--p does not go with --sector: a sector holds for any p")
        del conventions["p"]
        model: Any = SectorModel.of_options(**conventions)
        pipeline: Any = SectorPipeline.of(model)
        proved = "equal to the full system"
    else:
        model = FluctuationModel(**conventions) if fluctuations else Model(**conventions)
        pipeline = FluctuationPipeline.of(model) if fluctuations else Pipeline.of(model)
        proved = "two derivations agree"
    if show is not None:
        echo(_stage(pipeline, show).removesuffix("\n"))
        return
    check_target(generated / model.name)
    folder = pipeline.write(generated)
    manifest = json.loads((folder / "manifest.json").read_text())
    if as_json:
        echo(json.dumps({"folder": str(folder), **manifest}, indent=1))
        return
    echo(str(folder), kept="")
    size = " for any p" if sector else f", {manifest['operations']['rhs']} operations"
    talk(
        f"{model.name}: {model.state_size} order parameters{size}; "
        f"{proved} in {pipeline.proof.compared} entries ({pipeline.proof.method})"
    )


def _stage(pipeline: Any, stage: str) -> str:
    """The text of a stage; the vector code is that of ensembles with the default method."""
    if stage != _LLVM:
        return str(pipeline.text_of(stage))
    if pipeline.model.kind != "system":
        kind = pipeline.model.kind
        raise click.UsageError(f"--show {stage} does not go with --{kind}, which has no vector code")
    from runtime.ensemble.kernels.compiled_kernels import llvm_text

    return llvm_text(pipeline.model)
