"""Lists the systems in a folder of generated code, and says which of them cannot be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from derive.errors import InputError
from derive.fluctuations.fluctuation_pipeline import FluctuationPipeline
from derive.generated_files import GeneratedFiles
from derive.pipeline import Pipeline
from derive.sector.sector_pipeline import SectorPipeline
from runtime.system.load_error import LoadError
from runtime.system.verification import exists, verified

_KINDS: dict[str, type[GeneratedFiles[Any]]] = {
    files.model_class.kind: files for files in (SectorPipeline, FluctuationPipeline)
}


def systems(generated: Path) -> list[dict[str, Any]]:
    """One entry per system, sorted by name: facts on its model and manifest, or the problem with it.

    Raises
    ------
    InputError
        `generated` is not a folder.
    OSError
        It cannot be read.
    """
    if not exists(generated):
        return []
    if not generated.is_dir():
        raise InputError("generated", f"{generated} is not a folder")
    entries: list[dict[str, Any]] = []
    for folder in sorted(generated.iterdir()):
        if folder.name.startswith((".", "__")) or not folder.is_dir():
            continue
        entry: dict[str, Any] = {"name": folder.name, "folder": str(folder)}
        try:
            # The names of folders of other kinds than systems begin with the kind.
            files = _KINDS.get(folder.name.partition("_")[0], Pipeline)
            model, manifest = verified(folder, files)
        except LoadError as error:
            entry["problem"] = str(error)
        else:
            entry |= {
                "model": model.to_dict(),
                "state_size": model.state_size,
                "operations": manifest["operations"]["rhs"],
                "proof": manifest["proof"]["method"],
            }
        entries.append(entry)
    return entries


def system_line(system: dict[str, Any]) -> str:
    """An entry of `systems` as a line of text."""
    if "problem" in system:
        return f"{system['name']:<32} PROBLEM  {system['problem']}"
    return (
        f"{system['name']:<32} {system['state_size']:>6} order parameters "
        f"{system['operations']:>8} operations  {system['proof']}"
    )
