"""What is in a folder of generated systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from derive.errors import InputError
from derive.model import Model
from derive.sector import SectorModel
from runtime.system.load_error import LoadError
from runtime.system.loading import describe, exists

# How folders of invariant sectors, which have no p of their own, are named.
_SECTOR = "sector_"


def systems(generated: Path) -> list[dict[str, Any]]:
    """One entry a system, by name: its model and manifest facts, or the problem with it.

    Raises
    ------
    InputError
        `generated` is not a folder, or cannot be read.
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
            model: Model | SectorModel
            if folder.name.startswith(_SECTOR):
                # Why only here: most lists need nothing of it.
                from runtime.sector.sector_system import describe_sector

                model, manifest = describe_sector(folder)
            else:
                model, manifest = describe(folder)
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


def line(system: dict[str, Any]) -> str:
    """An entry as a line of text."""
    if "problem" in system:
        return f"{system['name']:<32} PROBLEM  {system['problem']}"
    return (
        f"{system['name']:<32} {system['state_size']:>6} order parameters "
        f"{system['operations']:>8} operations  {system['proof']}"
    )
