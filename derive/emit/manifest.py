"""The manifest of a generated folder: what it is, who wrote it, digests, the proof."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from derive.emit.numba_module import is_unrolled, programs
from derive.model import Model
from derive.program import operation_count
from derive.proof import Proof
from derive.version import VERSION

FORMAT = 1
FILE_NAME = "manifest.json"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(model: Model, files: Mapping[str, str], proof: Proof) -> str:
    """The manifest as JSON text; `files` maps file names to their contents."""
    functions = programs(model)
    content: dict[str, Any] = {
        "format": FORMAT,
        "name": model.name,
        "model": model.to_dict(),
        "generator": {"name": "overlap-ode", "version": VERSION},
        "files": {name: sha256(text) for name, text in sorted(files.items())},
        "operations": {name: operation_count(program) for name, program in functions.items()},
        "code": {
            name: "unrolled" if is_unrolled(program) else "loops" for name, program in functions.items()
        },
        "proof": proof.to_dict(),
        "parameters": list(model.parameters),
        "state": list(model.state),
    }
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"
