"""A claim: what theory predicts, what was measured, how far apart they may be."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from derive.version import VERSION
from runtime.output.netcdf_files import replacing
from runtime.output.text_tables import cell
from runtime.system.compiled_system import System


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of all studies; `system` loads one by widths and options (the keywords of Model)."""

    quick: bool
    seed: int
    system: Callable[..., System]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One sentence that can fail.

    claim
        The sentence; `prediction` and `measured` are its numbers.
    uncertainty
        Standard error of `measured`; None where only rounding and tolerances of the solver enter.
    allowed
        Largest |measured − prediction| with which the claim holds.
    """

    name: str
    claim: str
    prediction: float
    measured: float
    uncertainty: float | None
    allowed: float

    @property
    def holds(self) -> bool:
        # Why this way: NaN does not hold.
        return abs(self.measured - self.prediction) <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """Plain values; NaN, which JSON lacks, becomes null."""
        values = dataclasses.asdict(self)
        for key, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                values[key] = None
        return values | {"verdict": "holds" if self.holds else "fails"}


@dataclasses.dataclass(frozen=True)
class Study:
    """The claims of one figure, and what draws it."""

    figure: str
    claims: tuple[Claim, ...]
    size: tuple[float, float]
    draw: Callable[[Any], None]


def save_claims(claims: Sequence[Claim], settings: Settings, path: Path) -> None:
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


def table(claims: Sequence[Claim]) -> str:
    """For people: a line a claim."""
    lines = [f"{'':6} {'prediction':>12} {'measured':>12} {'error':>9} {'allowed':>9}  claim"]
    for claim in claims:
        error = "" if claim.uncertainty is None else cell(claim.uncertainty, "9.1e")
        lines.append(
            f"{'holds' if claim.holds else 'FAILS':6} {cell(claim.prediction, '12.6g')}"
            f" {cell(claim.measured, '12.6g')} {error:>9} {claim.allowed:9.1e}  {claim.claim}"
        )
    return "\n".join(lines)
