"""What the studies of a reproduction share: what they are given, their results, and the file of claims."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from derive.atomic_files import replacing
from derive.model import Model
from derive.version import VERSION
from runtime.analysis.claims import Claim
from runtime.output.figures import Drawing
from runtime.system.compiled_system import System
from runtime.system.loading import load


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What all studies are given: how much to run, the seed, and the folder of derived systems."""

    quick: bool
    seed: int
    generated: Path

    def system(self, p: int, pstar: int, **options: str) -> System:
        """The system of these widths and options of `Model`."""
        return load(Model(p, pstar, **options), self.generated)


@dataclasses.dataclass(frozen=True)
class StudyResult:
    """The claims of one figure, and its drawing."""

    claims: tuple[Claim, ...]
    drawing: Drawing


def save_claims(claims: Sequence[Claim], reproduction: Reproduction, path: Path) -> None:
    """Write claims.json, whole or not at all."""
    content = {
        "source": "arXiv:2604.03068",
        "version": f"overlap-ode {VERSION}",
        "quick": reproduction.quick,
        "seed": reproduction.seed,
        "all_hold": all(claim.holds for claim in claims),
        "claims": [claim.to_dict() for claim in claims],
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
