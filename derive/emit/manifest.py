"""The manifest of a generated folder: what it is, who wrote it, digests, the proof."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from derive.emit.numba_module import is_unrolled
from derive.lower import Q, R, drift_program, loss_program
from derive.model import Model
from derive.program import operation_count
from derive.proof import Proof
from derive.tangent import differentiate
from derive.version import VERSION, generator_digest

FORMAT = 1
FILE_NAME = "manifest.json"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(model: Model, files: Mapping[str, str], proof: Proof) -> str:
    """The manifest as JSON text; `files` maps file names to their contents."""
    drift = drift_program(model)
    content: dict[str, Any] = {
        "format": FORMAT,
        "name": model.name,
        "model": model.to_dict(),
        "generator": {"name": "overlap-ode", "version": VERSION, "sha256": generator_digest()},
        "files": {name: sha256(text) for name, text in sorted(files.items())},
        "code": "unrolled" if is_unrolled(model) else "loops",
        "operations": {
            "rhs": operation_count(drift),
            "loss": operation_count(loss_program(model)),
            "tangent": operation_count(differentiate(drift, (Q, R))),
        },
        "proof": proof.to_dict(),
        "parameters": list(model.parameters),
        "state": list(model.state),
    }
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"
