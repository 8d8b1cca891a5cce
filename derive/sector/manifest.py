"""The manifest of a sector's folder: what it is, who wrote it, digests, the proof."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from derive.emit.manifest import FORMAT, sha256
from derive.sector.sector_model import SectorModel
from derive.sector.sector_module import operations
from derive.sector.sector_proof import SectorProof
from derive.version import VERSION

KIND = "sector"


def sector_manifest(model: SectorModel, files: Mapping[str, str], proof: SectorProof) -> str:
    """The manifest as JSON text; `files` maps file names to their contents."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": KIND,
        "name": model.name,
        "model": model.to_dict(),
        "generator": {"name": "overlap-ode", "version": VERSION},
        "files": {name: sha256(text) for name, text in sorted(files.items())},
        "operations": operations(model),
        "proof": proof.to_dict(),
        "parameters": list(model.parameters),
        "state": list(model.state),
    }
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"
