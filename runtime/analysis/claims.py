"""The claim: a prediction of theory, a measured number, and how far apart they may be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from runtime.output.result_table import Column, Table


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
        # A measured NaN is within no distance of the prediction, so its claim fails.
        return abs(self.measured - self.prediction) <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """Plain values; NaN, which JSON lacks, becomes null."""
        values = dataclasses.asdict(self)
        for key, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                values[key] = None
        return values | {"verdict": "holds" if self.holds else "fails"}


def claims_table(claims: Sequence[Claim]) -> Table:
    """One row per claim: the verdict, the numbers, the sentence."""
    columns = (
        Column(""),
        Column("prediction", "12.6g"),
        Column("measured", "12.6g"),
        Column("error", "9.1e"),
        Column("allowed", "9.1e"),
        Column("claim"),
    )
    rows = [
        (
            "holds" if claim.holds else "FAILS",
            claim.prediction,
            claim.measured,
            "" if claim.uncertainty is None else claim.uncertainty,
            claim.allowed,
            claim.claim,
        )
        for claim in claims
    ]
    return Table(columns, rows)
