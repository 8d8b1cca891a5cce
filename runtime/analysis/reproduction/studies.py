"""What the studies of a reproduction share: their settings, their results, and the file of claims."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from derive.atomic_files import replacing
from derive.version import VERSION
from runtime.analysis.claims import Claim
from runtime.system.compiled_system import System


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """What all studies are given; `system` loads one by widths and options (the keywords of Model)."""

    quick: bool
    seed: int
    system: Callable[..., System]


@dataclasses.dataclass(frozen=True)
class Study:
    """The claims of one figure, its width and height in inches, and what draws it."""

    claims: tuple[Claim, ...]
    size: tuple[float, float]
    draw: Callable[[Any], None]


def save_claims(claims: Sequence[Claim], settings: StudySettings, path: Path) -> None:
    """Write claims.json, whole or not at all."""
    content = {
        "source": "arXiv:2604.03068",
        "version": f"overlap-ode {VERSION}",
        "quick": settings.quick,
        "seed": settings.seed,
        "all_hold": all(claim.holds for claim in claims),
        "claims": [claim.to_dict() for claim in claims],
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
